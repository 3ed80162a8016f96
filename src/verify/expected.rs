//! Which addresses each guest must reach, and which it must not, from the topology alone.

use std::net::{IpAddr, Ipv4Addr};

use crate::lab::{Asked, HostName, IfName, NetworkName, VmName};
use crate::topology::{Guest, GuestNic, Segment, Topology};

/// One question and its expected answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Expectation {
    /// The source; in JSON its name, which is unique in a checked lab.
    #[serde(serialize_with = "name")]
    pub from: Asked,
    /// The target: a guest, `guest/network` if it has several NICs, `gw network`, or the address.
    pub to: String,
    /// The address to ping.
    pub address: IpAddr,
    /// Whether it must answer; false: it must not.
    pub reach: bool,
}

fn name<S: serde::Serializer>(asked: &Asked, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(asked)
}

/// Returns the questions of every guest about every address of every other guest, its own gateways and the addresses
/// outside; then those that the lab file adds.
pub fn expected(topology: &Topology) -> Vec<Expectation> {
    let mut all = Vec::new();
    for (from, guest) in &topology.guests {
        for (to, other) in topology.guests.iter().filter(|(name, _)| *name != from) {
            let nics = other.nics.iter();
            all.extend(nics.map(|nic| about_guest(topology, (from, guest), (to, other), nic)));
        }
        all.extend(about_gateways(topology, from, guest));
        all.extend(about_outside(topology, from));
    }
    all.extend(of_the_file(topology));
    all
}

/// Returns how many questions [`expected`] returns.
pub fn number_of_cells(topology: &Topology) -> usize {
    let nics: usize = topology.guests.values().map(|guest| guest.nics.len()).sum();
    let of_guest = |guest: &Guest| {
        let gateways = guest.nics.iter().filter(|nic| nic.gateway.is_some()).count();
        nics - guest.nics.len() + gateways + topology.outside.len()
    };
    let guests: usize = topology.guests.values().map(of_guest).sum();
    guests + topology.pings.iter().map(|ping| ping.from.len()).sum::<usize>()
}

/// Returns the question of a guest about one NIC of another.
pub(super) fn about_guest(
    topology: &Topology,
    (from, guest): (&VmName, &Guest),
    (to, other): (&VmName, &Guest),
    nic: &GuestNic,
) -> Expectation {
    let to = if other.nics.len() == 1 {
        to.to_string()
    } else {
        format!("{to}/{}", nic.network)
    };
    Expectation {
        from: Asked::Vm(from.clone()),
        to,
        address: nic.address.addr().into(),
        reach: reaches(topology, guest, other, nic),
    }
}

/// Returns the questions of a guest about its gateways.
pub(super) fn about_gateways(topology: &Topology, from: &VmName, guest: &Guest) -> Vec<Expectation> {
    let with_gateway = guest.nics.iter().filter_map(|nic| Some((nic, nic.gateway?)));
    let question = |(nic, gateway): (&GuestNic, Ipv4Addr)| Expectation {
        from: Asked::Vm(from.clone()),
        to: format!("gw {}", nic.network),
        address: gateway.into(),
        reach: router(topology, &nic.network, gateway, &guest.host).is_some(),
    };
    with_gateway.map(question).collect()
}

/// Returns the questions of a guest about the addresses outside.
pub(super) fn about_outside(topology: &Topology, from: &VmName) -> Vec<Expectation> {
    let question = |address: &IpAddr| Expectation {
        from: Asked::Vm(from.clone()),
        to: address.to_string(),
        address: *address,
        reach: true,
    };
    topology.outside.iter().map(question).collect()
}

/// Returns the questions that the lab file adds.
pub(super) fn of_the_file(topology: &Topology) -> Vec<Expectation> {
    let mut all = Vec::new();
    for ping in &topology.pings {
        all.extend(ping.from.iter().map(|from| Expectation {
            from: from.clone(),
            to: ping.to.to_string(),
            address: ping.to,
            reach: ping.reach,
        }));
    }
    all
}

