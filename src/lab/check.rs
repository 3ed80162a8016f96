//! Resolves references, expands counts and finds what does not fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::Ipv4Net;

use super::file::{At, HostFile, LabFile, NetworkFile, UplinkFile, VmFile};
use super::problem::{Problem, suggest};
use super::{
    Cable, CableEnd, Connect, Gateway, HostName, IfName, ImageName, Lab, LabHost, LabHostNic, MacAddr, Network,
    NetworkName, Nic, Verify, VlanId, Vm, VmName,
};

/// The name that netlab keeps for the machine it runs on.
const THIS_MACHINE: &str = "this-machine";

/// What is known so far, and what is wrong so far.
struct Check<'a> {
    images: &'a BTreeSet<ImageName>,
    problems: Vec<Problem>,
    hosts: BTreeMap<HostName, LabHost>,
    networks: BTreeMap<NetworkName, Network>,
    /// Networks by every name in the file, also those left out of `networks` for another problem.
    network_names: BTreeSet<NetworkName>,
    /// Addresses in use, per network, and by whom.
    addresses: BTreeMap<(NetworkName, Ipv4Addr), String>,
    macs: BTreeSet<MacAddr>,
}

/// Checks `file`; gives a lab only if there is no problem, here or in `problems`.
pub(super) fn check(file: &LabFile, images: &BTreeSet<ImageName>, problems: Vec<Problem>) -> Result<Lab, Vec<Problem>> {
    let mut check = Check {
        images,
        problems,
        hosts: BTreeMap::new(),
        networks: BTreeMap::new(),
        network_names: file.networks.iter().map(|n| n.name.value.clone()).collect(),
        addresses: BTreeMap::new(),
        macs: BTreeSet::new(),
    };
    check.all_hosts(&file.hosts);
    let cables = check.all_cables(file);
    check.all_networks(&file.networks);
    let vms = check.all_vms(file);
    check.room(file, &vms);
    match (&file.name, check.problems.is_empty()) {
        (Some(name), true) => Ok(Lab {
            name: name.clone(),
            hosts: check.hosts,
            cables,
            networks: check.networks,
            vms,
            verify: Verify {
                outside: file.outside.clone(),
            },
        }),
        _ => Err(check.problems),
    }
}

/// How many addresses guests and gateway can have.
fn usable(subnet: Ipv4Net) -> u64 {
    (1_u64 << (32 - u32::from(subnet.prefix_len()))).saturating_sub(2)
}

