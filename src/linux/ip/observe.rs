//! What a lab owns of a host's network, read from the marks on the objects. A constant number of commands, however large
//! the lab.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::error::{NetworkError, Unreadable};
use super::json::RawLink;
use super::mark::{self, Mark};
use super::record::Record;
use super::snapshot::Snapshot;
use super::{Network, floating, ovs};
use crate::lab::{Bond, BondMode, IfName, LabName, VlanId};
use crate::linux::sysctl::SysctlMarks;
use crate::linux::tc;
use crate::plan::lines::NicState;
use crate::state::{BondSeen, Link, LinkKind, Missing, Uplink};
use crate::transport::Shell;

/// Returns what `lab` owns of the host's network.
pub fn observe(shell: &dyn Shell, lab: &LabName) -> Result<Network, NetworkError> {
    let snapshot = Snapshot::take(shell)?;
    let mut network = Network {
        sysctls: SysctlMarks::default().observe(shell, lab)?,
        ..Network::default()
    };
    network.seen.boot = Some(snapshot.boot.clone());
    let is_up = |name: &str| snapshot.link(name).is_some_and(RawLink::is_up);
    network.shaped = tc::limits(&snapshot.qdiscs, lab, is_up).own;
    let mut moved: Vec<Record> = Vec::new();
    for link in &snapshot.links {
        match Mark::read(link, lab) {
            Mark::Taken { by, record } if by == lab.as_str() => {
                let record = parse(link, &record)?;
                let name = name(&link.ifname)?;
                let held = network.shaped.get(&name).is_some_and(|shaping| shaping.down);
                network
                    .uplinks
                    .insert(name.clone(), uplink(&snapshot, link, &record, held)?);
                moved.push(record);
            }
            Mark::Made { .. } | Mark::Taken { .. } | Mark::Absent => {}
        }
    }
    for raw in &snapshot.links {
        let ours = matches!(Mark::read(raw, lab), Mark::Made { by, .. } | Mark::Taken { by, .. } if by == lab.as_str());
        if let Some(bond) = bond_seen(&snapshot, raw).filter(|_| ours) {
            network.seen.bonds.insert(name(&raw.ifname)?, bond);
        }
        for address in raw.addr_info.iter().filter_map(|raw| floating::of(raw, lab)) {
            network.floating.insert(address, name(&raw.ifname)?);
        }
        let Mark::Made { by, purpose } = Mark::read(raw, lab) else {
            continue;
        };
        if by != lab.as_str() || snapshot.ovs.is_peer(&raw.ifname) {
            continue;
        }
        let name = name(&raw.ifname)?;
        let guests = moved.iter().filter(|record| record.bridge == name);
        let came: BTreeSet<IpNet> = guests
            .flat_map(|record| record.was.addresses.iter().map(|address| address.net))
            .collect();
        network.seen.links.insert(name.clone(), raw.ifindex);
        let link = made(&snapshot, raw, &purpose, &came)?;
        network.links.insert(name, link);
    }
    Ok(network)
}

