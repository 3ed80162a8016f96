//! Applies steps on a Linux host: network steps in batches, libvirt calls of one kind in parallel, guests in a chain
//! each.

use super::LinuxHost;
use super::connection::{Connection, Remote};
use crate::emulated;
use crate::host::steps::{in_parallel, one};
use crate::host::{StepError, StepFailure, StepLog, guests, network, run_state};
use crate::lab::LabName;
use crate::linux::FailedAt;
use crate::linux::ip::{self, NetworkError};
use crate::plan::lines::is_ovs;
use crate::plan::{Stage, Step};
use crate::state::{Disk, Volume};
use crate::transport::ssh::confirm::{Outcome, PendingRollback};

/// How a step is applied.
#[derive(PartialEq)]
enum Batch {
    Network,
    Libvirt(std::mem::Discriminant<Step>),
    Guests,
    RunState,
}

fn batch_kind(step: &Step) -> Batch {
    match step.stage() {
        Stage::Network | Stage::RemoveNetwork | Stage::Shaping | Stage::RemoveShaping => Batch::Network,
        Stage::Guests => Batch::Guests,
        _ if matches!(step, Step::RunState(..)) => Batch::RunState,
        _ => Batch::Libvirt(std::mem::discriminant(step)),
    }
}

impl LinuxHost {
    /// Applies `steps` in order and returns the errors of all that failed.
    pub(super) fn apply_all(
        &self,
        connection: &Connection,
        lab: &LabName,
        steps: &[Step],
        log: &dyn StepLog,
    ) -> Vec<StepError> {
        let mut errors = Vec::new();
        for batch in steps.chunk_by(|a, b| batch_kind(a) == batch_kind(b)) {
            if log.cancelled() || errors.iter().any(|error: &StepError| !error.step.is_removal()) {
                break;
            }
            errors.extend(match batch_kind(&batch[0]) {
                Batch::Network => network::apply(connection.shell.as_ref(), lab, batch, log, &|steps| {
                    self.change_links(connection, lab, steps)
                }),
                // The pool is created with its first volume and removed with its last: one at a time.
                Batch::Libvirt(_)
                    if matches!(
                        batch[0],
                        Step::CreateVolume(..)
                            | Step::GrowVolume(..)
                            | Step::DeleteVolume(_)
                            | Step::CreateDisk(..)
                            | Step::GrowDisk(..)
                            | Step::DeleteDisk(..)
                    ) =>
                {
                    batch
                        .iter()
                        .filter_map(|step| one(step, log, || apply_libvirt(connection, step, log)))
                        .collect()
                }
                Batch::Libvirt(_) => in_parallel(batch, |step| one(step, log, || apply_libvirt(connection, step, log))),
                Batch::RunState => {
                    let guests = run_state::Guests {
                        connection,
                        folders: &self.folders,
                        consoles: &self.consoles,
                        log,
                    };
                    guests.run(batch)
                }
                Batch::Guests => guests::run(connection, &self.folders, &self.slots, batch, log),
            });
        }
        errors
    }

    /// Applies steps on links. A NIC of a host behind ssh is attached or detached only with a rollback armed on the
    /// host: any NIC may carry the session.
    fn change_links(
        &self,
        connection: &Connection,
        lab: &LabName,
        steps: &[Step],
    ) -> Result<(), FailedAt<NetworkError>> {
        let shell = connection.shell.as_ref();
        let switched =
            |step: &Step| matches!(step, Step::CreateLink(_, link) | Step::ChangeLink(_, link) if is_ovs(&link.kind));
        if let (Some(_), Some(at)) = (connection.pid, steps.iter().position(switched)) {
            emulated::start_ovs(shell).map_err(|error| FailedAt {
                at,
                cause: error.into(),
            })?;
        }
        let moves = |step: &Step| matches!(step, Step::AttachUplink(..) | Step::DetachUplink(..));
        let (Some(Remote { settings, .. }), Some(at)) = (&connection.remote, steps.iter().position(moves)) else {
            return ip::apply(shell, lab, steps);
        };
        let rollback = ip::rollback(shell, lab, steps).map_err(FailedAt::first)?;
        if rollback.is_empty() {
            return ip::apply(shell, lab, steps);
        }
        let pending =
            PendingRollback::arm(shell, settings, lab, rollback, self.confirm_within).map_err(FailedAt::first)?;
        let done = ip::apply(shell, lab, steps);
        let cut = |rolled_back| FailedAt {
            at,
            cause: NetworkError::CutOff { rolled_back },
        };
        match (pending.confirm(), done) {
            // Only the answer was lost: what was removed cannot be removed twice, so this is idempotent.
            (Outcome::Kept, Err(failed))
                if failed.cause.is_transport_failure() && steps.iter().all(Step::is_removal) =>
            {
                ip::apply(shell, lab, steps)
            }
            (Outcome::Kept, done) => done,
            (Outcome::RolledBack, _) => Err(cut(true)),
            (Outcome::Unreachable, _) => Err(cut(false)),
        }
    }
}

/// Applies one step that is a libvirt call. On a host behind ssh, the files that a guest boots from are copied first.
fn apply_libvirt(connection: &Connection, step: &Step, log: &dyn StepLog) -> Result<(), StepFailure> {
    let libvirt = &connection.libvirt;
    if let Some(Remote { copies, .. }) = &connection.remote {
        let progress = |text: &str| log.note(step, text);
        match step {
            Step::CreateVolume(name, volume) => {
                let base = copies.copy(libvirt, &volume.base, &progress)?;
                return Ok(libvirt.create_volume(name, &Volume { base, ..volume.clone() })?);
            }
            Step::CreateDisk(name, Disk::Over(volume)) => {
                let base = copies.copy(libvirt, &volume.base, &progress)?;
                let disk = Disk::Over(Volume { base, ..volume.clone() });
                return Ok(libvirt.create_disk(name, &disk)?);
            }
            Step::DefineDomain(name, domain) => {
                return Ok(libvirt.define(name, &copies.domain(libvirt, domain, &progress)?)?);
            }
            _ => {}
        }
    }
    match step {
        Step::CreateVolume(name, volume) => libvirt.create_volume(name, volume)?,
        Step::GrowVolume(name, mib) => libvirt.grow_volume(name, *mib)?,
        Step::DeleteVolume(name) => libvirt.delete_volume(name)?,
        Step::CreateDisk(name, disk) => libvirt.create_disk(name, disk)?,
        Step::GrowDisk(name, mib) => libvirt.grow_disk(name, *mib)?,
        Step::DeleteDisk(name, _) => libvirt.delete_disk(name)?,
        Step::DefineDomain(name, domain) => libvirt.define(name, domain)?,
        Step::UndefineDomain { name, uuid } => libvirt.undefine(name, uuid)?,
        Step::StopDomain { name, uuid } => libvirt.stop(name, uuid)?,
        _ => return Err(StepFailure::NotForThisHost),
    }
    Ok(())
}
