//! What a Linux host is and has, apart from the lab.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::connection::{Connection, both};
use crate::emulated;
use crate::folders::Folders;
use crate::host::HostError;
use crate::lab::LabName;
use crate::libvirt;
use crate::libvirt::domain_xml::Template;
use crate::linux::{ip, nftables};
use crate::state::Survey;
use crate::state::survey::Kvm;
use crate::transport::{Cmd, LocalShell, Shell};

/// Surveys a host that is connected. `own_sshd`: the ssh session, if any, ends on this host itself.
pub(super) fn of_connected(connection: &Connection, lab: &LabName, own_sshd: bool) -> Result<Survey, HostError> {
    let network = || -> Result<_, HostError> {
        let mut survey = Survey::default();
        ip::survey(connection.shell.as_ref(), lab, &mut survey)?;
        nftables::survey(connection.shell.as_ref(), lab, &mut survey)?;
        if own_sshd {
            survey.reached_at = address_of_ssh_session(connection.shell.as_ref())?;
        }
        Ok(survey)
    };
    let mut of_guests = Survey::default();
    let (of_network, guests) = both(network, || connection.libvirt.survey(lab, &mut of_guests));
    guests?;
    // An emulated host has a file of its own over a /dev/kvm that does not work: why it does not is this machine's.
    if !own_sshd && of_guests.kvm == Kvm::Absent {
        let machine = libvirt::kvm_of_emulated_host(&LocalShell)?;
        if matches!(machine, Kvm::Useless(_)) {
            of_guests.kvm = machine;
        }
    }
    Ok(Survey {
        foreign_domains: of_guests.foreign_domains,
        foreign_macs: of_guests.foreign_macs,
        foreign_uuids: of_guests.foreign_uuids,
        arches: of_guests.arches,
        machines: of_guests.machines,
        kvm: of_guests.kvm,
        ..of_network?
    })
}

/// The survey of the emulated hosts that do not exist yet: the same for all of them, so it is taken once.
#[derive(Default)]
pub struct PlannedSurvey(Mutex<Option<Survey>>);

impl PlannedSurvey {
    pub(super) fn get(&self, folders: &Folders, lab: &LabName) -> Result<Survey, HostError> {
        // Kept locked: who comes second waits for the first, and has its result.
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.is_none() {
            *taken = Some(of_planned(folders, lab)?);
        }
        Ok(taken.clone().unwrap_or_default())
    }
}

/// Surveys an emulated host that does not exist yet: it will have this machine's programs, kernel and memory, and none
/// of its links.
fn of_planned(folders: &Folders, lab: &LabName) -> Result<Survey, HostError> {
    Template::load(&folders.domain_template())?;
    let mut machine = Survey::default();
    ip::survey(&LocalShell, lab, &mut machine)?;
    let arches = emulated::architectures();
    let mut machines = libvirt::cached_machines(&folders.capabilities());
    machines.retain(|arch, _| arches.contains(arch));
    Ok(Survey {
        arches: Some(arches),
        machines,
        firmware: machine.firmware,
        programs: machine.programs,
        missing_modules: machine.missing_modules,
        memory_mib: machine.memory_mib,
        disk_mib: free_mib(&folders.state),
        kvm: libvirt::kvm_of_emulated_host(&LocalShell)?,
        ..Survey::default()
    })
}

/// Returns the free space for a folder that may not exist yet, in MiB.
fn free_mib(folder: &Path) -> Option<u64> {
    let found = folder.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok())?;
    Some(found.f_bavail.saturating_mul(found.f_frsize) >> 20)
}

/// Returns the host's address that its ssh session is connected to: the third field of SSH_CONNECTION (ssh(1)).
fn address_of_ssh_session(shell: &dyn Shell) -> Result<Option<IpAddr>, HostError> {
    let output = shell.run(&Cmd::new(["printenv", "SSH_CONNECTION"]))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().nth(2).and_then(|address| address.parse().ok()))
}