/// Reads a created link; `came` are the addresses on it that came with a NIC.
fn made(snapshot: &Snapshot, raw: &RawLink, purpose: &str, came: &BTreeSet<IpNet>) -> Result<Link, NetworkError> {
    let data = &raw.linkinfo.info_data;
    let kind = match raw.kind() {
        Some(ovs::BRIDGE | ovs::PORT) => match snapshot.ovs.kind(&raw.ifname) {
            Some(kind) => kind,
            None => return Err(unreadable(&raw.ifname, Unreadable::Port)),
        },
        Some("vlan") => {
            let id = data.id.and_then(|id| VlanId::try_from(id).ok());
            let (Some(parent), Some(id)) = (&raw.link, id) else {
                return Err(unreadable(&raw.ifname, Unreadable::Vlan));
            };
            let parent = name(parent)?;
            LinkKind::Vlan { parent, id }
        }
        // A bond whose settings cannot be read has none that a lab gives it.
        Some("bond") => LinkKind::Bond(raw.bond().unwrap_or(Bond {
            mode: BondMode::BalanceRr,
            miimon: None,
            lacp_rate: None,
            xmit_hash_policy: None,
            primary: None,
        })),
        Some("vxlan") => LinkKind::Vxlan {
            vni: data.id.and_then(|id| u32::try_from(id).ok()).unwrap_or_default(),
            local: data.local.unwrap_or(Ipv4Addr::UNSPECIFIED),
            remotes: snapshot.remotes(&raw.ifname),
        },
        _ => LinkKind::Bridge {
            stp: raw.stp(),
            mac: raw
                .address
                .as_deref()
                .filter(|_| mark::mac_is_set(raw))
                .and_then(|address| address.parse().ok()),
        },
    };
    let purpose = mark::plain(purpose);
    let delays = matches!(kind, LinkKind::Bridge { stp: None, .. }) && raw.is_root() && data.forward_delay != Some(0);
    Ok(Link {
        kind,
        master: raw.master.as_deref().and_then(|master| IfName::new(master).ok()),
        addresses: raw
            .addr_info
            .iter()
            // Dynamic ones came with a NIC's DHCP client or router advertisement: a lab's are permanent.
            .filter(|address| address.scope == "global" && !address.dynamic)
            .filter_map(|address| IpNet::new(address.local?, address.prefixlen).ok())
            .filter(|address| !came.contains(address))
            .collect(),
        mtu: raw
            .mtu
            .filter(|_| mark::mtu_is_set(raw) || snapshot.is_lowered(raw))
            .map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX))
            .or_else(|| snapshot.ovs.mtu(&raw.ifname)),
        gateway: snapshot.default_route(&raw.ifname),
        // Whatever is wrong with it and has no field of its own shows as an unfinished link.
        purpose: if raw.is_up() && !delays {
            purpose.to_owned()
        } else {
            String::new()
        },
    })
}

/// Reads an attached NIC: wholly in its bridge, or with itself as its bridge. `held`: it is down by request.
fn uplink(snapshot: &Snapshot, link: &RawLink, record: &Record, held: bool) -> Result<Uplink, NetworkError> {
    let (now, _) = NicState::read(snapshot, link);
    let was = &record.was;
    // Attaching ends with removing what was recorded from the NIC. What was added to it later is not netlab's.
    let moved =
        !was.addresses.iter().any(|address| now.has_address(address)) && !was.routes.iter().any(|hop| now.has(hop));
    let untagged = !snapshot.ovs.is_tagged(&link.ifname);
    let whole = moved && (now.up || held) && untagged && link.master.as_deref() == Some(record.bridge.as_str());
    let on_bridge = snapshot.link(record.bridge.as_str()).filter(|_| whole);
    let missing = on_bridge.map(|bridge| missing(&NicState::read(snapshot, bridge).0, was));
    Ok(Uplink {
        bridge: if whole {
            record.bridge.clone()
        } else {
            name(&link.ifname)?
        },
        was: was.config(),
        bonded: is_bond(snapshot, record.bridge.as_str()),
        missing: missing.unwrap_or_default(),
    })
}

/// Returns the members of a link that is a bond.
fn bond_seen(snapshot: &Snapshot, raw: &RawLink) -> Option<BondSeen> {
    if !is_bond(snapshot, &raw.ifname) {
        return None;
    }
    let links = snapshot.links.iter();
    let members: Vec<&RawLink> = links
        .filter(|link| link.master.as_deref() == Some(raw.ifname.as_str()))
        .collect();
    let by_address = snapshot.ovs.active(&raw.ifname);
    let is_active = |link: &&&RawLink| match &by_address {
        Some(address) => link.address.as_ref() == Some(address),
        None => raw.linkinfo.info_data.active_slave.as_ref() == Some(&link.ifname),
    };
    let named = |link: &RawLink| IfName::new(&link.ifname).ok();
    let mode = match snapshot.ovs.kind(&raw.ifname) {
        Some(LinkKind::OvsBond { bond, .. }) => Some(bond.mode),
        _ => raw.bond().map(|bond| bond.mode),
    };
    Some(BondSeen {
        mode,
        members: members
            .iter()
            .filter_map(|link| Some((named(link)?, link.has_carrier())))
            .collect(),
        active: members.iter().find(is_active).and_then(|link| named(link)),
    })
}

