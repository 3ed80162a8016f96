//! What stands in the way of a lab: judged from the hosts' surveys, all at once, before anything is changed.

mod machines;
mod services;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;
use serde::Serialize;

use crate::lab::{Connect, HostName, IfName, MacAddr, VmName};
use crate::state::survey::Kvm;
use crate::state::{Domain, DomainName, Site, Survey, localhost};
use crate::topology::{Guest, Segment, Topology, TopologyHost, derive};

/// Something that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// Whether the lab can be brought up all the same.
    pub severity: Severity,
    /// Where; the machine that netlab runs on ([`localhost`]) for what its hosts share.
    pub host: HostName,
    /// What is in the way, with its owner.
    pub what: String,
    /// What the user can do.
    pub help: String,
}

/// How bad an [`Obstacle`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The lab must not be brought up.
    Error,
    /// The lab works, but not as well as it could.
    Warning,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, what, help, .. } = self;
        write!(f, "{host}: {what} (help: {help})")
    }
}

/// Everything that stands in the way of `topology`, host by host. `observed` is what the lab owns already. Of a host
/// without a survey, as an emulated one that is yet to be made, only what the lab itself says can be judged.
pub fn preflight(topology: &Topology, surveys: &BTreeMap<HostName, Survey>, observed: &Site) -> Vec<Obstacle> {
    let mut guests: BTreeMap<&HostName, Vec<(&VmName, &Guest)>> = BTreeMap::new();
    for (vm, guest) in &topology.guests {
        guests.entry(&guest.host).or_default().push((vm, guest));
    }
    let macs: BTreeMap<MacAddr, &VmName> = topology
        .guests
        .iter()
        .flat_map(|(vm, guest)| guest.nics.iter().map(move |nic| (nic.mac, vm)))
        .collect();

    let mut obstacles = Vec::new();
    for (name, host) in &topology.hosts {
        let survey = surveys.get(name);
        let mut findings = uplinks(topology, name, host, survey);
        if let Some(survey) = survey {
            let guests = guests.get(name).map_or(&[][..], Vec::as_slice);
            findings.extend(names(host, guests, survey));
            findings.extend(ways(name, host, survey, observed));
            findings.extend(subnets(host, survey));
            findings.extend(domains(topology, guests, &macs, survey));
            findings.extend(equipment(topology, host, guests, survey));
            findings.extend(services::errors(topology, name, host, survey));
        }
        let warnings = survey.map(|survey| services::warnings(topology, host, survey));
        for (severity, findings) in [
            (Severity::Error, findings),
            (Severity::Warning, warnings.unwrap_or_default()),
        ] {
            obstacles.extend(findings.into_iter().map(|Finding { what, help }| Obstacle {
                severity,
                host: name.clone(),
                what,
                help,
            }));
        }
    }
    obstacles.extend(memory(topology, surveys, observed));
    obstacles.extend(kvm(topology, surveys, observed));
    obstacles.extend(machines::rig(topology, surveys));
    obstacles
}

struct Finding {
    what: String,
    help: String,
}

fn finding(what: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding {
        what: what.into(),
        help: help.into(),
    }
}

