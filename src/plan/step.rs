//! One change to one host: plain data, so that a journal can be read back; `Display` is the line that a user reads.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::lab::{Cable, HostName, IfName, NetworkName};
use crate::state::{
    Dhcp, Domain, DomainName, Firewall, GuestConfig, Link, LinkKind, Machine, MachineKind, Sysctl, Uplink, Volume,
};

/// When a step runs: stages are barriers across all hosts. Removal runs in the opposite order, before creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Guests stopped, domains undefined.
    RemoveGuests,
    /// Volumes deleted.
    RemoveVolumes,
    /// Servers stopped, rules deleted, uplinks given back, links deleted, settings put back.
    RemoveNetwork,
    /// Emulated hosts and their cables removed.
    RemoveMachines,
    /// Emulated hosts and their cables made.
    Machines,
    /// Links, addresses, uplinks, settings, rules, servers.
    Network,
    /// Overlays made.
    Volumes,
    /// Domains defined.
    Define,
    /// Domains started, guests configured; each guest by itself.
    Guests,
}

/// One change to one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Make an emulated host: namespaces, init, libvirt daemon; no NIC yet.
    CreateMachine(HostName),
    /// Make an emulated switch or router: a network namespace; no NIC yet.
    CreateDevice(HostName, MachineKind),
    /// Remove an emulated machine with all that is in it.
    RemoveMachine(HostName),
    /// Plug a cable: makes both NICs.
    PlugCable(Cable),
    /// Unplug a cable: removes both NICs.
    UnplugCable(Cable),
    /// Give an emulated machine's NICs their addresses, routes and port modes; makes those that have no cable.
    ConfigureMachine(HostName, Machine),
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
    /// Enslave a host NIC, its addresses and routes moving to the bridge.
    TakeUplink(IfName, Uplink),
    /// Free a host NIC and put everything back on it.
    ReleaseUplink(IfName, Uplink),
    /// Put a floating address on a NIC that netlab did not make.
    AddFloating(Ipv4Addr, IfName),
    /// Take a floating address off such a NIC.
    DeleteFloating(Ipv4Addr, IfName),
    /// Load the lab's rules in place of what it has, as one transaction.
    LoadRuleset(Box<Firewall>),
    /// Delete the lab's rules.
    DeleteRuleset,
    /// Start a network's DHCP and DNS server.
    StartDhcp(NetworkName, Box<Dhcp>),
    /// Stop a network's DHCP and DNS server and forget its leases.
    StopDhcp(NetworkName),
    /// Change a kernel setting, keeping the old value.
    SetSysctl(Sysctl, String),
    /// Put a kernel setting back, unless another lab still needs it.
    RestoreSysctl(Sysctl),
    /// Make a guest's overlay.
    CreateVolume(DomainName, Volume),
    /// Delete a guest's overlay.
    DeleteVolume(DomainName),
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
    /// Tell a running guest its addresses over the console, and mark the domain with what it was told.
    ConfigureGuest(DomainName, Box<GuestConfig>),
}

impl Step {
    /// The stage the step belongs to.
    pub fn stage(&self) -> Stage {
        match self {
            Self::CreateMachine(..) | Self::CreateDevice(..) | Self::PlugCable(..) | Self::ConfigureMachine(..) => {
                Stage::Machines
            }
            Self::RemoveMachine(..) | Self::UnplugCable(..) => Stage::RemoveMachines,
            Self::CreateLink(..)
            | Self::ChangeLink(..)
            | Self::AddAddress(..)
            | Self::TakeUplink(..)
            | Self::AddFloating(..)
            | Self::LoadRuleset(..)
            | Self::StartDhcp(..)
            | Self::SetSysctl(..) => Stage::Network,
            Self::DeleteLink { .. }
            | Self::DeleteAddress(..)
            | Self::ReleaseUplink(..)
            | Self::DeleteFloating(..)
            | Self::DeleteRuleset
            | Self::StopDhcp(..)
            | Self::RestoreSysctl(..) => Stage::RemoveNetwork,
            Self::CreateVolume(..) => Stage::Volumes,
            Self::DeleteVolume(..) => Stage::RemoveVolumes,
            Self::DefineDomain(..) => Stage::Define,
            Self::StopDomain { .. } | Self::UndefineDomain { .. } => Stage::RemoveGuests,
            Self::StartDomain(..) | Self::ConfigureGuest(..) => Stage::Guests,
        }
    }

