//! The `ovs-vsctl` lines of Open vSwitch's bridges and ports. Several lines become one transaction, so that an object has
//! its mark from its first moment: `external_ids` with the lab and the purpose.

use crate::lab::{Bond, BondMode, IfName, LabName, LacpRate};
use crate::state::{Link, LinkKind, PROVIDER};
use crate::topology::derive::{patch_peer, provisional_mac};

/// The key of `external_ids` that names the lab which an object belongs to.
pub(crate) const OWNER: &str = "netlab";
/// The key that has its purpose, with slashes in place of blanks.
pub(crate) const PURPOSE: &str = "netlab-purpose";
/// The key that a bridge has whose MAC address is not that of its uplink.
pub(crate) const MAC_GIVEN: &str = "netlab-mac";

/// Returns whether a link of this kind is Open vSwitch's.
pub(crate) fn is_ovs(kind: &LinkKind) -> bool {
    matches!(
        kind,
        LinkKind::OvsBridge { .. } | LinkKind::OvsPatch { .. } | LinkKind::OvsTunnel { .. } | LinkKind::OvsBond { .. }
    )
}

/// Returns the lines that create `link` or, where it exists, change it; empty for a link of the kernel.
pub(super) fn set(name: &IfName, link: &Link, marks: Option<&LabName>) -> Vec<String> {
    let ids = |given: &str| match marks {
        Some(lab) => format!(
            " external_ids:{OWNER}={lab} external_ids:{PURPOSE}={}{given}",
            link.purpose.replace(' ', "/")
        ),
        None => String::new(),
    };
    match &link.kind {
        LinkKind::OvsBridge { datapath, stp, mac } => {
            let given = if mac.is_some() {
                format!(" external_ids:{MAC_GIVEN}=given")
            } else {
                String::new()
            };
            let mac = mac.unwrap_or_else(|| provisional_mac(name));
            let mtu = link.mtu.map_or("[]".to_owned(), |mtu| mtu.to_string());
            vec![format!(
                "ovs-vsctl --may-exist add-br {name} -- set Bridge {name} datapath_type={datapath} \
                 other_config:hwaddr={mac}{}{} -- set Interface {name} mtu_request={mtu}",
                spanning_tree(*stp, &link.purpose),
                ids(&given)
            )]
        }
        LinkKind::OvsPatch { provider, tag } => {
            let peer = patch_peer(name);
            let master = link.master.as_ref().unwrap_or(provider);
            vec![
                format!(
                    "ovs-vsctl --may-exist add-port {master} {name} -- set Interface {name} type=patch options:peer={peer}\
                     {}",
                    port_ids(name, &ids(""))
                ),
                format!(
                    "ovs-vsctl --may-exist add-port {provider} {peer} -- set Port {peer} tag={tag}{} -- set Interface {peer} \
                     type=patch options:peer={name}",
                    ids("")
                ),
            ]
        }
        LinkKind::OvsTunnel {
            protocol,
            key,
            local,
            remote,
        } => {
            let Some(master) = &link.master else { return Vec::new() };
            vec![format!(
                "ovs-vsctl --may-exist add-port {master} {name} -- set Interface {name} type={protocol} options:key={key} \
                 options:local_ip={local} options:remote_ip={remote}{}",
                port_ids(name, &ids(""))
            )]
        }
        LinkKind::OvsBond { bond, members } => {
            let Some(master) = &link.master else { return Vec::new() };
            let members: Vec<&str> = members.iter().map(IfName::as_str).collect();
            // No command changes the members of a bond in place.
            vec![format!(
                "ovs-vsctl --if-exists del-port {name} -- add-bond {master} {name} {} {}{}",
                members.join(" "),
                bond_settings(bond),
                port_ids(name, &ids(""))
            )]
        }
        LinkKind::Bridge { .. } | LinkKind::Vlan { .. } | LinkKind::Vxlan { .. } | LinkKind::Bond(_) => Vec::new(),
    }
}

/// Returns a bridge's spanning tree as columns of it (ovs-vswitchd.conf.db(5)). A bridge that only has an uplink passes the
/// frames of the spanning trees of the networks on it, which bridges drop otherwise.
pub(crate) fn spanning_tree(stp: Option<u8>, purpose: &str) -> String {
    match stp {
        Some(delay) => {
            // The bridge takes no delay that is too short for its maximum age, by default 20 s: 2 × (delay − 1 s) ≥ age
            // (IEEE 802.1D-2004, 17.14).
            let age = delay.saturating_sub(1).saturating_mul(2).clamp(6, 20);
            format!(" stp_enable=true other_config:stp-max-age={age} other_config:stp-forward-delay={delay}")
        }
        None if purpose.starts_with(PROVIDER) => " stp_enable=false other_config:forward-bpdu=true".to_owned(),
        None => " stp_enable=false".to_owned(),
    }
}

/// Returns a bond's settings as columns of its port (ovs-vswitchd.conf.db(5)).
fn bond_settings(bond: &Bond) -> String {
    // Preflight refuses modes that Open vSwitch does not have.
    let mut columns = match bond.mode {
        BondMode::Lacp => "bond_mode=balance-tcp lacp=active".to_owned(),
        _ => "bond_mode=active-backup lacp=off".to_owned(),
    };
    let rate = match bond.lacp_rate {
        Some(LacpRate::Fast) => " other_config:lacp-time=fast",
        Some(LacpRate::Slow) => " other_config:lacp-time=slow",
        None => "",
    };
    columns.push_str(rate);
    if let Some(primary) = &bond.primary {
        columns.push_str(" other_config:bond-primary=");
        columns.push_str(primary.as_str());
    }
    columns
}

/// Returns the line that makes a bond of the kernel's a port of a bridge. It runs after those that create the bond.
pub(super) fn add_kernel_bond(bond: &IfName, bridge: &IfName) -> String {
    format!("ovs-vsctl --if-exists del-port {bond} -- add-port {bridge} {bond}")
}

/// Returns the line that removes a bond of the kernel's from its bridge.
pub(super) fn remove_kernel_bond(bond: &IfName) -> String {
    format!("ovs-vsctl --if-exists del-port {bond}")
}

fn port_ids(name: &IfName, ids: &str) -> String {
    if ids.is_empty() {
        String::new()
    } else {
        format!(" -- set Port {name}{ids}")
    }
}

/// What of Open vSwitch's a link is that is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OvsObject {
    /// A bridge.
    Bridge,
    /// A port, of a patch with the other one.
    Port,
}

/// Returns the line that deletes an object; no error where it does not exist.
pub(super) fn delete(name: &IfName, object: OvsObject) -> String {
    match object {
        OvsObject::Bridge => format!("ovs-vsctl --if-exists del-br {name}"),
        OvsObject::Port => format!(
            "ovs-vsctl --if-exists del-port {name} -- --if-exists del-port {}",
            patch_peer(name)
        ),
    }
}

/// Returns the line that makes a NIC a port of a bridge.
pub(super) fn add_nic(nic: &IfName, bridge: &IfName) -> String {
    format!("ovs-vsctl --may-exist add-port {bridge} {nic}")
}

/// Returns the line that removes a NIC from a bridge.
pub(crate) fn remove_nic(nic: &IfName, bridge: &IfName) -> String {
    format!("ovs-vsctl --if-exists del-port {bridge} {nic}")
}

/// Returns the line that gives a bridge a MAC address.
pub(crate) fn set_mac(bridge: &IfName, mac: &str) -> String {
    format!("ovs-vsctl set Bridge {bridge} other_config:hwaddr={mac}")
}
