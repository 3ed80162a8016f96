//! The shell script that does on one host by hand what `netlab up` does there: for somebody who learns, and who wants
//! to run it. Takes the steps of a plan from nothing, gives the script; touches no host.
//!
//! It makes the same links, addresses, rules, servers and domains, but without netlab's marks: what a person makes by
//! hand is a person's, and `netlab down` leaves it alone.

use std::fmt::{self, Write as _};
use std::path::Path;

use crate::lab::{Boot, ConsoleKind, Dialect, HostName, IfName, LabName, NetworkName, Serve, Task};
use crate::libvirt::domain_xml::{self, Files, Parts, Template, XmlError};
use crate::libvirt::seed::Seed;
use crate::linux::{dnsmasq, flows, nftables};
use crate::plan::Step;
use crate::plan::lines::{LineError, Observed, UplinkMove, is_ovs, lines, program_of};
use crate::state::{
    Dhcp, Disk, DiskName, Domain, DomainName, GuestConfig, GuestNicConfig, LinkKind, SetUp, Uplink, Volume,
};
use crate::transport::quote;

/// Where libvirt keeps disks of its own making.
const DISKS: &str = "/var/lib/libvirt/images";
/// Where libvirt lets QEMU write logs.
const LOGS: &str = "/var/log/libvirt/qemu";

/// Why there is no script.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// A domain has no XML.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// A step has no `ip` lines.
    #[error(transparent)]
    Lines(#[from] LineError),
}

/// The script for `host`, whose part of `lab` is `steps`.
pub fn script(lab: &LabName, host: &HostName, steps: &[Step], template: &Template) -> Result<String, ScriptError> {
    let mut out = Out::default();
    out.line("#!/bin/sh");
    out.line(format_args!(
        "# Host {host} of lab {lab}, by hand. Run it as root on that host."
    ));
    out.line("set -eu");
    for step in steps {
        out.step(lab, steps, step, template)?;
    }
    Ok(out.0)
}

#[derive(Default)]
struct Out(String);

impl Out {
    fn line(&mut self, line: impl fmt::Display) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    /// A command that reads `text` from its standard input.
    fn fed(&mut self, command: impl fmt::Display, text: &str) {
        self.line(format_args!("{command} <<'END'"));
        self.line(text.trim_end());
        self.line("END");
    }

    fn step(&mut self, lab: &LabName, steps: &[Step], step: &Step, template: &Template) -> Result<(), ScriptError> {
        self.line(format_args!("\n# {step}"));
        match step {
            Step::CreateLink(..)
            | Step::AttachUplink(..)
            | Step::AddAddress(..)
            | Step::AddFloating(..)
            | Step::Shape(..) => {
                for line in lines(step, &observed(steps, step))? {
                    let (program, arguments) = program_of(&line);
                    self.line(format_args!("{} {arguments}", program.name()));
                }
            }
            Step::SetSysctl(key, value) => self.line(format_args!("sysctl -q -w {key}={value}")),
            Step::LoadRuleset(rules) => {
                let text = nftables::text(lab, rules);
                if !text.is_empty() {
                    self.fed("nft -f -", &text);
                }
                for (bridge, gateways) in &rules.gateway_flows {
                    let flows = gateways
                        .iter()
                        .flat_map(|gateway| flows::script_of_gateway(bridge, gateway));
                    flows.for_each(|line| self.line(line));
                }
                if !rules.flows.is_empty() {
                    self.line("# (flows of guests with each domain: its port does not exist yet)");
                }
            }
            Step::StartDhcp(network, dhcp) => self.serve(lab, network, dhcp),
            Step::CreateVolume(name, Volume { base, base_format, .. }) => {
                let base = self.image(base);
                self.line(format_args!("mkdir -p {DISKS}"));
                self.line(format_args!(
                    "qemu-img create -q -f qcow2 -b {base} -F {base_format} {}",
                    disk(name)
                ));
            }
            Step::GrowVolume(name, mib) => {
                self.line(format_args!("qemu-img resize -q {} {mib}M", disk(name)));
            }
            Step::CreateDisk(name, disk) => {
                self.line(format_args!("mkdir -p {DISKS}"));
                let file = further_disk(name);
                match disk {
                    Disk::Blank { mib } => self.line(format_args!("qemu-img create -q -f qcow2 {file} {mib}M")),
                    Disk::Over(Volume { base, base_format }) => {
                        let base = self.image(base);
                        self.line(format_args!(
                            "qemu-img create -q -f qcow2 -b {base} -F {base_format} {file}"
                        ));
                    }
                }
            }
            Step::GrowDisk(name, mib) => {
                self.line(format_args!("qemu-img resize -q {} {mib}M", further_disk(name)));
            }
            Step::DefineDomain(name, domain) => self.define(name, domain, template)?,
            Step::StartDomain(name, _) => {
                self.line(format_args!("virsh -q start {name}"));
                self.secure(steps, name);
            }
            Step::ConfigureGuest(name, config) => self.configure(name, config),
            Step::SetUpGuest(name, set_up) => self.set_up(name, set_up),
            // A plan from nothing has none of these on a host of its own.
            Step::CreateMachine(..)
            | Step::CreateDevice(..)
            | Step::RemoveMachine(..)
            | Step::PlugCable(..)
            | Step::UnplugCable(..)
            | Step::ConfigureMachine(..)
            | Step::StartForward(..)
            | Step::StopForward(..)
            | Step::ChangeLink(..)
            | Step::DeleteLink { .. }
            | Step::DeleteAddress(..)
            | Step::DetachUplink(..)
            | Step::DeleteFloating(..)
            | Step::DeleteRuleset
            | Step::StopDhcp(..)
            | Step::RestoreSysctl(..)
            | Step::Unshape(..)
            | Step::DeleteVolume(..)
            | Step::DeleteDisk(..)
            | Step::UndefineDomain { .. }
            | Step::StopDomain { .. }
            | Step::RunState(..) => self.line("# (not done by hand)"),
        }
        Ok(())
    }

