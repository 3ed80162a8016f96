//! Networks whose bridges are Open vSwitch's: what those cannot do, and what cannot be mixed with Linux bridges.

use super::Check;
use super::carried::Carried;
use crate::lab::file::{At, NetworkFile};
use crate::lab::{Datapath, NetworkName, SwitchKind, TunnelKind};

impl Check<'_> {
    /// Checks what one network says of its bridges.
    pub(super) fn switch(&mut self, file: &NetworkFile) -> SwitchKind {
        let name = &file.name.value;
        if !file.ovs {
            if let Some(At { span, .. }) = &file.datapath {
                let message = format!("network `{name}` has a datapath and Linux bridges");
                self.add(span, message, "add `switch = \"ovs\"`, or remove `datapath`");
            }
            if let Some(At { value: kind, span }) = &file.tunnel
                && *kind != TunnelKind::Vxlan
            {
                let message = format!("Linux bridges have no {kind} tunnels");
                self.add(span, message, "add `switch = \"ovs\"`, or write `tunnel = \"vxlan\"`");
            }
            return SwitchKind::Bridge;
        }
        SwitchKind::Ovs(file.datapath.as_ref().and_then(|at| at.value))
    }

    /// Checks networks against one another: patches connect bridges of one data path only, and a NIC is a port of one
    /// bridge. Gives all networks the data path that one names.
    pub(super) fn switching(&mut self, files: &[NetworkFile]) {
        let mut chosen: Option<(Datapath, &NetworkName)> = None;
        let mut carried = Carried::default();
        let mut found = Vec::new();
        for file in files {
            let name = &file.name.value;
            if let Some(At { value: Some(own), span }) = &file.datapath {
                match chosen {
                    Some((other, whose)) if other != *own => found.push((
                        span.clone(),
                        format!("network `{whose}` has datapath `{other}`"),
                        "give all networks of Open vSwitch one `datapath`",
                    )),
                    _ => chosen = Some((*own, name)),
                }
            }
            let Some(network) = self.networks.get(name) else {
                continue;
            };
            let sharing = carried.sharing(&network.uplinks, !file.ovs, |nic| self.first_having(nic));
            if let Some((other, (host, nic))) = sharing.first_key_value() {
                found.push((
                    file.name.span.clone(),
                    format!("`{host}:{nic}` carries network `{other}` of the other kind of bridge"),
                    "give all networks on an uplink the same `switch`",
                ));
            }
            carried.insert(&network.uplinks, file.ovs, name);
        }
        for (span, message, help) in found {
            self.add(&span, message, help);
        }
        for network in self.networks.values_mut().filter(|network| network.switch.is_ovs()) {
            network.switch = SwitchKind::Ovs(chosen.map(|(datapath, _)| datapath));
        }
    }
}
