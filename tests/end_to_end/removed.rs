//! FAULTS 5: objects removed by hand, as by a reboot; `up` recreates them and `down` succeeds without them.

use rustix::process::{Pid, Signal, kill_process};

use crate::support::lab::{Bench, EMPTY};

/// Does the damage twice: once repaired by `up`, once cleaned by `down`.
fn repaired_and_cleaned(test: &str, tag: &str, text: &str, damage: impl Fn(&Bench)) {
    let Some(bench) = Bench::new(test, tag, text) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    damage(&bench);
    let plan = bench.good(&["plan", bench.file()]);
    assert!(!plan.contains("nothing to do"), "the damage is seen: {plan}");
    bench.good(&["-q", "up", bench.file()]);
    let plan = bench.good(&["plan", bench.file()]);
    assert!(plan.contains("nothing to do"), "{plan}");
    damage(&bench);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn a_bridge_that_was_deleted_is_recreated() {
    repaired_and_cleaned("a_bridge_that_was_deleted_is_recreated", "rb", EMPTY, |bench| {
        bench.inside("node1", &["ip", "link", "delete", "dev", "br1"]);
    });
}

#[test]
fn an_address_and_a_setting_that_were_removed_are_set_again() {
    let test = "an_address_and_a_setting_that_were_removed_are_set_again";
    repaired_and_cleaned(test, "ra", EMPTY, |bench| {
        bench.inside("node1", &["ip", "address", "delete", "10.0.1.1/24", "dev", "br1"]);
        bench.inside("node1", &["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"]);
    });
}

#[test]
fn an_uplink_that_was_detached_from_its_bridge_is_attached_again() {
    let test = "an_uplink_that_was_detached_from_its_bridge_is_attached_again";
    repaired_and_cleaned(test, "ru", EMPTY, |bench| {
        bench.inside("node1", &["ip", "link", "set", "dev", "eth0", "nomaster"]);
    });
}

/// What a reboot is to an emulated host.
#[test]
fn an_emulated_host_that_died_is_recreated() {
    repaired_and_cleaned("an_emulated_host_that_died_is_recreated", "rh", EMPTY, |bench| {
        let init = i32::try_from(bench.init("node1")).unwrap();
        kill_process(Pid::from_raw(init).unwrap(), Signal::KILL).unwrap();
        // Its death is the kernel's doing and takes a moment.
        while bench.state().exists() && std::path::Path::new(&format!("/proc/{init}/ns/net")).exists() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
}

/// As an impatient user does it.
#[test]
fn a_namespace_that_was_deleted_by_hand_blocks_nothing() {
    let test = "a_namespace_that_was_deleted_by_hand_blocks_nothing";
    let Some(bench) = Bench::new(test, "rn", EMPTY) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains(&bench.name) {
            let deleted = std::process::Command::new("ip")
                .args(["netns", "delete", &name])
                .status();
            assert!(deleted.unwrap().success());
        }
    }
    bench.good(&["-q", "up", bench.file()]);
    let plan = bench.good(&["plan", bench.file()]);
    assert!(plan.contains("nothing to do"), "{plan}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// FAULTS 54: what was moved from a NIC to its bridge.
#[test]
fn an_address_that_was_moved_to_a_bridge_and_deleted_there_is_restored() {
    let test = "an_address_that_was_moved_to_a_bridge_and_deleted_there_is_restored";
    repaired_and_cleaned(test, "rm", EMPTY, |bench| {
        bench.inside("node1", &["ip", "address", "delete", "172.16.99.108/24", "dev", "br1"]);
    });
}

/// What an emulated host was created with, on a NIC that no network uses.
const OUTSIDE: &str = r#"
name = "LABNAME"
[hosts.node1]
nics.eth0.address = "172.16.99.108/24"
nics.eth1 = { address = "192.168.99.2/24", gateway = "192.168.99.1" }
[routers.isp]
nics.eth0.address = "192.168.99.1/24"
[[cables]]
ends = ["node1:eth1", "isp:eth0"]
"#;

#[test]
fn what_an_emulated_hosts_nics_were_created_with_is_restored() {
    let test = "what_an_emulated_hosts_nics_were_created_with_is_restored";
    let damages: [&[&str]; 3] = [
        &["ip", "route", "delete", "default"],
        &["ip", "link", "set", "eth1", "down"],
        &["ip", "address", "delete", "192.168.99.2/24", "dev", "eth1"],
    ];
    let Some(bench) = Bench::new(test, "rn", OUTSIDE) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    for damage in damages {
        bench.inside("node1", damage);
        let plan = bench.good(&["plan", bench.file()]);
        assert!(
            plan.starts_with("localhost:\n  ~ configure the NICs of emulated host node1\n")
                && plan.ends_with("\n1 step: 0 add, 1 change, 0 remove\n"),
            "{damage:?}: {plan}"
        );
        bench.good(&["-q", "up", bench.file()]);
        let routes = bench.inside("node1", &["ip", "route", "show", "default"]);
        assert!(routes.contains("via 192.168.99.1 dev eth1"), "{damage:?}: {routes}");
        let plan = bench.good(&["plan", bench.file()]);
        assert!(plan.contains("nothing to do"), "{plan}");
    }
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
