//! The `ip` command lines of a step, written once for everything that changes a host's links: takes a [`Step`] and what
//! is observed of the links it changes, returns the arguments of `ip`, one command a line; a line for another program
//! starts with its name ([`program_of`]). Pure: reads no host, runs nothing. Both `netlab up` (which runs them as one batch
//! of each program) and `netlab script` print these lines.
//!
//! ```
//! use netlab::plan::{Step, lines::{Observed, lines}};
//!
//! let step = Step::AddAddress("br1".parse()?, "10.0.1.1/24".parse()?);
//! let lines = lines(&step, &Observed::default())?;
//! assert_eq!(lines, ["address replace 10.0.1.1/24 broadcast 10.0.1.255 dev br1"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod mark;
mod nic;
mod ovs;
mod shaping;
#[cfg(test)]
mod tests;
mod uplink;

pub(crate) use self::mark::{ALIAS_LIMIT, MAC_IS_SET, MTU_IS_SET, quoted, without_delay};
pub(crate) use nic::{Address, Hop, NicState};
pub use ovs::OvsObject;
pub(crate) use ovs::{MAC_GIVEN, OWNER, PURPOSE, is_ovs, remove_nic, set_mac, spanning_tree};
pub(crate) use shaping::{DOWN_KIND, shape, unshape};
pub(crate) use uplink::UplinkMove;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::Step;
use crate::lab::{Bond, ETHERNET_MTU, IfName, LabName};
use crate::state::{Link, LinkKind};
use crate::topology::derive::{link_group, provisional_mac};

/// What the lines of a step depend on besides the step itself. The default is a host on which nothing of the lab
/// exists yet, and links without marks.
#[derive(Debug, Clone, Default)]
pub struct Observed<'a> {
    /// The lab whose marks (link group, alias, metric of a floating address) the lines set; absent: no marks.
    pub marks: Option<&'a LabName>,
    /// The kernel has no IPv6 (`ipv6.disable=1`).
    pub no_ipv6: bool,
    /// The link that a [`Step::ChangeLink`] changes.
    pub link: ObservedLink,
    /// The NIC and the bridge of a [`Step::AttachUplink`] or [`Step::DetachUplink`].
    pub(crate) uplink: Option<UplinkMove>,
}

/// The programs that lines are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// ip(8).
    Ip,
    /// bridge(8).
    Bridge,
    /// ovs-vsctl(8).
    OvsVsctl,
    /// tc(8).
    Tc,
}

impl Program {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Bridge => "bridge",
            Self::OvsVsctl => "ovs-vsctl",
            Self::Tc => "tc",
        }
    }
}

/// Returns the program that a line is for, and its arguments.
pub fn program_of(line: &str) -> (Program, &str) {
    [Program::Bridge, Program::OvsVsctl, Program::Tc]
        .into_iter()
        .find_map(|program| Some((program, line.strip_prefix(program.name())?.strip_prefix(' ')?)))
        .unwrap_or((Program::Ip, line))
}

/// What is observed of a link before it is changed.
#[derive(Debug, Clone, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is observed independently of the others"
)]
pub struct ObservedLink {
    /// It has no alias: the run that created it was interrupted.
    pub unfinished: bool,
    /// It is a port of a bridge.
    pub is_port: bool,
    /// What of Open vSwitch's it is.
    pub ovs: Option<OvsObject>,
    /// The remote ends that a VXLAN device has.
    pub remotes: BTreeSet<Ipv4Addr>,
    /// The MAC address of its uplink, where the bridge must have that one again.
    pub uplink_mac: Option<String>,
    /// It has an MTU that its network stated, or somebody set.
    pub mtu_is_set: bool,
    /// It has the default route that a lab gave the host.
    pub gateway: Option<Ipv4Addr>,
    /// It is a bond of the kernel's, and a port of one of Open vSwitch's bridges.
    pub in_ovs: bool,
    /// The bridge that it is to be a port of is Open vSwitch's.
    pub master_is_ovs: bool,
}

/// Why a step has no lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The mark cannot be written as an alias.
    #[error("the purpose of link {link} cannot be part of an alias: {purpose:?}")]
    Alias {
        /// The link.
        link: IfName,
        /// Its purpose.
        purpose: String,
    },
    /// The step does not change a link, an address or a route.
    #[error("not a step that `ip` carries out: {0}")]
    NotOfLinks(String),
}

