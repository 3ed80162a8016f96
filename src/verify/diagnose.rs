//! Where packets stop: walks the way that a failed cell's packets should take, from what can be seen on the hosts, and
//! names the first thing on it that is not as it must be. Says nothing where everything that can be seen is in order.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::{Cell, Verdict};
use crate::lab::{Asked, HostName, NetworkName, VmName};
use crate::state::survey::{Port, Ports};
use crate::state::{DomainName, HostState, Site, Sysctl, localhost};
use crate::topology::{Guest, GuestNic, Segment, Topology, derive};

/// Bytes of a full packet where nobody says anything else (RFC 894).
const ETHERNET: u16 = 1500;

/// All that can be seen.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// What there should be.
    pub topology: &'a Topology,
    /// What there is of it.
    pub observed: &'a Site,
    /// How the links of each host stand; a host that is not in it was not looked at.
    pub ports: &'a BTreeMap<HostName, Ports>,
}

/// What stops the packets of `cell`, if it can be seen. Only for a cell in which something should answer.
pub fn diagnose(sight: &Evidence<'_>, cell: &Cell) -> Option<String> {
    if cell.verdict == Verdict::Pass || !cell.expectation.reach {
        return None;
    }
    let Asked::Vm(asked) = &cell.expectation.from else {
        return None;
    };
    let Ends { from, own, to } = Ends::of(sight.topology, asked, cell.expectation.address)?;
    let same = to.is_some_and(|(_, _, nic)| nic.network == own.network);
    let way = Way {
        sight,
        needed: cell
            .small_only
            .then(|| full_packet(sight.topology, asked, cell.expectation.address)),
    };
    way.guest(asked, from, own).or_else(|| match to {
        Some((name, guest, nic)) if same => way
            .segment(&own.network, &from.host, &guest.host)
            .or_else(|| way.guest(name, guest, nic)),
        _ => {
            let gateway = own.gateway?;
            let router = way.router(&own.network, gateway, &from.host)?;
            way.segment(&own.network, &from.host, router)
                .or_else(|| way.gateway(router, &own.network, gateway))
                .or_else(|| {
                    let (name, guest, nic) = to?;
                    way.forwards(router)
                        .or_else(|| way.gateway(router, &nic.network, nic.gateway?))
                        .or_else(|| way.segment(&nic.network, router, &guest.host))
                        .or_else(|| way.guest(name, guest, nic))
                })
        }
    })
}

/// Bytes of the largest packet that both ends of a way take: what a guest is told of its networks' MTU.
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

/// Both ends of a way.
struct Ends<'a> {
    from: &'a Guest,
    /// The NIC by which the packets leave: that on the target's network, else that of the gateway asked for, else that
    /// of the default route.
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

/// One cell's way.
struct Way<'a> {
    sight: &'a Evidence<'a>,
    /// Bytes of the packets that do not pass, where smaller ones do.
    needed: Option<u16>,
}

