//! Follows the packets of one pair hop by hop: asks the two ends, observes everything, and walks the path.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::verify::capture::{Followed, Pair, follow};
use super::verify::{Answered, Questions, VerifyOptions, answer};
use super::{Env, Loaded, OpsError};
use crate::lab::{Asked, LabName, NetworkName, VmName};
use crate::topology::Topology;
use crate::verify::{Expectation, Finding, Hop, Verdict, addresses_of_name, apart_by, at_hop, expected, first, path};

/// Which pair is diagnosed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiagnoseOptions {
    /// Where the packets come from: a VM, host or router, or an address of one.
    pub from: String,
    /// Where they go: the same, `VM/NETWORK`, a floating address, any other address, or a name that the lab resolves.
    pub to: String,
}

/// The path of one pair.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DiagnoseReport {
    /// The lab.
    pub lab: LabName,
    /// The source.
    pub from: String,
    /// The target.
    pub to: String,
    /// The address that was pinged.
    pub address: IpAddr,
    /// The source reaches the target, and the replies come from it.
    pub works: bool,
    /// The result is what the lab file describes: it works; where the target must not be reachable, no ping was answered.
    pub as_described: bool,
    /// By what the target is kept apart, where the lab file describes that it must not be reachable.
    pub apart: Option<String>,
    /// Echo requests sent, where counted.
    pub sent: Option<u32>,
    /// Echo replies received, where counted.
    pub received: Option<u32>,
    /// Why it does not work, as far as the pings show it.
    pub reason: Option<String>,
    /// The first cause.
    pub cause: Option<String>,
    /// The path, there and back.
    pub hops: Vec<Hop>,
    /// Between which two links packets vanish: counted where nothing that machines show decides it.
    pub vanished: Option<Finding>,
    /// Faults that concern the pair and are at no hop, e.g. an address that is used twice.
    pub faults: Vec<String>,
}

/// Diagnoses one pair of a lab that is up.
pub fn diagnose(env: &Env, loaded: &Loaded, options: &DiagnoseOptions) -> Result<DiagnoseReport, OpsError> {
    let ends = [&options.from, &options.to].map(|end| end.split('/').next());
    let asked = |vm: &VmName| ends.contains(&Some(vm.as_str()));
    let answered = answer(env, loaded, &VerifyOptions::default(), &asked, |topology| {
        Ok(Questions {
            expectations: questions(topology, options)?,
            sample_of: None,
            services: BTreeMap::new(),
        })
    })?;
    Ok(report(env, loaded, &answered))
}

fn report(env: &Env, loaded: &Loaded, answered: &Answered) -> DiagnoseReport {
    // The first question is the user's; see `questions`.
    let cell = &answered.matrix.cells[0];
    let asked = &cell.expectation;
    let mut hops = path(&answered.evidence(), cell);
    let answers = cell.received.is_some_and(|received| received > 0) && cell.sent == cell.received;
    let works = answers && cell.cause.is_none() && !cell.small_only;
    let as_described = if asked.reach {
        works
    } else {
        cell.verdict == Verdict::Pass
    };
    if works || !asked.reach {
        // What may stop packets did not.
        for hop in &mut hops {
            hop.finding = hop.finding.take().filter(|finding| finding.certain && !works);
        }
    }
    if as_described {
        // What keeps two apart that must be is no fault, and is not to be repaired.
        for finding in hops.iter_mut().filter_map(|hop| hop.finding.as_mut()) {
            finding.fix = None;
            finding.certain = false;
        }
    }
    let mut vanished = None;
    let decided = cell.cause.is_some() || first(&hops).is_some_and(|finding| finding.certain);
    if !works && asked.reach && !decided && cell.verdict != Verdict::Unknown {
        let pair = [Pair {
            cell,
            hops: hops.clone(),
        }];
        let (followed, counted) = follow(env, answered, &pair);
        for Followed { finding, size } in followed {
            for hop in &mut hops {
                let evidence = at_hop(hop, &counted, size).into_iter().chain(hop.evidence.take());
                hop.evidence = Some(evidence.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty());
            }
            vanished = finding;
        }
    }
    let cause = cell.cause.clone();
    let cause = cause.or_else(|| vanished.as_ref().map(ToString::to_string));
    let cause = cause.or_else(|| first(&hops).map(Finding::to_string));
    let of_hop = |text: &String| {
        hops.iter()
            .filter_map(|hop| hop.finding.as_ref())
            .any(|one| one.to_string() == **text)
    };
    DiagnoseReport {
        lab: loaded.topology.lab.clone(),
        from: asked.from.to_string(),
        to: asked.to.clone(),
        address: asked.address,
        works,
        as_described,
        apart: (!asked.reach).then(|| apart_by(&answered.topology, asked)),
        sent: cell.sent,
        received: cell.received,
        reason: cell.reason.clone().filter(|_| cell.verdict != Verdict::Pass),
        faults: cell.cause.iter().filter(|text| !of_hop(text)).cloned().collect(),
        vanished,
        cause: cause.filter(|_| !works && !as_described),
        hops,
    }
}