/// Returns the arguments of `ip`, one command a line, that carry out `step`.
///
/// The lines are to run in order. Those of one step do not depend on lines of another, except that a link exists before
/// others refer to it.
pub fn lines(step: &Step, observed: &Observed) -> Result<Vec<String>, LineError> {
    Ok(match step {
        Step::CreateLink(name, link) => create(name, link, observed)?,
        Step::ChangeLink(name, link) => change(name, link, observed)?,
        Step::DeleteLink { name, .. } => {
            if let Some(object) = observed.link.ovs {
                vec![ovs::delete(name, object)]
            } else {
                let port = observed.link.in_ovs.then(|| ovs::remove_kernel_bond(name));
                port.into_iter().chain([format!("link del dev {name}")]).collect()
            }
        }
        Step::AddAddress(name, address) => vec![add_address(name, *address)],
        Step::DeleteAddress(name, address) => vec![format!("address del {address} dev {name}")],
        Step::AttachUplink(nic, wanted) => {
            let on_nic = || UplinkMove::first(&wanted.was);
            let observed = observed.uplink.clone().unwrap_or_else(on_nic);
            uplink::attach(nic, &wanted.bridge, wanted.bonded, &observed)
        }
        Step::DetachUplink(nic, wanted) => {
            let in_bridge = || UplinkMove::first(&wanted.was).attached();
            let observed = observed.uplink.clone().unwrap_or_else(in_bridge);
            uplink::detach(nic, &wanted.bridge, wanted.bonded, &observed)
        }
        Step::AddFloating(address, nic) => {
            // The mark of a floating address: one for a single host makes no route, so its metric has no other effect.
            let metric = observed
                .marks
                .map(|lab| format!(" metric {}", link_group(lab.as_str())));
            vec![format!(
                "address add {address}/32{} dev {nic}",
                metric.unwrap_or_default()
            )]
        }
        Step::DeleteFloating(address, nic) => vec![format!("address del {address}/32 dev {nic}")],
        Step::Shape(_, link, shaping) => shape(link, shaping, observed.marks),
        Step::Unshape(_, link, shaping) => unshape(link, shaping),
        other => return Err(LineError::NotOfLinks(other.to_string())),
    })
}

fn create(name: &IfName, link: &Link, observed: &Observed) -> Result<Vec<String>, LineError> {
    if is_ovs(&link.kind) {
        return Ok(create_ovs(name, link, observed));
    }
    let mut lines = vec![match &link.kind {
        LinkKind::Bridge { stp, mac } => {
            let mac = mac.unwrap_or_else(|| provisional_mac(name));
            add_bridge(observed.marks, name, &mac.to_string(), *stp)
        }
        LinkKind::Vlan { parent, id } => {
            format!(
                "link add link {parent} name {name}{} type vlan id {id}",
                group(observed.marks)
            )
        }
        LinkKind::Vxlan { vni, local, .. } => format!(
            "link add name {name}{} type vxlan id {vni} local {local} dstport {VXLAN_PORT}",
            group(observed.marks)
        ),
        LinkKind::Bond(bond) => format!(
            "link add name {name}{} type bond {}",
            group(observed.marks),
            bond_options(bond)
        ),
        LinkKind::OvsBridge { .. }
        | LinkKind::OvsPatch { .. }
        | LinkKind::OvsTunnel { .. }
        | LinkKind::OvsBond { .. } => String::new(),
    }];
    lines.extend(no_link_local(name, observed));
    lines.extend(link.master.as_ref().map(|master| attach_port(name, master, observed)));
    lines.extend(link.mtu.map(|mtu| set_mtu(name, mtu)));
    lines.push(format!("link set dev {name} up"));
    lines.extend(link.addresses.iter().map(|address| add_address(name, *address)));
    lines.extend(default_route(name, link, observed));
    lines.extend(mark(name, link, observed)?);
    lines.extend(ends(name, link, &BTreeSet::new()));
    Ok(lines)
}

/// The lines that create one of Open vSwitch's links, or change it.
fn create_ovs(name: &IfName, link: &Link, observed: &Observed) -> Vec<String> {
    let mut lines = ovs::set(name, link, observed.marks);
    // Ports are no devices of the kernel.
    if matches!(link.kind, LinkKind::OvsBridge { .. }) {
        lines.extend(no_link_local(name, observed));
        lines.push(format!("link set dev {name} up"));
        lines.extend(link.addresses.iter().map(|address| add_address(name, *address)));
        lines.extend(default_route(name, link, observed));
    }
    lines
}

