//! Attaching a NIC to a bridge and detaching it, as one sequence of lines each.
//!
//! Make before break: addresses and routes are on both links for a moment, so that the host never lacks them. The
//! record is written first and removed last, and each line is left out or harmless where its effect is there already:
//! a run killed at any point is finished, or undone, by the same code.

use ipnet::IpNet;

use super::nic::NicState;
use super::ovs::{add_nic, remove_nic, set_mac};
use super::quoted;
use crate::lab::IfName;
use crate::state::NicConfig;

/// What is observed of a NIC and its bridge before one is attached to the other or detached from it.
#[derive(Debug, Clone, Default)]
pub(crate) struct UplinkMove {
    /// What was on the NIC before it was attached, and is to be restored exactly.
    pub was: NicState,
    /// What is on the NIC now.
    pub on_nic: NicState,
    /// What is on the bridge now; absent: there is no such bridge of the lab's.
    pub on_bridge: Option<NicState>,
    /// The NIC is a port of the bridge.
    pub is_attached: bool,
    /// The bridge is Open vSwitch's.
    pub ovs: bool,
    /// The MAC address that the bridge is to have; absent: it has one of its own.
    pub mac: Option<String>,
    /// The alias that holds the record of `was`, as an argument for `ip -batch`; absent: no record.
    pub record: Option<String>,
    /// Temporary addresses on the NIC (RFC 8981).
    pub temporary: Vec<IpNet>,
}

impl UplinkMove {
    /// Nothing is attached yet, and this is on the NIC.
    pub fn first(was: &NicConfig) -> Self {
        let was = NicState::from(was);
        Self {
            on_nic: was.clone(),
            was,
            on_bridge: Some(NicState::default()),
            ..Self::default()
        }
    }

    /// The same NIC after it was attached.
    pub(super) fn attached(self) -> Self {
        Self {
            on_nic: NicState::default(),
            on_bridge: Some(self.was.clone()),
            is_attached: true,
            ..self
        }
    }
}

/// Returns the lines that attach `nic` to `bridge` and move its addresses and routes to the bridge.
/// `bonded`: it is a bond, whose device takes a NIC only while that is down.
pub(super) fn attach(nic: &IfName, bridge: &IfName, bonded: bool, observed: &UplinkMove) -> Vec<String> {
    let UplinkMove {
        was,
        on_nic,
        on_bridge,
        is_attached,
        ovs,
        mac,
        record,
        temporary,
    } = observed;
    let nothing = NicState::default();
    let on_bridge = on_bridge.as_ref().unwrap_or(&nothing);

    let mut lines = Vec::new();
    lines.extend(record.as_ref().map(|alias| format!("link set dev {nic} alias {alias}")));
    // Neighbors know the host's addresses by the NIC's MAC address: it moves along.
    lines.extend(
        mac.as_ref()
            .filter(|_| !bonded)
            .map(|mac| address_of(bridge, mac, *ovs)),
    );
    if bonded {
        // One of Open vSwitch's is created with its members.
        if !*ovs && !*is_attached {
            lines.push(format!("link set dev {nic} down"));
            lines.push(format!("link set dev {nic} master {bridge}"));
        }
        lines.push(format!("link set dev {nic} up"));
        return lines;
    }
    if was.has_ipv6() {
        // Neighbor discovery for those who are routed needs a link-local address (RFC 4861, 7.2.2).
        lines.push(format!("link set dev {bridge} addrgenmode eui64"));
    }
    lines.push(if *ovs {
        add_nic(nic, bridge)
    } else {
        format!("link set dev {nic} master {bridge}")
    });
    lines.push(format!("link set dev {nic} up"));
    for address in was.in_order_of_adding() {
        lines.push(format!(
            "address replace {} dev {bridge}",
            address.on_bridge().arguments()
        ));
    }
    move_routes(&mut lines, was, Some((nic, on_nic)), (bridge, on_bridge));
    // Temporary addresses would keep a route to the NIC; the kernel makes new ones when the NIC is detached.
    lines.extend(
        temporary
            .iter()
            .map(|address| format!("address del {address} dev {nic}")),
    );
    clear(&mut lines, was, on_nic, nic);
    lines
}

/// Returns the lines that detach `nic` from `bridge` and restore everything on it.
pub(super) fn detach(nic: &IfName, bridge: &IfName, bonded: bool, observed: &UplinkMove) -> Vec<String> {
    let UplinkMove {
        was,
        on_nic,
        on_bridge,
        is_attached,
        ovs,
        mac,
        record,
        temporary: _,
    } = observed;

    let mut lines = Vec::new();
    // Open vSwitch's bond is deleted with its members.
    if *is_attached && !(bonded && *ovs) {
        lines.push(if *ovs {
            remove_nic(nic, bridge)
        } else {
            format!("link set dev {nic} nomaster")
        });
    }
    lines.push(format!("link set dev {nic} {}", was.up_or_down()));
    for address in was.in_order_of_adding() {
        lines.extend(address.restore_on(nic.as_str()));
    }
    let from = on_bridge.as_ref().map(|on_bridge| (bridge, on_bridge));
    move_routes(&mut lines, was, from, (nic, on_nic));
    if let Some(on_bridge) = on_bridge {
        clear(&mut lines, was, on_bridge, bridge);
        lines.extend(
            mac.as_ref()
                .filter(|_| !bonded)
                .map(|mac| address_of(bridge, mac, *ovs)),
        );
        if was.has_ipv6() && !bonded {
            lines.push(format!("link set dev {bridge} addrgenmode none"));
            lines.push(format!("address flush dev {bridge} scope link"));
        }
    }
    if record.is_some() {
        let alias = quoted(&was.alias).unwrap_or_else(|| "\"\"".to_owned());
        lines.push(format!("link set dev {nic} alias {alias}"));
    }
    lines
}

/// The line that gives a bridge a MAC address.
fn address_of(bridge: &IfName, mac: &str, ovs: bool) -> String {
    if ovs {
        set_mac(bridge, mac)
    } else {
        format!("link set dev {bridge} address {mac}")
    }
}

/// Moves the routes of `was`, each unless it has moved already, from one link (where there is one) to another.
fn move_routes(
    lines: &mut Vec<String>,
    was: &NicState,
    from: Option<(&IfName, &NicState)>,
    (to, on_to): (&IfName, &NicState),
) {
    for route in &was.routes {
        let add = (!on_to.has(route)).then(|| route.add(to.as_str()));
        let remove = from
            .filter(|(_, on_from)| on_from.has(route))
            .map(|(from, _)| route.remove(from.as_str()));
        lines.extend(add.into_iter().chain(remove));
    }
}

/// Removes from `link`, which has `now`, the addresses of `was` that are there.
fn clear(lines: &mut Vec<String>, was: &NicState, now: &NicState, link: &IfName) {
    if was.has_ipv6() {
        lines.extend(now.dated.iter().map(|route| route.remove(link.as_str())));
    }
    for address in was.in_order_of_adding().rev() {
        if now.has_address(address) {
            lines.push(format!("address del {} dev {link}", address.net));
        }
    }
}
