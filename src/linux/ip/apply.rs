//! Carries out network steps: a run of them becomes one snapshot and one batch of each program, however long it is.

use std::collections::{BTreeMap, BTreeSet};

use super::json::{RawAddress, RawLink};
use super::mark::{self, Mark, owner};
use super::order::{Line, delete_at_once, failing_line, turn};
use super::snapshot::Snapshot;
use super::{NetworkError, floating, uplink};
use crate::lab::{IfName, LabName};
use crate::linux::sysctl::SysctlMarks;
use crate::linux::{BATCH_WITHIN, FailedAt};
use crate::plan::Step;
use crate::plan::lines::{Observed, ObservedLink, Program, lines, program_of};
use crate::state::{Link, LinkKind, Missing, Uplink};
use crate::transport::Script;
use crate::transport::cmd::{Cmd, CmdError, Shell};

/// Carries out the network `steps` in order and stops at the first that fails.
pub fn apply(shell: &dyn Shell, lab: &LabName, steps: &[Step]) -> Result<(), FailedAt<NetworkError>> {
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
            return Err(FailedAt { at, cause });
        }
    }
    run.flush()
}

/// Prepares the kernel for a bond.
const BONDING: Script = Script {
    name: "ip/bonding.sh",
    text: include_str!("bonding.sh"),
};

/// Loads the kernel's module for bonds, which must not create one by itself.
pub(crate) fn load_bonding(shell: &dyn Shell) -> Result<(), CmdError> {
    shell.check(&Cmd::script(BONDING, [""; 0])).map(drop)
}

/// Seconds that Open vSwitch may take for a transaction; without its daemon it would take for ever.
const OVS_WITHIN: u32 = 60;

