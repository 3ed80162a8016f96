//! What a host behind ssh calls the files that guests boot from. A lab's state knows them by their paths here; they
//! are brought there when they are first needed, and read back as what they are copies of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::host::HostError;
use crate::lab::Boot;
use crate::libvirt::{self, Libvirt};
use crate::state::{Domain, HostState};

/// The copies on one host.
pub(super) struct Copies {
    /// Paths here are told from this folder on, so that another machine's cache makes the same copies.
    images: PathBuf,
    /// What was brought, or found there, in this run.
    known: Mutex<BTreeMap<PathBuf, PathBuf>>,
}

impl Copies {
    pub fn of(images: PathBuf) -> Self {
        Self {
            images,
            known: Mutex::default(),
        }
    }

    /// The path there of `local`, which is brought there if it has to be.
    pub fn bring(&self, libvirt: &Libvirt, local: &Path, tell: &dyn Fn(&str)) -> Result<PathBuf, HostError> {
        // Held meanwhile: what several guests need is sent once.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = known.get(local) {
            return Ok(there.clone());
        }
        let label = local.strip_prefix(&self.images).unwrap_or(local).display().to_string();
        let there = libvirt.bring(local, &label, &|percent| {
            tell(&format!("bringing {label} to the host: {percent} %"));
        })?;
        known.insert(local.to_owned(), there.clone());
        Ok(there)
    }

    /// The domain as it is there.
    pub fn domain(&self, libvirt: &Libvirt, domain: &Domain, tell: &dyn Fn(&str)) -> Result<Domain, HostError> {
        let boot = match &domain.boot {
            Boot::Kernel {
                kernel,
                initrd,
                cmdline,
            } => Boot::Kernel {
                kernel: self.bring(libvirt, kernel, tell)?,
                initrd: self.bring(libvirt, initrd, tell)?,
                cmdline: cmdline.clone(),
            },
            Boot::Disk { base, format } => Boot::Disk {
                base: self.bring(libvirt, base, tell)?,
                format: format.clone(),
            },
        };
        Ok(Domain { boot, ..domain.clone() })
    }

    /// What was observed there, in paths of here.
    pub fn read_back(&self, state: &mut HostState) {
        for volume in state.volumes.values_mut() {
            self.home(&mut volume.base);
        }
        for domain in state.domains.values_mut() {
            match &mut domain.boot {
                Boot::Kernel { kernel, initrd, .. } => {
                    self.home(kernel);
                    self.home(initrd);
                }
                Boot::Disk { base, .. } => self.home(base),
            }
        }
    }

    fn home(&self, path: &mut PathBuf) {
        if let Some(label) = libvirt::label(path) {
            // An absolute label stands for itself.
            *path = self.images.join(label);
        }
    }
}
