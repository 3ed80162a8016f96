//! Creates and removes emulated hosts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;

use super::error::{EmulatedError, Operation, failed};
use super::{Emulator, capabilities, daemon, names, namespace, process, rootfs};
use crate::folders::Folders;
use crate::lab::{HostName, LabName};
use crate::state::MachineKind;

/// Returns the first arguments of an emulated host's init, by which it is recognized.
pub(super) fn init_arguments(lab: &LabName, host: &HostName) -> [String; 5] {
    ["host-init", "--lab", lab.as_str(), "--host", host.as_str()].map(ToOwned::to_owned)
}

/// Returns the path of the log of init and the daemons.
fn log(machine: &Path) -> PathBuf {
    machine.join("init.log")
}

impl Emulator {
    /// Creates an emulated host without a NIC. On return its libvirt has answered; a failure leaves nothing behind.
    pub(crate) fn create(&self, lab: &LabName, host: &HostName) -> Result<(), EmulatedError> {
        let uri = daemon::libvirt_uri(&self.folders, lab, host)?;
        daemon::programs()?;
        namespace::create(&self.shell, lab, host, MachineKind::Host)?;
        self.start(lab, host, &uri).map_err(|cause| {
            // Read before the log is removed with everything else.
            let log = tail(&log(&self.folders.machine(lab, host)));
            EmulatedError::Start {
                host: host.clone(),
                cause,
                log,
                cleanup: self.remove(lab, host).err().map(Box::new),
            }
        })
    }

    fn start(&self, lab: &LabName, host: &HostName, uri: &str) -> io::Result<()> {
        let machine = self.folders.machine(lab, host);
        rootfs::create(&machine, host)?;
        Folders::make_open(&self.folders.cache)?;
        capabilities::seed(&self.folders, &machine)?;
        let mut init = self.spawn_init(lab, host)?;
        daemon::wait_until_it_answers(uri, &machine, &mut init)?;
        // Reaped should it end before netlab does, which it is not meant to.
        thread::spawn(move || init.wait());
        // A failure only makes the start of the next machine slower.
        drop(capabilities::keep(&self.folders, &machine));
        Ok(())
    }

    /// Starts netlab as PID 1 of new namespaces. The child is the unshare(1) process that waits for it.
    fn spawn_init(&self, lab: &LabName, host: &HostName) -> io::Result<Child> {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(log(&self.folders.machine(lab, host)))?;
        // Files that netlab opened are closed by exec; those it inherited would stay open in every guest.
        close_fds::set_fds_cloexec_threadsafe(3, &[]);
        let net = format!("--net={}", namespace::path(lab, host).display());
        Command::new("setsid")
            .args(["nsenter", &net])
            // `slave`: what is unmounted on this machine is unmounted inside too, but not vice versa.
            .args([
                "unshare",
                "--mount",
                "--uts",
                "--pid",
                "--fork",
                "--propagation",
                "slave",
            ])
            .arg(&self.program)
            .args(init_arguments(lab, host))
            .arg("--state")
            .arg(&self.folders.state)
            .arg("--cache")
            .arg(&self.folders.cache)
            .env_clear()
            .env("PATH", daemon::PATH)
            .env("HOME", "/root")
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(File::open("/dev/null")?)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }

    /// Removes an emulated machine with everything in it, dead or alive, as far as it exists.
    pub(crate) fn remove(&self, lab: &LabName, host: &HostName) -> Result<(), EmulatedError> {
        process::end(lab, host).map_err(failed(Operation::EndProcesses(host.clone())))?;
        names::stop(lab, host)?;
        self.disconnect_from_host(lab, host)?;
        namespace::remove(&self.shell, lab, host)?;
        let machine = self.folders.machine(lab, host);
        drop(capabilities::keep_new(&self.folders, &machine));
        delete(&machine).map_err(failed(Operation::Delete(machine.clone())))?;
        // Removes the folder of all machines with the last one; it fails where another is still in it.
        if let Some(machines) = machine.parent() {
            drop(fs::remove_dir(machines));
        }
        Ok(())
    }
}

/// Deletes a folder if it exists. Follows no symbolic link and crosses into no other file system.
fn delete(folder: &Path) -> io::Result<()> {
    let real = match fs::canonicalize(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        real => real?,
    };
    if let Some(mount) = mounts()?.into_iter().find(|mount| mount.starts_with(&real)) {
        return Err(io::Error::other(format!("unmount {} first", mount.display())));
    }
    if fs::symlink_metadata(folder)?.is_dir() {
        fs::remove_dir_all(folder)
    } else {
        Err(io::Error::other("not a folder"))
    }
}

/// Lists the mount points in netlab's own mount namespace (proc_pid_mountinfo(5), field 5: blanks as octal escapes).
fn mounts() -> io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let plain = |point: &str| {
        let blanks = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
        blanks
            .iter()
            .fold(point.to_owned(), |point, (code, blank)| point.replace(code, blank))
    };
    Ok(points.map(|point| plain(point).into()).collect())
}

/// Returns the last lines of a log.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_symbolic_link_nor_its_target_is_deleted() {
        let temp = tempfile::tempdir().unwrap();
        let (target, link) = (temp.path().join("target"), temp.path().join("link"));
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(delete(&link).is_err());
        assert!(target.is_dir() && link.is_symlink());
    }

    #[test]
    fn deleting_a_folder_that_does_not_exist_is_no_error() {
        let temp = tempfile::tempdir().unwrap();
        delete(&temp.path().join("nothing")).unwrap();
    }

    #[test]
    fn the_root_is_a_mount_point() {
        assert!(mounts().unwrap().contains(&PathBuf::from("/")));
    }
}
