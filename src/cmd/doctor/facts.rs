//! What one host is asked besides its survey, and how good the answers are for a lab.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Verdict;
use crate::host::survey::Kvm;
use crate::host::{Cmd, Host, HostError, Survey};
use crate::lab::{Boot, HostName};
use crate::topology::Topology;

/// What no survey holds, because no plan depends on it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    user: Option<u32>,
    /// Seconds by which the host's clock is ahead.
    ahead: i64,
    bridged_filter: bool,
    forward_drops: bool,
    /// MiB free where disks of guests lie.
    disk_mib: Option<u64>,
}

/// Prints `key value`, a line each; what cannot be told is left out.
const LOOK: &str = r#"
echo user $(id -u)
echo clock $(date +%s)
echo bridged $(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null || echo 0)
iptables -S FORWARD 2>/dev/null | sed -n 's/^-P FORWARD /forward /p'
folder=/var/lib/libvirt/images; while [ ! -d "$folder" ]; do folder=${folder%/*}; done
df -Pk "${folder:-/}" | awk 'END { print "disk", $4 }'
"#;

impl Facts {
    pub(super) fn read(host: &dyn Host) -> Result<Self, HostError> {
        let before = now();
        let output = host.ask(&Cmd::new(["sh", "-c", LOOK]))?;
        let after = now();
        let mut facts = Self::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.split_once(' ') {
                Some(("user", user)) => facts.user = user.parse().ok(),
                // Between the two moments here it was that much there.
                Some(("clock", there)) => {
                    let there: i64 = there.parse().unwrap_or(before);
                    facts.ahead = (there - after).max(0) + (there - before).min(0);
                }
                Some(("bridged", value)) => facts.bridged_filter = value == "1",
                Some(("forward", policy)) => facts.forward_drops = policy == "DROP",
                Some(("disk", kib)) => facts.disk_mib = kib.parse::<u64>().ok().map(|kib| kib / 1024),
                _ => {}
            }
        }
        Ok(facts)
    }

    pub(super) fn judge(
        &self,
        topology: &Topology,
        name: &HostName,
        survey: &Survey,
        add: &mut impl FnMut(&'static str, Verdict, String, &str),
    ) {
        match self.user {
            Some(0) => add("rights", Verdict::Ok, "root".to_owned(), ""),
            user => add(
                "rights",
                Verdict::Error,
                format!(
                    "the user there has number {}, and links are root's",
                    user.map_or_else(String::new, |user| user.to_string())
                ),
                "connect as root: `connect = \"ssh://root@…\"`",
            ),
        }
        match &survey.kvm {
            Kvm::Usable => add(
                "kvm",
                Verdict::Ok,
                "the CPU has it and libvirt offers it".to_owned(),
                "",
            ),
            Kvm::Absent => add(
                "kvm",
                Verdict::Warning,
                "no /dev/kvm: guests run in QEMU's translator, several times slower".to_owned(),
                "there: modprobe kvm_intel || modprobe kvm_amd; or enable virtualization in the firmware",
            ),
            // Preflight says it, for the lab's guests.
            Kvm::Useless(_) => {}
        }
        for (program, package) in [
            ("ip", "iproute2"),
            ("nft", "nftables"),
            ("dnsmasq", "dnsmasq-base"),
            ("qemu-img", "qemu-utils"),
        ] {
            if !survey.programs.contains(program) {
                let verdict = if program == "ip" {
                    Verdict::Error
                } else {
                    Verdict::Warning
                };
                add(
                    "programs",
                    verdict,
                    format!("`{program}` is missing"),
                    &format!("there: apt-get install {package}"),
                );
            }
        }
        for module in &survey.missing_modules {
            add(
                "kernel",
                Verdict::Warning,
                format!("no module {module}"),
                &format!("there: modprobe {module}"),
            );
        }
        if self.bridged_filter && self.forward_drops {
            add(
                "firewall",
                Verdict::Error,
                "iptables' FORWARD policy is DROP and br_netfilter applies it to bridges: guests on different hosts do not meet"
                    .to_owned(),
                "there: iptables -I FORWARD -m physdev --physdev-is-bridged -j ACCEPT",
            );
        } else {
            add(
                "firewall",
                Verdict::Ok,
                "nothing is dropped between bridge ports".to_owned(),
                "",
            );
        }
        if self.ahead.abs() > 5 {
            let side = if self.ahead > 0 { "ahead" } else { "behind" };
            add(
                "clock",
                Verdict::Warning,
                format!("{} s {side} of this machine's", self.ahead.abs()),
                "there: timedatectl set-ntp true",
            );
        } else {
            add("clock", Verdict::Ok, "as here".to_owned(), "");
        }
        let needed = disk_needed(topology, name);
        match self.disk_mib {
            Some(free) if free < needed => add(
                "disk",
                Verdict::Error,
                format!("the lab's images need {needed} MiB, {free} MiB are free"),
                "make room in /var/lib/libvirt/images there",
            ),
            Some(free) => add(
                "disk",
                Verdict::Ok,
                format!("{free} MiB free, images need {needed}"),
                "",
            ),
            None => {}
        }
    }
}

/// MiB that the images of a host's guests take there; what is not in the cache yet is not counted.
fn disk_needed(topology: &Topology, name: &HostName) -> u64 {
    let images: BTreeSet<_> = topology
        .guests
        .values()
        .filter(|guest| guest.host == *name)
        .map(|guest| &guest.image)
        .collect();
    let files = images.iter().flat_map(|image| match &topology.images[*image].boot {
        Boot::Kernel { kernel, initrd, .. } => vec![kernel, initrd],
        Boot::Disk { base, .. } => vec![base],
    });
    let bytes: u64 = files
        .filter_map(|file| file.metadata().ok())
        .map(|meta| meta.len())
        .sum();
    bytes.div_ceil(1024 * 1024)
}

#[expect(clippy::disallowed_methods, reason = "clocks are what is compared")]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
