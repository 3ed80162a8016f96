//! Programs, kernel modules and emulators that a host lacks.

use std::collections::BTreeSet;

use super::{Finding, finding};
use crate::lab::{Connect, Datapath, Firmware, Image, ImageMachine, ImageName, TunnelKind, VmName};
use crate::state::survey::OPENVSWITCH;
use crate::state::{Survey, datapath};
use crate::topology::{Guest, Segment, Topology, TopologyHost};

/// Returns what `host` lacks for its networks and guests.
pub(super) fn missing(
    topology: &Topology,
    host: &TopologyHost,
    guests: &[(&VmName, &Guest)],
    survey: &Survey,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !survey.programs.contains("ip") {
        findings.push(finding(
            "program `ip` is missing",
            "install it on the host: `apt-get install iproute2`",
        ));
    }
    let linux = |segment: &Segment| !segment.switch.is_ovs();
    let tagged = |segment: &Segment| linux(segment) && segment.uplink.is_some() && segment.vlan.is_some();
    findings.extend(switching(host, survey));
    let modules = [
        ("bridge", host.segments.values().any(linux), "bridges"),
        ("8021q", host.segments.values().any(tagged), "VLANs"),
        (
            "vxlan",
            host.segments
                .values()
                .any(|segment| linux(segment) && segment.tunnel.is_some()),
            "VXLAN tunnels",
        ),
    ];
    for (module, needed, purpose) in modules {
        if needed && survey.missing_modules.contains(module) {
            findings.push(finding(
                format!("the kernel does not support {purpose}: module {module} is missing"),
                format!("run `modprobe {module}` on the host, or boot a kernel that has it"),
            ));
        }
    }
    findings.extend(emulators(topology, guests, survey));
    findings
}

/// What Open vSwitch's bridges of a host need and it lacks.
fn switching(host: &TopologyHost, survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    let segments: Vec<&Segment> = host
        .segments
        .values()
        .filter(|segment| segment.switch.is_ovs())
        .collect();
    let Some(datapath) = segments
        .first()
        .and_then(|segment| datapath(segment.switch, Some(survey)))
    else {
        return findings;
    };
    if ["ovs-vsctl", "ovs-vswitchd"]
        .iter()
        .any(|program| !survey.programs.contains(*program))
    {
        findings.push(finding(
            "Open vSwitch is not installed",
            "install it on the host: `apt-get install openvswitch-switch`",
        ));
    } else if host.connect != Connect::Emulated && !survey.ovs_runs {
        findings.push(finding(
            "Open vSwitch does not run: it has no socket /run/openvswitch/db.sock",
            "start it on the host: `systemctl start openvswitch-switch`",
        ));
    }
    for (network, segment) in host.segments.iter().filter(|_| datapath == Datapath::Netdev) {
        let Some(tunnel) = segment.tunnel.as_ref().filter(|_| segment.switch.is_ovs()) else {
            continue;
        };
        let below = host.segments.iter().find(|(_, other)| {
            let at = other.gateway == Some(tunnel.local) || other.address == Some(tunnel.local);
            let over = other.uplink.is_some() && other.uplink == tunnel.nic;
            !other.switch.is_ovs() && (at || over)
        });
        if let Some((other, _)) = below {
            findings.push(finding(
                format!(
                    "the tunnels of network `{network}` leave by a Linux bridge, that of network `{other}`: Open vSwitch in \
                     user space sends only by bridges of its own"
                ),
                format!("write `switch = \"ovs\"` under network `{other}`"),
            ));
        }
    }
    let tunnels: BTreeSet<TunnelKind> = segments
        .iter()
        .filter_map(|segment| Some(segment.tunnel.as_ref()?.kind))
        .collect();
    let modules = tunnels.into_iter().map(|kind| match kind {
        TunnelKind::Vxlan => ("vxlan", "VXLAN tunnels"),
        TunnelKind::Gre => ("ip_gre", "GRE tunnels"),
        TunnelKind::Geneve => ("geneve", "Geneve tunnels"),
    });
    let needed = [(OPENVSWITCH, "Open vSwitch")].into_iter().chain(modules);
    for (module, purpose) in needed.filter(|_| datapath == Datapath::System) {
        if survey.missing_modules.contains(module) {
            findings.push(finding(
                format!("the kernel does not support {purpose}: module {module} is missing"),
                format!("run `modprobe {module}` on the host, or write `datapath = \"netdev\"` under the networks"),
            ));
        }
    }
    findings
}

