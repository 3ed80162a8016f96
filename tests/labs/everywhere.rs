//! A gateway on every host, and spanning tree, on networks of Open vSwitch: in tunnels, untagged, and with a tag.

use super::live::verified;
use super::tunnels::without_ovs;
use crate::support::lab::{Bench, TWO_CABLES};

/// The networks of both hosts, and a guest on each.
const NETWORKS_AND_GUESTS: &str = r#"
# In tunnels, untagged, and with a tag.
[networks.tunneled]
subnet = "10.0.1.0/24"
switch = "ovs"
tunnel = "gre"
underlay = "eth0"
dhcp = true
gateway = { address = "10.0.1.1", on = "every-host" }

[networks.untagged]
subnet = "10.0.2.0/24"
switch = "ovs"
uplink = "eth1"
stp = true
forward_delay = 4
dhcp = true
gateway = { address = "10.0.2.1", on = "every-host" }

[networks.tagged]
subnet = "10.0.3.0/24"
switch = "ovs"
uplink = "eth1"
vlan = 10
stp = true
forward_delay = 4
dhcp = true
gateway = { address = "10.0.3.1", on = "every-host" }

[vms.vm]
hosts = ["node1", "node2"]
count = 2
memory = "96MiB"
nics = [{ network = "tunneled" }, { network = "untagged" }, { network = "tagged" }]
"#;

/// The networks, and what carries them between the hosts.
const NETWORKS: [&str; 3] = ["tunneled", "untagged", "tagged"];

/// Packets that the flows with these words have dropped on a host.
fn dropped(bench: &Bench, host: &str, words: &str) -> u64 {
    let dump = "for bridge in $(ovs-vsctl list-br); do ovs-ofctl --names dump-flows $bridge cookie=0x6e65746c/-1; done";
    let flows = bench.inside(host, &["sh", "-c", dump]);
    let of_it = flows
        .lines()
        .filter(|line| line.contains("priority=330") && line.contains(words));
    let packets = of_it.map(|line| line.split_once("n_packets=").unwrap().1.split_once(',').unwrap().0);
    packets.map(|packets| packets.parse::<u64>().unwrap()).sum()
}

/// What a guest knows of a gateway: the MAC address that answered.
fn mac_of_gateway(bench: &Bench, vm: &str, gateway: &str) -> String {
    let ask =
        format!("ip neigh flush all >/dev/null; ping -c2 -W5 {gateway} >/dev/null; ip neigh | grep '^{gateway} '");
    let known = bench.good(&["exec", "-n", bench.file(), vm, "--", &ask]);
    let mut words = known.split_whitespace().skip_while(|word| *word != "lladdr");
    words.nth(1).unwrap_or_else(|| panic!("{vm}: {known}")).to_owned()
}

fn mac_of_bridge(bench: &Bench, host: &str, network: &str) -> String {
    let read = format!("cat /sys/class/net/{network}-*/address");
    bench.inside(host, &["sh", "-c", &read]).trim().to_owned()
}

#[test]
#[ignore = "soak: four guests on bridges with spanning tree"]
fn a_gateway_on_every_host_of_open_vswitch_answers_its_own_guests_only() {
    let test = "a_gateway_on_every_host_of_open_vswitch_answers_its_own_guests_only";
    if without_ovs(test) {
        return;
    }
    let Some(bench) = Bench::new(test, "ev", &format!("{TWO_CABLES}{NETWORKS_AND_GUESTS}")) else {
        return;
    };
    // Guests have asked their DHCP servers, through ports that listened and learned before.
    bench.good(&["-q", "up", bench.file()]);
    let again = bench.good(&["up", bench.file()]);
    assert!(again.contains("nothing to do"), "{again}");
    assert!(verified(&bench).into_values().all(|reach| reach), "each reaches each");
    let root = bench.inside(
        "node1",
        &["sh", "-c", "ovs-vsctl --bare --columns=status list Port eth1"],
    );
    assert!(root.contains("stp_state=forwarding"), "{root}");

    for (at, network) in NETWORKS.iter().enumerate() {
        let gateway = format!("10.0.{}.1", at + 1);
        for (vm, host) in [("vm-1", "node1"), ("vm-2", "node2")] {
            let answered = mac_of_gateway(&bench, vm, &gateway);
            assert_eq!(answered, mac_of_bridge(&bench, host, network), "{vm} {network}");
        }
        // Both hosts' guests have asked for it, and for an address, and the other host has heard none of that.
        for host in ["node1", "node2"] {
            assert!(
                dropped(&bench, host, &format!("arp_tpa={gateway} ")) > 0,
                "{host} {network}"
            );
        }
    }
    for host in ["node1", "node2"] {
        assert!(dropped(&bench, host, "tp_dst=67") > 0, "{host}");
    }

    // Without the flows two machines answer; plan and verify see that they are missing, and up loads them again.
    let delete = "for bridge in $(ovs-vsctl list-br); do ovs-ofctl del-flows $bridge cookie=0x6e65746c/-1; done";
    bench.inside("node2", &["sh", "-c", delete]);
    let plan = bench.good(&["plan", bench.file()]);
    assert!(plan.contains("keep gateway 10.0.1.1 off gre-"), "{plan}");
    let verified_without = bench.run(&["verify", bench.file()]);
    assert_eq!(verified_without.status.code(), Some(1));
    bench.good(&["-q", "up", bench.file()]);

    // A smaller MTU that somebody gave a bridge is seen and taken back, which Open vSwitch does not do by itself.
    let lower = "ip link set dev $(basename /sys/class/net/untagged-*) mtu 1400";
    bench.inside("node2", &["sh", "-c", lower]);
    let plan = bench.good(&["plan", bench.file()]);
    assert!(
        plan.contains("~ change link untagged-") && plan.contains("mtu: 1400 → default"),
        "{plan}"
    );
    bench.good(&["-q", "up", bench.file()]);
    let mtu = bench.inside("node2", &["sh", "-c", "cat /sys/class/net/untagged-*/mtu"]);
    assert_eq!(mtu.trim(), "1500");

    // Spanning tree that somebody disabled is seen and restored.
    bench.inside(
        "node1",
        &[
            "sh",
            "-c",
            "ovs-vsctl set Bridge $(ovs-vsctl port-to-br eth1) stp_enable=false",
        ],
    );
    let plan = bench.good(&["plan", bench.file()]);
    assert!(plan.contains("~ change link untagged-"), "{plan}");
    bench.good(&["-q", "up", bench.file()]);
    let again = bench.good(&["up", bench.file()]);
    assert!(again.contains("nothing to do"), "{again}");

    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
