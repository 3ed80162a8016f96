//! What one host is asked besides its survey, and how good the answers are for a lab.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Verdict;
use crate::host::HostError;
use crate::lab::{Boot, HostName};
use crate::state::Survey;
use crate::state::survey::Kvm;
use crate::topology::Topology;
use crate::transport::{Cmd, Output};

/// What no survey holds, because no plan depends on it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    user: Option<u32>,
    /// Seconds by which the host's clock is ahead.
    ahead: i64,
    /// MiB free where disks of guests lie.
    disk_mib: Option<u64>,
    /// Bytes of each image that was brought to the host before.
    brought: BTreeSet<u64>,
}

/// Prints `key value`, a line each; what cannot be told is left out. `$1`: the folder whose disk is meant.
const LOOK: &str = r#"
echo user $(id -u)
echo clock $(date +%s)
stat -c 'brought %s' "$1"/netlab-images/* 2>/dev/null
folder=$1; while [ ! -d "$folder" ]; do folder=${folder%/*}; folder=${folder:-/}; done
df -Pk "$folder" | awk 'END { print "disk", $4 }'
"#;

/// Which machine is judged, and for what.
pub(super) struct Case<'a> {
    pub topology: &'a Topology,
    /// The hosts of the lab whose guests it runs.
    pub hosts: BTreeSet<&'a HostName>,
    /// Images are brought there.
    pub far: bool,
    /// Its hosts are emulated: they have links and rules of their own.
    pub emulates: bool,
    /// Where they lie there.
    pub folder: &'a str,
}

impl Facts {
    /// Reads them by `ask`, which runs a command there.
    pub(super) fn read(folder: &str, ask: impl FnOnce(&Cmd) -> Result<Output, HostError>) -> Result<Self, HostError> {
        let before = now();
        let output = ask(&Cmd::new(["sh", "-c", LOOK, "sh", folder]))?;
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
                Some(("disk", kib)) => facts.disk_mib = kib.parse::<u64>().ok().map(|kib| kib / 1024),
                Some(("brought", bytes)) => facts.brought.extend(bytes.parse::<u64>()),
                _ => {}
            }
        }
        Ok(facts)
    }

    pub(super) fn judge(
        &self,
        case: &Case<'_>,
        survey: &Survey,
        add: &mut impl FnMut(&'static str, Verdict, String, &str),
    ) {
        match self.user {
            Some(0) => add("rights", Verdict::Ok, "root".to_owned(), ""),
            user => add(
                "rights",
                Verdict::Error,
                format!(
                    "the user has number {}, and links are root's",
                    user.map_or_else(String::new, |user| user.to_string())
                ),
                if case.far {
                    "connect as root: `connect = \"ssh://root@…\"`"
                } else {
                    "run netlab as root: sudo netlab …"
                },
            ),
        }
        match &survey.kvm {
            Kvm::Usable => add("kvm", Verdict::Ok, "it can be used".to_owned(), ""),
            Kvm::Absent => add(
                "kvm",
                Verdict::Warning,
                "no /dev/kvm: guests run in QEMU's translator, several times slower".to_owned(),
                "modprobe kvm_intel || modprobe kvm_amd; or enable virtualization in the firmware",
            ),
            // Preflight says it, for the lab's guests.
            Kvm::Useless(_) => {}
        }
        if !case.emulates {
            judge_firewall(survey, add);
        }
        if case.far {
            self.judge_clock(add);
        }
        self.judge_room(case, survey, add);
    }

    fn judge_clock(&self, add: &mut impl FnMut(&'static str, Verdict, String, &str)) {
        if self.ahead.abs() > 5 {
            let side = if self.ahead > 0 { "ahead" } else { "behind" };
            add(
                "clock",
                Verdict::Warning,
                format!("{} s {side} of this machine's", self.ahead.abs()),
                "timedatectl set-ntp true",
            );
        } else {
            add("clock", Verdict::Ok, "as here".to_owned(), "");
        }
    }

    /// Memory and disk.
    fn judge_room(&self, case: &Case<'_>, survey: &Survey, add: &mut impl FnMut(&'static str, Verdict, String, &str)) {
        let guests = || {
            case.topology
                .guests
                .values()
                .filter(|guest| case.hosts.contains(&guest.host))
        };
        let needed: u64 = guests().map(|guest| guest.memory_mib).sum();
        // Where it is too little, preflight says so, and knows which guests run already.
        if survey.memory_mib >= needed {
            let what = format!("{} MiB available, the guests have {needed}", survey.memory_mib);
            add("memory", Verdict::Ok, what, "");
        }
        let Some(free) = self.disk_mib else { return };
        let folder = case.folder;
        if !case.far {
            add("disk", Verdict::Ok, format!("{free} MiB free in {folder}"), "");
            return;
        }
        let images: BTreeSet<_> = guests().map(|guest| &guest.image).collect();
        let files: BTreeSet<_> = images
            .iter()
            .flat_map(|image| match &case.topology.images[*image].boot {
                Boot::Kernel { kernel, initrd, .. } => vec![kernel, initrd],
                Boot::Disk { base, .. } => vec![base],
            })
            .collect();
        // What is not in the cache here yet has no size that is known.
        let sizes = files.into_iter().filter_map(|file| Some(file.metadata().ok()?.len()));
        let to_bring: u64 = sizes.filter(|size| !self.brought.contains(size)).sum();
        let to_bring = to_bring.div_ceil(1024 * 1024);
        if free < to_bring {
            add(
                "disk",
                Verdict::Error,
                format!("images of {to_bring} MiB are still to be brought to {folder}, which has {free} MiB free"),
                "rm /var/lib/libvirt/images/netlab-images/*, while no lab is up there; or give that folder a larger disk",
            );
        } else {
            let what = format!("{free} MiB free in {folder}, images still to be brought: {to_bring} MiB");
            add("disk", Verdict::Ok, what, "");
        }
    }
}

/// Whether the lab minds is for preflight to say: this is for whoever looks for where packets end.
fn judge_firewall(survey: &Survey, add: &mut impl FnMut(&'static str, Verdict, String, &str)) {
    let chains: Vec<String> = survey
        .forward_drops
        .iter()
        .map(|drop| format!("`{}`", drop.chain))
        .collect();
    let what = match (chains.is_empty(), survey.bridge_nf) {
        (true, _) => "no chain drops what is forwarded".to_owned(),
        (false, true) => format!("{} drops what no rule accepts, bridged packets too", chains.join(", ")),
        (false, false) => format!("{} drops what no rule accepts", chains.join(", ")),
    };
    add("firewall", Verdict::Ok, what, "");
}

#[expect(clippy::disallowed_methods, reason = "clocks are what is compared")]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