/// The UDP port that IANA assigned to VXLAN; the kernel's default is another one.
pub(crate) const VXLAN_PORT: u16 = 4789;

/// The lines that give a VXLAN device its remote ends in place of those that it has.
fn ends(name: &IfName, link: &Link, has: &BTreeSet<Ipv4Addr>) -> Vec<String> {
    let LinkKind::Vxlan { remotes, .. } = &link.kind else {
        return Vec::new();
    };
    // Frames for addresses that were not learned, and for groups, go to every end of the address of all zeros.
    let line = |verb: &str, end: &Ipv4Addr| format!("bridge fdb {verb} 00:00:00:00:00:00 dev {name} dst {end}");
    let gone = has.difference(remotes).map(|end| line("del", end));
    gone.chain(remotes.difference(has).map(|end| line("append", end)))
        .collect()
}

fn change(name: &IfName, link: &Link, observed: &Observed) -> Result<Vec<String>, LineError> {
    if is_ovs(&link.kind) {
        let bare = Link {
            addresses: BTreeSet::new(),
            ..link.clone()
        };
        let mut lines = create_ovs(name, &bare, observed);
        let follows_uplink = matches!(link.kind, LinkKind::OvsBridge { mac: None, .. });
        let mac = observed.link.uplink_mac.as_ref().filter(|_| follows_uplink);
        lines.extend(mac.map(|mac| set_mac(name, mac)));
        // Open vSwitch changes no MTU that somebody has set.
        let lowered = observed.link.mtu_is_set.then(|| link.mtu.unwrap_or(ETHERNET_MTU));
        lines.extend(lowered.map(|mtu| set_mtu(name, mtu)));
        return Ok(lines);
    }
    let mut lines = Vec::new();
    // The kernel checks the delay against its current state (net/bridge/br_stp.c, br_set_forward_delay): 0 is legal
    // only without spanning tree, so the two are set one after the other. A bridge whose topology has just changed learns
    // nothing while its delay is 0 (net/bridge/br_fdb.c, hold_time): what it learned before would be wrong until then.
    match link.kind {
        LinkKind::Bridge { stp: Some(delay), .. } => lines.push(format!(
            "link set dev {name} type bridge forward_delay {} stp_state 1",
            centiseconds(delay)
        )),
        LinkKind::Bridge { stp: None, .. } => lines.extend([
            format!("link set dev {name} type bridge stp_state 0 mcast_snooping 0"),
            format!("link set dev {name} type bridge forward_delay 0 fdb_flush"),
        ]),
        LinkKind::Vxlan { .. }
        | LinkKind::Vlan { .. }
        | LinkKind::OvsBridge { .. }
        | LinkKind::OvsPatch { .. }
        | LinkKind::OvsTunnel { .. }
        | LinkKind::Bond(_)
        | LinkKind::OvsBond { .. } => {}
    }
    let mac = match &link.kind {
        LinkKind::Bridge { mac: Some(mac), .. } => Some(mac.to_string()),
        LinkKind::Bridge { mac: None, .. } => observed.link.uplink_mac.clone(),
        _ => None,
    };
    lines.extend(mac.map(|mac| format!("link set dev {name} address {mac}")));
    if observed.link.unfinished {
        lines.extend(no_link_local(name, observed));
    }
    match &link.master {
        Some(master) => lines.push(attach_port(name, master, observed)),
        None if observed.link.in_ovs => lines.push(ovs::remove_kernel_bond(name)),
        None if observed.link.is_port => lines.push(format!("link set dev {name} nomaster")),
        None => {}
    }
    let unset = observed.link.mtu_is_set.then_some(ETHERNET_MTU);
    lines.extend(link.mtu.or(unset).map(|mtu| set_mtu(name, mtu)));
    lines.push(format!("link set dev {name} up"));
    lines.extend(default_route(name, link, observed));
    lines.extend(mark(name, link, observed)?);
    lines.extend(ends(name, link, &observed.link.remotes));
    Ok(lines)
}

