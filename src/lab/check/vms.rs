//! Virtual machines: their hosts, counts and networks.

use std::collections::BTreeMap;

use super::Check;
use super::addresses::Owner;
use super::hosts::LOCALHOST;
use crate::lab::file::{At, LabFile, VmFile};
use crate::lab::{Forward, HostName, ImageName, NetworkName, Nic, Setup, Vm, VmName};

/// Keywords of dnsmasq's `dhcp-host` in the place of a name.
const DNSMASQ: [&str; 2] = ["ignore", "infinite"];

impl Check<'_> {
    pub(super) fn all_vms(&mut self, file: &LabFile) -> BTreeMap<VmName, Vm> {
        let mut vms: BTreeMap<VmName, Vm> = BTreeMap::new();
        let default = file.image.clone().or_else(|| {
            let value = ImageName::new("mini").ok()?;
            Some(At { value, span: 0..0 })
        });
        if let Some(image) = &file.image {
            self.image(image);
        }
        for vm in &file.vms {
            self.made.push(Vec::new());
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
            let help = self.suggest(image.value.as_str(), self.images.iter().map(ImageName::as_str));
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
            } else if !self.broken.contains("hosts") {
                self.add(
                    &vm.name.span,
                    format!("vm `{}` has no host", vm.name.value),
                    "write `host = \"<host>\"`",
                );
            }
        }
        // `hosts` without `count` is one vm on each; one host without `count` is one vm with its own name.
        let several = u32::try_from(vm.hosts.len()).unwrap_or(u32::MAX);
        let count = vm
            .count
            .as_ref()
            .map(|at| at.value)
            .or((several > 1).then_some(several));
        let floating = self.floating(vm, &hosts, count.unwrap_or(1));
        let serve = self.services(vm);
        let forward = self.forward(vm, count.unwrap_or(1));
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
            if let Some(made) = self.made.last_mut() {
                made.push(name.clone());
            }
            self.vm_name(vm, &name);
            let Some(host) = hosts.get((place as usize - 1) % hosts.len().max(1)) else {
                self.lost.insert(name);
                continue;
            };
            let made = Vm {
                host: host.clone(),
                image: image.clone(),
                memory_mib: vm.memory_mib,
                disk_mib: vm.disk_mib,
                disks: vm.disks.clone(),
                cdrom: vm.cdrom.clone(),
                cpus: vm.cpus,
                nics,
                floating,
                serve: serve.clone(),
                forward: forward.clone(),
                setup: Setup::default(), // `setups` has it
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

    /// Each forwarded port leads to one VM, which can be reached.
    fn forward(&mut self, vm: &VmFile, count: u32) -> Vec<Forward> {
        let name = &vm.name.value;
        if let Some(first) = vm.forward.first() {
            if count > 1 {
                let message = format!("{count} vms `{name}` cannot have one port");
                self.add(&first.host.span, message, "forward to a vm without `count`");
            } else if vm.nics.is_empty() {
                let message = format!("vm `{name}` has no NIC to forward to");
                self.add(&first.host.span, message, "give it `nics`");
            }
        }
        for port in &vm.forward {
            if let Some(other) = self.forwards.insert(port.host.value, name.clone()) {
                let message = format!("port {} is forwarded already, to vm `{other}`", port.host.value);
                self.add(&port.host.span, message, "choose another port");
            }
        }
        let ports = vm.forward.iter().map(|port| Forward {
            host: port.host.value,
            guest: port.guest.value,
        });
        ports.collect()
    }

    /// A VM has a name of its own among all machines, also where case does not count, and one that a DHCP server can give it.
    fn vm_name(&mut self, vm: &VmFile, name: &VmName) {
        let span = &vm.name.span;
        let plain = name.as_str().to_ascii_lowercase();
        let mut networks = vm.nics.iter().filter_map(|nic| self.networks.get(&nic.network.value));
        let is_served = networks.any(|network| network.dhcp);
        if is_served && DNSMASQ.contains(&plain.as_str()) {
            let message = format!("`{name}` cannot be a vm name on a network with DHCP: it is a keyword of dnsmasq");
            self.add(span, message, "choose another name");
        }
        if plain == LOCALHOST {
            let message = format!("`{name}` cannot be a vm name: each machine calls itself that");
            self.add(span, message, "choose another name");
        }
        if self.is_machine(name.as_str()) {
            let message = format!("a vm and a host, switch or router are called `{name}`");
            self.add(span, message, "commands take the names of both: rename one of the two");
        }
        match self.vm_names.insert(plain, name.clone()) {
            Some(other) if other != *name => {
                let message = format!("vms `{other}` and `{name}` differ in upper and lower case only");
                self.add(span, message, "DNS ignores case: rename one of the two");
            }
            _ => {}
        }
    }

    fn is_machine(&self, text: &str) -> bool {
        HostName::new(text).is_ok_and(|name| {
            self.hosts.contains_key(&name) || self.switches.contains_key(&name) || self.routers.contains_key(&name)
        })
    }

    fn nics(&mut self, vm: &VmFile, name: &VmName) -> Vec<Nic> {
        let mut nics = Vec::new();
        for nic in &vm.nics {
            let network = &nic.network.value;
            if !self.network_names.contains(network) && !self.broken.contains("networks") {
                let help = self.suggest(network.as_str(), self.network_names.iter().map(NetworkName::as_str));
                self.add(&nic.network.span, format!("there is no network `{network}`"), help);
            }
            self.guest_on(&nic.network, name);
            if let (Some(address), Some(subnet)) = (&nic.address, self.networks.get(network).map(|n| n.subnet)) {
                let owner = Owner {
                    guest: true,
                    ..Owner::other(format!("vm `{name}`"))
                };
                self.address(network, subnet, address, owner);
            }
            if let Some(At { value, span }) = &nic.mac
                && !self.macs.insert(*value)
            {
                self.add(
                    span,
                    format!("MAC address {value} is used twice"),
                    "remove it to derive one",
                );
            }
            nics.push(Nic {
                network: network.clone(),
                address: nic.address.as_ref().map(|at| at.value),
                mac: nic.mac.as_ref().map(|at| at.value),
                port_security: nic.port_security,
                shaping: nic.shaping,
            });
        }
        nics
    }
}