    /// Takes something away. Removal goes on after an error; creation stops at the first.
    pub fn is_removal(&self) -> bool {
        self.stage() < Stage::Machines
    }
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
            Self::CreateLink(
                name,
                Link {
                    kind,
                    master,
                    addresses,
                    purpose,
                },
            ) => {
                match kind {
                    LinkKind::Bridge { stp, mac } => {
                        write!(f, "create bridge {name}")?;
                        if *stp {
                            write!(f, " with spanning tree")?;
                        }
                        if let Some(mac) = mac {
                            write!(f, " with MAC {mac}")?;
                        }
                    }
                    LinkKind::Vlan { parent, id } => write!(f, "create VLAN device {name} (id {id} on {parent})")?,
                }
                for address in addresses {
                    write!(f, ", address {address}")?;
                }
                if let Some(master) = master {
                    write!(f, ", port of {master}")?;
                }
                write!(f, " for {purpose}")
            }
            Self::DeleteLink { name, .. } => write!(f, "delete link {name}"),
            Self::ChangeLink(name, _) => write!(f, "change link {name}"),
            Self::AddAddress(link, address) => write!(f, "add address {address} to {link}"),
            Self::DeleteAddress(link, address) => write!(f, "delete address {address} from {link}"),
            Self::TakeUplink(nic, Uplink { bridge, was }) => {
                write!(f, "take {nic} into bridge {bridge}")?;
                list(f, ", moving ", was.addresses.iter())
            }
            Self::ReleaseUplink(nic, Uplink { bridge, was }) => {
                if bridge == nic {
                    write!(f, "give {nic} back, which an interrupted run had half taken")?;
                } else {
                    write!(f, "give {nic} back from bridge {bridge}")?;
                }
                list(f, ", with ", was.addresses.iter())
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
                    "serve DHCP and names of network {network} on {bridge} ({count} lease{plural})"
                )
            }
            Self::StopDhcp(network) => write!(f, "stop DHCP of network {network}"),
            Self::SetSysctl(key, value) => write!(f, "set {key} to {value}"),
            Self::RestoreSysctl(key) => write!(f, "put {key} back"),
            Self::CreateVolume(name, Volume { base, .. }) => {
                write!(f, "create the disk of {} over {}", name.vm(), base.display())
            }
            Self::DeleteVolume(name) => write!(f, "delete the disk of {}", name.vm()),
            Self::DefineDomain(name, domain) => write!(
                f,
                "define domain {name} ({} MiB, {} CPU{})",
                domain.memory_mib,
                domain.cpus,
                if domain.cpus == 1 { "" } else { "s" }
            ),
            Self::UndefineDomain { name, .. } => write!(f, "undefine domain {name}"),
            Self::StartDomain(name) => write!(f, "start {name}"),
            Self::StopDomain { name, .. } => write!(f, "stop {name}"),
            Self::ConfigureGuest(name, config) => {
                if config.seeded {
                    write!(f, "wait until cloud-init has set up {}", name.vm())?;
                } else {
                    write!(f, "configure {} over its console", name.vm())?;
                }
                list(f, ": ", config.nics.iter().map(|nic| &nic.address))
            }
        }
    }
}

/// The rules in words.
fn load(f: &mut fmt::Formatter<'_>, rules: &Firewall) -> fmt::Result {
    let nat = rules.nat.iter().map(|nat| match nat.source {
        Some(source) => format!("{} leaves {} as {source}", nat.from, nat.out),
        None => format!("{} masquerades out of {}", nat.from, nat.out),
    });
    let floating = rules
        .floating
        .iter()
        .map(|floating| format!("{} stands for {}", floating.public, floating.private));
    let gateways = rules
        .local_gateways
        .iter()
        .map(|gateway| format!("gateway {} stays off {}", gateway.address, gateway.port));
    write!(f, "load firewall rules")?;
    list(f, ": ", nat.chain(floating).chain(gateways))
}

/// Writes `lead` and the items with commas between, or nothing.
fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, lead: &str, items: impl Iterator<Item = T>) -> fmt::Result {
    for (at, item) in items.enumerate() {
        write!(f, "{}{item}", if at == 0 { lead } else { ", " })?;
    }
    Ok(())
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

impl Sysctl {
    /// The setting's name for sysctl(8).
    pub fn key(self) -> &'static str {
        match self {
            Self::Ipv4Forward => "net.ipv4.ip_forward",
        }
    }
}
