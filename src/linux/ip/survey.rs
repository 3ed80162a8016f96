//! What a host has apart from the lab: NICs, names and subnets in use, programs, kernel modules, memory. Four commands,
//! none of which changes anything.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::error::{NetworkError, Owner};
use super::floating;
use super::json::RawRoute;
use super::mark::{Mark, owner};
use super::nic::destination;
use super::observe::parse;
use super::snapshot::Snapshot;
use crate::lab::{Firmware, IfName, LabName, TunnelKind};
use crate::plan::lines::{NicState, VXLAN_PORT};
use crate::state::survey::Survey;
use crate::transport::{Cmd, CmdError, Script, Shell};

/// Programs that netlab may need on a host.
const PROGRAMS: [&str; 11] = [
    "ip",
    "tc",
    "nft",
    "dnsmasq",
    "qemu-img",
    "libvirtd",
    "virtqemud",
    "nsenter",
    "flock",
    "ovs-vsctl",
    "ovs-vswitchd",
];

const SURVEY: Script = Script {
    name: "ip/survey.sh",
    text: include_str!("survey.sh"),
};

/// Fills in the host's network, programs, modules and memory.
pub fn survey(shell: &dyn Shell, lab: &LabName, survey: &mut Survey) -> Result<(), NetworkError> {
    let snapshot = Snapshot::take(shell)?;
    let mut ours: BTreeSet<&str> = BTreeSet::new();
    let mut subnets: BTreeSet<(IpNet, String)> = BTreeSet::new();
    for link in &snapshot.links {
        let mark = Mark::read(link, lab);
        let name = &link.ifname;
        let (mut is_ours, mut is_free) = (mark.is_made_by(lab), false);
        if let (true, Ok(nic)) = (link.is_nic() && !matches!(mark, Mark::Made { .. }), IfName::new(name)) {
            let record = match &mark {
                Mark::Taken { by, record } if by == lab.as_str() => {
                    is_ours = true;
                    Some(parse(link, record)?)
                }
                // Another lab's record may be of another version of netlab: then the present configuration has to do.
                Mark::Taken { record, .. } => record.parse().ok(),
                Mark::Made { .. } | Mark::Absent => {
                    is_free = link.master.is_none();
                    None
                }
            };
            let state = record.map_or_else(|| NicState::read(&snapshot, link).0, |record| record.was);
            // What a NIC reaches is the host's, even while a bridge has its configuration.
            let config = state.config();
            let reached = config.addresses.iter().map(IpNet::trunc);
            subnets.extend(
                reached
                    .chain(config.routes.iter().map(|route| route.to))
                    .filter(|net| net.prefix_len() > 0)
                    .map(|net| (net, name.clone())),
            );
            let addresses = config.addresses.iter().map(IpNet::addr);
            survey
                .addresses
                .extend(addresses.map(|address| (address, name.clone())));
            survey.mtus.extend(link.mtu.map(|mtu| (nic.clone(), mtu)));
            survey.nics.insert(nic, config);
        }
        let owner = owner(&snapshot, link, lab);
        is_ours |= owner == Owner::Lab(lab.to_string());
        for raw in link.addr_info.iter().filter(|raw| floating::of(raw, lab).is_none()) {
            if let Some(address) = raw.local.filter(|_| !mark.is_made_by(lab)) {
                survey.addresses.insert(address, name.clone());
            }
        }
        let data = &link.linkinfo.info_data;
        let is_vxlan = link.kind() == Some("vxlan") && data.port == Some(VXLAN_PORT);
        let vni = data.id.filter(|_| is_vxlan && !is_ours);
        if let Some(vni) = vni.and_then(|id| u32::try_from(id).ok()) {
            survey.foreign_keys.insert((TunnelKind::Vxlan, vni), name.clone());
        }
        if is_ours {
            ours.insert(name);
        } else if !is_free {
            survey.foreign_links.insert(name.clone(), owner.to_string());
        }
    }
    for route in snapshot
        .routes
        .iter()
        .filter(|route| route.table.is_none() && route.kind.is_none())
    {
        if let (Some(net), Some(dev)) = (subnet(route), &route.dev)
            && dev != "lo"
            && !ours.contains(dev.as_str())
        {
            subnets.insert((net, dev.clone()));
        }
    }
    survey.foreign_keys.extend(snapshot.ovs.foreign_keys(lab));
    survey.subnets = subnets.into_iter().collect();
    read_script(shell, survey)?;
    Ok(())
}

/// Returns what a route leads to; `None` for default routes and for IPv6's link-local subnet, which every link has.
fn subnet(route: &RawRoute) -> Option<IpNet> {
    destination(&route.dst, route.pref.is_some()).filter(|net| {
        net.prefix_len() > 0
            && match net.addr() {
                IpAddr::V4(_) => true,
                IpAddr::V6(address) => !address.is_unicast_link_local() && !address.is_multicast(),
            }
    })
}

/// A description of firmware: docs/interop/firmware.json of QEMU.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Description {
    interface_types: Vec<String>,
    targets: Vec<Target>,
    features: Vec<String>,
}

#[derive(Deserialize)]
struct Target {
    architecture: String,
}

/// Adds the firmware that a description is about. One that cannot be read is none that libvirt selects.
fn firmware(json: &str, survey: &mut Survey) {
    let Ok(found) = serde_json::from_str::<Description>(json) else {
        return;
    };
    if !found.interface_types.iter().any(|kind| kind == "uefi") {
        return;
    }
    let has = |feature: &str| found.features.iter().any(|found| found == feature);
    let firmware = match (has("secure-boot"), has("enrolled-keys")) {
        (false, false) => Firmware::Efi,
        (true, true) => Firmware::SecureEfi,
        // With Secure Boot and without keys: libvirt does not select it for either.
        _ => return,
    };
    for target in found.targets {
        survey.firmware.entry(target.architecture).or_default().insert(firmware);
    }
}

fn read_script(shell: &dyn Shell, survey: &mut Survey) -> Result<(), CmdError> {
    let output = shell.check(&Cmd::script(SURVEY, PROGRAMS))?;
    for line in String::from_utf8_lossy(&output).lines() {
        match line.split_once(' ') {
            Some(("program", name)) => _ = survey.programs.insert(name.to_owned()),
            Some(("missing", module)) => _ = survey.missing_modules.insert(module.to_owned()),
            Some(("firmware", json)) => firmware(json, survey),
            Some(("ovs", _)) => survey.ovs_runs = true,
            Some(("memory", kb)) => survey.memory_mib = kb.parse::<u64>().unwrap_or_default() / 1024,
            Some(("disk", kb)) => survey.disk_mib = kb.parse::<u64>().ok().map(|kb| kb / 1024),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_is_what_libvirt_would_select() {
        let mut survey = Survey::default();
        let mut add = |kind: &str, features: &str| {
            let json = format!(
                "{{ \"description\": \"x\", \"interface-types\": [ \"{kind}\" ], \"targets\": [ {{ \"architecture\": \
                 \"x86_64\", \"machines\": [ \"pc-q35-*\" ] }} ], \"features\": [ {features} ], \"tags\": [] }}"
            );
            firmware(&json, &mut survey);
            survey.firmware.get("x86_64").cloned().unwrap_or_default()
        };
        assert!(add("bios", "").is_empty());
        assert!(add("uefi", "\"secure-boot\", \"requires-smm\"").is_empty());
        assert_eq!(add("uefi", "\"acpi-s3\""), [Firmware::Efi].into());
        assert_eq!(add("uefi", "\"enrolled-keys\", \"secure-boot\"").len(), 2);
        firmware("half", &mut survey);
    }
}
