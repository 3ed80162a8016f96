//! What a user calls a link: `vm1`, `vm1:service`, `node1:eth0`, or both ends of a cable, `node1:eth0,node2:eth0`.

use super::LinkAt;
use crate::lab::{CableEnd, Shaping};
use crate::ops::OpsError;
use crate::topology::Topology;

/// Returns the links that `targets` name, each once.
pub(in crate::ops) fn resolve(topology: &Topology, targets: &[String]) -> Result<Vec<LinkAt>, OpsError> {
    let mut links = Vec::new();
    for target in targets.iter().flat_map(|target| target.split(',')) {
        let link = one(topology, target.trim())?;
        if !links.contains(&link) {
            links.push(link);
        }
    }
    Ok(links)
}

fn one(topology: &Topology, text: &str) -> Result<LinkAt, OpsError> {
    let (name, of) = text.split_once(':').map_or((text, None), |(name, of)| (name, Some(of)));
    if let Some((vm, guest)) = topology.guests.iter().find(|(vm, _)| vm.as_str() == name) {
        let nics = guest.nics.iter().enumerate();
        let mut named = nics.filter(|(_, nic)| of.is_none_or(|of| nic.network.as_str() == of));
        return match (named.next(), named.next()) {
            (Some((at, _)), None) => Ok(LinkAt::Guest(vm.clone(), at)),
            _ => Err(no_such(topology, text)),
        };
    }
    let end = of.and_then(|nic| {
        Some(CableEnd {
            host: name.parse().ok()?,
            nic: nic.parse().ok()?,
        })
    });
    match end.filter(|end| has(topology, end)) {
        Some(end) => Ok(LinkAt::End(end)),
        None => Err(no_such(topology, text)),
    }
}

/// The topology has the NIC or port, and something can limit it: of an emulated machine it has a cable.
fn has(topology: &Topology, end: &CableEnd) -> bool {
    let is_real = |host: &crate::topology::TopologyHost| host.connect != crate::lab::Connect::Emulated;
    match topology.hosts.get(&end.host).filter(|host| is_real(host)) {
        Some(host) => host.nics.contains_key(&end.nic),
        None => topology.cables.iter().any(|cable| cable.ends.contains(end)),
    }
}

fn no_such(topology: &Topology, text: &str) -> OpsError {
    OpsError::NoSuchLink {
        lab: topology.lab.clone(),
        text: text.to_owned(),
        known: every(topology).iter().map(|link| name_of(topology, link)).collect(),
    }
}

/// Returns every link that can be named.
pub(in crate::ops) fn every(topology: &Topology) -> Vec<LinkAt> {
    let guests = topology.guests.iter();
    let guests = guests.flat_map(|(vm, guest)| (0..guest.nics.len()).map(|at| LinkAt::Guest(vm.clone(), at)));
    let ends = topology.cables.iter().flat_map(|cable| cable.ends.clone());
    guests.chain(ends.map(LinkAt::End)).collect()
}

/// Returns a link's name.
pub(in crate::ops) fn name_of(topology: &Topology, link: &LinkAt) -> String {
    match link {
        LinkAt::Guest(vm, at) => {
            let nic = topology.guests.get(vm).and_then(|guest| guest.nics.get(*at));
            nic.map_or_else(|| vm.to_string(), |nic| format!("{vm}:{}", nic.network))
        }
        LinkAt::End(end) => format!("{}:{}", end.host, end.nic),
    }
}

/// Returns which frames the limits of a link are about.
pub(super) fn direction(topology: &Topology, link: &LinkAt) -> String {
    let name = name_of(topology, link);
    if link.of(&topology.shaping) == Shaping::link_down() {
        return "both directions".to_owned();
    }
    match link {
        LinkAt::Guest(vm, _) => format!("what is sent to {vm}"),
        LinkAt::End(end) => format!(
            "what {} sends by {}",
            end.host,
            name.split(':').next_back().unwrap_or_default()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::example;

    #[test]
    fn links_are_named_as_users_name_them() {
        let topology = example::topology();
        let named = |text: &str| {
            let links = resolve(&topology, &[text.to_owned()])?;
            Ok::<_, OpsError>(links.iter().map(|link| name_of(&topology, link)).collect::<Vec<_>>())
        };
        assert_eq!(named("vm1").unwrap(), ["vm1:service"]);
        assert_eq!(named("vm1:service").unwrap(), ["vm1:service"]);
        assert_eq!(named("node1:eth0,node2:eth0").unwrap(), ["node1:eth0", "node2:eth0"]);
        for wrong in ["vm9", "vm1:other", "node1", "node1:eth9", "", "a b"] {
            let error = named(wrong).unwrap_err();
            assert!(error.to_string().contains("has no link"), "{error}");
        }
        let error = named("vm1:servce").unwrap_err();
        assert!(error.help().unwrap().contains("vm1:service"), "{:?}", error.help());
    }
}