/// NICs that are to carry a network and are not there, or are somebody else's.
fn uplinks(topology: &Topology, name: &HostName, host: &TopologyHost, survey: Option<&Survey>) -> Vec<Finding> {
    let (nics, help): (BTreeSet<&IfName>, _) = match host.connect {
        // It will have what the lab gives it, whatever it has now.
        Connect::Emulated => {
            let ends = topology.cables.iter().flat_map(|cable| &cable.ends);
            let plugged = ends.filter(|end| end.host == *name).map(|end| &end.nic);
            (
                host.nics.keys().chain(plugged).collect(),
                "give the host such a NIC under `nics`, or plug a cable into it",
            )
        }
        Connect::Local | Connect::Ssh(_) => match survey {
            Some(survey) => (
                survey.nics.keys().collect(),
                "name one of these as the network's uplink",
            ),
            None => return Vec::new(),
        },
    };
    let mut missing: BTreeMap<&IfName, Vec<String>> = BTreeMap::new();
    for (network, segment) in &host.segments {
        if let Some(nic) = segment.uplink.as_ref().filter(|nic| !nics.contains(nic)) {
            missing.entry(nic).or_default().push(format!("`{network}`"));
        }
    }
    let taken = host.segments.iter().filter_map(|(network, segment)| {
        // A tagged network leaves the NIC where it is.
        let nic = segment.uplink.as_ref().filter(|_| segment.vlan.is_none())?;
        let owner = survey?.foreign_links.get(nic.as_str())?;
        Some(finding(
            format!("the NIC {nic} that is to carry network `{network}` is in other hands ({owner})"),
            "name another NIC as the network's uplink, or free that one",
        ))
    });
    let there = match nics.len() {
        0 => "none".to_owned(),
        _ => nics.iter().map(|nic| nic.as_str()).collect::<Vec<_>>().join(", "),
    };
    let carrying = missing.iter().map(|(nic, networks)| {
        let networks = networks.join(", ");
        finding(
            format!("there is no NIC {nic} to carry network {networks}; the host's NICs: {there}"),
            help,
        )
    });
    let outside: BTreeSet<&IfName> = services::outside(topology, name, host)
        .filter(|nic| !nics.contains(nic) && !missing.contains_key(nic))
        .collect();
    let leading = outside.into_iter().map(|nic| {
        finding(
            format!("there is no NIC {nic} to lead outside; the host's NICs: {there}"),
            "name one of these where the lab says what leads outside",
        )
    });
    carrying.chain(taken).chain(leading).collect()
}

/// NICs to be taken by which a real host is reached, without the lab's word that they may be.
fn ways(name: &HostName, host: &TopologyHost, survey: &Survey, observed: &Site) -> Vec<Finding> {
    if host.connect == Connect::Emulated {
        return Vec::new();
    }
    let is_taken = |nic: &IfName| observed.get(name).is_some_and(|state| state.uplinks.contains_key(nic));
    let mut findings = Vec::new();
    for (network, segment) in &host.segments {
        // Behind a VLAN device the NIC itself stays as it is.
        let Some(nic) = segment.uplink.as_ref().filter(|_| segment.vlan.is_none()) else {
            continue;
        };
        let Some(config) = survey.nics.get(nic) else { continue };
        if is_taken(nic) || host.nics.get(nic).is_some_and(|written| written.takeover) {
            continue;
        }
        let reached = config.addresses.iter().any(|net| Some(net.addr()) == survey.reached_at);
        let carries = match (reached, config.routes.iter().any(|route| route.to.prefix_len() == 0)) {
            (true, _) => "the ssh session",
            (false, true) => "the default route",
            (false, false) => continue,
        };
        findings.push(finding(
            format!("NIC {nic}, the uplink of network `{network}`, carries {carries}: taking it could cut the way to the host"),
            format!(
                "choose another uplink, give the network a `vlan`, or write `nics.{nic}.takeover = true` under the host: \
                 a host behind ssh then puts the NIC back by itself unless netlab reaches it again"
            ),
        ));
    }
    findings
}

/// Names of links that somebody else has.
fn names(host: &TopologyHost, guests: &[(&VmName, &Guest)], survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut check = |name: &IfName, role: fmt::Arguments, help: &str| {
        let owner = match survey.foreign_links.get(name.as_str()) {
            Some(owner) => format!("taken ({owner})"),
            None if survey.nics.contains_key(name) => "that of a NIC of the host".to_owned(),
            None => return,
        };
        findings.push(finding(format!("the name {name} of {role} is {owner}"), help));
    };
    for (network, segment) in &host.segments {
        let help = "choose another name with the network's `bridge`";
        check(&segment.bridge, format_args!("the bridge of network `{network}`"), help);
        if let Some((nic, id)) = segment.uplink.as_ref().zip(segment.vlan) {
            let role = format_args!("the VLAN device of network `{network}`");
            let help = "choose another VLAN id or uplink for the network, or remove that device";
            check(&derive::vlan_device(nic, id), role, help);
        }
    }
    for (vm, guest) in guests {
        for nic in &guest.nics {
            let role = format_args!("the tap of vm `{vm}` on network `{}`", nic.network);
            check(&nic.tap, role, "rename the vm, or remove that link");
        }
    }
    findings
}

