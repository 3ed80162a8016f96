//! Copies of the files that guests boot from, on a host behind ssh. A lab's state has their paths on this machine; they
//! are copied when they are first needed, and paths of copies are translated back when the host is observed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::lab::{BaseDisk, Boot};
use crate::libvirt::{self, Libvirt, LibvirtError};
use crate::state::{Disk, Domain, HostState};

/// The copies on one host.
pub(super) struct Copies {
    /// Paths below this folder are relative in a copy's label, so that another machine's cache makes the same copies.
    images: PathBuf,
    /// Local paths with those of their copies, as far as needed in this run.
    known: Mutex<BTreeMap<PathBuf, PathBuf>>,
}

impl Copies {
    pub fn of(images: PathBuf) -> Self {
        Self {
            images,
            known: Mutex::default(),
        }
    }

    /// Returns the path of the copy of `local`, which is made if there is none.
    pub fn copy(&self, libvirt: &Libvirt, local: &Path, progress: &dyn Fn(&str)) -> Result<PathBuf, LibvirtError> {
        // Held during the transfer: a file that several guests need is sent once.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copy) = known.get(local) {
            return Ok(copy.clone());
        }
        let label = self.label(local);
        let copy = libvirt.copy_file(local, &label, &|percent| {
            progress(&format!("copying {label} to the host: {percent} %"));
        })?;
        known.insert(local.to_owned(), copy.clone());
        Ok(copy)
    }

    /// Returns the label of the copy of `local`.
    fn label(&self, local: &Path) -> String {
        local.strip_prefix(&self.images).unwrap_or(local).display().to_string()
    }

    /// Returns an error where the host has too little space for the copies of `files` that it does not have yet.
    pub fn check_space(&self, libvirt: &Libvirt, files: &BTreeSet<PathBuf>) -> Result<(), LibvirtError> {
        let files: Vec<_> = files.iter().map(|file| (file.as_path(), self.label(file))).collect();
        libvirt.check_space(&files)
    }

    /// Returns the domain with the paths of the copies, which are made if there are none.
    pub fn domain(&self, libvirt: &Libvirt, domain: &Domain, progress: &dyn Fn(&str)) -> Result<Domain, LibvirtError> {
        let boot = match &domain.boot {
            Boot::Kernel {
                kernel,
                initrd,
                cmdline,
                disk,
            } => Boot::Kernel {
                kernel: self.copy(libvirt, kernel, progress)?,
                initrd: match initrd {
                    Some(initrd) => Some(self.copy(libvirt, initrd, progress)?),
                    None => None,
                },
                cmdline: cmdline.clone(),
                disk: match disk {
                    Some(BaseDisk { base, format }) => Some(BaseDisk {
                        base: self.copy(libvirt, base, progress)?,
                        format: format.clone(),
                    }),
                    None => None,
                },
            },
            Boot::Disk { base, format } => Boot::Disk {
                base: self.copy(libvirt, base, progress)?,
                format: format.clone(),
            },
        };
        let mut there = Domain { boot, ..domain.clone() };
        for volume in there.disks.iter_mut().filter_map(|disk| disk.over.as_mut()) {
            volume.base = self.copy(libvirt, &volume.base, progress)?;
        }
        if let Some(cd) = &mut there.cdrom {
            *cd = self.copy(libvirt, cd, progress)?;
        }
        Ok(there)
    }

    /// Translates paths of copies in an observed state into the local paths.
    pub fn read_back(&self, state: &mut HostState) {
        for volume in state.volumes.values_mut() {
            self.translate(&mut volume.base);
        }
        for disk in state.disks.values_mut() {
            if let Disk::Over(volume) = disk {
                self.translate(&mut volume.base);
            }
        }
        for domain in state.domains.values_mut() {
            let over = domain.disks.iter_mut().filter_map(|disk| disk.over.as_mut());
            over.for_each(|volume| self.translate(&mut volume.base));
            domain.cdrom.iter_mut().for_each(|cd| self.translate(cd));
            match &mut domain.boot {
                Boot::Kernel {
                    kernel, initrd, disk, ..
                } => {
                    let base = disk.iter_mut().map(|disk| &mut disk.base);
                    let files = [kernel].into_iter().chain(initrd).chain(base);
                    files.for_each(|file| self.translate(file));
                }
                Boot::Disk { base, .. } => self.translate(base),
            }
        }
    }

    fn translate(&self, path: &mut PathBuf) {
        if let Some(label) = libvirt::label(path) {
            // An absolute label replaces the folder.
            *path = self.images.join(label);
        }
    }
}