/// Returns whether a link is a bond.
pub(super) fn is_bond(snapshot: &Snapshot, name: &str) -> bool {
    let of_kernel = snapshot.link(name).is_some_and(|link| link.kind() == Some("bond"));
    of_kernel || matches!(snapshot.ovs.kind(name), Some(LinkKind::OvsBond { .. }))
}

/// Returns what of `was` a bridge that has `now` lacks.
fn missing(now: &NicState, was: &NicState) -> Missing {
    let addresses = was
        .addresses
        .iter()
        .filter(|one| one.is_ipv4() && !now.has_address(one));
    let routes = was.routes.iter().filter(|hop| hop.is_ipv4() && !now.has(hop));
    Missing {
        addresses: addresses.map(|address| address.net).collect(),
        routes: routes.map(|hop| hop.route.clone()).collect(),
    }
}

/// Parses the record on an attached NIC.
pub(super) fn parse(link: &RawLink, record: &str) -> Result<Record, NetworkError> {
    record
        .parse()
        .map_err(|token| unreadable(&link.ifname, Unreadable::Record { token }))
}

/// Parses a link's name; those that netlab has created or attached all have this alphabet.
fn name(text: &str) -> Result<IfName, NetworkError> {
    IfName::new(text).map_err(|error| unreadable(text, Unreadable::Name(error)))
}

fn unreadable(link: &str, reason: Unreadable) -> NetworkError {
    NetworkError::Unreadable {
        link: link.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::ip::mark::group;
    use crate::transport::{Cmd, CmdError, Output};

    /// A host of which `ip link` prints this, and all else nothing.
    struct Printed(String);

    impl Shell for Printed {
        fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
            let links = cmd.argv.contains(&"link".to_owned());
            Ok(Output {
                status: 0,
                stdout: if links { self.0.clone().into() } else { Vec::new() },
                stderr: Vec::new(),
            })
        }
    }

    #[test]
    fn a_vlan_device_is_read_from_what_ip_prints() {
        let lab = LabName::new("quickstart").unwrap();
        let printed = serde_json::json!([{
            "ifindex": 7, "link": "eth0", "ifname": "eth0.10", "flags": ["BROADCAST", "UP", "LOWER_UP"],
            "master": "br1", "group": group("quickstart").to_string(), "link_type": "ether",
            "address": "52:54:00:00:00:01", "inet6_addr_gen_mode": "none",
            "linkinfo": {
                "info_kind": "vlan",
                "info_data": {"protocol": "802.1Q", "id": 10, "flags": ["REORDER_HDR"]},
                "info_slave_kind": "bridge"
            },
            "ifalias": "netlab:quickstart:network service"
        }]);
        let network = observe(&Printed(printed.to_string()), &lab).unwrap();
        let wanted = Link {
            kind: LinkKind::Vlan {
                parent: IfName::new("eth0").unwrap(),
                id: VlanId::try_from(10).unwrap(),
            },
            master: Some(IfName::new("br1").unwrap()),
            addresses: BTreeSet::new(),
            mtu: None,
            gateway: None,
            purpose: "network service".to_owned(),
        };
        assert_eq!(network.links, [(IfName::new("eth0.10").unwrap(), wanted)].into());
        assert_eq!(network.seen.links[&IfName::new("eth0.10").unwrap()], 7);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_an_error_that_names_the_nic() {
        let lab = LabName::new("quickstart").unwrap();
        let printed = r#"[{"ifindex": 2, "ifname": "eth0", "ifalias": "netlab:quickstart:was br1 up ?new"}]"#;
        let error = observe(&Printed(printed.to_owned()), &lab).unwrap_err();
        assert!(
            error.to_string().contains("eth0") && error.to_string().contains("?new"),
            "{error}"
        );
    }
}