/// Subnets that the host already reaches another way.
fn subnets(host: &TopologyHost, survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (network, segment) in &host.segments {
        let subnet = IpNet::V4(segment.subnet);
        for (other, link) in &survey.subnets {
            let overlaps = other.contains(&subnet) || subnet.contains(other);
            // A default route reaches everything and clashes with nothing.
            if !overlaps || other.prefix_len() == 0 || joins(segment, link) {
                continue;
            }
            let owner = survey
                .foreign_links
                .get(link)
                .map_or("a NIC of the host", String::as_str);
            let network = format_args!("subnet {subnet} of network `{network}`");
            findings.push(finding(
                format!("{network} overlaps {other}, which the host reaches by {link} ({owner})"),
                "choose another subnet for the network",
            ));
        }
    }
    findings
}

/// The network takes `link` itself into its bridge: what is behind that NIC is the network, not a rival of it.
fn joins(segment: &Segment, link: &str) -> bool {
    segment.vlan.is_none() && segment.uplink.as_ref().is_some_and(|nic| nic.as_str() == link)
}

/// Domains of others with our names or MAC addresses. A MAC must be unique on every host of the lab, since networks
/// reach from host to host; libvirt checks it nowhere.
fn domains(
    topology: &Topology,
    guests: &[(&VmName, &Guest)],
    macs: &BTreeMap<MacAddr, &VmName>,
    survey: &Survey,
) -> Vec<Finding> {
    let named = guests.iter().filter_map(|(vm, _)| {
        let name = DomainName::new(&topology.lab, vm).to_string();
        let owner = survey.foreign_domains.get(&name)?;
        Some(finding(
            format!("there is already a domain {name}, which is not this lab's ({owner})"),
            "rename the lab or the vm, or undefine that domain",
        ))
    });
    let addressed = survey.foreign_macs.iter().filter_map(|(mac, domain)| {
        let vm = macs.get(mac)?;
        Some(finding(
            format!("the MAC address {mac} of vm `{vm}` is used by domain {domain}, which is not this lab's"),
            "give the vm's NIC another `mac`",
        ))
    });
    named.chain(addressed).collect()
}

/// Programs, kernel modules and emulators that are missing.
fn equipment(topology: &Topology, host: &TopologyHost, guests: &[(&VmName, &Guest)], survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !survey.programs.contains("ip") {
        findings.push(finding(
            "the program `ip` is missing",
            "install it there: `apt-get install iproute2`",
        ));
    }
    let tagged = |segment: &Segment| segment.uplink.is_some() && segment.vlan.is_some();
    let modules = [
        ("bridge", !host.segments.is_empty(), "bridges"),
        ("8021q", host.segments.values().any(tagged), "VLANs"),
    ];
    for (module, needed, purpose) in modules {
        if needed && survey.missing_modules.contains(module) {
            findings.push(finding(
                format!("the kernel has no {purpose}: module {module} is missing"),
                format!("`modprobe {module}` there, or boot a kernel that has it"),
            ));
        }
    }
    let arches: BTreeSet<&str> = guests
        .iter()
        .map(|(_, guest)| topology.images[&guest.image].machine.arch.as_str())
        .collect();
    for arch in arches {
        if !survey.arches.is_empty() && !survey.arches.contains(arch) {
            // Debian's packages.
            let package = match arch {
                "x86_64" | "i686" => "qemu-system-x86",
                "aarch64" | "armv7l" => "qemu-system-arm",
                _ => "qemu-system-misc",
            };
            findings.push(finding(
                format!("QEMU cannot run {arch} guests"),
                format!("install QEMU's emulator of it there: `apt-get install {package}`"),
            ));
        }
    }
    findings
}

