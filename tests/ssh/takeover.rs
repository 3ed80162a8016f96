//! The NIC that carries the session, taken into a bridge.

use std::collections::BTreeSet;

use crate::machines::{Machines, kill};
use crate::sshd::wait_until;
use crate::support::whole::difference;

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
gateway = {{ address = "10.0.1.1", on = "node1" }}
"#,
        machines.name
    );
    std::fs::write(machines.lab(), text).unwrap();
}

/// The bridge that has the NIC.
fn bridge(machines: &Machines) -> Option<String> {
    let link = machines.run("node1", &["ip", "-o", "link", "show", "mgmt"]);
    let (_, rest) = link.split_once(" master ")?;
    rest.split_whitespace().next().map(ToOwned::to_owned)
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
    machines.assert_as(&before);
}

#[test]
fn it_is_attached_where_the_lab_says_so_and_detached() {
    let Some(machines) = Machines::new("taken") else { return };
    write_lab(&machines, "takeover = true", false);
    let before = machines.snapshot();
    let lab = machines.lab();
    let guest = "[vms.vm1]\nhost = \"node1\"\nmemory = \"96MiB\"\nnics = [{ network = \"service\" }]\n";
    let text = std::fs::read_to_string(&lab).unwrap();
    std::fs::write(&lab, text + guest).unwrap();
    machines.good(&["up", lab.to_str().unwrap()]);
    assert!(bridge(&machines).is_some());
    machines.good(&["verify", lab.to_str().unwrap()]);
    machines.good(&["down", &machines.name]);
    machines.assert_as(&before);
}

/// FAULTS 35.
#[test]
fn a_takeover_that_cuts_the_connection_is_reverted_by_the_host_and_the_run_rolls_back() {
    let Some(machines) = Machines::new("cut off") else {
        return;
    };
    // A port of a bridge with spanning tree forwards nothing for its first thirty seconds.
    write_lab(&machines, "takeover = true", true);
    let before = machines.snapshot();
    let lab = machines.lab();
    let said = machines.bad(&["up", "--confirm-timeout", "12", lab.to_str().unwrap()]);
    assert!(
        said.contains("cut the connection") && said.contains("rolled it back"),
        "{said}"
    );
    assert!(said.contains("restored to its state before this run"), "{said}");
    machines.assert_as(&before);
}

#[test]
fn the_host_reverts_the_change_although_netlab_was_killed() {
    let Some(machines) = Machines::new("alone") else { return };
    write_lab(&machines, "takeover = true", true);
    let before = machines.snapshot();
    let lab = machines.lab();
    let up = machines.spawn(&["up", "--confirm-timeout", "10", lab.to_str().unwrap()]);
    wait_until("the NIC is taken", || bridge(&machines).is_some());
    assert!(!kill(up).contains("is up"));
    wait_until("the NIC is free again", || bridge(&machines).is_none());
    let addresses = || machines.run("node1", &["ip", "-o", "-4", "addr", "show", "mgmt"]);
    wait_until("its address is back", || addresses().contains("10.200.1.2/24"));
    machines.good(&["down", &machines.name]);
    machines.assert_as(&before);
}

#[test]
fn a_nic_whose_detaching_cuts_the_connection_is_attached_again_by_the_host() {
    let Some(machines) = Machines::new("detached") else {
        return;
    };
    write_lab(&machines, "takeover = true", false);
    let before = machines.snapshot();
    let lab = machines.lab();
    machines.good(&["up", lab.to_str().unwrap()]);
    // The host got another address meanwhile, on the bridge, where its addresses are now; it goes with the bridge.
    let taken_by = bridge(&machines).unwrap();
    machines.run("ctl", &["ip", "addr", "add", "10.200.4.1/24", "dev", "eth1"]);
    machines.run("node1", &["ip", "addr", "add", "10.200.4.2/24", "dev", &taken_by]);
    machines.listen("node1", "10.200.4.2");
    machines
        .keyring
        .know(&format!("10.200.4.2 {}", machines.keyring.public("host")));
    machines.keyring.configure("Host 10.200.1.2\n  HostName 10.200.4.2\n");
    // The host restores only the addresses by which it is reached.
    let reached_by = || -> BTreeSet<String> {
        let lines = machines.snapshot().into_iter();
        let kinds = [" link ", " address ", " route "];
        lines
            .filter(|line| kinds.iter().any(|kind| line.contains(kind)))
            .collect()
    };
    let up = reached_by();

    let down = machines.bad(&["down", "--confirm-timeout", "12", &machines.name]);
    assert!(
        down.contains("cut the connection") && down.contains("rolled it back"),
        "{down}"
    );
    assert_eq!(reached_by(), up);

    // Nobody is left to find out.
    let down = machines.spawn(&["down", "--confirm-timeout", "5", &machines.name]);
    wait_until("the NIC is detached", || bridge(&machines).is_none());
    assert!(!kill(down).contains("removed: "));
    wait_until("the NIC is taken again", || bridge(&machines).is_some());
    wait_until("the addresses are restored", || reached_by() == up);

    machines.keyring.configure("");
    machines.good(&["down", &machines.name]);
    // The test's own address and sshd.
    let mut after = machines.snapshot();
    after.retain(|line| !line.contains("10.200.4."));
    assert_eq!(after, before, "{}", difference(&before, &after));
}
