//! Proves what the lab's rules drop, by their counters: packets between tenants that reached the host which would have
//! routed them, and packets of guests from addresses that are not their own. Silence alone proves neither.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::thread;

use crate::guest::{Forged, GuestView};
use crate::host::NamedHosts;
use crate::lab::{HostName, VmName};
use crate::linux::flows;
use crate::linux::nftables::{self, Dropped};
use crate::topology::{Guest, Topology, TopologyHost};
use crate::verify::{Concerns, Expectation, Fault, Matrix, Verdict, kept_apart};

/// What each host has dropped; one whose rules cannot be read is left out.
pub(super) type Counted = BTreeMap<HostName, Dropped>;

/// What was proved, and what was not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Proved {
    pub faults: Vec<Fault>,
    pub notes: Vec<String>,
}

/// Reads the counters of the hosts that have such rules, all at the same time.
pub(super) fn count(topology: &Topology, hosts: &NamedHosts) -> Counted {
    let having = topology
        .hosts
        .iter()
        .filter(|(name, host)| has_rules(topology, name, host));
    thread::scope(|scope| {
        let reading: Vec<_> = having
            .filter_map(|(name, _)| Some((name, hosts.get(name)?)))
            .map(|(name, host)| {
                let read = move || {
                    let output = host.ask(&nftables::counters(&topology.lab)).ok()?;
                    let mut dropped = nftables::dropped(&topology.lab, &output.stdout).ok()?;
                    dropped.forged += flows::forged(&host.ask(&flows::counters(&topology.lab)).ok()?.stdout);
                    Some(dropped)
                };
                (name.clone(), scope.spawn(read))
            })
            .collect();
        let read = reading.into_iter();
        read.filter_map(|(name, read)| {
            let read = read.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Some((name, read?))
        })
        .collect()
    })
}

fn has_rules(topology: &Topology, name: &HostName, host: &TopologyHost) -> bool {
    let mut guests = topology.guests.values().filter(|guest| guest.host == *name);
    let tenants: BTreeSet<_> = host
        .segments
        .keys()
        .filter_map(|network| topology.tenants.of.get(network))
        .collect();
    tenants.len() > 1 || guests.any(|guest| guest.nics.iter().any(|nic| nic.port_security))
}

/// Returns what was dropped between two counts.
pub(super) fn since(before: &Counted, after: &Counted) -> Counted {
    let nothing = Dropped::default();
    let hosts = after.iter().map(|(host, after)| {
        let before = before.get(host).unwrap_or(&nothing);
        let between = after.between.iter().map(|(bridge, packets)| {
            let before = before.between.get(bridge).copied().unwrap_or_default();
            (bridge.clone(), packets.saturating_sub(before))
        });
        let dropped = Dropped {
            between: between.collect(),
            forged: after.forged.saturating_sub(before.forged),
        };
        (host.clone(), dropped)
    });
    hosts.collect()
}

/// Returns the cells of guests that tenants keep apart and that did not reach each other, which the rules must have dropped.
pub(super) fn apart(topology: &Topology, matrix: &Matrix) -> Vec<Expectation> {
    let silent = matrix.cells.iter().filter(|cell| cell.verdict == Verdict::Pass);
    let asked = silent.map(|cell| &cell.expectation).filter(|asked| !asked.reach);
    asked
        .filter(|asked| kept_apart(topology, asked).is_some())
        .cloned()
        .collect()
}

/// Guests of different tenants that did not reach each other: the host which would have routed their pings must have
/// dropped as many as were sent.
pub(super) fn between_tenants(topology: &Topology, counted: &Counted, matrix: &Matrix) -> Proved {
    let mut apart: BTreeMap<_, (u64, Vec<&Expectation>)> = BTreeMap::new();
    for cell in &matrix.cells {
        let asked = &cell.expectation;
        if asked.reach || cell.verdict != Verdict::Pass {
            continue;
        }
        if let Some(at) = kept_apart(topology, asked) {
            let (sent, cells) = apart.entry(at).or_default();
            *sent += u64::from(cell.sent.unwrap_or_default());
            cells.push(asked);
        }
    }
    let mut proved = Proved::default();
    for ((host, bridge), (sent, cells)) in apart {
        let dropped = counted
            .get(host)
            .and_then(|dropped| dropped.between.get(bridge))
            .copied();
        if dropped.is_some_and(|dropped| dropped >= sent) {
            proved.notes.push(format!(
                "{host} dropped all {sent} pings from {bridge} to other tenants"
            ));
            continue;
        }
        let dropped = dropped.map_or_else(
            || "its rules cannot be read".to_owned(),
            |dropped| format!("its rule dropped {dropped} of {sent}"),
        );
        proved.faults.extend(cells.into_iter().map(|asked| Fault {
            text: format!(
                "{host}: nothing proves that pings from {bridge} to other tenants are dropped there: {dropped}"
            ),
            concerns: Concerns::One(asked.from.clone(), asked.address),
        }));
    }
    proved
}

