//! Programs, kernel modules and emulators that a host lacks.

use std::collections::BTreeSet;

use super::{Finding, finding};
use crate::lab::VmName;
use crate::state::Survey;
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
    let tagged = |segment: &Segment| segment.uplink.is_some() && segment.vlan.is_some();
    let modules = [
        ("bridge", !host.segments.is_empty(), "bridges"),
        ("8021q", host.segments.values().any(tagged), "VLANs"),
    ];
    for (module, needed, purpose) in modules {
        if needed && survey.missing_modules.contains(module) {
            findings.push(finding(
                format!("the kernel does not support {purpose}: module {module} is missing"),
                format!("run `modprobe {module}` on the host, or boot a kernel that has it"),
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
                format!("install QEMU's emulator on the host: `apt-get install {package}`"),
            ));
        }
    }
    findings
}
