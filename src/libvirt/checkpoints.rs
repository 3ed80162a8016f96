//! Checkpoints of a lab's guests on one host: memory and disks of a paused guest, in a folder that only root can enter. The
//! memory is in libvirt's format of a saved domain; disks are copies, shared with the original where the file system can.

use std::time::Duration;

use virt::connect::Connect;
use virt::domain::Domain as VirDomain;

use super::error::{LibvirtError, Operation, failed, xml_failed};
use super::saved::{restore_paused, save, start_over};
use super::{Libvirt, domains, volumes};
use crate::lab::{CheckpointName, LabName};
use crate::libvirt::domain_xml::{Node, XmlError, XmlWriter};
use crate::state::DomainName;
use crate::transport::cmd::{Cmd, CmdError, Script, Shell};

const SCRIPT: Script = Script {
    name: "checkpoints.sh",
    text: include_str!("checkpoints.sh"),
};
/// How long disks may be copied, or read.
const COPIED_WITHIN: Duration = Duration::from_secs(1800);
/// Part of QEMU's message about a guest that was saved and has not run since (`migrate_prepare` of migration/migration.c).
const SAVED_BEFORE: &str = "paused due to previous migration";
/// How long QEMU may take to write the memory of a guest, or to read it.
const MEMORY_WITHIN: Duration = Duration::from_secs(600);

/// What a checkpoint has of a guest cannot be used, or it has no space.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Files are missing, or were never completed.
    #[error("checkpoint {checkpoint} does not have everything of domain {domain}: {missing} is missing")]
    Incomplete {
        /// The checkpoint.
        checkpoint: CheckpointName,
        /// The domain.
        domain: DomainName,
        /// The first file that is missing.
        missing: String,
    },
    /// A file is not what was written.
    #[error("{file} of checkpoint {checkpoint} is damaged: its checksum or its size differs from those recorded")]
    Damaged {
        /// The checkpoint.
        checkpoint: CheckpointName,
        /// The file.
        file: String,
    },
    /// Another QEMU wrote it.
    #[error("checkpoint {checkpoint} was saved by {was}, and the host has {now}: it cannot read the memory of a guest")]
    OtherQemu {
        /// The checkpoint.
        checkpoint: CheckpointName,
        /// Which one.
        was: String,
        /// Which one there is.
        now: String,
    },
    /// The host has too little space.
    #[error("{needed_mib} MiB needed, {available_mib} MiB free in {folder}")]
    NoSpace {
        /// Memory and disks of the guests, in MiB.
        needed_mib: u64,
        /// Free space in MiB.
        available_mib: u64,
        /// The folder.
        folder: String,
    },
}

impl CheckpointError {
    /// Returns what a user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Incomplete { .. } | Self::Damaged { .. } => {
                "nothing was changed; `netlab save LAB --list` lists other checkpoints, `--remove NAME` removes this one"
            }
            Self::OtherQemu { .. } => {
                "nothing was changed; install that QEMU again, or remove the checkpoint with `netlab save LAB --remove NAME`"
            }
            Self::NoSpace { .. } => {
                "free space on the host, or remove checkpoints with `netlab save LAB --remove NAME`"
            }
        }
    }
}

/// Returns the folder of a lab's checkpoints.
fn folder(lab: &LabName) -> String {
    format!("{}.saved", volumes::folder(lab))
}

fn script(what: &str, lab: &LabName, arguments: &[&str]) -> Cmd {
    let folder = folder(lab);
    Cmd::script(SCRIPT, [what, &folder].into_iter().chain(arguments.iter().copied())).within(COPIED_WITHIN)
}

/// Does `what` with the disks of a guest.
fn with_disks(
    what: &str,
    name: &DomainName,
    checkpoint: &CheckpointName,
    disks: &[String],
    shell: &dyn Shell,
) -> Result<(), CmdError> {
    let pool = volumes::folder(name.lab());
    let mut arguments = vec![checkpoint.as_str(), name.vm().as_str(), &pool];
    arguments.extend(disks.iter().map(String::as_str));
    shell.check(&script(what, name.lab(), &arguments)).map(drop)
}

