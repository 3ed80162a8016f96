//! An emulated switch: one bridge with all of the machine's NICs as its ports.
//!
//! As long as every port is open, the bridge ignores VLAN tags, and tagged frames pass unchanged. A port with a mode
//! makes it filter by VLAN, for which the kernel needs BRIDGE_VLAN_FILTERING; a port without one then still passes all
//! tagged frames, and untagged ones to other such ports.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::batch::{batch, batch_of};
use super::error::EmulatedError;
use super::links::Link;
use super::namespace::{links, name};
use super::{Emulator, nics, shaping};
use crate::lab::{BondMode, HostName, IfName, LabName, Lag, PortMode, VlanId};
use crate::linux::ip::{load_bonding, query};
use crate::state::{Machine, MachineKind, MachineNic};
use crate::transport::{Cmd, CmdError, Script, Shell};

/// The bridge. No port can have this name: those that a lab gives start with a letter.
pub(super) const BRIDGE: &str = "_bridge";

/// Returns the device of a link aggregation, by its place among them.
fn lag_device(at: usize) -> String {
    format!("_lag{at}")
}

/// All VLAN ids, VLAN_N_VID and IEEE 802.1Q-2018, table 9-2.
const ALL: std::ops::RangeInclusive<u16> = 1..=4094;

/// Creates a bridge that filters by VLAN, in a network namespace that ends with the script.
const CAN_FILTER: Script = Script {
    name: "emulated/can_filter.sh",
    text: include_str!("can_filter.sh"),
};

/// Returns whether the kernel's bridges can filter by VLAN.
pub(crate) fn can_filter(shell: &dyn Shell) -> Result<bool, CmdError> {
    let output = shell.run(&Cmd::script(CAN_FILTER, [BRIDGE]))?;
    Ok(output.status == 0)
}

/// A port's VLANs, as `bridge -compressvlans -json vlan` prints them.
#[derive(Debug, Deserialize)]
struct Port {
    ifname: String,
    vlans: Vec<Vlans>,
}

/// One id, or those from `vlan` to `vlan_end`.
#[derive(Debug, Deserialize)]
struct Vlans {
    vlan: u16,
    #[serde(rename = "vlanEnd")]
    vlan_end: Option<u16>,
    #[serde(default)]
    flags: Vec<String>,
}

impl Emulator {
    /// Attaches every NIC of a switch to its bridge, in its mode; creates those without a cable.
    pub(crate) fn configure_switch(
        &self,
        lab: &LabName,
        switch: &HostName,
        wanted: &Machine,
    ) -> Result<(), EmulatedError> {
        let existing = links(&self.shell, lab, switch)?;
        let exists = |nic: &IfName| existing.iter().any(|link| link.ifname == nic.as_str());
        let bridge = format!("link set dev {BRIDGE} type bridge");
        let mut lines = if wanted.stp {
            // The shortest delay that the kernel takes (net/bridge/br_private_stp.h, BR_MIN_FORWARD_DELAY).
            vec![format!("{bridge} forward_delay 200 stp_state 1")]
        } else {
            vec![format!("{bridge} stp_state 0"), format!("{bridge} forward_delay 0")]
        };
        // The bridge's ports: a link aggregation in place of its own.
        let lag_of = |port: &IfName| wanted.lags.iter().position(|lag| lag.ports.contains(port));
        let ports = wanted.nics.iter().map(|(port, nic)| {
            let name = lag_of(port).map_or_else(|| port.to_string(), lag_device);
            (name, &nic.port)
        });
        let filter = vlan_lines(&ports.collect());
        if !filter.is_empty() {
            // No port is in a VLAN by default.
            lines.push(format!("link set dev {BRIDGE} type bridge vlan_default_pvid 0"));
            lines.push(format!("link set dev {BRIDGE} type bridge vlan_filtering 1"));
        }
        if !wanted.lags.is_empty() {
            load_bonding(&self.shell)?;
        }
        for (at, lag) in wanted.lags.iter().enumerate() {
            let device = lag_device(at);
            let mut links = existing.iter();
            if !links.any(|link| link.ifname == device) {
                // A bond without a protocol is one end of a static link aggregation.
                let mode = if lag.lacp {
                    "802.3ad lacp_rate fast"
                } else {
                    "balance-xor"
                };
                let options = "miimon 100 xmit_hash_policy layer2+3";
                lines.push(format!("link add name {device} type bond mode {mode} {options}"));
            }
            let first = lag.ports.first().and_then(|port| wanted.nics.get(port));
            lines.extend(
                first
                    .and_then(|nic| nic.mtu)
                    .map(|mtu| format!("link set dev {device} mtu {mtu}")),
            );
            lines.push(format!("link set dev {device} master {BRIDGE}"));
            lines.push(format!("link set dev {device} up"));
        }
        for (port, nic) in &wanted.nics {
            if !exists(port) {
                lines.extend(nics::lines_to_create(lab, switch, port));
            }
            lines.extend(nics::line_for_mtu(port, nic));
            let master = lag_of(port).map_or_else(|| BRIDGE.to_owned(), lag_device);
            let is_in = |link: &Link| link.ifname == port.as_str() && link.master.as_ref() == Some(&master);
            if lag_of(port).is_none() {
                lines.push(format!("link set dev {port} master {BRIDGE}"));
            } else if !existing.iter().any(is_in) {
                // A bond takes a NIC only while that is down.
                lines.push(format!("link set dev {port} down"));
                lines.push(format!("link set dev {port} master {master}"));
            }
            lines.push(format!("link set dev {port} up"));
        }
        let namespace = name(lab, switch);
        batch(&self.shell, Some(&namespace), &lines)?;
        Ok(batch_of("bridge", &self.shell, Some(&namespace), &filter)?)
    }

