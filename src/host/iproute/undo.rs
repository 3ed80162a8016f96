//! The way back from taking a NIC, written down before it is taken: lines for `ip -force -batch` that the host can run
//! by itself when nobody reaches it any more. They put back what the host is reached by and remove the bridges that
//! were made for it; all the rest is left to the next run, which sees it.

use super::json::Look;
use super::mark::{Mark, quoted};
use super::nic::Standing;
use super::observe::parse;
use crate::host::cmd::{CmdError, Shell};
use crate::lab::{IfName, LabName};
use crate::plan::Step;

/// The lines that undo every take among `steps`, from what the host looks like before them. Empty where none is taken.
pub fn way_back(shell: &dyn Shell, lab: &LabName, steps: &[Step]) -> Result<String, CmdError> {
    let taken: Vec<_> = steps
        .iter()
        .filter_map(|step| match step {
            Step::TakeUplink(nic, uplink) => Some((nic, &uplink.bridge)),
            _ => None,
        })
        .collect();
    let mut text = String::new();
    if taken.is_empty() {
        return Ok(text);
    }
    let look = Look::take(shell)?;
    let is_made = |bridge: &IfName| {
        let made = |step: &Step| matches!(step, Step::CreateLink(name, _) if name == bridge);
        steps.iter().any(made)
    };
    for (nic, bridge) in taken {
        for line in lines(&look, lab, nic, bridge, is_made(bridge))? {
            text.push_str(&line);
            text.push('\n');
        }
    }
    Ok(text)
}

fn lines(look: &Look, lab: &LabName, nic: &IfName, bridge: &IfName, made: bool) -> Result<Vec<String>, CmdError> {
    let Some(link) = look.link(nic.as_str()) else {
        return Ok(Vec::new());
    };
    let was = match Mark::read(link, lab) {
        Mark::Taken { by, record } if by == lab.as_str() => parse(link, &record)?.was,
        _ => Standing::read(look, link).0,
    };
    let mut lines = vec![format!("link set dev {nic} nomaster")];
    if made {
        lines.push(format!("link del dev {bridge}"));
    } else {
        for address in was.in_order_of_adding().rev() {
            lines.push(format!("address del {} dev {bridge}", address.net));
        }
        if let Some(address) = look.link(bridge.as_str()).and_then(|link| link.address.as_ref()) {
            lines.push(format!("link set dev {bridge} address {address}"));
        }
    }
    lines.push(format!("link set dev {nic} {}", if was.up { "up" } else { "down" }));
    for address in was.in_order_of_adding() {
        // As when it is given back: said twice, an IPv6 address is usable at once.
        if !address.is_ipv4() && !address.nodad {
            lines.push(format!("address replace {} nodad dev {nic}", address.words()));
        }
        lines.push(format!("address replace {} dev {nic}", address.words()));
    }
    lines.extend(was.routes.iter().map(|hop| hop.add(nic.as_str())));
    let alias = quoted(&was.alias).unwrap_or_else(|| "\"\"".to_owned());
    lines.push(format!("link set dev {nic} alias {alias}"));
    Ok(lines)
}
