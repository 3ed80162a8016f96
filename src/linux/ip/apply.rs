//! Carries out network steps: a run of them becomes one snapshot and one `ip -batch`, however long it is.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::mark::{self, ALIAS_LIMIT, Mark, bridge_address, in_group, owner, quoted};
use super::nic::Address;
use super::snapshot::Snapshot;
use super::{Failed, NetworkError, floating, uplink};
use crate::lab::{IfName, LabName};
use crate::linux::sysctl::SysctlMarks;
use crate::plan::Step;
use crate::state::{Link, LinkKind};
use crate::transport::cmd::{Cmd, Shell};

/// Carries out the network `steps` in order and stops at the first that fails.
pub fn apply(shell: &dyn Shell, lab: &LabName, steps: &[Step]) -> Result<(), Failed> {
    let marks = SysctlMarks::default();
    let mut run = Run::new(shell, lab);
    for (at, step) in steps.iter().enumerate() {
        let done = match step {
            Step::SetSysctl(key, value) => {
                run.flush()?;
                marks.set(shell, lab, *key, value).map_err(Into::into)
            }
            Step::RestoreSysctl(key) => {
                run.flush()?;
                marks.restore(shell, lab, *key).map_err(Into::into)
            }
            _ => run.add(at, step)?,
        };
        if let Err(cause) = done {
            run.flush()?;
            return Err(Failed { at, cause });
        }
    }
    run.flush()
}

/// A line of a batch.
struct Line {
    /// The step it is for.
    at: usize,
    text: String,
    /// The link that it deletes.
    deletes: Option<IfName>,
}

/// A run of steps that become one batch.
struct Run<'a> {
    shell: &'a dyn Shell,
    lab: &'a LabName,
    /// The host as it was before the batch; taken when first needed.
    snapshot: Option<Snapshot>,
    lines: Vec<Line>,
    /// Links that the batch makes.
    made: BTreeSet<IfName>,
    /// Bridges that the batch makes or changes: the lab asks for their Ethernet address.
    given: BTreeMap<IfName, bool>,
    /// Links that the batch leaves otherwise than the snapshot says, as far as another step's lines depend on that.
    stale: BTreeSet<IfName>,
}

impl<'a> Run<'a> {
    fn new(shell: &'a dyn Shell, lab: &'a LabName) -> Self {
        Self {
            shell,
            lab,
            snapshot: None,
            lines: Vec::new(),
            made: BTreeSet::new(),
            given: BTreeMap::new(),
            stale: BTreeSet::new(),
        }
    }

    /// Adds a step to the batch, after running the batch where the step depends on what it does. The inner error is
    /// this step's.
    fn add(&mut self, at: usize, step: &Step) -> Result<Result<(), NetworkError>, Failed> {
        let depends = match step {
            Step::CreateLink(name, _) => self.stale.contains(name),
            Step::TakeUplink(nic, uplink) | Step::ReleaseUplink(nic, uplink) => {
                self.stale.contains(nic) || self.stale.contains(&uplink.bridge)
            }
            _ => false,
        };
        if depends {
            self.flush()?;
        }
        let snapshot = match self.snapshot.take() {
            Some(snapshot) => snapshot,
            None => Snapshot::take(self.shell).map_err(|error| Failed {
                at,
                cause: error.into(),
            })?,
        };
        let lines = self.lines_of(&snapshot, step);
        self.snapshot = Some(snapshot);
        let lines = match lines {
            Ok(lines) => lines,
            Err(cause) => return Ok(Err(cause)),
        };
        if let Step::CreateLink(name, link) | Step::ChangeLink(name, link) = step {
            let given = matches!(link.kind, LinkKind::Bridge { mac: Some(_), .. });
            self.given.insert(name.clone(), given);
        }
        match step {
            Step::CreateLink(name, _) => _ = self.made.insert(name.clone()),
            Step::DeleteLink { name, .. } => _ = self.stale.insert(name.clone()),
            Step::TakeUplink(nic, uplink) | Step::ReleaseUplink(nic, uplink) => {
                self.stale.extend([nic.clone(), uplink.bridge.clone()]);
            }
            _ => {}
        }
        self.lines.extend(lines.into_iter().map(|text| Line {
            at,
            text,
            deletes: match step {
                Step::DeleteLink { name, .. } => Some(name.clone()),
                _ => None,
            },
        }));
        Ok(Ok(()))
    }