/// Returns the line that creates a bridge with this MAC address.
pub(crate) fn add_bridge(marks: Option<&LabName>, name: &IfName, mac: &str, stp: Option<u8>) -> String {
    // Multicast is flooded to every port: with snooping on, a stray querier beyond the uplink would cut off the guests
    // that rely on multicast without reporting it.
    format!(
        "link add name {name}{} address {mac} type bridge stp_state {} forward_delay {} mcast_snooping 0",
        group(marks),
        u8::from(stp.is_some()),
        // Without spanning tree a new port's delay only loses its first packets.
        centiseconds(stp.unwrap_or_default()),
    )
}

/// The unit in which iproute2 has a bridge's delays.
fn centiseconds(seconds: u8) -> u16 {
    u16::from(seconds) * 100
}

/// The mark that a link has from its first moment: `ip link add` accepts a group, but no alias.
fn group(marks: Option<&LabName>) -> String {
    marks
        .map(|lab| format!(" group {}", link_group(lab.as_str())))
        .unwrap_or_default()
}

/// The line that finishes a link: its mark in full.
fn mark(name: &IfName, link: &Link, observed: &Observed) -> Result<Option<String>, LineError> {
    let Some(lab) = observed.marks else {
        return Ok(None);
    };
    let alias = mark::alias(lab, link).ok_or_else(|| LineError::Alias {
        link: name.clone(),
        purpose: link.purpose.clone(),
    })?;
    Ok(Some(format!("link set dev {name} alias {alias}")))
}

/// No IPv6 link-local address: the lab did not ask for one, and a guest would reach the host by it, past all of the
/// lab's rules.
fn no_link_local(name: &IfName, observed: &Observed) -> Option<String> {
    (!observed.no_ipv6).then(|| format!("link set dev {name} addrgenmode none"))
}

/// The options of a bond, as ip-link(8) takes them.
fn bond_options(bond: &Bond) -> String {
    let Bond {
        mode,
        miimon,
        lacp_rate,
        xmit_hash_policy,
        primary,
    } = bond;
    let mut options = format!("mode {mode}");
    // Writing to a `String` cannot fail.
    if let Some(miimon) = miimon {
        let _ = write!(options, " miimon {miimon}");
    }
    if let Some(rate) = lacp_rate {
        let _ = write!(options, " lacp_rate {rate}");
    }
    if let Some(policy) = xmit_hash_policy {
        let _ = write!(options, " xmit_hash_policy {policy}");
    }
    if let Some(primary) = primary {
        let _ = write!(options, " primary {primary}");
    }
    options
}

/// The routing protocol field of a default route that a lab gives a host: a number that no routing daemon uses
/// (/etc/iproute2/rt_protos).
pub(crate) const ROUTE_MARK: &str = "78";

/// The line that gives the host the link's default route, or removes it.
fn default_route(name: &IfName, link: &Link, observed: &Observed) -> Option<String> {
    let mark = observed
        .marks
        .map(|_| format!(" proto {ROUTE_MARK}"))
        .unwrap_or_default();
    match (link.gateway, observed.link.gateway) {
        (Some(gateway), _) => Some(format!("route replace default via {gateway} dev {name}{mark}")),
        (None, Some(was)) => Some(format!("route del default via {was} dev {name}{mark}")),
        (None, None) => None,
    }
}

fn attach_port(name: &IfName, bridge: &IfName, observed: &Observed) -> String {
    if observed.link.master_is_ovs {
        return ovs::add_kernel_bond(name, bridge);
    }
    format!("link set dev {name} master {bridge}")
}

/// A line of its own: a bridge that is created with an MTU still takes the smallest of its ports', one that is set later
/// it keeps (net/bridge/br_device.c, br_change_mtu).
fn set_mtu(name: &IfName, mtu: u16) -> String {
    format!("link set dev {name} mtu {mtu}")
}

/// `replace`, since an address that is there already is no error.
fn add_address(name: &IfName, address: IpNet) -> String {
    match (address, Address::usual_broadcast(address)) {
        (IpNet::V4(_), Some(broadcast)) => format!("address replace {address} broadcast {broadcast} dev {name}"),
        (IpNet::V4(_), None) => format!("address replace {address} dev {name}"),
        // Usable at once: preflight has found that nothing else has it.
        (IpNet::V6(_), _) => format!("address replace {address} nodad dev {name}"),
    }
}