/// Deletes what all checkpoints have of a guest.
pub(super) fn forget(name: &DomainName, shell: &dyn Shell) -> Result<(), CmdError> {
    shell
        .check(&script("forget", name.lab(), &[name.vm().as_str()]))
        .map(drop)
}

impl Libvirt {
    /// Saves memory and disks of a paused guest, of which `disks` are the files of those that it writes. It stays
    /// paused. A failure leaves files, which [`Self::delete_saved`] deletes.
    pub fn save_in(
        &self,
        name: &DomainName,
        checkpoint: &CheckpointName,
        disks: &[String],
    ) -> Result<(), LibvirtError> {
        let version = match self.save_once(name, checkpoint, disks) {
            // It was paused since a save that was interrupted, or for another one. It runs for a moment, so its disks are
            // copied again.
            Err(LibvirtError::Call { message, .. }) if message.contains(SAVED_BEFORE) => {
                self.resume(name)?;
                self.pause(name)?;
                self.save_once(name, checkpoint, disks)?
            }
            saved => saved?,
        };
        let arguments = [checkpoint.as_str(), name.vm().as_str(), &version];
        self.shell.check(&script("sum", name.lab(), &arguments))?;
        Ok(())
    }

    /// Saves disks and memory of a paused guest; returns which QEMU has done it.
    fn save_once(
        &self,
        name: &DomainName,
        checkpoint: &CheckpointName,
        disks: &[String],
    ) -> Result<String, LibvirtError> {
        with_disks("copy", name, checkpoint, disks, self.shell.as_ref())?;
        let operation = Operation::Save(name.clone());
        let file = file(name, checkpoint);
        let (domain, asked) = (name.clone(), operation.clone());
        self.connection.within(&operation, MEMORY_WITHIN, move |conn| {
            let handle = domains::own(conn, &domain, &asked)?;
            let xml = snapshot_xml(&handle, &file, &asked)?;
            save::snapshot(&handle, &xml).map_err(failed(&asked))?;
            version(conn, &asked)
        })
    }

    /// Returns an error where what a checkpoint has of a guest is not what was saved, or another QEMU has saved it.
    pub fn check_saved(&self, name: &DomainName, checkpoint: &CheckpointName) -> Result<(), LibvirtError> {
        let incomplete = |missing: String| CheckpointError::Incomplete {
            checkpoint: checkpoint.clone(),
            domain: name.clone(),
            missing,
        };
        let sums = format!("{}.sums", name.vm());
        let output = self
            .shell
            .run(&script("check", name.lab(), &[checkpoint.as_str(), name.vm().as_str()]))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let Some((recorded, found)) = text.split_once("\n\n").filter(|_| output.status == 0) else {
            return Err(incomplete(sums).into());
        };
        let (was, recorded) = recorded.split_once('\n').ok_or_else(|| incomplete(sums))?;
        let mut lines = recorded.lines();
        if let Some(line) = lines.find(|line| !found.lines().any(|found| found == *line)) {
            let file = line.rsplit(' ').next().unwrap_or_default().to_owned();
            let is_there = found.lines().any(|found| found.ends_with(&format!(" {file}")));
            return Err(if is_there {
                let checkpoint = checkpoint.clone();
                CheckpointError::Damaged { checkpoint, file }
            } else {
                incomplete(file)
            }
            .into());
        }
        let operation = Operation::Restore(name.clone());
        let now = self.connection.with(&operation, |conn| version(conn, &operation))?;
        if was != now {
            return Err(CheckpointError::OtherQemu {
                checkpoint: checkpoint.clone(),
                was: was.to_owned(),
                now,
            }
            .into());
        }
        Ok(())
    }

