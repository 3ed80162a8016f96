//! Bonds of a machine behind ssh: netlab creates one of NICs without addresses, and a bond that the machine has is used as it
//! is. This kernel may have no module for bonds: then they are Open vSwitch's.

use crate::machines::{Machines, assert_soon};
use crate::support::skip;

/// Starts Open vSwitch's daemons on node1, as its package does with systemd.
const DAEMONS: &str = "mkdir -p /run/openvswitch && cd /run/openvswitch && \
    ovsdb-tool create conf.db /usr/share/openvswitch/vswitch.ovsschema && \
    ovsdb-server conf.db --remote=punix:/run/openvswitch/db.sock \
        --pidfile=/run/openvswitch/ovsdb-server.pid --log-file=/dev/null --detach --no-chdir >/dev/null 2>&1 && \
    ovs-vsctl --no-wait init && \
    ovs-vswitchd unix:/run/openvswitch/db.sock \
        --pidfile=/run/openvswitch/ovs-vswitchd.pid --log-file=/dev/null --detach --no-chdir >/dev/null 2>&1";

/// Machines, with Open vSwitch on node1.
fn machines(test: &str) -> Option<Machines> {
    let machines = Machines::new(test)?;
    if !std::path::Path::new("/usr/sbin/ovs-vswitchd").exists() {
        skip(test, "needs the package openvswitch-switch");
        return None;
    }
    machines.run("node1", &["sh", "-c", DAEMONS]);
    Some(machines)
}

/// A lab on node1 whose network is carried by a bond.
fn write_lab(machines: &Machines, nics: &str, address: &str, bond: &str) {
    let text = format!(
        r#"
name = "{}"
[hosts.node1]
connect = "ssh://root@10.200.1.2"
[hosts.node1.bonds.bond0]
nics = {nics}
mode = "active-backup"
address = "{address}"
{bond}
[networks.service]
subnet = "10.0.1.0/24"
switch = "ovs"
datapath = "netdev"
uplink = "bond0"
bridge = "br1"
gateway = {{ address = "10.0.1.1", on = "node1" }}
"#,
        machines.name
    );
    std::fs::write(machines.lab(), text).unwrap();
}

fn has(machines: &Machines, link: &str) -> String {
    machines.run("node1", &["ip", "-br", "-4", "address", "show", "dev", link])
}

