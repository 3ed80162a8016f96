//! `[nova]` tables.

use super::{cloud, good, has, wrong};
use crate::lab::{GatewayHosts, Lab, Name, Network, write};

/// Returns the plain lab that a `[nova]` table describes.
fn expanded(nova: &str) -> Lab {
    good(&cloud(&format!("[nova]\n{nova}\n")))
}

#[test]
fn novas_flat_manager_is_one_bridge_without_a_gateway() {
    let lab = expanded(
        "manager = \"flat\"\nflat_interface = \"eth0\"\nfixed_range = \"10.1.0.0/16\"\npublic_interface = \"eth1\"",
    );
    let (name, network) = lab.networks.first_key_value().unwrap();
    assert_eq!(
        (name.as_str(), network.subnet.to_string().as_str()),
        ("private", "10.1.0.0/24")
    );
    assert_eq!(network.bridge.as_ref().unwrap().as_str(), "br100");
    let everywhere = crate::lab::Uplinks::Everywhere("eth0".parse().unwrap());
    assert_eq!(network.uplinks, everywhere);
    assert!(network.tenant.is_none() && network.port_security);
    assert!(network.gateway.is_none() && !network.dhcp && network.vlan.is_none() && lab.nat.is_empty());
}

#[test]
fn novas_flat_dhcp_manager_has_a_network_host_that_serves_and_translates() {
    let lab = expanded(
        "manager = \"flat-dhcp\"\nflat_interface = \"eth0\"\nnetwork_host = \"a\"\npublic_interface = \"eth1\"\n\
         routing_source_ip = \"192.168.99.108\"\ndns = [\"9.9.9.9\"]",
    );
    let network = lab.networks.values().next().unwrap();
    let gateway = network.gateway.as_ref().unwrap();
    assert_eq!(gateway.on, GatewayHosts::One("a".parse().unwrap()));
    assert_eq!((gateway.address.to_string().as_str(), network.dhcp), ("10.0.0.1", true));
    assert_eq!(
        (lab.nat[0].on.as_str(), lab.nat[0].source.unwrap().to_string().as_str()),
        ("a", "192.168.99.108")
    );
}

#[test]
fn novas_vlan_manager_gives_each_tenant_a_subnet_a_vlan_and_a_bridge() {
    let lab = expanded(
        "manager = \"vlan\"\ntenants = [\"red\", \"blue\"]\nvlan_interface = \"eth0\"\nnetwork_size = 64\nmulti_host = true",
    );
    let made: Vec<_> = lab
        .networks
        .iter()
        .map(|(name, network)| {
            let bridge = network.bridge.as_ref().unwrap();
            (
                name.as_str(),
                network.subnet.to_string(),
                network.vlan.unwrap().get(),
                bridge.as_str(),
            )
        })
        .collect();
    let wanted = [
        ("blue", "10.0.0.64/26".to_owned(), 101, "br101"),
        ("red", "10.0.0.0/26".to_owned(), 100, "br100"),
    ];
    assert_eq!(made, wanted);
    let every = |network: &Network| network.gateway.as_ref().unwrap().on == GatewayHosts::Every;
    assert!(lab.networks.values().all(every));
    for (name, network) in &lab.networks {
        assert_eq!(network.tenant.as_ref().map(Name::as_str), Some(name.as_str()));
        assert!(network.port_security);
    }
    assert_eq!(good(&write(&lab)), lab);
}

#[test]
fn networks_that_nova_cannot_build_are_reported() {
    let nova = |text: &str| wrong(&cloud(&format!("[nova]\n{text}\n")));
    has(&nova("tenants = \"red\""), "nova needs a `manager`");
    has(
        &nova("manager = \"vlann\""),
        "unknown network manager `vlann` | did you mean `vlan`?",
    );
    has(
        &nova("manager = \"vlan\"\nmulti_host = true"),
        "needs a `vlan_interface`",
    );
    has(&nova("manager = \"flat-dhcp\""), "nova needs a `network_host`");
    has(
        &nova("manager = \"flat\"\ntenants = [\"red\", \"blue\"]"),
        "one network for all tenants",
    );
    has(
        &nova("manager = \"flat\"\nnetwork_size = 100"),
        "network_size 100 is not the size of a subnet",
    );
    let small = "manager = \"vlan\"\nmulti_host = true\nvlan_interface = \"eth0\"\nfixed_range = \"10.0.0.0/24\"\ntenants = [\"r\", \"b\"]";
    has(&nova(small), "fixed_range `10.0.0.0/24` is too small for `b`");
    has(
        &nova(&format!("{small}\nnetwork_size = 512")),
        "network_size 512 is larger than fixed_range",
    );
    let last =
        "manager = \"vlan\"\nmulti_host = true\nvlan_interface = \"eth0\"\nvlan_start = 4094\ntenants = [\"r\", \"b\"]";
    has(&nova(last), "no VLAN id is left for `b`");
}