    /// Reads a switch with the links `links`; it is alive as long as its bridge is up and no port's VLANs were
    /// changed by hand.
    pub(super) fn observe_switch(
        &self,
        lab: &LabName,
        switch: &HostName,
        links: &[Link],
    ) -> Result<Machine, EmulatedError> {
        let mut machine = Machine {
            stp: false,
            lags: BTreeSet::new(),
            kind: MachineKind::Switch,
            nics: BTreeMap::new(),
            outside: BTreeSet::new(),
            names: BTreeMap::new(),
            to_host: None,
            changed: BTreeSet::new(),
            alive: false,
        };
        let bridge = links.iter().find(|link| link.ifname == BRIDGE);
        let Some(bridge) = bridge.filter(|bridge| bridge.kind() == Some("bridge") && bridge.is_up()) else {
            return Ok(machine);
        };
        machine.alive = true;
        machine.stp = bridge.stp().is_some();
        let vlans: Option<Vec<Port>> = if bridge.filters_vlans() {
            let namespace = name(lab, switch);
            let show = ["bridge", "-n", &namespace, "-compressvlans", "-json", "vlan", "show"];
            Some(query(&self.shell, &show)?)
        } else {
            None
        };
        let in_bridge = |link: &&Link| link.master.as_deref() == Some(BRIDGE);
        let lags = links
            .iter()
            .filter(in_bridge)
            .filter(|link| link.kind() == Some("bond"));
        let mut lag_of: BTreeMap<&str, &str> = BTreeMap::new();
        for lag in lags.filter(|lag| lag.is_up()) {
            let own = links.iter().filter(|link| link.master.as_ref() == Some(&lag.ifname));
            let own: Vec<&str> = own.map(|link| link.ifname.as_str()).collect();
            machine.lags.insert(Lag {
                ports: own.iter().filter_map(|port| IfName::new(port).ok()).collect(),
                lacp: lag.bond().is_some_and(|bond| bond.mode == BondMode::Lacp),
            });
            lag_of.extend(own.into_iter().map(|port| (port, lag.ifname.as_str())));
        }
        let is_port = |link: &&Link| {
            lag_of.contains_key(link.ifname.as_str()) || (in_bridge(link) && link.kind() != Some("bond"))
        };
        let held = shaping::held_down(lab, switch, links)?;
        for port in links.iter().filter(is_port) {
            let Ok(name) = IfName::new(&port.ifname) else {
                machine.alive = false;
                continue;
            };
            let mode = match &vlans {
                None => Some(PortMode::Open),
                Some(ports) => {
                    let device = lag_of.get(name.as_str()).copied().unwrap_or(name.as_str());
                    let port = ports.iter().find(|port| port.ifname == device);
                    read_mode(port.map_or(&[][..], |port| &port.vlans))
                }
            };
            // As if its cable were pulled.
            if !port.is_up() && !held.contains(&name) {
                machine.changed.insert(name.clone());
            }
            // A port in a mode that netlab never configures was changed by hand.
            machine.alive &= mode.is_some();
            let nic = MachineNic {
                port: mode.unwrap_or_default(),
                mtu: nics::large_mtu(port),
                ..MachineNic::default()
            };
            machine.nics.insert(name, nic);
        }
        Ok(machine)
    }
}