/// A run of steps that become one batch.
struct Run<'a> {
    shell: &'a dyn Shell,
    lab: &'a LabName,
    /// The host before the batch; read when first needed.
    snapshot: Option<Snapshot>,
    lines: Vec<Line>,
    /// Links that the batch creates.
    made: BTreeSet<IfName>,
    /// Those of them that are Open vSwitch's bridges or bonds.
    made_ovs: BTreeSet<IfName>,
    /// The first step that creates a bond of the kernel's.
    first_bond: Option<usize>,
    /// Bridges that the batch creates or changes: whether they have a MAC address of their own.
    mac_is_set: BTreeMap<IfName, bool>,
    /// Links whose state after the batch differs from the snapshot, as far as another step's lines depend on it.
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
            made_ovs: BTreeSet::new(),
            first_bond: None,
            mac_is_set: BTreeMap::new(),
            stale: BTreeSet::new(),
        }
    }

    /// Adds a step to the batch, after running the batch where the step depends on what it does. The inner error is
    /// this step's.
    fn add(&mut self, at: usize, step: &Step) -> Result<Result<(), NetworkError>, FailedAt<NetworkError>> {
        let depends = match step {
            Step::CreateLink(name, _) => self.stale.contains(name),
            Step::AttachUplink(nic, uplink) | Step::DetachUplink(nic, uplink) => {
                self.stale.contains(nic) || self.stale.contains(&uplink.bridge)
            }
            _ => false,
        };
        if depends {
            self.flush()?;
        }
        let snapshot = match self.snapshot.take() {
            Some(snapshot) => snapshot,
            None => Snapshot::take(self.shell).map_err(|error| FailedAt {
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
            let mac_is_set = matches!(
                link.kind,
                LinkKind::Bridge { mac: Some(_), .. }
                    | LinkKind::OvsBridge { mac: Some(_), .. }
                    | LinkKind::Bond(_)
                    | LinkKind::OvsBond { .. }
            );
            self.mac_is_set.insert(name.clone(), mac_is_set);
        }
        match step {
            Step::CreateLink(name, link) => {
                self.made.insert(name.clone());
                if matches!(link.kind, LinkKind::Bond(_)) {
                    self.first_bond.get_or_insert(at);
                }
                if matches!(link.kind, LinkKind::OvsBridge { .. } | LinkKind::OvsBond { .. }) {
                    self.made_ovs.insert(name.clone());
                }
            }
            Step::DeleteLink { name, .. } => _ = self.stale.insert(name.clone()),
            Step::AttachUplink(nic, uplink) | Step::DetachUplink(nic, uplink) => {
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

    /// The lines that carry out one step on a host in this state. Empty where its effect is there already.
    fn lines_of(&self, snapshot: &Snapshot, step: &Step) -> Result<Vec<String>, NetworkError> {
        let mut observed = Observed {
            marks: Some(self.lab),
            no_ipv6: !snapshot.has_ipv6(),
            ..Observed::default()
        };
        match step {
            Step::CreateLink(name, link) => {
                self.can_create(snapshot, name, link)?;
                observed.link.master_is_ovs = self.is_in_ovs(snapshot, link);
            }
            Step::ChangeLink(name, link) => {
                self.own(snapshot, name)?;
                if let Some(master) = &link.master {
                    self.exists(snapshot, master)?;
                }
                observed.link = self.link(snapshot, name);
                observed.link.master_is_ovs = self.is_in_ovs(snapshot, link);
            }
            Step::DeleteLink { name, index } => {
                let Some(link) = snapshot.link(name.as_str()) else {
                    return Ok(Vec::new());
                };
                self.can_delete(snapshot, link, name, *index)?;
                let object = snapshot.ovs.object(name.as_str());
                observed.link.in_ovs = object.is_some() && link.kind() == Some("bond");
                observed.link.ovs = object.filter(|_| link.kind() != Some("bond"));
            }
            Step::AddAddress(name, _) => self.own(snapshot, name)?,
            Step::DeleteAddress(name, address) => {
                let Some(link) = snapshot.link(name.as_str()) else {
                    return Ok(Vec::new());
                };
                self.own(snapshot, name)?;
                let is_there =
                    |raw: &RawAddress| raw.local == Some(address.addr()) && raw.prefixlen == address.prefix_len();
                if !link.addr_info.iter().any(is_there) {
                    return Ok(Vec::new());
                }
            }
            Step::AttachUplink(nic, wanted) => {
                self.own(snapshot, &wanted.bridge)?;
                let planned = self.mac_is_set.get(&wanted.bridge).copied();
                let now = || snapshot.link(wanted.bridge.as_str()).is_some_and(mark::mac_is_set);
                let mac_is_set = planned.unwrap_or_else(now);
                let ovs = self.made_ovs.contains(&wanted.bridge) || is_ovs(snapshot, &wanted.bridge);
                let mac_is_set = mac_is_set || wanted.bonded;
                observed.uplink = Some(uplink::attaching(snapshot, self.lab, nic, wanted, mac_is_set, ovs)?);
            }
            Step::DetachUplink(nic, uplink) => {
                let Some((bridge, found)) = uplink::detaching(snapshot, self.lab, nic)? else {
                    return Ok(Vec::new());
                };
                observed.uplink = Some(found);
                // The record says which bridge it is; a step over an interrupted run names the NIC itself.
                let uplink = Uplink {
                    bridge,
                    was: uplink.was.clone(),
                    bonded: uplink.bonded,
                    missing: Missing::default(),
                };
                return Ok(lines(&Step::DetachUplink(nic.clone(), uplink), &observed)?);
            }
            Step::AddFloating(address, nic) => {
                self.exists(snapshot, nic)?;
                if floating::is_on(snapshot, self.lab, *address, nic)? {
                    return Ok(Vec::new());
                }
            }
            Step::DeleteFloating(address, nic) if !floating::is_ours_on(snapshot, self.lab, *address, nic) => {
                return Ok(Vec::new());
            }
            _ => {}
        }
        Ok(lines(step, &observed)?)
    }

    /// Whether a bond of the kernel's becomes a port of one of Open vSwitch's bridges.
    fn is_in_ovs(&self, snapshot: &Snapshot, link: &Link) -> bool {
        let in_ovs = |bridge: &IfName| self.made_ovs.contains(bridge) || is_ovs(snapshot, bridge);
        matches!(link.kind, LinkKind::Bond(_)) && link.master.as_ref().is_some_and(in_ovs)
    }

    /// Refuses a link that does not exist. `ip` would too, but as an invalid argument, without the number of the line.
    fn exists(&self, snapshot: &Snapshot, name: &IfName) -> Result<(), NetworkError> {
        if self.made.contains(name) || snapshot.link(name.as_str()).is_some() {
            return Ok(());
        }
        Err(NetworkError::NoLink { name: name.clone() })
    }

    /// Refuses a link that is not this lab's.
    fn own(&self, snapshot: &Snapshot, name: &IfName) -> Result<(), NetworkError> {
        if self.made.contains(name) {
            return Ok(());
        }
        match snapshot.link(name.as_str()) {
            Some(link) if !Mark::read(link, self.lab).is_made_by(self.lab) => Err(NetworkError::Foreign {
                name: name.clone(),
                owner: owner(snapshot, link, self.lab),
            }),
            _ => self.exists(snapshot, name),
        }
    }

    fn can_create(&self, snapshot: &Snapshot, name: &IfName, link: &Link) -> Result<(), NetworkError> {
        if let Some(other) = snapshot.link(name.as_str()) {
            return Err(NetworkError::Exists {
                name: name.clone(),
                owner: owner(snapshot, other, self.lab),
            });
        }
        if let Some(master) = &link.master {
            self.exists(snapshot, master)?;
        }
        if let LinkKind::OvsPatch { provider, .. } = &link.kind {
            self.exists(snapshot, provider)?;
        }
        if let LinkKind::Vlan { parent, .. } = &link.kind {
            self.exists(snapshot, parent)?;
            if snapshot.link(parent.as_str()).is_some_and(|parent| !parent.is_up()) {
                return Err(NetworkError::ParentDown {
                    name: name.clone(),
                    parent: parent.clone(),
                });
            }
        }
        Ok(())
    }

    /// What changing a link depends on.
    fn link(&self, snapshot: &Snapshot, name: &IfName) -> ObservedLink {
        let Some(before) = snapshot.link(name.as_str()) else {
            return ObservedLink::default();
        };
        // A bridge that loses a MAC address of its own has that of the NIC in it again.
        let nic = mark::mac_is_set(before)
            .then(|| uplink::nic_in(snapshot, self.lab, name))
            .flatten();
        ObservedLink {
            unfinished: before.ifalias.is_none(),
            is_port: before.master.is_some(),
            ovs: None,
            gateway: snapshot.default_route(name.as_str()),
            in_ovs: before.kind() == Some("bond") && snapshot.ovs.object(name.as_str()).is_some(),
            master_is_ovs: false,
            uplink_mac: nic.and_then(|nic| nic.address.clone()),
            mtu_is_set: mark::mtu_is_set(before) || snapshot.is_lowered(before),
            remotes: snapshot.remotes(name.as_str()),
        }
    }

    fn can_delete(
        &self,
        snapshot: &Snapshot,
        link: &RawLink,
        name: &IfName,
        index: Option<u32>,
    ) -> Result<(), NetworkError> {
        self.own(snapshot, name)?;
        if let Some(observed) = index.filter(|observed| *observed != link.ifindex) {
            return Err(NetworkError::Replaced {
                name: name.clone(),
                observed,
                now: link.ifindex,
            });
        }
        // The addresses by which the host is reached would be removed with the bridge.
        let held = uplink::nic_in(snapshot, self.lab, name).map(|nic| nic.ifname.as_str());
        if let Some(nic) = held.filter(|nic| !self.stale.iter().any(|freed| freed.as_str() == *nic)) {
            return Err(NetworkError::UplinkAttached {
                bridge: name.clone(),
                nic: nic.to_owned(),
            });
        }
        Ok(())
    }

    /// Runs the batch.
    fn flush(&mut self) -> Result<(), FailedAt<NetworkError>> {
        let snapshot = self.snapshot.take();
        let mut lines = std::mem::take(&mut self.lines);
        if self.made.is_empty()
            && let Some(snapshot) = snapshot
        {
            delete_at_once(&mut lines, &snapshot, self.lab);
        }
        self.made.clear();
        self.made_ovs.clear();
        self.mac_is_set.clear();
        self.stale.clear();
        if let Some(at) = self.first_bond.take() {
            load_bonding(self.shell).map_err(|error| FailedAt {
                at,
                cause: error.into(),
            })?;
        }
        lines.sort_by_key(turn);
        lines
            .chunk_by(|a, b| program_of(&a.text).0 == program_of(&b.text).0)
            .try_for_each(|lines| self.run(lines))
    }

    /// Runs lines of ovs-vsctl(8) as one transaction: all of them take effect, or none.
    fn transaction(&self, lines: &[Line]) -> Result<(), FailedAt<NetworkError>> {
        let Some(first) = lines.first() else {
            return Ok(());
        };
        let mut argv = vec!["ovs-vsctl".to_owned(), format!("--timeout={OVS_WITHIN}")];
        for line in lines {
            argv.push("--".to_owned());
            argv.extend(program_of(&line.text).1.split(' ').map(ToOwned::to_owned));
        }
        let output = self
            .shell
            .run(&Cmd::new(argv).within(BATCH_WITHIN))
            .map_err(|error| FailedAt {
                at: first.at,
                cause: error.into(),
            })?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        // What the daemon cannot set up is a message only.
        let failed = output.status != 0 || stderr.contains("Error detected while setting up");
        if !failed {
            return Ok(());
        }
        let message = stderr.lines().next().unwrap_or_default();
        let message = message.strip_prefix("ovs-vsctl: ").unwrap_or(message).to_owned();
        let named = message.split('\'').nth(1).unwrap_or_default();
        let words = |line: &&Line| line.text.split(' ').any(|word| word == named);
        let line = lines.iter().find(words).unwrap_or(first);
        Err(FailedAt {
            at: line.at,
            cause: NetworkError::Kernel {
                command: line.text.clone(),
                message,
            },
        })
    }

    /// Runs lines of one program.
    fn run(&self, lines: &[Line]) -> Result<(), FailedAt<NetworkError>> {
        let Some(first) = lines.first() else {
            return Ok(());
        };
        let (program, _) = program_of(&first.text);
        if program == Program::OvsVsctl {
            return self.transaction(lines);
        }
        let text: String = lines.iter().flat_map(|line| [program_of(&line.text).1, "\n"]).collect();
        let failed = |at, cause| FailedAt { at, cause };
        let output = self
            .shell
            .run(&Cmd::new([program.name(), "-batch", "-"]).fed(text).within(BATCH_WITHIN))
            .map_err(|error| failed(first.at, error.into()))?;
        if output.status == 0 {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let (line, message) = failing_line(&stderr);
        // `ip` prints the number of the line, except for a missing master, whose name it resolves while it parses.
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
                command: line.text.clone(),
                message,
            },
        ))
    }
}

/// Returns whether a link is a bridge, or a bond, of Open vSwitch's. A bond of the kernel's in its bridge is not.
fn is_ovs(snapshot: &Snapshot, name: &IfName) -> bool {
    let of_kernel = snapshot
        .link(name.as_str())
        .is_some_and(|link| link.kind() == Some("bond"));
    snapshot.ovs.object(name.as_str()).is_some() && !of_kernel
}
