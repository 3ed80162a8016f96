//! Where packets stop: follows the path that a failed cell's packets should take through the observed state of the
//! hosts, and names the first fault on it. Returns nothing where no fault can be observed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::{Cell, Verdict};
use crate::lab::{Asked, HostName, NetworkName, VmName};
use crate::state::survey::{Port, Ports};
use crate::state::{DomainName, HostState, Site, Sysctl, localhost};
use crate::topology::{Guest, GuestNic, Segment, Topology, derive};

/// Ethernet's MTU in bytes (RFC 894).
const ETHERNET: u16 = 1500;

/// Everything that was observed.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The desired lab.
    pub topology: &'a Topology,
    /// The observed state.
    pub observed: &'a Site,
    /// The links of each host; a host that is absent was not observed.
    pub ports: &'a BTreeMap<HostName, Ports>,
}

/// Returns what stops the packets of `cell`, if that can be observed. Only for a guest's cell in which something should
/// answer.
pub fn diagnose(evidence: &Evidence<'_>, cell: &Cell) -> Option<String> {
    if cell.verdict == Verdict::Pass || !cell.expectation.reach {
        return None;
    }
    let Asked::Vm(asked) = &cell.expectation.from else {
        return None;
    };
    let Ends { from, own, to } = Ends::of(evidence.topology, asked, cell.expectation.address)?;
    let same = to.is_some_and(|(_, _, nic)| nic.network == own.network);
    let path = Path {
        evidence,
        needed: cell
            .small_only
            .then(|| full_packet(evidence.topology, asked, cell.expectation.address)),
    };
    path.guest(asked, from, own).or_else(|| match to {
        Some((name, guest, nic)) if same => path
            .segment(&own.network, &from.host, &guest.host)
            .or_else(|| path.guest(name, guest, nic)),
        _ => {
            let gateway = own.gateway?;
            let router = path.router(&own.network, gateway, &from.host)?;
            path.segment(&own.network, &from.host, router)
                .or_else(|| path.gateway(router, &own.network, gateway))
                .or_else(|| {
                    let (name, guest, nic) = to?;
                    path.forwards(router)
                        .or_else(|| path.gateway(router, &nic.network, nic.gateway?))
                        .or_else(|| path.segment(&nic.network, router, &guest.host))
                        .or_else(|| path.guest(name, guest, nic))
                })
        }
    })
}

/// Returns the size in bytes of the largest packet that both ends of a path accept, according to the MTU of their
/// networks.
pub fn full_packet(topology: &Topology, from: &VmName, to: IpAddr) -> u16 {
    let ends = Ends::of(topology, from, to);
    let nics = ends
        .iter()
        .flat_map(|ends| [Some(ends.own), ends.to.map(|(_, _, nic)| nic)]);
    nics.flatten()
        .map(|nic| nic.mtu.unwrap_or(ETHERNET))
        .min()
        .unwrap_or(ETHERNET)
}

/// Both ends of a path.
struct Ends<'a> {
    from: &'a Guest,
    /// The NIC by which the packets leave: the one on the target's network, else that of the pinged gateway, else that of
    /// the default route.
    own: &'a GuestNic,
    /// The target, where it is a guest.
    to: Option<(&'a VmName, &'a Guest, &'a GuestNic)>,
}

impl<'a> Ends<'a> {
    fn of(topology: &'a Topology, from: &VmName, address: IpAddr) -> Option<Self> {
        let from = topology.guests.get(from)?;
        let to = topology.guests.iter().find_map(|(name, guest)| {
            let nic = guest.nics.iter().find(|nic| nic.address.addr() == address)?;
            Some((name, guest, nic))
        });
        let own = |wanted: &dyn Fn(&GuestNic) -> bool| from.nics.iter().find(|nic| wanted(nic));
        let own = own(&|nic| to.is_some_and(|(_, _, to)| to.network == nic.network))
            .or_else(|| own(&|nic| nic.gateway.is_some_and(|gateway| address == gateway)))
            .or_else(|| own(&|nic| nic.gateway.is_some() && nic.gateway == from.default_route))?;
        Some(Self { from, own, to })
    }
}

/// The path of one cell's packets.
struct Path<'a> {
    evidence: &'a Evidence<'a>,
    /// The size in bytes of the packets that do not pass, where smaller ones do.
    needed: Option<u16>,
}