    /// The flows of a guest's ports on Open vSwitch's bridges.
    fn secure(&mut self, steps: &[Step], name: &DomainName) {
        let nics = steps.iter().find_map(|step| match step {
            Step::DefineDomain(defined, domain) if defined == name => Some(&domain.nics),
            _ => None,
        });
        for nic in nics.into_iter().flatten() {
            let security = steps.iter().find_map(|step| match step {
                Step::LoadRuleset(rules) => rules.flows.get(&nic.bridge)?.get(&nic.tap),
                _ => None,
            });
            let lines = security.map(|security| flows::script(&nic.bridge, &nic.tap, security));
            lines.into_iter().flatten().for_each(|line| self.line(line));
        }
    }

    fn serve(&mut self, lab: &LabName, network: &NetworkName, dhcp: &Dhcp) {
        let files = format!("/run/{lab}.{network}.dnsmasq");
        self.fed(
            format_args!("dnsmasq --conf-file=- --pid-file={files}.pid --dhcp-leasefile={files}.leases"),
            &dnsmasq::text(dhcp),
        );
    }

    fn define(&mut self, name: &DomainName, domain: &Domain, template: &Template) -> Result<(), XmlError> {
        if let Boot::Kernel { kernel, .. } = &domain.boot {
            self.image(kernel);
        }
        if let Some(seed) = &domain.seed {
            self.seed(name, seed);
        }
        if let Some(cd) = &domain.cdrom {
            self.image(cd);
        }
        let files = Files {
            disk: &disk(name),
            further: DISKS,
            seed: &seed_disk(name),
            console_log: &format!("{LOGS}/{name}.console.log"),
        };
        let xml = domain_xml::render_parts(template, name, domain, files, Parts::Unmarked)?;
        self.line(format_args!("mkdir -p {LOGS}"));
        self.fed("virsh -q define /dev/stdin", &xml);
        Ok(())
    }

    /// A file of the image as a word for the shell; the script ends where it is not there.
    fn image(&mut self, file: &Path) -> String {
        let file = quote(&file.to_string_lossy());
        self.line(format_args!(
            "[ -e {file} ] || {{ echo 'the image is not here: see `netlab image`' >&2; exit 1; }}"
        ));
        file
    }

    /// The disk that cloud-init reads, made with xorriso(1).
    fn seed(&mut self, name: &DomainName, config: &GuestConfig) {
        let seed = Seed::of(config, name.to_string());
        self.line("seed=$(mktemp -d)");
        self.fed("cat > $seed/meta-data", &seed.meta_data());
        self.fed("cat > $seed/network-config", &seed.network_config());
        self.fed("cat > $seed/user-data", &seed.user_data);
        self.line(format_args!(
            "xorriso -as mkisofs -quiet -volid cidata -rock -o {} $seed",
            seed_disk(name)
        ));
        self.line("rm -r $seed");
    }

    /// Files and commands, as root types them in the guest.
    fn set_up(&mut self, name: &DomainName, set_up: &SetUp) {
        self.line(format_args!("# In the guest, as root (`virsh console {name}`):"));
        for task in &set_up.tasks {
            let text = task.content().text();
            match (task, text) {
                (Task::Write { path, mode, .. }, Some(text)) => {
                    let path = quote(path);
                    self.typed(&format!(
                        "cat > {path} <<'END'\n{}\nEND\nchmod {mode:04o} {path}",
                        text.trim_end()
                    ));
                }
                (Task::Write { path, mode, .. }, None) => {
                    self.typed(&format!("(copy the file to {path}, mode {mode:04o}: it is not text)"));
                }
                (Task::Run(_), text) => self.typed(text.unwrap_or_default()),
            }
        }
    }

