//! One change to one host: plain data, so that a journal can be read back; `Display` is the text of a plan's line.
//!
//! ```
//! use netlab::plan::{Stage, Step};
//!
//! let step = Step::AddAddress("br1".parse()?, "10.0.1.1/24".parse()?);
//! assert_eq!(step.to_string(), "add address 10.0.1.1/24 to br1");
//! assert_eq!(step.stage(), Stage::Network);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::lab::{Boot, Cable, HostName, IfName, NetworkName, Shaping, Task};
use crate::state::{
    Dhcp, Disk, DiskName, Domain, DomainName, Firewall, GuestConfig, Link, LinkKind, Machine, MachineKind, PortForward,
    SetUp, Sysctl, Uplink, Volume,
};

/// When a step runs: stages are barriers across all hosts. Removal runs in the opposite order, before creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
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
    StartDomain(DomainName),
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

/// Writes the line of a link that is created.
fn created(f: &mut fmt::Formatter<'_>, name: &IfName, link: &Link) -> fmt::Result {
    let Link {
        kind,
        master,
        addresses,
        mtu,
        gateway,
        purpose,
    } = link;
    match kind {
        LinkKind::Bridge { stp, mac } => {
            write!(f, "create bridge {name}")?;
            if let Some(delay) = stp {
                write!(f, " with spanning tree (forward delay {delay} s)")?;
            }
            if let Some(mac) = mac {
                write!(f, " with MAC {mac}")?;
            }
        }
        LinkKind::OvsBridge { datapath, mac, .. } => {
            write!(f, "create Open vSwitch bridge {name} (datapath {datapath})")?;
            if let Some(mac) = mac {
                write!(f, " with MAC {mac}")?;
            }
        }
        LinkKind::Bond(bond) => write!(f, "create bond {name} (mode {})", bond.mode)?,
        LinkKind::OvsBond { bond, members } => {
            write!(f, "create Open vSwitch bond {name} (mode {})", bond.mode)?;
            list(f, " of ", members.iter())?;
        }
        LinkKind::OvsPatch { provider, tag } => {
            write!(f, "create Open vSwitch patch {name} (VLAN {tag} on {provider})")?;
        }
        LinkKind::OvsTunnel {
            protocol,
            key,
            local,
            remote,
        } => write!(
            f,
            "create {protocol} tunnel {name} (key {key}) from {local} to {remote}"
        )?,
        LinkKind::Vlan { parent, id } => write!(f, "create VLAN device {name} (id {id} on {parent})")?,
        LinkKind::Vxlan {
            vni, local, remotes, ..
        } => {
            write!(f, "create VXLAN device {name} (VNI {vni}) from {local}")?;
            list(f, " to ", remotes.iter())?;
        }
    }
    for address in addresses {
        write!(f, ", address {address}")?;
    }
    if let Some(gateway) = gateway {
        write!(f, ", default route via {gateway}")?;
    }
    if let Some(mtu) = mtu {
        write!(f, ", MTU {mtu}")?;
    }
    if let Some(master) = master {
        write!(f, ", port of {master}")?;
    }
    write!(f, " for {purpose}")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateMachine(host) => write!(f, "create emulated host {host}"),
            Self::CreateDevice(name, kind) => write!(f, "create emulated {kind} {name}"),
            Self::RemoveMachine(name) => write!(f, "remove emulated machine {name}"),
            Self::PlugCable(Cable { ends: [a, b] }) => {
                write!(f, "plug a cable from {}:{} to {}:{}", a.host, a.nic, b.host, b.nic)
            }
            Self::UnplugCable(Cable { ends: [a, b] }) => {
                write!(f, "unplug the cable from {}:{} to {}:{}", a.host, a.nic, b.host, b.nic)
            }
            Self::ConfigureMachine(name, Machine { kind, .. }) => {
                write!(f, "configure the NICs of emulated {kind} {name}")
            }
            Self::StartForward(port, PortForward { vm, to, .. }) => {
                write!(f, "forward 127.0.0.1:{port} to {vm} ({to})")
            }
            Self::StopForward(port) => write!(f, "stop forwarding 127.0.0.1:{port}"),
            Self::CreateLink(name, link) => created(f, name, link),
            Self::DeleteLink { name, .. } => write!(f, "delete link {name}"),
            Self::ChangeLink(name, _) => write!(f, "change link {name}"),
            Self::AddAddress(link, address) => write!(f, "add address {address} to {link}"),
            Self::DeleteAddress(link, address) => write!(f, "delete address {address} from {link}"),
            Self::AttachUplink(nic, Uplink { bridge, missing, .. }) if !missing.is_empty() => {
                write!(f, "restore {missing} on bridge {bridge}, which has uplink {nic}")
            }
            Self::AttachUplink(
                nic,
                Uplink {
                    bridge, bonded: true, ..
                },
            ) => write!(f, "add {nic} to bond {bridge}"),
            Self::AttachUplink(nic, Uplink { bridge, was, .. }) => {
                write!(f, "attach {nic} to bridge {bridge}")?;
                list(f, ", moving ", was.addresses.iter())
            }
            Self::DetachUplink(
                nic,
                Uplink {
                    bridge, bonded: true, ..
                },
            ) if bridge != nic => write!(f, "remove {nic} from bond {bridge}"),
            Self::DetachUplink(nic, Uplink { bridge, was, .. }) => {
                if bridge == nic {
                    write!(f, "detach {nic} (left half-attached by an interrupted run)")?;
                } else {
                    write!(f, "detach {nic} from bridge {bridge}")?;
                }
                list(f, ", restoring ", was.addresses.iter())
            }
            Self::AddFloating(address, nic) => write!(f, "add floating address {address} to {nic}"),
            Self::DeleteFloating(address, nic) => write!(f, "delete floating address {address} from {nic}"),
            Self::LoadRuleset(rules) => load(f, rules),
            Self::DeleteRuleset => write!(f, "delete the firewall rules"),
            Self::StartDhcp(network, server) => {
                let Dhcp { bridge, leases, .. } = server.as_ref();
                let count = leases.len();
                let plural = if count == 1 { "" } else { "s" };
                write!(
                    f,
                    "serve DHCP and DNS for network {network} on {bridge} ({count} lease{plural})"
                )
            }
            Self::StopDhcp(network) => write!(f, "stop DHCP and DNS for network {network}"),
            Self::SetSysctl(key, value) => write!(f, "set {key} to {value}"),
            Self::RestoreSysctl(key) => write!(f, "restore {key}"),
            Self::Shape(host, link, shaping) => shape(f, host, link, shaping),
            Self::Unshape(host, link, shaping) => unshape(f, host, link, shaping),
            Self::CreateVolume(name, Volume { base, .. }) => {
                write!(f, "create the disk of {} over {}", name.vm(), base.display())
            }
            Self::GrowVolume(name, mib) => write!(f, "grow the disk of {} to {mib} MiB", name.vm()),
            Self::DeleteVolume(name) => write!(f, "delete the disk of {}", name.vm()),
            Self::CreateDisk(name, disk) => {
                write!(f, "create disk {} of {} ({disk})", name.number(), name.domain().vm())
            }
            Self::GrowDisk(name, mib) => {
                let vm = name.domain().vm();
                write!(f, "grow disk {} of {vm} to {mib} MiB", name.number())
            }
            Self::DeleteDisk(name, disk) => {
                let vm = name.domain().vm();
                write!(f, "delete disk {} of {vm} with all data on it ({disk})", name.number())
            }
            Self::DefineDomain(name, domain) => write!(
                f,
                "define domain {name} ({} MiB, {} CPU{})",
                domain.memory_mib,
                domain.cpus,
                if domain.cpus == 1 { "" } else { "s" }
            ),
            Self::UndefineDomain { name, .. } => write!(f, "undefine domain {name}"),
            Self::StartDomain(name) => write!(f, "start domain {name}"),
            Self::StopDomain { name, .. } => write!(f, "stop domain {name}"),
            Self::ConfigureGuest(name, config) => configure(f, name, config),
            Self::SetUpGuest(name, set_up) => self::set_up(f, name, set_up),
        }
    }
}