/// Whether `from` should reach `nic` of `to`: the request needs a route to it, and the reply a route to the NIC by which
/// the request left.
///
/// Hosts route between the networks of which they are the gateway, unless these belong to different tenants; no other
/// router is assumed, so two networks whose gateways are on different hosts must not reach each other.
fn reaches(topology: &Topology, from: &Guest, to: &Guest, nic: &GuestNic) -> bool {
    leaves_by(topology, from, to, nic).is_some_and(|source| leaves_by(topology, to, from, source).is_some())
}

/// Returns the NIC by which `from` reaches `nic` of `to`, if it does: the one on the same network, else that of its
/// default route, if the router is reachable, has an address in the target's network, and reaches the target there.
fn leaves_by<'a>(topology: &'a Topology, from: &'a Guest, to: &Guest, nic: &GuestNic) -> Option<&'a GuestNic> {
    if let Some(own) = from.nics.iter().find(|own| own.network == nic.network) {
        return linked(topology, &nic.network, &from.host, &to.host).then_some(own);
    }
    let (own, router, target) = routed(topology, from, nic)?;
    if topology.tenants.are_apart(&own.network, &nic.network) {
        return None;
    }
    if target.gateway_everywhere {
        // A host sends its ARP requests from that gateway address, and such ARP does not leave the host.
        return (*router == to.host && target.gateway.is_some()).then_some(own);
    }
    // The reply chooses its own router; only the request is considered here.
    linked(topology, &nic.network, router, &to.host).then_some(own)
}

/// Returns the NIC and the router by which `from` sends to a network that it is not on, and the router's part of that
/// network, in which it has an address.
fn routed<'a>(
    topology: &'a Topology,
    from: &'a Guest,
    nic: &GuestNic,
) -> Option<(&'a GuestNic, &'a HostName, &'a Segment)> {
    let gateway = from.default_route?;
    let own = from.nics.iter().find(|own| own.gateway == Some(gateway))?;
    let router = router(topology, &own.network, gateway, &from.host)?;
    let target = segment(topology, &nic.network, router)?;
    let has_address = target.gateway.is_some() || target.address.is_some();
    has_address.then_some((own, router, target))
}

/// Returns where a question must be dropped because its source and its target belong to different tenants: the host that
/// would route it, and the bridge by which it arrives there. `None` where no host would route it anyway.
pub fn kept_apart<'a>(topology: &'a Topology, asked: &Expectation) -> Option<(&'a HostName, &'a IfName)> {
    let Asked::Vm(from) = &asked.from else { return None };
    let from = topology.guests.get(from)?;
    let mut nics = topology.guests.values().flat_map(|guest| &guest.nics);
    let nic = nics.find(|nic| IpAddr::from(nic.address.addr()) == asked.address)?;
    if from.nics.iter().any(|own| own.network == nic.network) {
        return None;
    }
    let (own, router, _) = routed(topology, from, nic)?;
    let bridge = &segment(topology, &own.network, router)?.bridge;
    topology
        .tenants
        .are_apart(&own.network, &nic.network)
        .then_some((router, bridge))
}

/// Returns the host that answers for a network's gateway address to guests on `near`: their own, if every host has it.
fn router<'a>(
    topology: &'a Topology,
    network: &NetworkName,
    gateway: Ipv4Addr,
    near: &HostName,
) -> Option<&'a HostName> {
    let mut having = topology.hosts.iter().filter(|(_, host)| {
        let segment = host.segments.get(network);
        segment.is_some_and(|segment| segment.gateway == Some(gateway))
    });
    having.find_map(|(name, host)| {
        let shared = host.segments.get(network)?.gateway_everywhere;
        let answers = name == near || (!shared && linked(topology, network, near, name));
        answers.then_some(name)
    })
}

fn segment<'a>(topology: &'a Topology, network: &NetworkName, host: &HostName) -> Option<&'a Segment> {
    topology.hosts.get(host)?.segments.get(network)
}

