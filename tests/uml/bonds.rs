//! Bonds of the kernel's: with a switch that knows nothing of them and with one that has a link aggregation, and VLANs
//! over both.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::kernel;
use crate::labs::{OBSERVE, WITHIN, cells, live};

/// Two hosts without guests: the one's bond needs nothing of the switch, the other's a link aggregation with LACP.
const BONDS: &str = r#"
name = "bonds"
[hosts.node1.bonds.bond0]
nics = ["eth0", "eth1"]
mode = "active-backup"
primary = "eth0"
address = "172.16.99.108/24"
[hosts.node2.bonds.bond0]
nics = ["eth0", "eth1"]
mode = "802.3ad"
lacp_rate = "fast"
address = "172.16.99.109/24"
[switches.rack]
lags = [["p3", "p4"]]
[[cables]]
ends = ["node1:eth0", "rack:p1"]
[[cables]]
ends = ["node1:eth1", "rack:p2"]
[[cables]]
ends = ["node2:eth0", "rack:p3"]
[[cables]]
ends = ["node2:eth1", "rack:p4"]
[networks.tagged]
subnet = "10.0.1.0/24"
uplink = "bond0"
vlan = 10
addresses = { node1 = "10.0.1.1", node2 = "10.0.1.2" }
[[verify.ping]]
from = ["node1"]
to = "10.0.1.2"
[[verify.ping]]
from = ["node2"]
to = "172.16.99.108"
"#;

/// The path of a lab file for the kernel inside, which sees the machine's files.
pub fn written(name: &str, text: &str) -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// Shell lines that disable ports of the switch, as if their cables were pulled.
fn pull(ports: &[&str]) -> String {
    let pull = |port| format!("ip netns exec netlab.bonds.rack ip link set {port} down\n");
    ports.iter().map(pull).collect::<Vec<_>>().concat()
}

const STATUS: &str = "netlab status bonds";
const PING: &str = "on() { host=$1; shift; ip netns exec \"netlab.bonds.$host\" \"$@\"; }
                    on node1 ping -c2 -i0.5 -W10 10.0.1.2; on node2 ping -c2 -i0.5 -W10 172.16.99.108";

/// The line of `status` for each host's bond has this.
#[track_caller]
fn assert_state(status: &str, state: &str) {
    for host in ["node1", "node2"] {
        let mut lines = status.lines().filter(|line| line.starts_with("bond0 "));
        let has = lines.any(|line| line.contains(host) && line.contains(state));
        assert!(has, "{host} {state}: {status}");
    }
}

#[test]
fn bonds_with_and_without_lacp_carry_vlans_also_by_their_last_cable() {
    let test = "bonds_with_and_without_lacp_carry_vlans_also_by_their_last_cable";
    let file = written("uml-bonds", BONDS);
    let up = format!("netlab -q up {file}");
    let pulled = format!("{}sleep 2\n{STATUS}", pull(&["p1", "p3"]));
    let parts = [
        ("before", OBSERVE),
        ("up", up.as_str()),
        ("bond", "ip netns exec netlab.bonds.node2 cat /proc/net/bonding/bond0"),
        ("ping", PING),
        ("pulled", &pulled),
        ("ping again", PING),
        ("down", "netlab -q down bonds"),
        ("after", OBSERVE),
    ];
    let Some(printed) = kernel::good(test, &parts, Duration::from_secs(500)) else {
        return;
    };
    let bond = printed.by("bond");
    assert!(
        bond.contains("IEEE 802.3ad") && bond.contains("Number of ports: 2"),
        "{bond}"
    );
    assert_state(printed.by("pulled"), "degraded");
    assert_eq!(printed.by("after"), printed.by("before"), "something was left behind");
}

#[test]
#[ignore = "soak: several runs of verify in a user-mode Linux"]
fn verify_names_the_broken_members_of_kernel_bonds_and_up_repairs_them() {
    let test = "verify_names_the_broken_members_of_kernel_bonds_and_up_repairs_them";
    let file = written("uml-bonds-broken", BONDS);
    let up = format!("netlab -q up {file}");
    let again = format!("netlab plan {file}");
    let verify = format!("netlab verify --wait 120 {file}");
    let pulled = format!("{}sleep 2\n{verify}", pull(&["p1", "p3"]));
    let cut = format!(
        "{}sleep 1\nstatus=0; netlab verify {file} || status=$?; echo status $status",
        pull(&["p2", "p4"])
    );
    let parts = [
        ("before", OBSERVE),
        ("up", up.as_str()),
        ("again", &again),
        ("pulled", &pulled),
        ("cut", &cut),
        ("repair", &format!("{up}\n{verify}\n{STATUS}")),
        ("down", "netlab -q down bonds"),
        ("after", OBSERVE),
    ];
    let Some(printed) = kernel::good(test, &parts, WITHIN) else {
        return;
    };
    assert!(printed.by("again").contains("nothing to do"), "{}", printed.by("again"));
    for host in ["node1", "node2"] {
        let note = format!("{host}: bond bond0 is degraded: eth0 has no carrier");
        assert!(printed.by("pulled").contains(&note), "{}", printed.by("pulled"));
    }
    let cut = printed.by("cut");
    assert!(
        cut.contains("no cable of its NICs eth0 and eth1 is connected") && cut.ends_with("status 1\n"),
        "{cut}"
    );
    assert_state(printed.by("repair"), " up ");
    assert_eq!(printed.by("after"), printed.by("before"), "something was left behind");
}

/// The lab `bond` on Linux bridges; `edit` changes it.
fn of_bridges(edit: impl Fn(&str) -> String) -> String {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/bond.toml");
    let text = fs::read_to_string(lab).unwrap().replace("switch = \"ovs\"\n", "");
    edit(&text)
}

fn guests_reach_each_other(test: &str, text: &str) {
    let bond = "on node1 cat /proc/net/bonding/bond0";
    let Some((printed, frames)) = live(test, &written(test, text), bond) else {
        return;
    };
    let cells = cells(printed.by("matrix"));
    assert!(
        cells.len() == 4 && cells.values().all(|cell| *cell == (true, true)),
        "{cells:?}"
    );
    let tagged = |frame: &&crate::support::frames::Frame| frame.vlan == Some(10) && frame.carries("10.0.1.3");
    assert!(frames.iter().any(|frame| tagged(&frame)), "tagged on eth0");
}

#[test]
#[ignore = "soak: QEMU inside a user-mode Linux"]
fn guests_reach_each_other_by_a_vlan_over_bonds_that_have_a_backup() {
    guests_reach_each_other("guests_over_active_backup", &of_bridges(ToOwned::to_owned));
}

#[test]
#[ignore = "soak: QEMU inside a user-mode Linux"]
fn guests_reach_each_other_by_a_vlan_over_bonds_with_lacp() {
    let lacp = |text: &str| {
        let text = text
            .replace("mode = \"active-backup\"\nprimary = \"eth0\"", "mode = \"802.3ad\"")
            .replace(
                "[switches.rack]",
                "[switches.rack]\nlags = [[\"p1\", \"p2\"], [\"p3\", \"p4\"]]",
            );
        assert_eq!(text.matches("mode = \"802.3ad\"\n").count(), 2);
        text
    };
    guests_reach_each_other("guests_over_lacp", &of_bridges(lacp));
}