    /// Text that a person types in a guest.
    fn typed(&mut self, text: &str) {
        for line in text.lines() {
            self.line(format_args!("#     {line}"));
        }
    }

    /// What is typed in the guest; there is nobody to type it, so it stays a comment.
    fn configure(&mut self, name: &DomainName, config: &GuestConfig) {
        let GuestConfig {
            hostname,
            console,
            nics,
            default_route,
            nameservers,
            seeded,
            serve,
            cloud_init: _,
            proxies: _,
        } = config;
        if *seeded {
            self.line(format_args!("# cloud-init does that; `virsh console {name}` shows it."));
            self.services(serve);
            return;
        }
        match console.kind {
            ConsoleKind::Serial => self.line(format_args!(
                "# `virsh console {name}` (leave it with Ctrl-]), and in the guest:"
            )),
            ConsoleKind::Vga => self.line(format_args!(
                "# On the guest's screen (`virsh vncdisplay {name}` shows where):"
            )),
        }
        self.line(format_args!("#     hostname {hostname}"));
        for (number, nic) in nics.iter().enumerate() {
            match console.dialect {
                Dialect::Ip => self.nic_by_ip(number, nic),
                Dialect::Ifconfig => self.nic_by_ifconfig(number, nic),
            }
        }
        if let Some(gateway) = default_route {
            match console.dialect {
                Dialect::Ip => self.line(format_args!("#     ip route replace default via {gateway}")),
                Dialect::Ifconfig => self.line(format_args!("#     route add default gw {gateway}")),
            }
        }
        for server in nameservers {
            self.line(format_args!("#     echo nameserver {server} >> /etc/resolv.conf"));
        }
        self.services(serve);
    }

    fn nic_by_ip(&mut self, number: usize, nic: &GuestNicConfig) {
        self.line(format_args!("#     ip link set dev eth{number} up      # {}", nic.mac));
        if let Some(mtu) = nic.mtu {
            self.line(format_args!("#     ip link set dev eth{number} mtu {mtu}"));
        }
        if nic.dhcp {
            self.lease(number, nic);
        } else {
            self.line(format_args!("#     ip address add {} dev eth{number}", nic.address));
        }
    }

    fn nic_by_ifconfig(&mut self, number: usize, nic: &GuestNicConfig) {
        let (own, mask) = (nic.address.addr(), nic.address.netmask());
        self.line(format_args!("#     ifconfig eth{number} up      # {}", nic.mac));
        if let Some(mtu) = nic.mtu {
            self.line(format_args!("#     ifconfig eth{number} mtu {mtu}"));
        }
        if nic.dhcp {
            self.lease(number, nic);
        } else {
            self.line(format_args!("#     ifconfig eth{number} {own} netmask {mask}"));
        }
    }

    /// The client that small guests have; it stays and renews the lease.
    fn lease(&mut self, number: usize, nic: &GuestNicConfig) {
        self.line(format_args!(
            "#     udhcpc -i eth{number}             # gives {}",
            nic.address
        ));
    }

    fn services(&mut self, services: &[Serve]) {
        for Serve { tcp, text } in services {
            let text = quote(text);
            self.line(format_args!("#     busybox nc -ll -p {tcp} -e echo {text} &"));
        }
    }
}

/// What is known of a host before the script runs: what the plan moves from its NICs. The script sets no marks.
fn observed(steps: &[Step], step: &Step) -> Observed<'static> {
    let kind_of = |wanted: &IfName| {
        steps.iter().find_map(|other| match other {
            Step::CreateLink(name, link) => (name == wanted).then_some(&link.kind),
            _ => None,
        })
    };
    if let Step::CreateLink(_, link) = step {
        let mut observed = Observed::default();
        let master = link.master.as_ref().and_then(kind_of);
        observed.link.master_is_ovs = matches!(link.kind, LinkKind::Bond(_)) && master.is_some_and(is_ovs);
        return observed;
    }
    let Step::AttachUplink(nic, Uplink { bridge, was, .. }) = step else {
        return Observed::default();
    };
    let kind = kind_of(bridge);
    let mac_is_set = matches!(
        kind,
        Some(LinkKind::Bridge { mac: Some(_), .. } | LinkKind::OvsBridge { mac: Some(_), .. })
    );
    let mac = (!mac_is_set).then(|| format!("\"$(cat /sys/class/net/{nic}/address)\""));
    Observed {
        uplink: Some(UplinkMove {
            mac,
            ovs: kind.is_some_and(is_ovs),
            ..UplinkMove::first(was)
        }),
        ..Observed::default()
    }
}

fn further_disk(name: &DiskName) -> String {
    format!("{DISKS}/{}", name.file())
}

fn seed_disk(name: &DomainName) -> String {
    format!("{DISKS}/{}", name.seed_file())
}

fn disk(name: &DomainName) -> String {
    format!("{DISKS}/{}", name.disk_file())
}
