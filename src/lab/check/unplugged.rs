//! NICs of emulated machines that something leads through and that have no cable: legal, and hardly ever meant.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::Check;
use crate::lab::file::{HostNicFile, LabFile};
use crate::lab::{Cable, CableEnd, Connect, HostName, IfName};

impl Check<'_> {
    /// Warns of NICs without a cable that have a gateway behind them, by which NAT sends, or that are a router's. Uplinks are
    /// the subject of [`Self::connected`].
    pub(super) fn unplugged(&mut self, file: &LabFile, cables: &[Cable]) {
        let plugged: BTreeSet<&CableEnd> = cables.iter().flat_map(|cable| &cable.ends).collect();
        let is_plugged = |machine: &HostName, nic: &HostNicFile| {
            let members = nic.bond.iter().flat_map(|bond| &bond.nics).map(|at| &at.value);
            let mut ends = members.chain([&nic.name.value]).map(|nic| CableEnd {
                host: machine.clone(),
                nic: nic.clone(),
            });
            ends.any(|end| plugged.contains(&end))
        };
        let emulated = file.hosts.iter().filter(|host| host.connect == Connect::Emulated);
        let hosts = emulated.map(|host| (&host.name.value, &host.nics, false));
        let routers = file
            .routers
            .iter()
            .map(|router| (&router.name.value, &router.nics, true));
        let sends_by = sends_by(file);
        let mut found = Vec::new();
        for (machine, nics, is_router) in hosts.chain(routers) {
            for nic in nics.iter().filter(|nic| !is_plugged(machine, nic)) {
                let (why, span) = if let Some(at) = sends_by.get(&(machine, &nic.name.value)) {
                    ("NAT sends by it", *at)
                } else if let Some(gateway) = &nic.gateway {
                    ("a gateway is behind it", &gateway.span)
                } else if is_router {
                    ("it is a router's", &nic.name.span)
                } else {
                    continue;
                };
                let end = format!("{machine}:{}", nic.name.value);
                found.push((
                    span.clone(),
                    format!("`{end}` has no cable, and {why}"),
                    format!("write `[[cables]]` with `ends = [\"{end}\", \"<other end>\"]`"),
                ));
            }
        }
        for (span, message, help) in found {
            self.warn(&span, message, help);
        }
    }
}

/// Where the file says that NAT of a host sends by a NIC.
fn sends_by(file: &LabFile) -> BTreeMap<(&HostName, &IfName), &Range<usize>> {
    let only = match &file.hosts[..] {
        [only] => Some(&only.name.value),
        _ => None,
    };
    let mut places = BTreeMap::new();
    for rule in &file.nat {
        let on = rule.on.as_ref().map(|at| &at.value).or(only);
        if let (Some(on), Some(out)) = (on, &rule.out) {
            places.entry((on, &out.value)).or_insert(&out.span);
        }
    }
    places
}