impl<'a> Path<'a> {
    fn state(&self, host: &HostName) -> Option<&'a HostState> {
        self.evidence.observed.get(host)
    }

    fn part(&self, host: &HostName, network: &NetworkName) -> Option<&'a Segment> {
        self.evidence.topology.hosts.get(host)?.segments.get(network)
    }

    /// Returns the host that should answer for the gateway's address: the guest's own, if every host has the address.
    fn router(&self, network: &NetworkName, gateway: Ipv4Addr, near: &'a HostName) -> Option<&'a HostName> {
        let hosts = self.evidence.topology.hosts.iter();
        let mut having = hosts.filter_map(|(name, host)| {
            let part = host.segments.get(network)?;
            (part.gateway == Some(gateway)).then_some((name, part.gateway_everywhere))
        });
        let (first, everywhere) = having.next()?;
        Some(if everywhere { near } else { first })
    }

    /// Checks that an emulated host is running.
    fn host(&self, host: &HostName) -> Option<String> {
        let machine = self.state(&localhost())?.machines.get(host)?;
        (!machine.alive).then(|| format!("{host}: the emulated host is not running"))
    }

    /// Checks a guest and the tap of its NIC.
    fn guest(&self, vm: &VmName, guest: &Guest, nic: &GuestNic) -> Option<String> {
        let host = &guest.host;
        let name = DomainName::new(&self.evidence.topology.lab, vm);
        self.host(host).or_else(|| {
            let Some(domain) = self.state(host).and_then(|state| state.domains.get(&name)) else {
                return Some(format!("{host}: guest {vm} does not exist"));
            };
            if !domain.running {
                return Some(format!("{host}: guest {vm} is not running"));
            }
            if domain.configured.is_none() {
                return Some(format!("{host}: guest {vm} is not configured"));
            }
            self.port(
                host,
                nic.tap.as_str(),
                Some(nic.bridge.as_str()),
                &format!("of guest {vm}"),
            )
        })
    }

    /// Checks the network's segment on one host and, if they differ, on another one, with the uplinks in between.
    fn segment(&self, network: &NetworkName, one: &HostName, other: &HostName) -> Option<String> {
        let hosts = if one == other { vec![one] } else { vec![one, other] };
        hosts.iter().find_map(|host| {
            let part = self.part(host, network)?;
            let bridge = part.bridge.as_str();
            let of = format!("of network {network}");
            self.host(host)
                .or_else(|| self.port(host, bridge, None, &of))
                .or_else(|| {
                    let nic = part.uplink.as_ref().filter(|_| one != other)?;
                    match part.vlan {
                        None => self.port(host, nic.as_str(), Some(bridge), &of),
                        Some(id) => self
                            .port(host, nic.as_str(), None, &of)
                            .or_else(|| self.port(host, derive::vlan_device(nic, id).as_str(), Some(bridge), &of)),
                    }
                })
        })
    }

    /// Checks that a link exists, is up, is attached to `bridge`, has a carrier and a sufficient MTU.
    fn port(&self, host: &HostName, link: &str, bridge: Option<&str>, of: &str) -> Option<String> {
        let ports = self.evidence.ports.get(host)?;
        let Some(Port {
            up,
            carrier,
            master,
            mtu,
        }) = ports.get(link)
        else {
            return Some(format!("{host}: link {link} {of} does not exist"));
        };
        // A bridge reports the smallest MTU of its ports, and forwards by the MTU of each port.
        let is_bridge = ports.values().any(|port| port.master.as_deref() == Some(link));
        let fault = if !up {
            "is down".to_owned()
        } else if bridge.is_some() && bridge != master.as_deref() {
            match master {
                Some(other) => format!("is attached to {other}, not to {}", bridge.unwrap_or_default()),
                None => format!("is not attached to bridge {}", bridge.unwrap_or_default()),
            }
        } else if bridge.is_some() && !carrier {
            "has no carrier: its other end is not connected".to_owned()
        } else if self.needed.is_some_and(|needed| *mtu < needed.into()) && !is_bridge {
            format!("has an MTU of only {mtu} bytes")
        } else {
            return None;
        };
        Some(format!("{host}: link {link} {of} {fault}"))
    }

    /// Checks that the router's bridge has the gateway's address.
    fn gateway(&self, router: &HostName, network: &NetworkName, gateway: Ipv4Addr) -> Option<String> {
        let bridge = &self.part(router, network)?.bridge;
        let link = self.state(router).and_then(|state| state.links.get(bridge));
        let there = link.is_some_and(|link| link.addresses.iter().any(|at| at.addr() == gateway));
        (!there).then(|| format!("{router}: bridge {bridge} of network {network} lacks the gateway address {gateway}"))
    }

    /// Checks that the router forwards.
    fn forwards(&self, router: &HostName) -> Option<String> {
        let value = self.state(router)?.sysctls.get(&Sysctl::Ipv4Forward);
        (value.map(String::as_str) != Some("1")).then(|| format!("{router}: {} is not 1", Sysctl::Ipv4Forward))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::example::{host, link, on, topology, up, vm};
    use crate::verify::{Matrix, expected};

    /// The desired links of both hosts.
    fn ports() -> BTreeMap<HostName, Ports> {
        let port = |master: Option<&str>| Port {
            up: true,
            carrier: true,
            master: master.map(str::to_owned),
            mtu: 1500,
        };
        let of = |number: u8| {
            let tap = (format!("tap{number}"), port(Some("br1")));
            [
                ("br1".to_owned(), port(None)),
                ("eth0".to_owned(), port(Some("br1"))),
                tap,
            ]
            .into()
        };
        [(host("node1"), of(1)), (host("node2"), of(2))].into()
    }

    /// The diagnosis of `vm2` not reaching `to`, after `damage`.
    fn diagnosed(to: &str, damage: impl Fn(&mut Site, &mut BTreeMap<HostName, Ports>)) -> Option<String> {
        let topology = topology();
        let expectations = expected(&topology).into_iter();
        let asked = expectations
            .filter(|one| one.from == Asked::Vm(vm("vm2")) && one.to == to)
            .collect();
        let mut cell = Matrix::new(asked, &BTreeMap::new()).cells.remove(0);
        cell.verdict = Verdict::Fail;
        cell.small_only = true;
        let (mut observed, mut ports) = (up(), ports());
        damage(&mut observed, &mut ports);
        let evidence = Evidence {
            topology: &topology,
            observed: &observed,
            ports: &ports,
        };
        diagnose(&evidence, &cell)
    }

    #[test]
    fn without_an_observed_fault_there_is_no_diagnosis() {
        assert_eq!(diagnosed("vm1", |_, _| ()), None);
        assert_eq!(diagnosed("gw service", |_, _| ()), None);
    }

    #[test]
    fn a_stopped_guest_is_named_at_either_end() {
        for (guest, at) in [("vm1", "node1"), ("vm2", "node2")] {
            let found = diagnosed("vm1", |site, _| {
                for domain in on(site, at).domains.values_mut() {
                    domain.running = false;
                }
            });
            assert_eq!(found, Some(format!("{at}: guest {guest} is not running")));
        }
    }

    #[test]
    fn the_first_faulty_link_of_the_path_is_named_with_its_fault() {
        let port = |at: &str, name: &'static str, change: fn(&mut Port)| {
            let at = host(at);
            diagnosed("vm1", move |_, ports| {
                change(ports.get_mut(&at).unwrap().get_mut(name).unwrap());
            })
        };
        let tap = port("node2", "tap2", |port| port.master = None);
        assert_eq!(
            tap.unwrap(),
            "node2: link tap2 of guest vm2 is not attached to bridge br1"
        );
        let bridge = port("node2", "br1", |port| port.up = false);
        assert_eq!(bridge.unwrap(), "node2: link br1 of network service is down");
        let uplink = port("node1", "eth0", |port| port.carrier = false);
        assert!(
            uplink
                .unwrap()
                .starts_with("node1: link eth0 of network service has no carrier")
        );
        let small = port("node1", "tap1", |port| port.mtu = 1400);
        assert_eq!(
            small.unwrap(),
            "node1: link tap1 of guest vm1 has an MTU of only 1400 bytes"
        );
        let missing = diagnosed("vm1", |_, ports| {
            ports.get_mut(&host("node1")).unwrap().remove("eth0");
        });
        assert_eq!(missing.unwrap(), "node1: link eth0 of network service does not exist");
    }

    #[test]
    fn a_missing_gateway_address_is_named() {
        let found = diagnosed("gw service", |site, _| {
            on(site, "node1").links.get_mut(&link("br1")).unwrap().addresses.clear();
        });
        let wanted = "node1: bridge br1 of network service lacks the gateway address 10.0.1.1";
        assert_eq!(found.as_deref(), Some(wanted));
    }

    #[test]
    fn a_stopped_emulated_host_comes_before_its_guests() {
        let found = diagnosed("vm1", |site, _| {
            on(site, "localhost").machines.get_mut(&host("node1")).unwrap().alive = false;
            site.remove(&host("node1"));
        });
        assert_eq!(found.as_deref(), Some("node1: the emulated host is not running"));
    }
}
