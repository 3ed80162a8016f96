//! What is read of one host besides its survey, and whether it suffices for a lab.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Verdict;
use crate::host::HostError;
use crate::lab::HostName;
use crate::preflight::{USELESS_KVM_HELP, useless_kvm};
use crate::state::Survey;
use crate::state::survey::Kvm;
use crate::topology::Topology;
use crate::transport::{Cmd, Output, Script};

/// What no survey holds, because no plan depends on it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    user: Option<u32>,
    /// Seconds by which the host's clock is ahead.
    ahead: i64,
    /// MiB free in the folder of the guests' disks.
    disk_mib: Option<u64>,
    /// Bytes of each image that was copied to the host before.
    copied: BTreeSet<u64>,
}

/// Prints `key value` lines; `$1` is the folder of the guests' disks.
const READ: Script = Script {
    name: "doctor/facts.sh",
    text: include_str!("facts.sh"),
};

/// Which machine is checked, and for what.
pub(super) struct Case<'a> {
    pub topology: &'a Topology,
    /// The hosts of the lab whose guests it runs.
    pub hosts: BTreeSet<&'a HostName>,
    /// It is behind ssh, and images are copied to it.
    pub remote: bool,
    /// Its hosts are emulated: they have links and rules of their own.
    pub emulates: bool,
    /// The folder of the guests' disks there.
    pub folder: &'a str,
}

impl Facts {
    /// Reads them by `ask`, which runs a command there.
    pub(super) fn read(folder: &str, ask: impl FnOnce(&Cmd) -> Result<Output, HostError>) -> Result<Self, HostError> {
        let before = now();
        let output = ask(&Cmd::script(READ, [folder]))?;
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
                Some(("copied", bytes)) => facts.copied.extend(bytes.parse::<u64>()),
                _ => {}
            }
        }
        Ok(facts)
    }

    pub(super) fn check(
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
                match user {
                    Some(user) => format!("user id {user} is not root, which links need"),
                    None => "the user id cannot be read".to_owned(),
                },
                if case.remote {
                    "connect as root: `connect = \"ssh://root@…\"`"
                } else {
                    "run netlab as root: sudo netlab …"
                },
            ),
        }
        match &survey.kvm {
            Kvm::Usable => add("kvm", Verdict::Ok, "/dev/kvm works".to_owned(), ""),
            Kvm::Absent => add(
                "kvm",
                Verdict::Warning,
                "no /dev/kvm: QEMU emulates the processor (TCG), several times slower".to_owned(),
                "modprobe kvm_intel || modprobe kvm_amd; or enable virtualization in the firmware",
            ),
            // Also where all guests run already, of which preflight says nothing.
            Kvm::Useless(why) => add("kvm", Verdict::Warning, useless_kvm(why), USELESS_KVM_HELP),
        }
        if !case.emulates {
            check_firewall(survey, add);
        }
        if case.remote {
            self.check_clock(add);
        }
        self.check_space(case, survey, add);
    }

    fn check_clock(&self, add: &mut impl FnMut(&'static str, Verdict, String, &str)) {
        if self.ahead.abs() > 5 {
            let side = if self.ahead > 0 { "ahead" } else { "behind" };
            add(
                "clock",
                Verdict::Warning,
                format!("{} s {side} of this machine's", self.ahead.abs()),
                "timedatectl set-ntp true",
            );
        } else {
            add("clock", Verdict::Ok, "as on this machine".to_owned(), "");
        }
    }

    /// Memory and disk.
    fn check_space(&self, case: &Case<'_>, survey: &Survey, add: &mut impl FnMut(&'static str, Verdict, String, &str)) {
        let guests = || {
            case.topology
                .guests
                .values()
                .filter(|guest| case.hosts.contains(&guest.host))
        };
        let needed: u64 = guests().map(|guest| guest.memory_mib).sum();
        // Preflight reports too little, and knows which guests run already.
        if survey.memory_mib >= needed {
            let what = format!("{} MiB available, the guests need {needed} MiB", survey.memory_mib);
            add("memory", Verdict::Ok, what, "");
        }
        let Some(free) = self.disk_mib else { return };
        let folder = case.folder;
        if !case.remote {
            add("disk", Verdict::Ok, format!("{free} MiB free in {folder}"), "");
            return;
        }
        let images: BTreeSet<_> = guests().map(|guest| &guest.image).collect();
        let files: BTreeSet<_> = images
            .iter()
            .flat_map(|image| case.topology.images[*image].boot.files())
            .collect();
        // What is not in this machine's cache yet has no known size.
        let sizes = files.into_iter().filter_map(|file| Some(file.metadata().ok()?.len()));
        let to_copy: u64 = sizes.filter(|size| !self.copied.contains(size)).sum();
        let to_copy = to_copy.div_ceil(1024 * 1024);
        if free < to_copy {
            add(
                "disk",
                Verdict::Error,
                format!("images of {to_copy} MiB are still to be copied to {folder}, which has {free} MiB free"),
                "rm /var/lib/libvirt/images/netlab-images/* while no lab is up there; or give that folder a larger disk",
            );
        } else {
            let what = format!("{free} MiB free in {folder}, images still to be copied: {to_copy} MiB");
            add("disk", Verdict::Ok, what, "");
        }
    }
}

/// Reports the chains that drop forwarded packets; whether they block the lab is checked by preflight.
fn check_firewall(survey: &Survey, add: &mut impl FnMut(&'static str, Verdict, String, &str)) {
    let chains: Vec<String> = survey
        .forward_drops
        .iter()
        .map(|drop| format!("`{}`", drop.chain))
        .collect();
    let what = match (chains.is_empty(), survey.bridge_nf) {
        (true, _) => "no chain drops forwarded packets".to_owned(),
        (false, true) => format!(
            "{} drops forwarded packets that no rule accepts, bridged ones too",
            chains.join(", ")
        ),
        (false, false) => format!("{} drops forwarded packets that no rule accepts", chains.join(", ")),
    };
    add("firewall", Verdict::Ok, what, "");
}

#[expect(clippy::disallowed_methods, reason = "the clocks of two machines are compared")]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