/// Writes what a link is limited to as text.
fn shape(f: &mut fmt::Formatter<'_>, host: &HostName, link: &IfName, shaping: &Shaping) -> fmt::Result {
    if shaping.down {
        write!(f, "set link {link} of {host} down")
    } else {
        write!(f, "limit link {link} of {host}: {shaping}")
    }
}

/// Writes what is no longer limited as text.
fn unshape(f: &mut fmt::Formatter<'_>, host: &HostName, link: &IfName, shaping: &Shaping) -> fmt::Result {
    if shaping.down {
        write!(f, "set link {link} of {host} up")
    } else {
        write!(f, "remove the limits of link {link} of {host}: {shaping}")
    }
}

/// Writes what is done in a guest as text.
fn set_up(f: &mut fmt::Formatter<'_>, name: &DomainName, set_up: &SetUp) -> fmt::Result {
    let rest = set_up.tasks.iter().skip(set_up.done);
    let (files, commands): (Vec<_>, Vec<_>) = rest.partition(|task| matches!(task, Task::Write { .. }));
    let counted = |verb, noun, count| match count {
        0 => None,
        1 => Some(format!("{verb} 1 {noun}")),
        count => Some(format!("{verb} {count} {noun}s")),
    };
    let parts = [
        counted("write", "file", files.len()),
        counted("run", "command", commands.len()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    write!(f, "{} in {} over its console", parts.join(" and "), name.vm())
}

/// Writes what is configured in a guest as text.
fn configure(f: &mut fmt::Formatter<'_>, name: &DomainName, config: &GuestConfig) -> fmt::Result {
    if config.seeded {
        write!(f, "wait for cloud-init in {}", name.vm())?;
    } else {
        write!(f, "configure {} over its console", name.vm())?;
    }
    list(f, ": ", config.nics.iter().map(|nic| &nic.address))?;
    list(f, ", serving TCP port ", config.serve.iter().map(|service| service.tcp))
}

/// Writes the rules as text.
fn load(f: &mut fmt::Formatter<'_>, rules: &Firewall) -> fmt::Result {
    let nat = rules.nat.iter().map(|nat| match nat.source {
        Some(source) => format!("translate {} to {source} on {}", nat.from, nat.out),
        None => format!("masquerade {} on {}", nat.from, nat.out),
    });
    let floating = rules
        .floating
        .iter()
        .map(|floating| format!("forward {} to {}", floating.public, floating.private));
    let gateways = rules
        .local_gateways
        .iter()
        .map(|gateway| format!("keep gateway {} off {}", gateway.address, gateway.port));
    let apart = rules.apart.iter().map(|(from, to)| {
        let to: Vec<&str> = to.iter().map(IfName::as_str).collect();
        format!("keep {from} apart from {}", to.join(" and "))
    });
    let ports = rules
        .ports
        .iter()
        .map(|(port, security)| format!("let only {} ({}) send on {port}", security.address, security.mac));
    write!(f, "load firewall rules")?;
    list(f, ": ", nat.chain(floating).chain(gateways).chain(apart).chain(ports))
}

/// Writes `lead` and the items, separated by commas; nothing where there are none.
fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, lead: &str, items: impl Iterator<Item = T>) -> fmt::Result {
    for (at, item) in items.enumerate() {
        write!(f, "{}{item}", if at == 0 { lead } else { ", " })?;
    }
    Ok(())
}