/// Architectures and machine types that QEMU lacks, and disks that a machine type has no controller for.
fn emulators(topology: &Topology, guests: &[(&VmName, &Guest)], survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    let images: BTreeSet<&ImageName> = guests.iter().map(|(_, guest)| &guest.image).collect();
    let mut lacking = BTreeSet::new();
    for name in images {
        let Image { machine, boot, .. } = &topology.images[name];
        let ImageMachine {
            arch,
            machine,
            disk_bus,
            firmware,
            ..
        } = machine;
        let of_image = format!("image {name}");
        let there = survey.arches.as_ref().filter(|arches| !arches.contains(arch));
        if let Some(there) = there {
            if lacking.insert(arch) {
                findings.push(without_emulator(arch, there));
            }
            continue;
        }
        let types = survey.machines.get(arch).filter(|types| !types.is_empty());
        if let Some(types) = types.filter(|types| !types.contains(machine)) {
            findings.push(finding(
                format!("QEMU has no machine type `{machine}` for {arch} guests, which {of_image} needs"),
                format!("give the image one of these as `machine`: {}", some_of(types, machine)),
            ));
        }
        let there = survey.firmware.get(arch).is_some_and(|there| there.contains(firmware));
        if *firmware != Firmware::Bios && !there {
            findings.push(without_firmware(arch, *firmware, &of_image));
        }
        let has_ide = !NO_IDE.iter().any(|family| machine.starts_with(family));
        if boot.disk().is_some() && disk_bus == "ide" && !has_ide {
            findings.push(finding(
                format!("machine type `{machine}`, which {of_image} needs, has no IDE controller for its disk"),
                "give the image `disk_bus = \"sata\"` or \"virtio\", or `machine = \"pc\"`",
            ));
        }
    }
    findings
}

/// The beginnings of machine types without an IDE controller (qemuDomainMachineHasBuiltinIDE, src/qemu/qemu_domain.c).
const NO_IDE: [&str; 6] = ["q35", "pc-q35", "virt", "microvm", "pseries", "s390"];

fn without_firmware(arch: &str, firmware: Firmware, of_image: &str) -> Finding {
    // Debian's packages.
    let package = match arch {
        "x86_64" => "ovmf",
        "i686" => "ovmf-ia32",
        "aarch64" => "qemu-efi-aarch64",
        _ => "the UEFI firmware of this architecture for QEMU",
    };
    let with = if firmware == Firmware::SecureEfi {
        " with Secure Boot"
    } else {
        ""
    };
    finding(
        format!("there is no UEFI firmware{with} for {arch} guests, which {of_image} needs"),
        format!("install it on the host: `apt-get install {package}`"),
    )
}

fn without_emulator(arch: &str, there: &BTreeSet<String>) -> Finding {
    // Debian's packages.
    let package = match arch {
        "x86_64" | "i686" => "qemu-system-x86",
        "aarch64" | "armv7l" => "qemu-system-arm",
        _ => "qemu-system-misc",
    };
    let there: Vec<&str> = there.iter().map(String::as_str).collect();
    let there = if there.is_empty() {
        "it is not installed".to_owned()
    } else {
        format!("it has emulators for {}", there.join(", "))
    };
    finding(
        format!("QEMU cannot run {arch} guests: {there}"),
        format!("install QEMU's emulator on the host: `apt-get install {package}`"),
    )
}

/// Returns machine types to choose from: those without a version, then versions of the one that was wanted.
fn some_of(types: &BTreeSet<String>, wanted: &str) -> String {
    const MOST: usize = 12;
    let family = wanted.rsplit_once('-').map_or(wanted, |(family, _)| family);
    let (versions, mut names): (Vec<&str>, Vec<&str>) =
        types.iter().map(String::as_str).partition(|name| name.contains('.'));
    names.extend(versions.iter().filter(|name| name.starts_with(family)));
    if names.is_empty() {
        names = versions;
    }
    let more = names.len().saturating_sub(MOST);
    names.truncate(MOST);
    let more = if more == 0 {
        String::new()
    } else {
        format!(" and {more} more")
    };
    names.join(", ") + &more
}
