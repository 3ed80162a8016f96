//! Which cells of a large lab are asked: a sample in which every guest is asked about, and every boundary has a cell.

use std::collections::{BTreeMap, BTreeSet};

use super::Expectation;
use super::expected::{about_gateways, about_guest, about_outside, of_the_file};
use crate::lab::{HostName, NetworkName, VmName};
use crate::topology::Topology;

/// Labs with more guests are sampled.
const LARGE: usize = 64;

/// A guest's NIC: the guest, and the number of the NIC.
type Member<'a> = (&'a VmName, usize);
/// The members of each network, by host.
type Members<'a> = BTreeMap<&'a NetworkName, BTreeMap<&'a HostName, Vec<Member<'a>>>>;

/// Returns the questions of a sample, or none for a lab that is small enough to ask everything. It has:
///
/// - in each network, on each host, every guest and the next one, in both directions;
/// - in each network, a guest of each host and one of each other host, in both directions;
/// - for each two networks, in both directions, a guest of each on the same host, and on two hosts, where there are such;
/// - every guest and its gateways;
/// - for each network and host, a guest and the addresses outside;
/// - everything that the lab file adds.
///
/// Different boundaries are crossed by different guests, as far as there are some.
pub fn sample(topology: &Topology) -> Option<Vec<Expectation>> {
    (topology.guests.len() > LARGE).then(|| sampled(topology))
}

fn sampled(topology: &Topology) -> Vec<Expectation> {
    let mut members: Members = BTreeMap::new();
    for (vm, guest) in &topology.guests {
        for (number, nic) in guest.nics.iter().enumerate() {
            let here = members.entry(&nic.network).or_default().entry(&guest.host).or_default();
            here.push((vm, number));
        }
    }
    let mut pairs: BTreeSet<(&VmName, Member)> = BTreeSet::new();
    for hosts in members.values() {
        within(&mut pairs, hosts);
    }
    for (one, (network, hosts)) in members.iter().enumerate() {
        for (two, (_, others)) in members.iter().enumerate().filter(|(_, (other, _))| *other != network) {
            between(&mut pairs, hosts, others, one + two);
        }
    }
    let mut by_guest: BTreeMap<&VmName, Vec<Member>> = BTreeMap::new();
    for (from, to) in pairs.into_iter().filter(|(from, (to, _))| from != to) {
        by_guest.entry(from).or_default().push(to);
    }
    let outside: BTreeSet<&VmName> = members
        .values()
        .flat_map(BTreeMap::values)
        .filter_map(|here| here.first())
        .map(|(vm, _)| *vm)
        .collect();
    let mut all = Vec::new();
    for (from, guest) in &topology.guests {
        for (to, nic) in by_guest.remove(from).unwrap_or_default() {
            if let Some((other, nic)) = topology
                .guests
                .get(to)
                .and_then(|other| Some((other, other.nics.get(nic)?)))
            {
                all.push(about_guest(topology, (from, guest), (to, other), nic));
            }
        }
        all.extend(about_gateways(topology, from, guest));
        if outside.contains(from) {
            all.extend(about_outside(topology, from));
        }
    }
    all.extend(of_the_file(topology));
    all
}

/// Adds the pairs within one network.
fn within<'a>(pairs: &mut BTreeSet<(&'a VmName, Member<'a>)>, hosts: &BTreeMap<&HostName, Vec<Member<'a>>>) {
    for here in hosts.values() {
        for (a, b) in here.iter().zip(here.iter().cycle().skip(1)) {
            pairs.extend([(a.0, *b), (b.0, *a)]);
        }
    }
    for (one, (_, here)) in hosts.iter().enumerate() {
        for (two, (_, there)) in hosts.iter().enumerate().filter(|(two, _)| *two != one) {
            let (a, b) = (here[two % here.len()], there[one % there.len()]);
            pairs.insert((a.0, b));
        }
    }
}