/// The machine whose memory and CPU a host's guests use.
fn machine_below(name: &HostName, connect: &Connect) -> HostName {
    match connect {
        Connect::Emulated | Connect::Local => localhost(),
        Connect::Ssh(_) => name.clone(),
    }
}

/// A guest's domain, if it runs already.
fn running<'a>(topology: &Topology, observed: &'a Site, vm: &VmName, guest: &Guest) -> Option<&'a Domain> {
    let state = observed.get(&guest.host)?;
    let domain = state.domains.get(&DomainName::new(&topology.lab, vm));
    domain.filter(|domain| domain.running)
}

/// Machines that have less memory than the guests that are yet to be started.
fn memory(topology: &Topology, surveys: &BTreeMap<HostName, Survey>, observed: &Site) -> Vec<Obstacle> {
    /// Per machine: guests to be started, what they need and what there is, in MiB.
    #[derive(Default)]
    struct Budget {
        guests: usize,
        needed: u64,
        available: Option<u64>,
    }
    let mut budgets: BTreeMap<HostName, Budget> = BTreeMap::new();
    let known = |host: &HostName| surveys.get(host).map(|survey| survey.memory_mib).filter(|mib| *mib > 0);
    for (name, host) in &topology.hosts {
        let machine = machine_below(name, &host.connect);
        let available = known(name).into_iter().chain(known(&machine));
        let budget = budgets.entry(machine.clone()).or_default();
        // Several surveys of one machine tell of slightly different moments.
        budget.available = budget.available.into_iter().chain(available).min();
    }
    for (vm, guest) in &topology.guests {
        let Some(host) = topology.hosts.get(&guest.host) else {
            continue;
        };
        let domain = running(topology, observed, vm, guest);
        let budget = budgets.entry(machine_below(&guest.host, &host.connect)).or_default();
        budget.guests += usize::from(domain.is_none());
        // A running guest has its memory already.
        budget.needed += guest
            .memory_mib
            .saturating_sub(domain.map_or(0, |domain| domain.memory_mib));
    }
    let short = budgets.into_iter().filter_map(|(host, budget)| {
        let available = budget.available.filter(|available| *available < budget.needed)?;
        let Budget { guests, needed, .. } = budget;
        Some(Obstacle {
            severity: Severity::Error,
            host,
            what: format!(
                "{guests} guest{} yet to be started need{} {needed} MiB of memory, {available} MiB are available",
                if guests == 1 { "" } else { "s" },
                if guests == 1 { "s" } else { "" },
            ),
            help: "give the guests less `memory`, or run fewer of them".to_owned(),
        })
    });
    short.collect()
}

/// Machines whose /dev/kvm promises what it does not hold, where guests are yet to be started; once per machine, not
/// per emulated host.
fn kvm(topology: &Topology, surveys: &BTreeMap<HostName, Survey>, observed: &Site) -> Vec<Obstacle> {
    let mut useless: BTreeSet<(HostName, &str)> = BTreeSet::new();
    let to_start = topology
        .guests
        .iter()
        .filter(|(vm, guest)| running(topology, observed, vm, guest).is_none());
    for (name, host) in to_start.filter_map(|(_, guest)| topology.hosts.get_key_value(&guest.host)) {
        if let Some(Kvm::Useless(why)) = surveys.get(name).map(|survey| &survey.kvm) {
            useless.insert((machine_below(name, &host.connect), why));
        }
    }
    let warnings = useless.into_iter().map(|(host, why)| Obstacle {
        severity: Severity::Warning,
        host,
        what: format!("/dev/kvm is there but does not work: {why}; guests run in QEMU's translator"),
        help: "guests are several times slower this way; enable virtualization in the firmware or the outer hypervisor"
            .to_owned(),
    });
    warnings.collect()
}