    /// The lines that carry out one step on a host that looks like this.
    fn lines_of(&self, snapshot: &Snapshot, step: &Step) -> Result<Vec<String>, NetworkError> {
        match step {
            Step::CreateLink(name, link) => self.create(snapshot, name, link),
            Step::ChangeLink(name, link) => self.change(snapshot, name, link),
            Step::DeleteLink { name, index } => self.delete(snapshot, name, *index),
            Step::AddAddress(name, address) => {
                self.own(snapshot, name)?;
                Ok(vec![add_address(name, *address)])
            }
            Step::DeleteAddress(name, address) => {
                let Some(link) = snapshot.link(name.as_str()) else {
                    return Ok(Vec::new());
                };
                self.own(snapshot, name)?;
                let there = link
                    .addr_info
                    .iter()
                    .any(|raw| raw.local == Some(address.addr()) && raw.prefixlen == address.prefix_len());
                Ok(Vec::from_iter(
                    there.then(|| format!("address del {address} dev {name}")),
                ))
            }
            Step::TakeUplink(nic, wanted) => {
                self.own(snapshot, &wanted.bridge)?;
                let given = self.given.get(&wanted.bridge).copied();
                let stands = || {
                    snapshot
                        .link(wanted.bridge.as_str())
                        .is_some_and(mark::address_is_given)
                };
                uplink::take(snapshot, self.lab, nic, wanted, given.unwrap_or_else(stands))
            }
            Step::ReleaseUplink(nic, _) => uplink::release(snapshot, self.lab, nic),
            Step::AddFloating(address, nic) => {
                self.exists(snapshot, nic)?;
                Ok(Vec::from_iter(floating::add(snapshot, self.lab, *address, nic)?))
            }
            Step::DeleteFloating(address, nic) => {
                Ok(Vec::from_iter(floating::delete(snapshot, self.lab, *address, nic)))
            }
            other => Err(NetworkError::Refused(format!("not a network step: {other}"))),
        }
    }

    /// Refuses a link that is not there. `ip` would too, but as a wrong word, without telling the line.
    fn exists(&self, snapshot: &Snapshot, name: &IfName) -> Result<(), NetworkError> {
        if self.made.contains(name) || snapshot.link(name.as_str()).is_some() {
            return Ok(());
        }
        Err(NetworkError::Refused(format!("there is no link {name}")))
    }

    /// Refuses a link that is not this lab's.
    fn own(&self, snapshot: &Snapshot, name: &IfName) -> Result<(), NetworkError> {
        if self.made.contains(name) {
            return Ok(());
        }
        match snapshot.link(name.as_str()) {
            Some(link) if !Mark::read(link, self.lab).is_made_by(self.lab) => Err(NetworkError::Foreign {
                name: name.to_string(),
                owner: owner(snapshot, link, self.lab),
            }),
            _ => self.exists(snapshot, name),
        }
    }

    fn create(&self, snapshot: &Snapshot, name: &IfName, link: &Link) -> Result<Vec<String>, NetworkError> {
        if let Some(other) = snapshot.link(name.as_str()) {
            return Err(NetworkError::Foreign {
                name: name.to_string(),
                owner: match Mark::read(other, self.lab) {
                    mark if mark.is_made_by(self.lab) => format!("lab {} already", self.lab),
                    _ => owner(snapshot, other, self.lab),
                },
            });
        }
        if let Some(master) = &link.master {
            self.exists(snapshot, master)?;
        }
        let mut lines = vec![match &link.kind {
            LinkKind::Bridge { stp, mac } => {
                let address = mac.map_or_else(|| bridge_address(snapshot, self.lab, name), |mac| mac.to_string());
                add_bridge(self.lab, name, &address, *stp)
            }
            LinkKind::Vlan { parent, id } => {
                self.exists(snapshot, parent)?;
                if snapshot.link(parent.as_str()).is_some_and(|parent| !parent.is_up()) {
                    return Err(NetworkError::Refused(format!(
                        "{parent} is down, so VLAN device {name} on it cannot come up; bring {parent} up first"
                    )));
                }
                format!(
                    "link add link {parent} name {name} group {} type vlan id {id}",
                    mark::group(self.lab.as_str())
                )
            }
        }];
        lines.extend(quiet(snapshot, name));
        lines.extend(enslave(name, link.master.as_ref()));
        lines.push(format!("link set dev {name} up"));
        lines.extend(link.addresses.iter().map(|address| add_address(name, *address)));
        lines.push(self.alias(name, link)?);
        Ok(lines)
    }