/// Adds the pairs from one network to another.
fn between<'a>(
    pairs: &mut BTreeSet<(&'a VmName, Member<'a>)>,
    hosts: &BTreeMap<&HostName, Vec<Member<'a>>>,
    others: &BTreeMap<&HostName, Vec<Member<'a>>>,
    number: usize,
) {
    let pick = |of: &[Member<'a>]| of[number % of.len()];
    let same = hosts.iter().find_map(|(host, here)| Some((here, others.get(host)?)));
    let mut different = hosts.iter().cycle().skip(number % hosts.len()).take(hosts.len());
    let different = different.find_map(|(host, here)| {
        let mut elsewhere = others.iter().cycle().skip(number % others.len()).take(others.len());
        let (_, there) = elsewhere.find(|(other, _)| *other != host)?;
        Some((here, there))
    });
    for (here, there) in same.into_iter().chain(different) {
        pairs.insert((pick(here).0, pick(there)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Asked;
    use crate::verify::expected::tests::topology;
    use crate::verify::{expected, number_of_cells};

    /// `count` guests in two networks on three hosts that are all connected.
    fn lab(count: usize) -> Topology {
        let guests: Vec<(String, String, &str, String)> = (0..count)
            .map(|at| {
                let network = if at % 2 == 0 { "red" } else { "blue" };
                let address = format!("10.{}.{}.{}/16", at % 2, at / 200, at % 200 + 1);
                (format!("g{at}"), format!("n{}", at % 3), network, address)
            })
            .collect();
        let guests: Vec<_> = guests
            .iter()
            .map(|(name, host, network, address)| (name.as_str(), host.as_str(), *network, address.as_str()))
            .collect();
        let segments = ["n0", "n1", "n2"].map(|host| {
            let gateway = |address| (host == "n0").then_some(address);
            [
                (host, "red", true, gateway("10.0.255.254")),
                (host, "blue", true, gateway("10.1.255.254")),
            ]
        });
        topology(&guests, segments.as_flattened())
    }

    #[test]
    fn a_lab_of_up_to_64_guests_is_asked_in_full() {
        assert_eq!(sample(&lab(64)), None);
        let small = lab(10);
        assert_eq!(number_of_cells(&small), expected(&small).len());
    }

    #[test]
    fn a_sample_is_a_part_of_all_cells_and_has_every_guest_and_every_boundary() {
        let lab = lab(90);
        let (all, sample) = (expected(&lab), sample(&lab).unwrap());
        assert_eq!(number_of_cells(&lab), all.len());
        assert!(sample.len() * 10 < all.len(), "{} of {}", sample.len(), all.len());
        assert!(sample.iter().all(|one| all.contains(one)));
        let of = |from: &Asked, to: &str| {
            let place = |vm: &VmName| {
                let guest = &lab.guests[vm];
                (guest.nics[0].network.to_string(), guest.host.to_string())
            };
            let Asked::Vm(from) = from else { panic!("{from}") };
            Some((
                place(from),
                place(&to.parse().ok().filter(|vm| lab.guests.contains_key(vm))?),
            ))
        };
        let crossed: BTreeSet<_> = sample.iter().filter_map(|one| of(&one.from, &one.to)).collect();
        for (host, other) in [("n0", "n1"), ("n1", "n0"), ("n2", "n0"), ("n1", "n1")] {
            for network in ["red", "blue"] {
                let place = |host: &str| (network.to_owned(), host.to_owned());
                assert!(
                    crossed.contains(&(place(host), place(other))),
                    "{network} {host} {other}"
                );
            }
        }
        for (from, to) in [("red", "blue"), ("blue", "red")] {
            let mut routed = crossed.iter().filter(|((a, _), (b, _))| a == from && b == to);
            assert!(routed.any(|((_, a), (_, b))| a != b), "{from} {to}");
        }
        for vm in lab.guests.keys() {
            assert!(sample.iter().any(|one| one.to == vm.as_str()), "{vm} is asked about");
            let gateways = sample
                .iter()
                .filter(|one| one.from == Asked::Vm(vm.clone()) && one.to.starts_with("gw "));
            assert_eq!(gateways.count(), 1, "{vm}");
        }
    }
}
