//! One change to one host: plain data, so that a journal can be read back; its text is in `text.rs`.
//!
//! ```
//! use netlab::plan::{Stage, Step};
//!
//! let step = Step::AddAddress("br1".parse()?, "10.0.1.1/24".parse()?);
//! assert_eq!(step.to_string(), "add address 10.0.1.1/24 to br1");
//! assert_eq!(step.stage(), Stage::Network);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::RunState;
use crate::lab::{Boot, Cable, HostName, IfName, NetworkName, Shaping};
use crate::state::{
    Dhcp, Disk, DiskName, Domain, DomainName, Firewall, GuestConfig, Link, Machine, MachineKind, PortForward, SetUp,
    Start, Sysctl, Uplink, Volume,
};

/// When a step runs: stages are barriers across all hosts. Removal runs in the opposite order, before creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Saved states of guests deleted.
    RemoveSaved,
    /// Limits of links removed: what is down comes up, before anything is done to it.
    RemoveShaping,
    /// Guests stopped, domains undefined.
    RemoveGuests,
    /// Volumes deleted.
    RemoveVolumes,
    /// Servers stopped, rules deleted, uplinks detached, links deleted, settings restored.
    RemoveNetwork,
    /// Emulated machines and their cables removed.
    RemoveMachines,
    /// Emulated machines and their cables created.
    Machines,
    /// Links, addresses, uplinks, settings, rules, servers.
    Network,
    /// Overlays created.
    Volumes,
    /// Domains defined.
    Define,
    /// Domains started, guests configured; each guest independently.
    Guests,
    /// Limits of links, which would slow down everything before.
    Shaping,
    /// Guests paused.
    Pause,
    /// Memory and disks of paused guests saved.
    Save,
    /// Saved states checked.
    CheckSaved,
    /// Guests restored from their saved states, paused.
    Restore,
    /// Paused guests resumed.
    Resume,
    /// Clocks of guests set.
    Clock,
}

/// One change to one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Create an emulated host: namespaces, init, libvirt daemon; no NIC yet.
    CreateMachine(HostName),
    /// Create an emulated switch or router: a network namespace; no NIC yet.
    CreateDevice(HostName, MachineKind),
    /// Remove an emulated machine with all that is in it.
    RemoveMachine(HostName),
    /// Plug a cable: creates both NICs.
    PlugCable(Cable),
    /// Unplug a cable: removes both NICs.
    UnplugCable(Cable),
    /// Configure addresses, routes and port modes of an emulated machine's NICs; creates those that have no cable.
    ConfigureMachine(HostName, Machine),
    /// Listen on a port of 127.0.0.1 that leads to a guest.
    StartForward(u16, PortForward),
    /// No longer listen on such a port.
    StopForward(u16),
    /// Create a link with its mark, bring it up; its master exists already.
    CreateLink(IfName, Link),
    /// Delete a link; the index is compared first.
    DeleteLink {
        /// Its name.
        name: IfName,
        /// The interface index that was observed.
        index: Option<u32>,
    },
    /// Change a link's own settings in place (spanning tree, master, purpose); kind and parent are as before.
    ChangeLink(IfName, Link),
    /// Add one of the lab's addresses to a link.
    AddAddress(IfName, IpNet),
    /// Remove one of the lab's addresses from a link.
    DeleteAddress(IfName, IpNet),
    /// Attach a host NIC to a bridge, its addresses and routes moving to the bridge.
    AttachUplink(IfName, Uplink),
    /// Detach a host NIC from its bridge and restore everything on it.
    DetachUplink(IfName, Uplink),
    /// Add a floating address to a NIC that netlab did not create.
    AddFloating(Ipv4Addr, IfName),
    /// Delete a floating address from such a NIC.
    DeleteFloating(Ipv4Addr, IfName),
    /// Load the lab's rules in place of what it has, as one transaction.
    LoadRuleset(Box<Firewall>),
    /// Delete the lab's rules.
    DeleteRuleset,
    /// Start a network's DHCP and DNS server.
    StartDhcp(NetworkName, Box<Dhcp>),
    /// Stop a network's DHCP and DNS server and delete its leases.
    StopDhcp(NetworkName),
    /// Change a kernel setting, keeping the old value.
    SetSysctl(Sysctl, String),
    /// Restore a kernel setting, unless another lab still needs it.
    RestoreSysctl(Sysctl),
    /// Limit a link of a machine, or set it down.
    Shape(HostName, IfName, Shaping),
    /// Remove the limits of a link.
    Unshape(HostName, IfName, Shaping),
    /// Create a guest's overlay.
    CreateVolume(DomainName, Volume),
    /// Grow a guest's disk to at least so many MiB.
    GrowVolume(DomainName, u64),
    /// Delete a guest's overlay.
    DeleteVolume(DomainName),
    /// Create a guest's further disk.
    CreateDisk(DiskName, Disk),
    /// Grow a guest's further disk to at least so many MiB.
    GrowDisk(DiskName, u64),
    /// Delete a guest's further disk and all that is on it.
    DeleteDisk(DiskName, Disk),
    /// Define a domain (not started; `running` and `configured` of the value do not matter here).
    DefineDomain(DomainName, Box<Domain>),
    /// Remove a domain's definition; the UUID is compared first.
    UndefineDomain {
        /// Its name.
        name: DomainName,
        /// The UUID that was observed.
        uuid: String,
    },
    /// Start a defined domain.
    StartDomain(DomainName, Start),
    /// Stop a running domain at once; the UUID is compared first.
    StopDomain {
        /// Its name.
        name: DomainName,
        /// The UUID that was observed.
        uuid: String,
    },
    /// Configure a running guest over its console, and record in the domain what was configured.
    ConfigureGuest(DomainName, Box<GuestConfig>),
    /// Write files and run commands in a running guest over its console, and record in the domain what was done.
    SetUpGuest(DomainName, Box<SetUp>),
    /// Change the state that a guest's machine is in: no plan between two sites has this.
    RunState(DomainName, RunState),
}