/// Whether the network's segments on two hosts are connected: the same host, or an uplink or a tunnel on both.
fn linked(topology: &Topology, network: &NetworkName, a: &HostName, b: &HostName) -> bool {
    let leaves = |host| segment(topology, network, host).is_some_and(Segment::is_connected);
    a == b || (leaves(a) && leaves(b))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::lab::{Class, Connect, MacAddr, Ping, SwitchKind};
    use crate::topology::{Segment, Tenants, TopologyHost, derive};

    /// Guests as (name, host, network, address); segments as (host, network, uplink, gateway).
    pub fn topology(guests: &[(&str, &str, &str, &str)], segments: &[(&str, &str, bool, Option<&str>)]) -> Topology {
        let gateway_of = |network: &str| {
            let found = segments
                .iter()
                .find(|(_, name, _, gateway)| *name == network && gateway.is_some());
            found
                .and_then(|(_, _, _, gateway)| *gateway)
                .map(|text| text.parse().unwrap())
        };
        let mut hosts: BTreeMap<HostName, TopologyHost> = BTreeMap::new();
        for (host, network, uplink, gateway) in segments {
            let host = hosts.entry(host.parse().unwrap()).or_insert_with(|| TopologyHost {
                connect: Connect::Emulated,
                nics: BTreeMap::new(),
                segments: BTreeMap::new(),
                nat: Vec::new(),
            });
            let segment = Segment {
                class: Class::Service,
                bridge: "br0".parse().unwrap(),
                mac: None,
                stp: None,
                uplink: uplink.then(|| "eth0".parse().unwrap()),
                vlan: None,
                mtu: None,
                switch: SwitchKind::Bridge,
                tunnel: None,
                subnet: "10.0.0.0/24".parse().unwrap(),
                gateway: gateway.map(|text| text.parse().unwrap()),
                gateway_everywhere: false,
                address: None,
                dhcp: None,
            };
            host.segments.insert(network.parse().unwrap(), segment);
        }
        let guests = guests.iter().map(|(name, host, network, address)| {
            let nic = GuestNic {
                network: network.parse().unwrap(),
                bridge: "br0".parse().unwrap(),
                tap: "tap0".parse().unwrap(),
                mac: "52:54:00:00:00:01".parse::<MacAddr>().unwrap(),
                address: address.parse().unwrap(),
                gateway: gateway_of(network),
                dhcp: false,
                mtu: None,
                port_security: false,
            };
            let guest = Guest {
                uuid: derive::uuid(name),
                host: host.parse().unwrap(),
                image: "tiny".parse().unwrap(),
                memory_mib: 64,
                disk_mib: None,
                cpus: 1,
                default_route: nic.gateway,
                nics: vec![nic],
                nameservers: Vec::new(),
                floating: None,
                serve: Vec::new(),
                forward: Vec::new(),
                setup: crate::topology::GuestSetup::default(),
            };
            (name.parse().unwrap(), guest)
        });
        Topology {
            lab: "lab".parse().unwrap(),
            guests: guests.collect(),
            hosts,
            switches: BTreeMap::new(),
            routers: BTreeMap::new(),
            cables: Vec::new(),
            tenants: Tenants::default(),
            images: BTreeMap::new(),
            outside: Vec::new(),
            pings: Vec::new(),
            checks: Vec::new(),
        }
    }

    fn reach(topology: &Topology, from: &str, to: &str) -> bool {
        let all = expected(topology);
        all.iter()
            .find(|one| one.from == Asked::Vm(from.parse().unwrap()) && one.to == to)
            .unwrap()
            .reach
    }

    const ACROSS: [(&str, &str, &str, &str); 2] =
        [("a", "n1", "red", "10.0.0.1/24"), ("b", "n2", "red", "10.0.0.2/24")];
    const SEPARATE: [(&str, &str, &str, &str); 2] =
        [("a", "n1", "red", "10.0.0.1/24"), ("b", "n1", "blue", "10.0.1.2/24")];

    #[test]
    fn guests_of_one_network_on_one_host_reach_each_other_without_an_uplink() {
        let guests = [("a", "n1", "red", "10.0.0.1/24"), ("b", "n1", "red", "10.0.0.2/24")];
        let topology = topology(&guests, &[("n1", "red", false, None)]);
        assert!(reach(&topology, "a", "b") && reach(&topology, "b", "a"));
    }

    #[test]
    fn guests_of_one_network_on_two_hosts_need_an_uplink_on_both() {
        let both = topology(&ACROSS, &[("n1", "red", true, None), ("n2", "red", true, None)]);
        assert!(reach(&both, "a", "b"));
        let one = topology(&ACROSS, &[("n1", "red", true, None), ("n2", "red", false, None)]);
        assert!(!reach(&one, "a", "b") && !reach(&one, "b", "a"));
    }

    #[test]
    fn guests_of_two_networks_reach_each_other_through_one_host_with_both_gateways() {
        let segments = [
            ("n1", "red", false, Some("10.0.0.254")),
            ("n1", "blue", false, Some("10.0.1.254")),
        ];
        assert!(reach(&topology(&SEPARATE, &segments), "a", "b"));
    }

    #[test]
    fn guests_of_two_tenants_reach_each_other_only_where_the_lab_routes_between_them() {
        let segments = [
            ("n1", "red", false, Some("10.0.0.254")),
            ("n1", "blue", false, Some("10.0.1.254")),
        ];
        let mut topology = topology(&SEPARATE, &segments);
        topology.tenants.of.insert("red".parse().unwrap(), "r".parse().unwrap());
        assert!(
            reach(&topology, "a", "b"),
            "a network without a tenant is routed to all"
        );
        topology
            .tenants
            .of
            .insert("blue".parse().unwrap(), "b".parse().unwrap());
        assert!(!reach(&topology, "a", "b") && !reach(&topology, "b", "a"));
        assert!(reach(&topology, "a", "gw red"));
        let dropped = |topology: &Topology, reach: bool| -> Vec<String> {
            let all = expected(topology);
            let found = all.iter().filter(|one| one.reach == reach);
            let found = found.filter_map(|one| kept_apart(topology, one));
            found.map(|(host, bridge)| format!("{host} {bridge}")).collect()
        };
        assert_eq!(dropped(&topology, false), ["n1 br0", "n1 br0"]);
        assert!(dropped(&topology, true).is_empty());
        let routed = |other: &str| vec![["r", other].map(|tenant| tenant.parse().unwrap()).into()];
        topology.tenants.routes = routed("g");
        assert!(!reach(&topology, "a", "b"));
        topology.tenants.routes = routed("b");
        assert!(reach(&topology, "a", "b"));
    }

    #[test]
    fn guests_of_two_networks_without_a_gateway_are_isolated() {
        let segments = [("n1", "red", false, Some("10.0.0.254")), ("n1", "blue", false, None)];
        assert!(!reach(&topology(&SEPARATE, &segments), "a", "b"));
    }

    #[test]
    fn gateways_on_two_hosts_do_not_route_to_each_other() {
        let segments = [
            ("n1", "red", true, Some("10.0.0.254")),
            ("n1", "blue", true, None),
            ("n2", "blue", true, Some("10.0.1.254")),
        ];
        assert!(!reach(&topology(&SEPARATE, &segments), "a", "b"));
        assert!(reach(&topology(&SEPARATE, &segments), "b", "gw blue"));
    }

    /// Gives `guest` one more NIC; its default route is unchanged.
    fn add_nic(topology: &mut Topology, guest: &str, network: &str, address: &str, gateway: Option<&str>) {
        let guest = topology.guests.get_mut(&guest.parse::<VmName>().unwrap()).unwrap();
        let mut nic = guest.nics[0].clone();
        nic.network = network.parse().unwrap();
        nic.address = address.parse().unwrap();
        nic.gateway = gateway.map(|text| text.parse().unwrap());
        guest.nics.push(nic);
    }

    #[test]
    fn a_second_nic_on_a_network_without_a_gateway_is_isolated_from_other_networks() {
        let guests = [("a", "n1", "red", "10.0.0.1/24"), ("b", "n1", "red", "10.0.0.2/24")];
        let segments = [("n1", "red", false, Some("10.0.0.254")), ("n1", "blue", false, None)];
        let mut topology = topology(&guests, &segments);
        add_nic(&mut topology, "b", "blue", "10.0.1.2/24", None);
        assert!(reach(&topology, "a", "b/red"));
        assert!(!reach(&topology, "a", "b/blue"), "the router has no address in blue");
    }

    #[test]
    fn a_router_reaches_a_second_nic_only_if_it_has_that_network() {
        let guests = [("a", "n1", "red", "10.0.0.1/24"), ("b", "n2", "red", "10.0.0.2/24")];
        for carried in [false, true] {
            let segments = [
                ("n1", "red", true, Some("10.0.0.254")),
                ("n2", "red", true, None),
                ("n1", "blue", carried, Some("10.0.1.254")),
                ("n2", "blue", carried, None),
            ];
            let mut topology = topology(&guests, &segments);
            add_nic(&mut topology, "b", "blue", "10.0.1.2/24", Some("10.0.1.254"));
            assert_eq!(reach(&topology, "a", "b/blue"), carried);
        }
    }

    #[test]
    fn every_guest_must_reach_the_addresses_outside() {
        let mut topology = topology(&ACROSS, &[("n1", "red", true, None), ("n2", "red", true, None)]);
        topology.outside.push("192.0.2.1".parse().unwrap());
        assert!(reach(&topology, "a", "192.0.2.1") && reach(&topology, "b", "192.0.2.1"));
    }

    /// `red` and `blue` on two hosts with the same gateway address on each; a guest of each network on each host.
    fn multi_host() -> Topology {
        let guests = [
            ("a1", "n1", "red", "10.0.0.1/24"),
            ("a2", "n2", "red", "10.0.0.2/24"),
            ("b1", "n1", "blue", "10.0.1.1/24"),
            ("b2", "n2", "blue", "10.0.1.2/24"),
        ];
        let segments = ["n1", "n2"].map(|host| {
            [
                (host, "red", true, Some("10.0.0.254")),
                (host, "blue", true, Some("10.0.1.254")),
            ]
        });
        let mut topology = topology(&guests, segments.as_flattened());
        for host in topology.hosts.values_mut() {
            for segment in host.segments.values_mut() {
                segment.gateway_everywhere = true;
            }
        }
        topology
    }

    #[test]
    fn with_a_gateway_on_every_host_each_host_routes_between_its_own_guests_only() {
        let topology = multi_host();
        assert!(reach(&topology, "a1", "a2"), "one network is one segment");
        assert!(reach(&topology, "a1", "b1") && reach(&topology, "b2", "a2"));
        assert!(!reach(&topology, "a1", "b2") && !reach(&topology, "b2", "a1"));
        assert!(reach(&topology, "a1", "gw red") && reach(&topology, "a2", "gw red"));
    }

    #[test]
    fn a_host_and_a_router_ping_what_the_lab_file_names() {
        let mut topology = topology(&ACROSS, &[("n1", "red", true, None), ("n2", "red", true, None)]);
        topology.pings.push(Ping {
            from: vec![
                Asked::Host("n2".parse().unwrap()),
                Asked::Router("home".parse().unwrap()),
            ],
            to: "192.0.2.1".parse().unwrap(),
            reach: false,
        });
        let asked = expected(&topology);
        let last: Vec<_> = asked.iter().rev().take(2).map(|one| (&one.from, one.reach)).collect();
        assert_eq!(last.len(), 2);
        assert!(last.iter().all(|(from, reach)| !matches!(from, Asked::Vm(_)) && !reach));
    }
}