/// Returns the user's question, and one to the target where that is a guest: for what it shows of itself.
fn questions(topology: &Topology, options: &DiagnoseOptions) -> Result<Vec<Expectation>, OpsError> {
    let unknown = |text: &str| OpsError::NoSuchEnd {
        lab: topology.lab.clone(),
        text: text.to_owned(),
        known: ends(topology),
    };
    let from = source(topology, &options.from).ok_or_else(|| unknown(&options.from))?;
    let to = target(topology, &from, &options.to).ok_or_else(|| unknown(&options.to))?;
    let all = expected(topology);
    let described = all
        .iter()
        .find(|one| one.from == from && one.address == IpAddr::from(to));
    let mut questions = vec![Expectation {
        from: from.clone(),
        to: options.to.clone(),
        address: to.into(),
        reach: described.is_none_or(|one| one.reach),
    }];
    let other = topology.guests.iter().find(|(_, guest)| {
        let floating = guest.floating.as_ref().is_some_and(|floating| floating.address == to);
        floating || guest.nics.iter().any(|nic| nic.address.addr() == to)
    });
    if let Some((vm, guest)) = other.filter(|(vm, _)| from != Asked::Vm((*vm).clone())) {
        let own = guest.nics.first().map(|nic| nic.address.addr());
        let back = match &from {
            Asked::Vm(vm) => topology
                .guests
                .get(vm)
                .and_then(|guest| Some(guest.nics.first()?.address.addr())),
            Asked::Host(_) | Asked::Router(_) => own,
        };
        questions.extend(back.map(|back| Expectation {
            from: Asked::Vm(vm.clone()),
            to: back.to_string(),
            address: back.into(),
            reach: true,
        }));
    }
    Ok(questions)
}

/// Returns the names of everything that can be asked.
fn ends(topology: &Topology) -> Vec<String> {
    let guests = topology.guests.keys().map(ToString::to_string);
    let hosts = topology.hosts.keys().map(ToString::to_string);
    guests
        .chain(hosts)
        .chain(topology.routers.keys().map(ToString::to_string))
        .collect()
}

/// Returns the source that is meant by a name or an address.
fn source(topology: &Topology, text: &str) -> Option<Asked> {
    let guest = topology.guests.keys().find(|name| name.as_str() == text);
    let host = || topology.hosts.keys().find(|name| name.as_str() == text);
    let router = || topology.routers.keys().find(|name| name.as_str() == text);
    let named = guest.cloned().map(Asked::Vm);
    let named = named.or_else(|| host().cloned().map(Asked::Host));
    named
        .or_else(|| router().cloned().map(Asked::Router))
        .or_else(|| of_address(topology, text.parse().ok()?))
}

/// Returns the machine that has an address by the lab.
fn of_address(topology: &Topology, address: Ipv4Addr) -> Option<Asked> {
    let guest = topology.guests.iter().find(|(_, guest)| {
        let floating = guest
            .floating
            .as_ref()
            .is_some_and(|floating| floating.address == address);
        floating || guest.nics.iter().any(|nic| nic.address.addr() == address)
    });
    let host = || {
        topology.hosts.iter().find(|(_, host)| {
            let nics = host.nics.values().filter_map(|nic| nic.address);
            let segments = host.segments.values();
            let mut bridges = segments.flat_map(|segment| segment.gateway.iter().chain(&segment.address));
            nics.map(|net| net.addr()).any(|own| own == address) || bridges.any(|own| *own == address)
        })
    };
    let router = || {
        topology.routers.iter().find(|(_, router)| {
            let nics = router.nics.values().filter_map(|nic| nic.address);
            nics.chain(router.outside.iter().copied())
                .any(|net| net.addr() == address)
        })
    };
    let guest = guest.map(|(name, _)| Asked::Vm(name.clone()));
    let guest = guest.or_else(|| host().map(|(name, _)| Asked::Host(name.clone())));
    guest.or_else(|| router().map(|(name, _)| Asked::Router(name.clone())))
}

