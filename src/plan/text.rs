//! The text of a plan's line.

use std::fmt;

use super::Step;
use crate::lab::{Cable, HostName, IfName, Shaping, Task};
use crate::state::{
    Dhcp, DomainName, Firewall, GuestConfig, Link, LinkKind, Machine, PortForward, SetUp, Uplink, Volume,
};

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
        LinkKind::OvsBridge { datapath, stp, mac } => {
            write!(f, "create Open vSwitch bridge {name} (datapath {datapath})")?;
            if let Some(delay) = stp {
                write!(f, " with spanning tree (forward delay {delay} s)")?;
            }
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
            Self::RemoveMachine(name) => write!(f, "remove emulated machine {name} with all that is in it"),
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
                    write!(f, "detach {nic} (attached only in part)")?;
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
            Self::StartDomain(name, _) => write!(f, "start domain {name}"),
            Self::StopDomain { name, .. } => write!(f, "stop domain {name}"),
            Self::ConfigureGuest(name, config) => configure(f, name, config),
            Self::SetUpGuest(name, set_up) => self::set_up(f, name, set_up),
            Self::RunState(name, change) => change.describe(f, name.vm()),
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
        .chain(rules.gateway_flows.values().flatten())
        .map(|gateway| format!("keep gateway {} off {}", gateway.address, gateway.port));
    let apart: Vec<&str> = rules.together.keys().map(IfName::as_str).collect();
    let apart = (!apart.is_empty()).then(|| format!("keep {} apart", apart.join(" and ")));
    // Each pair once.
    let routed = rules
        .together
        .iter()
        .flat_map(|(from, to)| to.iter().filter(move |to| from < to).map(move |to| (from, to)));
    let routed = routed.map(|(from, to)| format!("route between {from} and {to}"));
    let apart = apart.into_iter().chain(routed);
    let ports = rules.ports.iter().chain(rules.flows.values().flatten());
    let ports =
        ports.map(|(port, security)| format!("let only {} ({}) send on {port}", security.address, security.mac));
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
