//! What is known of a lab, or of all labs.

use std::path::PathBuf;

use serde::Serialize;

use crate::lab::{LabName, Shaping};

/// One lab in the list of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabSummary {
    /// Its name.
    pub lab: LabName,
    /// How much of it is there.
    pub state: LabState,
    /// How many hosts hold something of it.
    pub hosts: usize,
    /// How many VMs are defined.
    pub vms: usize,
    /// How many VMs run.
    pub running: usize,
    /// Why nothing is known of it.
    pub error: Option<String>,
}

/// Every lab that is visible.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LabList {
    /// Those of this state folder, and those that belong to none, by name.
    pub labs: Vec<LabSummary>,
    /// Those of other state folders of this machine, by name.
    pub elsewhere: Vec<LabElsewhere>,
    /// What could not be searched for labs, and why: where there is anything, labs may be missing in the list.
    pub unseen: Vec<String>,
}

/// A lab of another state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabElsewhere {
    /// Its name.
    pub lab: LabName,
    /// The state folder.
    pub folder: PathBuf,
}

/// How much of a lab is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabState {
    /// The last `up` reached its end, and everything that it made runs.
    Up,
    /// A run was interrupted or failed, or something has stopped since.
    Partly,
    /// Nothing is there.
    Down,
    /// A host cannot be read.
    Unknown,
}

/// One lab in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabStatus {
    /// Its name.
    pub lab: LabName,
    /// How much of it is there.
    pub state: LabState,
    /// The state folder that it belongs to, where that is not this one.
    pub folder: Option<PathBuf>,
    /// No state folder knows it: it was found by the marks on its objects.
    pub by_marks: bool,
    /// The last run on it, if one is recorded.
    pub last_run: Option<RunStatus>,
    /// Hosts that hold something of it, and emulated switches and routers.
    pub hosts: Vec<HostStatus>,
    /// Its networks, once per host.
    pub networks: Vec<NetworkStatus>,
    /// The bonds that carry them.
    pub bonds: Vec<BondStatus>,
    /// Networks of its file that are on no host: no VM, gateway or address is in them.
    pub unused_networks: Vec<String>,
    /// Its VMs.
    pub vms: Vec<VmStatus>,
    /// Ports of this machine that lead to them.
    pub forwards: Vec<ForwardStatus>,
    /// Links that are limited or down.
    pub links: Vec<LinkStatus>,
}

/// A link that is limited or down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkStatus {
    /// As for `netlab link`, e.g. `vm1:service`, `node1:eth0`.
    pub link: String,
    /// `down`, or its limits.
    pub state: String,
    /// Its limits.
    pub shaping: Shaping,
    /// By a request of `netlab link`, not by the lab file.
    pub by_request: bool,
}

/// A port of this machine that leads to a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForwardStatus {
    /// Where netlab listens, e.g. `127.0.0.1:8080`.
    pub listen: String,
    /// The VM.
    pub vm: String,
    /// Its port.
    pub port: u16,
    /// The host that makes the connections.
    pub via: String,
    /// `up`, or `dead`: nothing listens any more; `netlab up` starts it again.
    pub state: &'static str,
}

/// The last run on a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunStatus {
    /// Its command: `up` or `down`.
    pub command: String,
    /// When it began: UTC, as in RFC 3339.
    pub began: Option<String>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Where it failed or was interrupted, or where it is.
    pub host: Option<String>,
    /// What failed and why, or which step was in progress.
    pub step: Option<String>,
    /// Whether every host was restored afterwards; none: no rollback was begun.
    pub rolled_back: Option<bool>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// It did everything.
    Finished,
    /// A step failed.
    Failed,
    /// It has not ended yet.
    Running,
    /// It was killed or stopped by a signal during a step.
    InterruptedDuring,
    /// It was killed or stopped by a signal behind a step.
    InterruptedAfter,
}

/// A host that holds something of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// How it is connected, as in lab.toml, or `emulated switch` or `emulated router`.
    pub connect: String,
    /// `host`, `switch` or `router`.
    pub kind: String,
    /// `up`; `rebooted` since the last `up`; of an emulated machine also `dead`, or `lost`: it runs, but its files in the state folder were removed.
    pub state: &'static str,
}

/// A network on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkStatus {
    /// Its name.
    pub name: String,
    /// `service`, `public`, `management` or `storage`.
    pub class: String,
    /// The host.
    pub host: String,
    /// Its bridge there.
    pub bridge: String,
    /// The lab's own addresses on the bridge, with prefix lengths.
    pub addresses: Vec<String>,
    /// The NIC, or the VLAN device, that connects it to the other hosts.
    pub uplink: Option<String>,
}

/// A bond of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BondStatus {
    /// Its name.
    pub name: String,
    /// The host.
    pub host: String,
    /// Its mode, e.g. `active-backup`.
    pub mode: String,
    /// `up`; `degraded`: a NIC has no carrier; `down`: none has.
    pub state: &'static str,
    /// The NIC that sends, where only one does.
    pub active: Option<String>,
    /// Its NICs.
    pub nics: Vec<String>,
    /// Those of them that have no carrier.
    pub without_carrier: Vec<String>,
}

/// A VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VmStatus {
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: String,
    /// `running`, `running, changed`, `running, not configured`, or why it does not run, e.g. `crashed` or
    /// `halted: it is paused; …`.
    pub state: String,
    /// How it differs from what it was given.
    pub deviations: Vec<String>,
    /// With prefix lengths, in the order of its NICs.
    pub addresses: Vec<String>,
    /// Its floating address.
    pub floating: Option<String>,
    /// In the order of its NICs.
    pub macs: Vec<String>,
    /// The domain's name in libvirt.
    pub domain: String,
    /// Where its screen can be seen on its host, e.g. `127.0.0.1:5900`; only while it runs.
    pub vnc: Option<String>,
    /// The command that shows that screen from the machine that netlab runs on.
    pub screen: Option<String>,
    /// The file in which its serial console is logged: a path of the machine that netlab runs on, or of a host behind ssh.
    pub console_log: Option<PathBuf>,
    /// The command that prints that file and what is added to it, on the machine that netlab runs on.
    pub follow: Option<String>,
}