    fn change(&self, snapshot: &Snapshot, name: &IfName, link: &Link) -> Result<Vec<String>, NetworkError> {
        self.own(snapshot, name)?;
        let mut lines = Vec::new();
        // The kernel checks the delay against the state it has (net/bridge/br_stp.c, br_set_forward_delay): 0 is
        // legal only without spanning tree, so the two are set one after the other. 15 s is IEEE 802.1D's own.
        match link.kind {
            LinkKind::Bridge { stp: true, .. } => lines.push(format!(
                "link set dev {name} type bridge forward_delay 1500 stp_state 1"
            )),
            LinkKind::Bridge { stp: false, .. } => lines.extend([
                format!("link set dev {name} type bridge stp_state 0 mcast_snooping 0"),
                format!("link set dev {name} type bridge forward_delay 0"),
            ]),
            LinkKind::Vlan { .. } => {}
        }
        let before = snapshot.link(name.as_str());
        match link.kind {
            LinkKind::Bridge { mac: Some(mac), .. } => lines.push(format!("link set dev {name} address {mac}")),
            LinkKind::Bridge { mac: None, .. } if before.is_some_and(mark::address_is_given) => {
                // A NIC that the bridge has taken has the same.
                let address = uplink::nic_in(snapshot, self.lab, name).and_then(|nic| nic.address.clone());
                let address = address.unwrap_or_else(|| bridge_address(snapshot, self.lab, name));
                lines.push(format!("link set dev {name} address {address}"));
            }
            LinkKind::Bridge { .. } | LinkKind::Vlan { .. } => {}
        }
        if before.is_some_and(|before| before.ifalias.is_none()) {
            lines.extend(quiet(snapshot, name));
        }
        if let Some(master) = &link.master {
            self.exists(snapshot, master)?;
            lines.extend(enslave(name, link.master.as_ref()));
        } else if before.is_some_and(|before| before.master.is_some()) {
            lines.push(format!("link set dev {name} nomaster"));
        }
        lines.push(format!("link set dev {name} up"));
        lines.push(self.alias(name, link)?);
        Ok(lines)
    }

    fn delete(&self, snapshot: &Snapshot, name: &IfName, index: Option<u32>) -> Result<Vec<String>, NetworkError> {
        let Some(link) = snapshot.link(name.as_str()) else {
            return Ok(Vec::new());
        };
        self.own(snapshot, name)?;
        if let Some(seen) = index.filter(|seen| *seen != link.ifindex) {
            return Err(NetworkError::Swapped {
                name: name.clone(),
                seen,
                now: link.ifindex,
            });
        }
        // What a host is reached by would go with the bridge.
        let held = uplink::nic_in(snapshot, self.lab, name).map(|nic| nic.ifname.as_str());
        if let Some(nic) = held.filter(|nic| !self.stale.iter().any(|freed| freed.as_str() == *nic)) {
            return Err(NetworkError::Refused(format!(
                "NIC {nic} is still in {name}: it has to be given back first"
            )));
        }
        Ok(vec![format!("link del dev {name}")])
    }

    /// The line that finishes a link: its mark in full.
    fn alias(&self, name: &IfName, link: &Link) -> Result<String, NetworkError> {
        let purpose = &link.purpose;
        let alias = mark::alias(self.lab, purpose, &link.kind);
        let quoted = quoted(&alias)
            .filter(|_| alias.len() <= ALIAS_LIMIT)
            .ok_or_else(|| NetworkError::Refused(format!("the purpose of {name} cannot be an alias: {purpose:?}")))?;
        Ok(format!("link set dev {name} alias {quoted}"))
    }

