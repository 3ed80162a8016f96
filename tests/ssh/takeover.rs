//! The NIC that carries the session, taken into a bridge.

use crate::machines::{Machines, said};
use crate::sshd::wait_until;

/// A lab on node1 whose network is carried by the NIC that node1 is reached by.
fn write_lab(machines: &Machines, takeover: &str, stp: bool) {
    let text = format!(
        r#"
name = "{}"
[hosts.node1]
connect = "ssh://root@10.200.1.2"
nics.mgmt = {{ {takeover} }}
[networks.service]
subnet = "10.0.1.0/24"
uplink = "mgmt"
stp = {stp}
[vms.vm1]
host = "node1"
memory = "96MiB"
nics = [{{ network = "service" }}]
"#,
        machines.name
    );
    std::fs::write(machines.lab(), text).unwrap();
}

#[test]
fn the_nic_that_carries_the_session_is_not_taken_unasked() {
    let Some(machines) = Machines::new("unasked") else {
        return;
    };
    write_lab(&machines, "", false);
    let before = machines.snapshot();
    let lab = machines.lab();
    let said = machines.bad(&["up", lab.to_str().unwrap()]);
    assert!(
        said.contains("carries the ssh session") && said.contains("takeover = true"),
        "{said}"
    );
    assert_eq!(machines.snapshot(), before);
}

#[test]
fn it_is_taken_where_the_lab_says_so_and_given_back() {
    let Some(machines) = Machines::new("taken") else { return };
    write_lab(&machines, "takeover = true", false);
    let before = machines.snapshot();
    let lab = machines.lab();
    machines.good(&["up", lab.to_str().unwrap()]);
    let ports = machines.run("node1", &["ip", "-o", "link", "show", "mgmt"]);
    assert!(ports.contains(" master "), "{ports}");
    machines.good(&["verify", lab.to_str().unwrap()]);
    machines.good(&["down", &machines.name]);
    assert_eq!(machines.snapshot(), before);
}

#[test]
fn a_takeover_that_cuts_the_way_is_undone_by_the_host_and_the_run_goes_back() {
    let Some(machines) = Machines::new("cut off") else {
        return;
    };
    // A port of a bridge with spanning tree forwards nothing for its first thirty seconds.
    write_lab(&machines, "takeover = true", true);
    let before = machines.snapshot();
    let lab = machines.lab();
    let said = machines.bad(&["up", "--confirm-timeout", "12", lab.to_str().unwrap()]);
    assert!(said.contains("cut the way") && said.contains("by itself"), "{said}");
    assert!(said.contains("as it was before this run"), "{said}");
    assert_eq!(machines.snapshot(), before);
}

#[test]
fn the_host_goes_back_although_netlab_is_gone() {
    let Some(machines) = Machines::new("alone") else { return };
    write_lab(&machines, "takeover = true", true);
    let before = machines.snapshot();
    let lab = machines.lab();
    let up = machines.spawn(&["up", "--confirm-timeout", "10", lab.to_str().unwrap()]);
    let is_taken = || {
        machines
            .run("node1", &["ip", "-o", "link", "show", "mgmt"])
            .contains(" master ")
    };
    wait_until("the NIC is taken", is_taken);
    // nsenter's child: netlab itself.
    for netlab in crate::sshd::children(up.id()) {
        rustix::process::kill_process(netlab, rustix::process::Signal::KILL).unwrap();
    }
    assert!(!said(&up.wait_with_output().unwrap()).contains("is up"));
    wait_until("the NIC is free again", || !is_taken());
    let address = machines.run("node1", &["ip", "-o", "-4", "addr", "show", "mgmt"]);
    assert!(address.contains("10.200.1.2/24"), "{address}");
    machines.good(&["down", &machines.name]);
    assert_eq!(machines.snapshot(), before);
}