#[test]
fn a_nic_with_addresses_is_not_put_into_a_bond_unless_the_host_has_that_bond() {
    let Some(machines) = machines("bonded") else { return };
    let (before, lab) = (machines.snapshot(), machines.lab());
    write_lab(&machines, r#"["mgmt", "eth0"]"#, "10.200.1.2/24", "takeover = true");
    let said = machines.bad(&["up", lab.to_str().unwrap()]);
    let refused = "NIC mgmt of bond bond0 has addresses or routes, which it would lose in a bond";
    assert!(
        said.contains(refused) && said.contains("configure the bond on the host, then netlab uses it as it is"),
        "{said}"
    );
    machines.assert_as(&before);
}

#[test]
fn a_bond_is_made_of_a_real_machines_nics_with_its_address_on_the_bridge_and_down_restores_them() {
    let Some(machines) = machines("bond made") else { return };
    let more = "ip link add eth1 type veth peer name other1 && ip link set eth1 up && ip link set other1 up";
    machines.run("node1", &["sh", "-c", more]);
    let (before, lab) = (machines.snapshot(), machines.lab());
    let lab = lab.to_str().unwrap();
    write_lab(&machines, r#"["eth0", "eth1"]"#, "10.9.0.1/24", "primary = \"eth0\"");
    machines.good(&["up", lab]);
    assert!(machines.good(&["up", lab]).contains("nothing to do"));
    let bridge = has(&machines, "br1");
    assert!(
        bridge.contains("10.9.0.1/24") && bridge.contains("10.0.1.1/24"),
        "{bridge}"
    );
    let bond = machines.run("node1", &["ovs-appctl", "bond/show", "bond0"]);
    assert!(
        bond.contains("eth0: enabled") && bond.contains("eth1: enabled") && bond.contains("primary: eth0"),
        "{bond}"
    );
    machines.run("node2", &["ip", "address", "add", "10.9.0.2/24", "dev", "eth0"]);
    machines.run("node2", &["ping", "-c2", "-W5", "10.9.0.1"]);
    machines.run("node2", &["ip", "address", "del", "10.9.0.2/24", "dev", "eth0"]);
    // A member that somebody removed is seen, and the bond restored.
    machines.run("node1", &["ovs-vsctl", "del-bond-iface", "bond0", "eth1"]);
    let plan = machines.good(&["plan", lab]);
    assert!(
        plan.contains("change link bond0") || plan.contains("add eth1 to bond bond0"),
        "{plan}"
    );
    machines.good(&["up", lab]);
    let status = machines.good(&["status", &machines.name]);
    assert!(status.contains("bond0"), "{status}");
    machines.good(&["down", &machines.name]);
    // The host's own daemon keeps a socket for the ports of bridges in user space.
    assert_soon(&before, "", || {
        let now = machines.snapshot().into_iter();
        now.filter(|line| !line.contains(" socket p_raw ")).collect()
    });
}

/// A lab on node1 whose network is carried by a bond that the host has, of whatever members.
fn write_lab_of_existing(machines: &Machines, more: &str, stp: bool) {
    let text = format!(
        r#"
name = "{}"
[hosts.node1]
connect = "ssh://root@10.200.1.2"
[hosts.node1.bonds.bond0]
nics = ["eth8", "eth9"]
mode = "802.3ad"
{more}
[networks.service]
subnet = "10.0.1.0/24"
uplink = "bond0"
bridge = "br1"
stp = {stp}
gateway = {{ address = "10.0.1.1", on = "node1" }}
"#,
        machines.name
    );
    std::fs::write(machines.lab(), text).unwrap();
}

/// Renames a NIC of node1 to `bond0`: a bond that exists is a link of that name, of whatever kind.
fn rename(machines: &Machines, nic: &str, address: &str) {
    let commands = format!(
        "ip link set {nic} down && ip link set {nic} name bond0 && ip link set bond0 up && \
         ip address replace {address} dev bond0"
    );
    machines.run("node1", &["sh", "-c", &commands]);
}

#[test]
fn a_bond_that_the_host_has_already_is_used_and_never_remade() {
    let Some(machines) = Machines::new("bond used") else {
        return;
    };
    rename(&machines, "eth0", "10.9.0.1/24");
    let index = || machines.run("node1", &["sh", "-c", "ip -o link show dev bond0 | cut -d: -f1"]);
    let (before, was) = (machines.snapshot(), index());
    write_lab_of_existing(&machines, "", false);
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    let plan = machines.good(&["plan", lab]);
    assert!(
        plan.contains("attach bond0 to bridge br1, moving 10.9.0.1/24"),
        "{plan}"
    );
    assert!(!plan.contains("create bond") && !plan.contains("eth8"), "{plan}");
    machines.good(&["up", lab]);
    assert!(has(&machines, "br1").contains("10.9.0.1/24"));
    assert_eq!(index(), was, "the same link");
    machines.good(&["down", &machines.name]);
    machines.assert_as(&before);
}

#[test]
fn a_bond_that_carries_the_session_is_taken_over_where_the_lab_says_so_and_reverted_where_that_cuts_it() {
    let Some(machines) = Machines::new("bond taken") else {
        return;
    };
    rename(&machines, "mgmt", "10.200.1.2/24");
    let before = machines.snapshot();
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    write_lab_of_existing(&machines, "", false);
    let said = machines.bad(&["up", lab]);
    assert!(
        said.contains("carries the ssh session") && said.contains("takeover = true"),
        "{said}"
    );
    // A port of a bridge with spanning tree forwards nothing for its first thirty seconds.
    write_lab_of_existing(&machines, "takeover = true", true);
    let said = machines.bad(&["up", "--confirm-timeout", "12", lab]);
    assert!(
        said.contains("cut the connection") && said.contains("rolled it back"),
        "{said}"
    );
    machines.assert_as(&before);

    write_lab_of_existing(&machines, "takeover = true", false);
    machines.good(&["up", lab]);
    assert!(has(&machines, "br1").contains("10.200.1.2/24"));
    assert!(machines.good(&["up", lab]).contains("nothing to do"));
    machines.good(&["down", &machines.name]);
    machines.assert_as(&before);
}