impl Check<'_> {
    fn add(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(span.clone(), message, help));
    }

    fn all_hosts(&mut self, hosts: &[HostFile]) {
        if hosts.is_empty() && self.problems.is_empty() {
            self.add(&(0..0), "the lab has no hosts", "write `[hosts.node1]`");
        }
        let mut used = BTreeSet::new();
        for host in hosts {
            if host.name.value.as_str() == THIS_MACHINE {
                self.add(
                    &host.name.span,
                    format!("`{THIS_MACHINE}` is a reserved host name"),
                    "choose another name",
                );
            }
            let mut nics = BTreeMap::new();
            for nic in &host.nics {
                if let Some(at) = &nic.address {
                    let (address, subnet) = (at.value.addr(), at.value);
                    if usable(subnet) > 0 && (address == subnet.network() || address == subnet.broadcast()) {
                        self.add(&at.span, format!("`{subnet}` is not an address for a host"), "");
                    }
                    if !used.insert(address) {
                        self.add(&at.span, format!("address {address} is used twice"), "");
                    }
                }
                if let Some(gateway) = &nic.gateway
                    && !nic.address.as_ref().is_some_and(|a| a.value.contains(&gateway.value))
                {
                    let message = format!("gateway {} is not reachable through this NIC", gateway.value);
                    self.add(
                        &gateway.span,
                        message,
                        "it must be inside the NIC's own address and prefix",
                    );
                }
                let (address, gateway) = (nic.address.as_ref(), nic.gateway.as_ref());
                let checked = LabHostNic {
                    address: address.map(|a| a.value),
                    gateway: gateway.map(|g| g.value),
                    takeover: nic.takeover,
                };
                nics.insert(nic.name.value.clone(), checked);
            }
            self.hosts.insert(
                host.name.value.clone(),
                LabHost {
                    connect: host.connect.clone(),
                    nics,
                },
            );
        }
    }

    /// Whether the host exists; reports if not.
    fn host(&mut self, name: &HostName, span: &Range<usize>) -> bool {
        if self.hosts.contains_key(name) {
            return true;
        }
        let help = suggest(name.as_str(), self.hosts.keys().map(HostName::as_str));
        self.add(span, format!("there is no host `{name}`"), help);
        false
    }

    /// Whether the host has the NIC; reports if not.
    fn host_nic(&mut self, host: &HostName, nic: &IfName, span: &Range<usize>) -> bool {
        let Some(found) = self.hosts.get(host) else {
            return self.host(host, span);
        };
        if found.nics.contains_key(nic) {
            return true;
        }
        let help = suggest(nic.as_str(), found.nics.keys().map(IfName::as_str));
        self.add(span, format!("host `{host}` has no NIC `{nic}`"), help);
        false
    }

    fn all_cables(&mut self, file: &LabFile) -> Vec<Cable> {
        let mut used = BTreeSet::new();
        let mut cables = Vec::new();
        for ends in &file.cables {
            // Between two real hosts a cable says how the lab is wired where it is emulated (`--emulate`).
            let real = ends.each_ref().map(|At { value: (host, _), .. }| {
                self.hosts
                    .get(host)
                    .is_some_and(|found| found.connect != Connect::Emulated)
            });
            for At {
                value: (host, nic),
                span,
            } in ends
            {
                if !self.host_nic(host, nic, span) {
                    continue;
                }
                if real[0] != real[1] && self.hosts.get(host).is_some_and(|h| h.connect != Connect::Emulated) {
                    self.add(
                        span,
                        format!("host `{host}` is not emulated: netlab cannot plug its cables"),
                        "a cable joins two emulated hosts, or two real ones to say how they are wired",
                    );
                }
                if !used.insert((host, nic)) {
                    self.add(
                        span,
                        format!("`{host}:{nic}` already has a cable"),
                        "a NIC takes one cable",
                    );
                }
            }
            let [a, b] = ends.each_ref().map(|at| CableEnd {
                host: at.value.0.clone(),
                nic: at.value.1.clone(),
            });
            cables.push(Cable {
                ends: if a <= b { [a, b] } else { [b, a] },
            });
        }
        cables.sort();
        cables
    }

    fn all_networks(&mut self, networks: &[NetworkFile]) {
        let mut subnets: Vec<(Ipv4Net, &NetworkName)> = Vec::new();
        let mut bridges = BTreeSet::new();
        let mut carried: BTreeMap<(HostName, IfName, Option<VlanId>), NetworkName> = BTreeMap::new();
        for network in networks {
            let name = &network.name.value;
            if let Some(At { value: subnet, span }) = &network.subnet {
                if *subnet != subnet.trunc() {
                    let help = format!("write `{}`", subnet.trunc());
                    self.add(span, format!("`{subnet}` has host bits set"), help);
                }
                if usable(*subnet) < 1 {
                    self.add(
                        span,
                        format!("subnet `{subnet}` is too small"),
                        "a network needs /30 or wider",
                    );
                }
                for (other, whose) in &subnets {
                    if other.contains(subnet) || subnet.contains(other) {
                        let message = format!("subnet `{subnet}` overlaps `{other}` of network `{whose}`");
                        self.add(span, message, "give each network a subnet of its own");
                    }
                }
                subnets.push((*subnet, name));
            }
            if let Some(At { value: bridge, span }) = &network.bridge {
                if !bridges.insert(bridge.clone()) {
                    self.add(span, format!("bridge `{bridge}` is used by two networks"), "");
                }
                if self.hosts.values().any(|host| host.nics.contains_key(bridge)) {
                    self.add(
                        span,
                        format!("bridge `{bridge}` has the name of a host's NIC"),
                        "choose another name",
                    );
                }
            }
            let (uplinks, span) = self.uplinks(network);
            if let (Some(vlan), None) = (&network.vlan, &network.uplink) {
                self.add(
                    &vlan.span,
                    format!("network `{name}` has a vlan and no uplink"),
                    "add `uplink`",
                );
            }
            let vlan = network.vlan.as_ref().map(|at| at.value);
            let mut told = BTreeSet::new();
            for (host, nic) in &uplinks {
                let Some(other) = carried.insert((host.clone(), nic.clone(), vlan), name.clone()) else {
                    continue;
                };
                if !told.insert(other.clone()) {
                    continue;
                }
                let message = match vlan {
                    Some(vlan) => format!("vlan {vlan} on `{host}:{nic}` is already network `{other}`"),
                    None => format!("`{host}:{nic}` already carries network `{other}` untagged"),
                };
                let span = network.vlan.as_ref().map_or(&span, |at| &at.span);
                self.add(span, message, "give each network on an uplink a `vlan` of its own");
            }
            let gateway = self.gateway(network);
            if let Some(subnet) = &network.subnet {
                self.networks.insert(
                    name.clone(),
                    Network {
                        subnet: subnet.value,
                        uplinks,
                        vlan,
                        bridge: network.bridge.as_ref().map(|at| at.value.clone()),
                        stp: network.stp,
                        gateway,
                        nameservers: network.nameservers.clone(),
                    },
                );
            }
        }
    }

    fn uplinks(&mut self, network: &NetworkFile) -> (BTreeMap<HostName, IfName>, Range<usize>) {
        match &network.uplink {
            None => (BTreeMap::new(), network.name.span.clone()),
            Some(UplinkFile::Everywhere(At { value: nic, span })) => {
                let having = self.hosts.iter().filter(|(_, host)| host.nics.contains_key(nic));
                let found: BTreeMap<_, _> = having.map(|(name, _)| (name.clone(), nic.clone())).collect();
                if found.is_empty() {
                    let all: BTreeSet<&str> = self
                        .hosts
                        .values()
                        .flat_map(|host| host.nics.keys().map(IfName::as_str))
                        .collect();
                    let help = suggest(nic.as_str(), all);
                    self.add(span, format!("no host has a NIC `{nic}`"), help);
                }
                (found, span.clone())
            }
            Some(UplinkFile::PerHost(ends)) => {
                let mut found = BTreeMap::new();
                let mut place = network.name.span.clone();
                for (host, nic) in ends {
                    place = nic.span.clone();
                    if self.host(&host.value, &host.span) && self.host_nic(&host.value, &nic.value, &nic.span) {
                        found.insert(host.value.clone(), nic.value.clone());
                    }
                }
                (found, place)
            }
        }
    }

    fn gateway(&mut self, network: &NetworkFile) -> Option<Gateway> {
        let gateway = network.gateway.as_ref()?;
        if let Some(subnet) = &network.subnet {
            self.address(&network.name.value, subnet.value, &gateway.address, "the gateway");
        }
        let on = match &gateway.on {
            Some(on) => {
                let At { value, span } = on.as_ref()?;
                self.host(value, span).then(|| value.clone())?
            }
            None if self.hosts.len() == 1 => self.hosts.keys().next()?.clone(),
            None => {
                let message = format!("the gateway of `{}` needs a host", network.name.value);
                self.add(&gateway.address.span, message, "add `on = \"<host>\"`");
                return None;
            }
        };
        Some(Gateway {
            address: gateway.address.value,
            on,
        })
    }

    /// Takes an address of a network for `whom`.
    fn address(&mut self, network: &NetworkName, subnet: Ipv4Net, at: &At<Ipv4Addr>, whom: &str) {
        let At { value: address, span } = at;
        if !subnet.contains(address) {
            self.add(
                span,
                format!("{address} is outside `{subnet}`, the subnet of network `{network}`"),
                "",
            );
        } else if usable(subnet) > 0 && (*address == subnet.network() || *address == subnet.broadcast()) {
            self.add(
                span,
                format!("{address} is the network or broadcast address of `{subnet}`"),
                "",
            );
        }
        if let Some(other) = self.addresses.insert((network.clone(), *address), whom.to_owned()) {
            self.add(span, format!("address {address} is used twice: {other} and {whom}"), "");
        }
    }

    fn all_vms(&mut self, file: &LabFile) -> BTreeMap<VmName, Vm> {
        let mut vms: BTreeMap<VmName, Vm> = BTreeMap::new();
        let default = file.image.clone().or_else(|| {
            let value = ImageName::new("mini").ok()?;
            Some(At { value, span: 0..0 })
        });
        if let Some(image) = &file.image {
            self.image(image);
        }
        for vm in &file.vms {
            if let Some(image) = &vm.image {
                self.image(image);
            } else if file.image.is_none()
                && let Some(image) = &default
                && !self.images.contains(&image.value)
            {
                self.image(&At {
                    value: image.value.clone(),
                    span: vm.name.span.clone(),
                });
            }
            let Some(image) = vm.image.as_ref().or(default.as_ref()) else {
                continue;
            };
            self.vm(vm, &image.value, &mut vms);
        }
        vms
    }

    fn image(&mut self, image: &At<ImageName>) {
        if !self.images.contains(&image.value) {
            let help = suggest(image.value.as_str(), self.images.iter().map(ImageName::as_str));
            self.add(&image.span, format!("there is no image `{}`", image.value), help);
        }
    }

    fn vm(&mut self, vm: &VmFile, image: &ImageName, vms: &mut BTreeMap<VmName, Vm>) {
        let mut hosts: Vec<HostName> = Vec::new();
        for At { value, span } in &vm.hosts {
            if self.host(value, span) {
                hosts.push(value.clone());
            }
        }
        if !vm.placed {
            if self.hosts.len() == 1 {
                hosts.extend(self.hosts.keys().cloned());
            } else {
                self.add(
                    &vm.name.span,
                    format!("vm `{}` has no host", vm.name.value),
                    "write `host = \"<host>\"`",
                );
            }
        }
        // `hosts` without `count` is one vm on each; one host without `count` is one vm with the name as it is.
        let several = u32::try_from(vm.hosts.len()).unwrap_or(u32::MAX);
        let count = vm
            .count
            .as_ref()
            .map(|at| at.value)
            .or((several > 1).then_some(several));
        for place in 1..=count.unwrap_or(1) {
            let text = match count {
                Some(_) => format!("{}-{place}", vm.name.value),
                None => vm.name.value.to_string(),
            };
            let name = match VmName::new(&text) {
                Ok(name) => name,
                Err(error) => {
                    self.add(&vm.name.span, format!("`{text}`: {error}"), "choose a shorter name");
                    break;
                }
            };
            let nics = self.nics(vm, &name);
            let Some(host) = hosts.get((place as usize - 1) % hosts.len().max(1)) else {
                continue;
            };
            let made = Vm {
                host: host.clone(),
                image: image.clone(),
                memory_mib: vm.memory_mib,
                cpus: vm.cpus,
                nics,
            };
            if vms.insert(name.clone(), made).is_some() {
                let message = format!("two vms are called `{name}`");
                self.add(
                    &vm.name.span,
                    message,
                    "`count` makes names like `web-1`; rename one of the two",
                );
            }
        }
    }

    fn nics(&mut self, vm: &VmFile, name: &VmName) -> Vec<Nic> {
        let mut nics = Vec::new();
        for nic in &vm.nics {
            let network = &nic.network.value;
            if !self.network_names.contains(network) {
                let help = suggest(network.as_str(), self.network_names.iter().map(NetworkName::as_str));
                self.add(&nic.network.span, format!("there is no network `{network}`"), help);
            }
            if let (Some(address), Some(subnet)) = (&nic.address, self.networks.get(network).map(|n| n.subnet)) {
                self.address(network, subnet, address, &format!("vm `{name}`"));
            }
            if let Some(At { value, span }) = &nic.mac
                && !self.macs.insert(*value)
            {
                self.add(
                    span,
                    format!("MAC address {value} is used twice"),
                    "leave it out to have one derived",
                );
            }
            nics.push(Nic {
                network: network.clone(),
                address: nic.address.as_ref().map(|at| at.value),
                mac: nic.mac.as_ref().map(|at| at.value),
            });
        }
        nics
    }

    /// Whether every subnet has room for its guests.
    fn room(&mut self, file: &LabFile, vms: &BTreeMap<VmName, Vm>) {
        for network in &file.networks {
            let Some(At { value: subnet, span }) = &network.subnet else {
                continue;
            };
            let nics = vms
                .values()
                .flat_map(|vm| &vm.nics)
                .filter(|nic| nic.network == network.name.value)
                .count();
            let wanted = nics as u64 + u64::from(network.gateway.is_some());
            if usable(*subnet) > 0 && wanted > usable(*subnet) {
                let message = format!(
                    "subnet `{subnet}` is too small: {wanted} of {} addresses",
                    usable(*subnet)
                );
                self.add(span, message, "use a shorter prefix");
            }
        }
    }
}