/// Guests on secured ports that sent from an address which is not theirs: nobody may have answered, and their host must
/// have dropped as many packets as were sent.
pub(super) fn forged(topology: &Topology, counted: &Counted, guests: &BTreeMap<VmName, GuestView>) -> Proved {
    let mut proved = Proved::default();
    let mut by_host: BTreeMap<&HostName, Vec<(&VmName, Ipv4Addr, Forged)>> = BTreeMap::new();
    for (vm, guest) in secured(topology) {
        let forged = guests.get(vm).into_iter().flat_map(|view| &view.forged);
        let mut forged = forged.filter(|(_, forged)| forged.sent > 0).peekable();
        if forged.peek().is_none() {
            let text = format!("{vm} could not be made to send from an address that is not its own");
            proved.notes.push(text);
        }
        let of_host = by_host.entry(&guest.host).or_default();
        of_host.extend(forged.map(|(source, forged)| (vm, *source, *forged)));
    }
    for (host, guests) in by_host {
        let sent: u32 = guests.iter().map(|(_, _, forged)| forged.sent).sum();
        let dropped = counted.get(host).map_or(0, |dropped| dropped.forged);
        for (vm, source, Forged { answered, .. }) in guests {
            let wrong = if answered > 0 {
                format!("packets from {source}, which is not its address, pass its port")
            } else if dropped < sent.into() {
                format!("nothing proves that packets from {source} are dropped: {host} dropped {dropped} of {sent}")
            } else {
                let text =
                    format!("{vm} sent from {source}, which is not its address: its port on {host} let nothing pass");
                proved.notes.push(text);
                continue;
            };
            proved.faults.push(Fault {
                text: format!("{vm}: {wrong}"),
                concerns: Concerns::Guest(vm.clone()),
            });
        }
    }
    proved
}

fn secured(topology: &Topology) -> impl Iterator<Item = (&VmName, &Guest)> {
    let guests = topology.guests.iter();
    guests.filter(|(_, guest)| guest.nics.iter().any(|nic| nic.port_security))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{Answer, Reply};
    use crate::plan::example::{host, link, topology, vm};
    use crate::verify::expected;

    /// The example lab, its guests on networks of two tenants whose gateways are on `node1`.
    fn tenants() -> Topology {
        let mut topology = topology();
        for tenant in ["service", "blue"] {
            let network = tenant.parse().unwrap();
            topology.tenants.of.insert(network, tenant.parse().unwrap());
        }
        let segments = &mut topology.hosts.get_mut(&host("node1")).unwrap().segments;
        let mut blue = segments.values().next().unwrap().clone();
        (blue.bridge, blue.gateway) = (link("br2"), Some([10, 0, 2, 1].into()));
        segments.insert("blue".parse().unwrap(), blue);
        let guest = topology.guests.get_mut(&vm("vm2")).unwrap();
        guest.host = host("node1");
        guest.default_route = Some([10, 0, 2, 1].into());
        let nic = &mut guest.nics[0];
        nic.network = "blue".parse().unwrap();
        nic.address = "10.0.2.2/24".parse().unwrap();
        nic.gateway = guest.default_route;
        topology
    }

    fn counted(between: [u64; 2], forged: u64) -> Counted {
        let between = [link("br1"), link("br2")].into_iter().zip(between);
        let dropped = Dropped {
            between: between.collect(),
            forged,
        };
        [(host("node1"), dropped)].into()
    }

    /// The matrix of guests that pinged each other without an answer.
    fn silent(topology: &Topology) -> Matrix {
        let asked: Vec<_> = expected(topology).into_iter().filter(|one| !one.reach).collect();
        let lost = Answer::Counted {
            sent: 2,
            received: 0,
            rtt_ms: None,
            said: None,
        };
        let replies = asked.iter().map(|one| {
            let reply = Reply::from(lost.clone());
            (one.from.clone(), Ok([(one.address, reply)].into()))
        });
        let replies = replies.collect();
        Matrix::new(asked, &replies)
    }

    #[test]
    fn silence_between_tenants_counts_only_where_the_host_dropped_every_ping() {
        let topology = tenants();
        let matrix = silent(&topology);
        assert_eq!((matrix.passed(), apart(&topology, &matrix).len()), (2, 2));
        let proved = between_tenants(&topology, &counted([2, 3], 0), &matrix);
        assert!(proved.faults.is_empty());
        assert_eq!(proved.notes[0], "node1 dropped all 2 pings from br1 to other tenants");
        let proved = between_tenants(&topology, &counted([1, 2], 0), &matrix);
        assert_eq!((proved.faults.len(), proved.notes.len()), (1, 1));
        assert!(proved.faults[0].text.ends_with("its rule dropped 1 of 2"));
        let unread = between_tenants(&topology, &Counted::new(), &matrix);
        assert!(unread.faults.len() == 2 && unread.faults[0].text.ends_with("cannot be read"));
    }

    #[test]
    fn a_forged_address_is_a_fault_where_it_was_answered_or_nothing_dropped_it() {
        let mut topology = topology();
        topology.guests.get_mut(&vm("vm1")).unwrap().nics[0].port_security = true;
        let saw = |sent, answered| -> BTreeMap<VmName, GuestView> {
            let forged = Forged { sent, answered };
            let view = GuestView {
                forged: [([10, 0, 1, 254].into(), forged)].into(),
                ..GuestView::default()
            };
            [(vm("vm1"), view)].into()
        };
        let proved = forged(&topology, &counted([0, 0], 2), &saw(2, 0));
        assert!(proved.faults.is_empty() && proved.notes[0].starts_with("vm1 sent from 10.0.1.254"));
        let text = |dropped, sent, answered| {
            let proved = forged(&topology, &counted([0, 0], dropped), &saw(sent, answered));
            proved.faults[0].text.clone()
        };
        assert!(text(2, 2, 1).contains("pass its port"));
        assert!(text(1, 2, 0).contains("node1 dropped 1 of 2"));
        let none = forged(&topology, &counted([0, 0], 2), &BTreeMap::new());
        assert!(none.faults.is_empty() && none.notes[0].contains("could not be made to"));
    }

    #[test]
    fn only_what_was_dropped_meanwhile_counts() {
        assert_eq!(since(&counted([5, 1], 7), &counted([8, 1], 9)), counted([3, 0], 2));
        assert_eq!(since(&Counted::new(), &counted([8, 1], 9)), counted([8, 1], 9));
    }
}