/// Returns the address that is meant by a name: of several, the one on a network of the source, else the first.
fn target(topology: &Topology, from: &Asked, text: &str) -> Option<Ipv4Addr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let networks: Vec<_> = match from {
        Asked::Vm(vm) => topology.guests.get(vm)?.nics.iter().map(|nic| &nic.network).collect(),
        Asked::Host(host) => topology.hosts.get(host)?.segments.keys().collect(),
        Asked::Router(_) => Vec::new(),
    };
    let (name, network) = text
        .split_once('/')
        .map_or((text, None), |(name, network)| (name, Some(network)));
    if let Some((_, guest)) = topology.guests.iter().find(|(vm, _)| vm.as_str() == name) {
        let on = |wanted: &dyn Fn(&NetworkName) -> bool| guest.nics.iter().find(|nic| wanted(&nic.network));
        let nic = if let Some(network) = network {
            on(&|own| own.as_str() == network)
        } else {
            on(&|own| networks.contains(&own)).or_else(|| guest.nics.first())
        };
        return nic.map(|nic| nic.address.addr());
    }
    if let Some((_, host)) = topology.hosts.iter().find(|(host, _)| host.as_str() == name) {
        let of = |one: &str| {
            let mut segments = host.segments.iter();
            let (_, segment) = segments.find(|(network, _)| network.as_str() == one)?;
            segment.address.or(segment.gateway)
        };
        return match network {
            Some(network) => of(network),
            None => networks
                .iter()
                .find_map(|network| of(network.as_str()))
                .or_else(|| host.nics.values().find_map(|nic| nic.address.map(|net| net.addr())))
                .or_else(|| host.segments.keys().find_map(|network| of(network.as_str()))),
        };
    }
    if let Some((_, router)) = topology.routers.iter().find(|(router, _)| router.as_str() == name) {
        let mut nics = router.nics.values().filter_map(|nic| nic.address);
        return nics.next().map(|net| net.addr());
    }
    let name = text.parse().ok()?;
    addresses_of_name(topology, &name).into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::example::{host, topology, vm};

    #[test]
    fn a_name_or_an_address_is_a_source_and_a_target() {
        let topology = topology();
        let from = source(&topology, "vm1").unwrap();
        assert_eq!(from, Asked::Vm(vm("vm1")));
        assert_eq!(source(&topology, "10.0.1.3"), Some(Asked::Vm(vm("vm2"))));
        assert_eq!(source(&topology, "10.0.1.1"), Some(Asked::Host(host("node1"))));
        assert_eq!(source(&topology, "10.9.9.9"), None, "nobody's address cannot be asked");
        let of = |text: &str| target(&topology, &from, text).map(|address| address.to_string());
        assert_eq!(of("vm2").as_deref(), Some("10.0.1.3"));
        assert_eq!(of("vm2/service").as_deref(), Some("10.0.1.3"));
        assert_eq!(of("vm2/other"), None);
        assert_eq!(
            of("node1").as_deref(),
            Some("10.0.1.1"),
            "its address on the source's network"
        );
        assert_eq!(of("node2").as_deref(), Some("172.16.99.2"));
        assert_eq!(of("203.0.113.1").as_deref(), Some("203.0.113.1"));
        assert_eq!(of("vm3"), None);
    }

    #[test]
    fn the_target_is_asked_as_well_where_it_is_a_guest() {
        let topology = topology();
        let asked = |from: &str, to: &str| {
            let options = DiagnoseOptions {
                from: from.to_owned(),
                to: to.to_owned(),
            };
            let questions = questions(&topology, &options).unwrap();
            let texts = questions.iter().map(|one| format!("{} {}", one.from, one.address));
            texts.collect::<Vec<_>>()
        };
        assert_eq!(asked("vm1", "vm2"), ["vm1 10.0.1.3", "vm2 10.0.1.2"]);
        assert_eq!(asked("node2", "vm1"), ["node2 10.0.1.2", "vm1 10.0.1.2"]);
        assert_eq!(asked("vm1", "node1"), ["vm1 10.0.1.1"]);
    }
}
