//! The rollback of attaching or detaching a NIC, computed before it is changed: lines for `ip -force -batch` that the host
//! can run by itself once nobody reaches it. They restore what the host is reached by; all the rest is left to the next
//! run, which observes it. On a host that was not changed after all they change nothing.

use super::error::NetworkError;
use super::mark::Mark;
use super::observe::parse;
use super::record::Record;
use super::snapshot::Snapshot;
use crate::lab::{IfName, LabName};
use crate::plan::Step;
use crate::plan::lines::{NicState, OWNER, add_bridge, is_ovs, quoted, remove_nic, set_mac, spanning_tree};
use crate::state::LinkKind;
use crate::transport::Shell;

/// Returns the lines that undo every attachment and detachment among `steps`, from the state of the host before them.
/// Empty where there is nothing to undo.
pub fn rollback(shell: &dyn Shell, lab: &LabName, steps: &[Step]) -> Result<String, NetworkError> {
    let moves = |step: &Step| matches!(step, Step::AttachUplink(..) | Step::DetachUplink(..));
    if !steps.iter().any(moves) {
        return Ok(String::new());
    }
    let snapshot = Snapshot::take(shell)?;
    let mut lines = Vec::new();
    for step in steps {
        lines.extend(match step {
            Step::AttachUplink(nic, uplink) => {
                let bridge = &uplink.bridge;
                let made = steps.iter().find_map(|step| match step {
                    Step::CreateLink(name, link) => (name == bridge).then_some(&link.kind),
                    _ => None,
                });
                let ovs = made.is_some_and(is_ovs) || snapshot.ovs.object(bridge.as_str()).is_some();
                detach(&snapshot, lab, nic, bridge, (made.is_some(), ovs))?
            }
            Step::DetachUplink(nic, _) => attach_again(&snapshot, lab, nic)?,
            _ => Vec::new(),
        });
    }
    Ok(lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect())
}

/// Detaches a NIC, and removes the bridge if it was `made` for it. `ovs`: it is Open vSwitch's.
fn detach(
    snapshot: &Snapshot,
    lab: &LabName,
    nic: &IfName,
    bridge: &IfName,
    (made, ovs): (bool, bool),
) -> Result<Vec<String>, NetworkError> {
    let Some(link) = snapshot.link(nic.as_str()) else {
        return Ok(Vec::new());
    };
    let was = match Mark::read(link, lab) {
        Mark::Taken { by, record } if by == lab.as_str() => parse(link, &record)?.was,
        _ => NicState::read(snapshot, link).0,
    };
    let mut lines = if ovs {
        vec![remove_nic(nic, bridge)]
    } else {
        vec![format!("link set dev {nic} nomaster")]
    };
    if made {
        lines.push(if ovs {
            format!("ovs-vsctl --if-exists del-br {bridge}")
        } else {
            format!("link del dev {bridge}")
        });
    } else {
        for address in was.in_order_of_adding().rev() {
            lines.push(format!("address del {} dev {bridge}", address.net));
        }
        if let Some(address) = snapshot.link(bridge.as_str()).and_then(|link| link.address.as_ref()) {
            lines.push(if ovs {
                set_mac(bridge, address)
            } else {
                format!("link set dev {bridge} address {address}")
            });
        }
    }
    lines.extend(restore(nic.as_str(), &was));
    Ok(lines)
}

/// Attaches a NIC to the bridge that it is attached to now, which is created again where it was removed. Empty where the
/// NIC is in none of the lab's bridges.
fn attach_again(snapshot: &Snapshot, lab: &LabName, nic: &IfName) -> Result<Vec<String>, NetworkError> {
    let ours = |name: &str| snapshot.link(name).filter(|link| Mark::read(link, lab).is_made_by(lab));
    let Some(link) = snapshot.link(nic.as_str()) else {
        return Ok(Vec::new());
    };
    let Mark::Taken { by, record } = Mark::read(link, lab) else {
        return Ok(Vec::new());
    };
    let Some(bridge) = link.master.as_deref().and_then(ours).filter(|_| by == lab.as_str()) else {
        return Ok(Vec::new());
    };
    let Record { bridge: name, was } = parse(link, &record)?;
    let (on_nic, on_bridge) = (NicState::read(snapshot, link).0, NicState::read(snapshot, bridge).0);
    let mut lines = Vec::new();
    if let (Some(LinkKind::OvsBridge { datapath, stp, .. }), Some(address)) =
        (snapshot.ovs.kind(name.as_str()), &bridge.address)
    {
        lines.push(format!(
            "ovs-vsctl --may-exist add-br {name} -- set Bridge {name} datapath_type={datapath} \
             other_config:hwaddr={address}{} external_ids:{OWNER}={lab} -- --may-exist add-port {name} {nic}",
            spanning_tree(stp, "")
        ));
    } else if let Some(address) = &bridge.address {
        // Where it still exists, the first fails.
        lines.push(add_bridge(Some(lab), &name, address, bridge.stp()));
        lines.push(format!("link set dev {name} address {address}"));
    }
    if let Some(mode) = &bridge.inet6_addr_gen_mode {
        lines.push(format!("link set dev {name} addrgenmode {mode}"));
    }
    if snapshot.ovs.object(name.as_str()).is_none() {
        lines.push(format!("link set dev {nic} master {name}"));
    }
    // Addresses and routes of the NIC would come before those of the bridge.
    let removed = was.routes.iter().filter(|hop| !on_nic.has(hop));
    lines.extend(removed.chain(&on_bridge.dated).map(|hop| hop.remove(nic.as_str())));
    for address in was
        .in_order_of_adding()
        .rev()
        .filter(|address| !on_nic.has_address(address))
    {
        lines.push(format!("address del {} dev {nic}", address.net));
    }
    lines.extend(restore(nic.as_str(), &on_nic));
    lines.extend(restore(name.as_str(), &on_bridge));
    // The kernel adds one to a link that comes up, and this one may never have been down.
    for address in NicState::link_local(bridge) {
        lines.extend(address.restore_on(name.as_str()));
    }
    Ok(lines)
}

/// Restores the configuration of a link.
fn restore(link: &str, was: &NicState) -> Vec<String> {
    let mut lines = vec![format!("link set dev {link} {}", was.up_or_down())];
    for address in was.in_order_of_adding() {
        lines.extend(address.restore_on(link));
    }
    lines.extend(was.routes.iter().map(|hop| hop.add(link)));
    let alias = quoted(&was.alias).unwrap_or_else(|| "\"\"".to_owned());
    lines.push(format!("link set dev {link} alias {alias}"));
    lines
}