    /// Runs the batch.
    fn flush(&mut self) -> Result<(), Failed> {
        let snapshot = self.snapshot.take();
        let mut lines = std::mem::take(&mut self.lines);
        if self.made.is_empty()
            && let Some(snapshot) = snapshot
        {
            delete_at_once(&mut lines, &snapshot, self.lab);
        }
        self.made.clear();
        self.given.clear();
        self.stale.clear();
        let Some(first) = lines.first() else {
            return Ok(());
        };
        let text: String = lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect();
        let failed = |at, cause| Failed { at, cause };
        let output = self
            .shell
            .run(&Cmd::new(["ip", "-batch", "-"]).fed(text))
            .map_err(|error| failed(first.at, error.into()))?;
        if output.status == 0 {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let (line, message) = failing_line(&said);
        // `ip` counts the lines; only over a missing master, whose name it looks up while it reads, it forgets to.
        let missing = message.split('"').nth(1).unwrap_or_default();
        let enslaves = format!(" master {missing}");
        let line = match line.and_then(|line| line.checked_sub(1)) {
            Some(index) => lines.get(index),
            None => lines.iter().find(|line| line.text.ends_with(&enslaves)),
        };
        let line = line.unwrap_or(first);
        Err(failed(
            line.at,
            NetworkError::Kernel {
                line: line.text.clone(),
                message,
            },
        ))
    }
}

/// The line that makes a bridge with this Ethernet address.
pub(super) fn add_bridge(lab: &LabName, name: &IfName, address: &str, stp: bool) -> String {
    // Multicast goes to every port: with snooping on, a stray querier on the uplink's side would cut off the guests
    // that rely on multicast without reporting it.
    format!(
        "link add name {name} group {} address {address} type bridge stp_state {} {}mcast_snooping 0",
        mark::group(lab.as_str()),
        u8::from(stp),
        // Without spanning tree a new port's delay only loses its first packets.
        if stp { "" } else { "forward_delay 0 " },
    )
}

/// Makes one line of all deletions where they are all that the lab has: by group the kernel waits once for its
/// readers and not once for each link, which for a thousand links is the difference of 28 s to 9 s.
fn delete_at_once(lines: &mut Vec<Line>, snapshot: &Snapshot, lab: &LabName) {
    let doomed: BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| line.deletes.as_ref())
        .map(IfName::as_str)
        .collect();
    let whole: BTreeSet<&str> = snapshot
        .links
        .iter()
        .filter(|link| in_group(link, lab.as_str()))
        .map(|link| link.ifname.as_str())
        .collect();
    if doomed.len() < 2 || doomed != whole {
        return;
    }
    let Some(last) = lines.iter().rposition(|line| line.deletes.is_some()) else {
        return;
    };
    lines[last].text = format!("link del group {}", mark::group(lab.as_str()));
    let mut index = 0;
    lines.retain(|line| {
        let keep = line.deletes.is_none() || index == last;
        index += 1;
        keep
    });
}

/// The number of the failing line, from 1, and what was said about it.
fn failing_line(said: &str) -> (Option<usize>, String) {
    let (count, message): (Vec<&str>, Vec<&str>) = said
        .trim()
        .lines()
        .partition(|line| line.starts_with("Command failed "));
    let line = count
        .first()
        .and_then(|line| line.rsplit_once(':'))
        .and_then(|(_, number)| number.trim().parse().ok());
    (line, message.join("; "))
}

/// No IPv6 address that nobody asked for: a guest would reach the host by it, past everything the lab says.
fn quiet(snapshot: &Snapshot, name: &IfName) -> Option<String> {
    snapshot
        .has_ipv6()
        .then(|| format!("link set dev {name} addrgenmode none"))
}

fn enslave(name: &IfName, master: Option<&IfName>) -> Option<String> {
    master.map(|master| format!("link set dev {name} master {master}"))
}

/// `replace`, since an address that is there already is as good.
fn add_address(name: &IfName, address: IpNet) -> String {
    match (address, Address::usual_broadcast(address)) {
        (IpNet::V4(_), Some(broadcast)) => format!("address replace {address} broadcast {broadcast} dev {name}"),
        (IpNet::V4(_), None) => format!("address replace {address} dev {name}"),
        // Usable at once: who else has it, the lab's own check has found out.
        (IpNet::V6(_), _) => format!("address replace {address} nodad dev {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_line_is_found_in_what_ip_says() {
        let said = "RTNETLINK answers: File exists\nCommand failed -:12\n";
        assert_eq!(
            failing_line(said),
            (Some(12), "RTNETLINK answers: File exists".to_owned())
        );
        assert_eq!(failing_line("Error: garbage."), (None, "Error: garbage.".to_owned()));
    }
}
