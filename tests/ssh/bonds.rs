//! Bonds of a machine behind ssh: netlab creates one of NICs without addresses, and a bond that the machine has is used as it
//! is. This kernel may have no module for bonds: then they are Open vSwitch's.

use crate::machines::Machines;
use crate::support::skip;

/// Starts Open vSwitch's daemons on node1, as its package does with systemd.
const DAEMONS: &str = "mkdir -p /run/openvswitch && cd /run/openvswitch && \
    ovsdb-tool create conf.db /usr/share/openvswitch/vswitch.ovsschema && \
    ovsdb-server conf.db --remote=punix:/run/openvswitch/db.sock --unixctl=/run/openvswitch/ovsdb.ctl \
        --pidfile=/run/openvswitch/ovsdb-server.pid --log-file=/dev/null --detach --no-chdir >/dev/null 2>&1 && \
    ovs-vsctl --no-wait init && \
    ovs-vswitchd unix:/run/openvswitch/db.sock --unixctl=/run/openvswitch/vswitchd.ctl \
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
    machines.assert_as(&before);
}

/// A bond that exists is a link of that name, of whatever kind: here one end of a cable.
#[test]
fn a_bond_that_the_host_has_already_is_used_and_never_remade() {
    let Some(machines) = Machines::new("bond used") else {
        return;
    };
    let rename = "ip link set eth0 down && ip link set eth0 name bond0 && ip link set bond0 up && \
                  ip address add 10.9.0.1/24 dev bond0 && ip -o link show dev bond0 | cut -d: -f1";
    let index = machines.run("node1", &["sh", "-c", rename]);
    let before = machines.snapshot();
    let text = format!(
        r#"
name = "{}"
[hosts.node1]
connect = "ssh://root@10.200.1.2"
[hosts.node1.bonds.bond0]
nics = ["eth8", "eth9"]
mode = "802.3ad"
[networks.service]
subnet = "10.0.1.0/24"
uplink = "bond0"
bridge = "br1"
gateway = {{ address = "10.0.1.1", on = "node1" }}
"#,
        machines.name
    );
    let lab = machines.lab();
    std::fs::write(&lab, text).unwrap();
    let lab = lab.to_str().unwrap();
    let plan = machines.good(&["plan", lab]);
    assert!(
        plan.contains("attach bond0 to bridge br1, moving 10.9.0.1/24"),
        "{plan}"
    );
    assert!(!plan.contains("create bond") && !plan.contains("eth8"), "{plan}");
    machines.good(&["up", lab]);
    assert!(has(&machines, "br1").contains("10.9.0.1/24"));
    let show = "ip -o link show dev bond0 | cut -d: -f1";
    assert_eq!(machines.run("node1", &["sh", "-c", show]), index, "the same link");
    machines.good(&["down", &machines.name]);
    machines.assert_as(&before);
}