    /// Replaces memory and disks of a guest, running or not, by those of a checkpoint; it is then paused. A failure leaves
    /// the guest as it is, or off.
    pub fn restore_from(
        &self,
        name: &DomainName,
        checkpoint: &CheckpointName,
        disks: &[String],
    ) -> Result<(), LibvirtError> {
        let shell = self.shell.as_ref();
        with_disks("stage", name, checkpoint, disks, shell)?;
        let operation = Operation::Stop(name.clone());
        let domain = name.clone();
        self.connection.within(&operation, super::STOP_WITHIN, move |conn| {
            domains::power_off(conn, &domain)
        })?;
        with_disks("replace", name, checkpoint, disks, shell)?;
        let operation = Operation::Restore(name.clone());
        let (domain, file) = (name.clone(), file(name, checkpoint));
        self.connection.within(&operation, MEMORY_WITHIN, move |conn| {
            let restored = restore_paused(conn, &domain, file.as_ref());
            if restored.is_err() {
                // The error to report is the first one.
                drop(start_over(conn, &domain));
            }
            restored?;
            domains::keep_records(conn, &domain)
        })
    }

    /// Deletes what a checkpoint has of a guest.
    pub fn delete_saved(&self, name: &DomainName, checkpoint: &CheckpointName) -> Result<(), LibvirtError> {
        let arguments = [checkpoint.as_str(), name.vm().as_str()];
        self.shell.check(&script("delete", name.lab(), &arguments))?;
        Ok(())
    }

    /// Returns an error where the host has too little space to save guests of so many MiB of memory, with the lab's disks.
    pub fn check_space_to_save(&self, lab: &LabName, memory_mib: u64) -> Result<(), LibvirtError> {
        self.check_free(lab, &script("needed", lab, &[&volumes::folder(lab)]), memory_mib)
    }

    /// Returns an error where the host has too little space to restore disks, which are copied before they are replaced.
    pub fn check_space_to_restore(&self, lab: &LabName, checkpoint: &CheckpointName) -> Result<(), LibvirtError> {
        self.check_free(lab, &script("stored", lab, &[checkpoint.as_str()]), 0)
    }

    fn check_free(&self, lab: &LabName, cmd: &Cmd, memory_mib: u64) -> Result<(), LibvirtError> {
        let output = self.shell.check(cmd)?;
        let text = String::from_utf8_lossy(&output);
        let mut numbers = text.lines().map(|line| line.trim().parse::<u64>());
        // Where df reports nothing, the copy itself finds out.
        let (Some(Ok(free)), Some(Ok(disks))) = (numbers.next(), numbers.next()) else {
            return Ok(());
        };
        let needed_mib = memory_mib + disks.div_ceil(1024);
        if needed_mib <= free / 1024 {
            return Ok(());
        }
        Err(CheckpointError::NoSpace {
            needed_mib,
            available_mib: free / 1024,
            folder: folder(lab),
        }
        .into())
    }
}

/// Returns the path of the file with a guest's memory.
fn file(name: &DomainName, checkpoint: &CheckpointName) -> String {
    format!("{}/{checkpoint}/{}.state", folder(name.lab()), name.vm())
}

/// Returns what reads and writes the memory of guests: releases of one series of QEMU have the same format.
fn version(conn: &Connect, operation: &Operation) -> Result<String, LibvirtError> {
    let version = conn.hyp_version().map_err(failed(operation))?;
    Ok(format!("QEMU {}.{}", version / 1_000_000, version / 1000 % 1000))
}

/// Returns the XML of a snapshot of a domain's memory in `file`, and of none of its disks.
fn snapshot_xml(domain: &VirDomain, file: &str, operation: &Operation) -> Result<String, LibvirtError> {
    let xml = domain.xml_desc(0).map_err(failed(operation))?;
    let root = Node::parse(&xml).map_err(xml_failed(operation))?;
    let disks = root
        .child("devices")
        .into_iter()
        .flat_map(|devices| devices.all("disk"));
    let targets = disks.filter_map(|disk| disk.child("target")?.attr("dev"));
    let write = || -> Result<String, XmlError> {
        let mut xml = XmlWriter::new();
        xml.open("domainsnapshot", &[])?;
        xml.empty("memory", &[("snapshot", "external"), ("file", file)])?;
        xml.open("disks", &[])?;
        for target in targets {
            xml.empty("disk", &[("name", target), ("snapshot", "no")])?;
        }
        xml.close("disks")?;
        xml.close("domainsnapshot")?;
        xml.done()
    };
    write().map_err(xml_failed(operation))
}