impl<'a> Way<'a> {
    fn state(&self, host: &HostName) -> Option<&'a HostState> {
        self.sight.observed.get(host)
    }

    fn part(&self, host: &HostName, network: &NetworkName) -> Option<&'a Segment> {
        self.sight.topology.hosts.get(host)?.segments.get(network)
    }

    /// The host that should answer to the gateway's address: the guest's own, where every host has it.
    fn router(&self, network: &NetworkName, gateway: Ipv4Addr, near: &'a HostName) -> Option<&'a HostName> {
        let hosts = self.sight.topology.hosts.iter();
        let mut having = hosts.filter_map(|(name, host)| {
            let part = host.segments.get(network)?;
            (part.gateway == Some(gateway)).then_some((name, part.gateway_everywhere))
        });
        let (first, everywhere) = having.next()?;
        Some(if everywhere { near } else { first })
    }

    /// An emulated host that has died takes everything with it.
    fn host(&self, host: &HostName) -> Option<String> {
        let machine = self.state(&localhost())?.machines.get(host)?;
        (!machine.alive).then(|| format!("{host}: the emulated host is dead"))
    }

    /// A guest, and the port its NIC is plugged into.
    fn guest(&self, vm: &VmName, guest: &Guest, nic: &GuestNic) -> Option<String> {
        let host = &guest.host;
        let name = DomainName::new(&self.sight.topology.lab, vm);
        self.host(host).or_else(|| {
            let Some(domain) = self.state(host).and_then(|state| state.domains.get(&name)) else {
                return Some(format!("{host}: guest {vm} is not there"));
            };
            if !domain.running {
                return Some(format!("{host}: guest {vm} is not running"));
            }
            if domain.configured.is_none() {
                return Some(format!("{host}: guest {vm} was not told its addresses"));
            }
            self.port(
                host,
                nic.tap.as_str(),
                Some(nic.bridge.as_str()),
                &format!("of guest {vm}"),
            )
        })
    }

    /// The network's part on one host and, where that is another one, on the next, with the uplinks in between.
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

    /// A link: there, up, plugged into `bridge`, with a peer, and wide enough.
    fn port(&self, host: &HostName, link: &str, bridge: Option<&str>, of: &str) -> Option<String> {
        let ports = self.sight.ports.get(host)?;
        let Some(Port {
            up,
            carrier,
            master,
            mtu,
        }) = ports.get(link)
        else {
            return Some(format!("{host}: there is no link {link} {of}"));
        };
        // A bridge takes the MTU of its narrowest port, and forwards by those of the ports.
        let is_bridge = ports.values().any(|port| port.master.as_deref() == Some(link));
        let trouble = if !up {
            "is down".to_owned()
        } else if bridge.is_some() && bridge != master.as_deref() {
            match master {
                Some(other) => format!("is plugged into {other}, not into {}", bridge.unwrap_or_default()),
                None => format!("is not plugged into bridge {}", bridge.unwrap_or_default()),
            }
        } else if bridge.is_some() && !carrier {
            "has no carrier: nothing is at its other end".to_owned()
        } else if self.needed.is_some_and(|needed| *mtu < needed.into()) && !is_bridge {
            format!("takes packets of {mtu} bytes only")
        } else {
            return None;
        };
        Some(format!("{host}: link {link} {of} {trouble}"))
    }

    /// The gateway's address stands on the router's bridge.
    fn gateway(&self, router: &HostName, network: &NetworkName, gateway: Ipv4Addr) -> Option<String> {
        let bridge = &self.part(router, network)?.bridge;
        let link = self.state(router).and_then(|state| state.links.get(bridge));
        let there = link.is_some_and(|link| link.addresses.iter().any(|at| at.addr() == gateway));
        (!there)
            .then(|| format!("{router}: bridge {bridge} of network {network} has not the gateway's address {gateway}"))
    }

    /// The router forwards.
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

    /// Both hosts' links as they should be.
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

    /// What is said of `vm2` not reaching `to`, after `damage`.
    fn said(to: &str, damage: impl Fn(&mut Site, &mut BTreeMap<HostName, Ports>)) -> Option<String> {
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
        let sight = Evidence {
            topology: &topology,
            observed: &observed,
            ports: &ports,
        };
        diagnose(&sight, &cell)
    }

    #[test]
    fn where_all_is_in_order_nothing_is_said() {
        assert_eq!(said("vm1", |_, _| ()), None);
        assert_eq!(said("gw service", |_, _| ()), None);
    }

    #[test]
    fn a_guest_that_stopped_is_named_whichever_end_it_is() {
        for (guest, at) in [("vm1", "node1"), ("vm2", "node2")] {
            let said = said("vm1", |site, _| {
                for domain in on(site, at).domains.values_mut() {
                    domain.running = false;
                }
            });
            assert_eq!(said, Some(format!("{at}: guest {guest} is not running")));
        }
    }

    #[test]
    fn the_first_bad_link_on_the_way_is_named_with_what_is_wrong_with_it() {
        let port = |at: &str, name: &'static str, change: fn(&mut Port)| {
            let at = host(at);
            said("vm1", move |_, ports| {
                change(ports.get_mut(&at).unwrap().get_mut(name).unwrap());
            })
        };
        let tap = port("node2", "tap2", |port| port.master = None);
        assert_eq!(
            tap.unwrap(),
            "node2: link tap2 of guest vm2 is not plugged into bridge br1"
        );
        let bridge = port("node2", "br1", |port| port.up = false);
        assert_eq!(bridge.unwrap(), "node2: link br1 of network service is down");
        let uplink = port("node1", "eth0", |port| port.carrier = false);
        assert!(
            uplink
                .unwrap()
                .starts_with("node1: link eth0 of network service has no carrier")
        );
        let narrow = port("node1", "tap1", |port| port.mtu = 1400);
        assert_eq!(
            narrow.unwrap(),
            "node1: link tap1 of guest vm1 takes packets of 1400 bytes only"
        );
        let gone = said("vm1", |_, ports| {
            ports.get_mut(&host("node1")).unwrap().remove("eth0");
        });
        assert_eq!(gone.unwrap(), "node1: there is no link eth0 of network service");
    }

    #[test]
    fn a_gateway_without_its_address_is_named() {
        let said = said("gw service", |site, _| {
            on(site, "node1").links.get_mut(&link("br1")).unwrap().addresses.clear();
        });
        let wanted = "node1: bridge br1 of network service has not the gateway's address 10.0.1.1";
        assert_eq!(said.as_deref(), Some(wanted));
    }

    #[test]
    fn a_dead_host_comes_before_all_that_died_with_it() {
        let said = said("vm1", |site, _| {
            on(site, "localhost").machines.get_mut(&host("node1")).unwrap().alive = false;
            site.remove(&host("node1"));
        });
        assert_eq!(said.as_deref(), Some("node1: the emulated host is dead"));
    }
}