/// Returns the lines of `bridge -batch` that configure the ports; none where all of them are open.
fn vlan_lines(modes: &BTreeMap<String, &PortMode>) -> Vec<String> {
    if modes.values().all(|mode| **mode == PortMode::Open) {
        return Vec::new();
    }
    let untagged = id_of_the_untagged(modes.values().copied());
    let mut lines = Vec::new();
    for (port, mode) in modes {
        let mut add = |vlans: String| lines.push(format!("vlan add dev {port} vid {vlans}"));
        match mode {
            PortMode::Access(id) => add(format!("{id} pvid untagged")),
            PortMode::Trunk(ids) => ids.iter().for_each(|id| add(id.to_string())),
            PortMode::Open => {
                add(format!("{}-{}", ALL.start(), ALL.end()));
                add(format!("{untagged} pvid untagged"));
            }
        }
    }
    lines
}

/// Returns the VLAN that carries untagged frames between open ports: the last one that no port names.
fn id_of_the_untagged<'a>(modes: impl Iterator<Item = &'a PortMode>) -> u16 {
    let mut named: BTreeSet<u16> = BTreeSet::new();
    for mode in modes {
        match mode {
            PortMode::Access(id) => _ = named.insert(id.get()),
            PortMode::Trunk(ids) => named.extend(ids.iter().map(|id| id.get())),
            PortMode::Open => {}
        }
    }
    ALL.rev().find(|id| !named.contains(id)).unwrap_or(*ALL.end())
}

/// Returns the mode of a port with these VLANs; none where it is not a mode that netlab configures.
fn read_mode(vlans: &[Vlans]) -> Option<PortMode> {
    let (plain, own): (Vec<_>, Vec<_>) = vlans.iter().partition(|vlans| vlans.flags.is_empty());
    let mut tagged = BTreeSet::new();
    for vlans in plain {
        for id in vlans.vlan..=vlans.vlan_end.unwrap_or(vlans.vlan) {
            tagged.insert(VlanId::try_from(i64::from(id)).ok()?);
        }
    }
    match own.as_slice() {
        [] => Some(PortMode::Trunk(tagged)),
        [one] if one.vlan_end.is_none() && one.flags == ["PVID", "Egress Untagged"] => {
            if tagged.is_empty() {
                return Some(PortMode::Access(VlanId::try_from(i64::from(one.vlan)).ok()?));
            }
            (tagged.len() + 1 == ALL.len()).then_some(PortMode::Open)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: i64) -> VlanId {
        id.try_into().unwrap()
    }

    fn read(json: &str) -> Option<PortMode> {
        read_mode(&serde_json::from_str::<Vec<Vlans>>(json).unwrap())
    }

    #[test]
    fn a_switch_of_open_ports_gets_no_vlan_configuration() {
        assert!(vlan_lines(&[("p1".to_owned(), &PortMode::Open)].into()).is_empty());
    }

    #[test]
    fn untagged_frames_of_open_ports_get_a_vlan_that_no_port_with_a_mode_names() {
        let [p1, p2, p3] = ["p1", "p2", "p3"].map(str::to_owned);
        let (access, trunk) = (PortMode::Access(id(10)), PortMode::Trunk([id(1), id(4094)].into()));
        let lines = vlan_lines(&[(p1, &access), (p2, &trunk), (p3, &PortMode::Open)].into());
        let expected = [
            "vlan add dev p1 vid 10 pvid untagged",
            "vlan add dev p2 vid 1",
            "vlan add dev p2 vid 4094",
            "vlan add dev p3 vid 1-4094",
            "vlan add dev p3 vid 4093 pvid untagged",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn modes_are_read_back_from_the_kernel() {
        let own = r#"{"vlan":10,"flags":["PVID","Egress Untagged"]}"#;
        assert_eq!(read(&format!("[{own}]")), Some(PortMode::Access(id(10))));
        let trunk = PortMode::Trunk([id(1), id(20), id(21)].into());
        assert_eq!(read(r#"[{"vlan":1},{"vlan":20,"vlanEnd":21}]"#), Some(trunk));
        let open = format!(r#"[{{"vlan":1,"vlanEnd":9}},{own},{{"vlan":11,"vlanEnd":4094}}]"#);
        assert_eq!(read(&open), Some(PortMode::Open));
    }

    #[test]
    fn a_port_that_was_changed_by_hand_has_no_mode() {
        let own = r#"{"vlan":10,"flags":["PVID","Egress Untagged"]}"#;
        assert_eq!(read(&format!(r#"[{own},{{"vlan":11}}]"#)), None);
        assert_eq!(read(r#"[{"vlan":10,"flags":["Egress Untagged"]}]"#), None);
        // Not a mode of a lab either: there a trunk names at least one VLAN.
        assert_eq!(read("[]"), Some(PortMode::Trunk(BTreeSet::new())));
    }
}