impl Step {
    /// Returns the stage that the step belongs to.
    pub fn stage(&self) -> Stage {
        match self {
            Self::CreateMachine(..)
            | Self::CreateDevice(..)
            | Self::PlugCable(..)
            | Self::ConfigureMachine(..)
            | Self::StartForward(..) => Stage::Machines,
            Self::RemoveMachine(..) | Self::UnplugCable(..) | Self::StopForward(..) => Stage::RemoveMachines,
            Self::CreateLink(..)
            | Self::ChangeLink(..)
            | Self::AddAddress(..)
            | Self::AttachUplink(..)
            | Self::AddFloating(..)
            | Self::LoadRuleset(..)
            | Self::StartDhcp(..)
            | Self::SetSysctl(..) => Stage::Network,
            Self::DeleteLink { .. }
            | Self::DeleteAddress(..)
            | Self::DetachUplink(..)
            | Self::DeleteFloating(..)
            | Self::DeleteRuleset
            | Self::StopDhcp(..)
            | Self::RestoreSysctl(..) => Stage::RemoveNetwork,
            Self::CreateVolume(..) | Self::GrowVolume(..) | Self::CreateDisk(..) | Self::GrowDisk(..) => Stage::Volumes,
            Self::DeleteVolume(..) | Self::DeleteDisk(..) => Stage::RemoveVolumes,
            Self::DefineDomain(..) => Stage::Define,
            Self::StopDomain { .. } | Self::UndefineDomain { .. } => Stage::RemoveGuests,
            Self::StartDomain(..) | Self::ConfigureGuest(..) | Self::SetUpGuest(..) => Stage::Guests,
            Self::Shape(..) => Stage::Shaping,
            Self::Unshape(..) => Stage::RemoveShaping,
            Self::RunState(_, change) => change.stage(),
        }
    }

    /// Returns the files of this machine, or the host's copies of them, that what the step creates is made from.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::CreateVolume(_, volume) | Self::CreateDisk(_, Disk::Over(volume)) => vec![volume.base.clone()],
            Self::DefineDomain(_, domain) => {
                let (kernel, initrd) = match &domain.boot {
                    Boot::Kernel { kernel, initrd, .. } => (Some(kernel), initrd.as_ref()),
                    Boot::Disk { .. } => (None, None),
                };
                let disk = domain.boot.disk().map(|(base, _)| base);
                let disks = domain.disks.iter().filter_map(|disk| Some(&disk.over.as_ref()?.base));
                let files = kernel
                    .into_iter()
                    .chain(initrd)
                    .chain(disk)
                    .chain(disks)
                    .chain(&domain.cdrom);
                files.cloned().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Removes something. Removal continues after an error; creation stops at the first.
    pub fn is_removal(&self) -> bool {
        self.stage() < Stage::Machines
    }
}
