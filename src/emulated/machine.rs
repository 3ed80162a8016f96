//! Emulated machines made and removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;

use super::{Emulator, capabilities, daemon, doing, namespace, other, process, rootfs};
use crate::folders::Folders;
use crate::host::HostError;
use crate::lab::{HostName, LabName};
use crate::state::MachineKind;

/// The first arguments of the init of an emulated host, by which it is known.
pub(super) fn init_arguments(lab: &LabName, host: &HostName) -> [String; 5] {
    ["host-init", "--lab", lab.as_str(), "--host", host.as_str()].map(ToOwned::to_owned)
}

/// Where init and the daemons say what they have to say.
fn log(machine: &Path) -> PathBuf {
    machine.join("init.log")
}

impl Emulator {
    /// Makes an emulated host without a NIC. On return its libvirt has answered; on failure nothing of it is left.
    pub(crate) fn create(&self, lab: &LabName, host: &HostName) -> Result<(), HostError> {
        let uri = daemon::libvirt_uri(&self.folders, lab, host)?;
        daemon::programs()?;
        namespace::create(&self.shell, lab, host, MachineKind::Host)?;
        self.start(lab, host, &uri).map_err(|error| {
            let left = self.remove(lab, host).err();
            let left = left.map(|left| format!("; clearing up: {left}")).unwrap_or_default();
            other(&format!("starting emulated host {host}"), &format!("{error}{left}"))
        })
    }

    fn start(&self, lab: &LabName, host: &HostName, uri: &str) -> io::Result<()> {
        let machine = self.folders.machine(lab, host);
        rootfs::furnish(&machine, host)?;
        Folders::make_open(&self.folders.cache)?;
        capabilities::seed(&self.folders, &machine)?;
        let mut init = self.spawn_init(lab, host)?;
        daemon::wait_until_it_answers(uri, &machine, &mut init)
            .map_err(|error| io::Error::other(format!("{error}\n{}", tail(&log(&machine)))))?;
        // Reaped should it end while we are still here; it is meant to live longer than that.
        thread::spawn(move || init.wait());
        // Without it the next machine is slower, nothing else.
        drop(capabilities::keep(&self.folders, &machine));
        Ok(())
    }

    /// Starts netlab as PID 1 of new namespaces. The child is the unshare(1) that waits for it.
    fn spawn_init(&self, lab: &LabName, host: &HostName) -> io::Result<Child> {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(log(&self.folders.machine(lab, host)))?;
        // What netlab has opened is closed by exec; what it inherited would live on in every guest.
        close_fds::set_fds_cloexec_threadsafe(3, &[]);
        let net = format!("--net={}", namespace::path(lab, host).display());
        Command::new("setsid")
            .args(["nsenter", &net])
            // `slave`: what is unmounted on this machine is unmounted inside too, and nothing comes back out.
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

    /// Removes an emulated machine with all that is in it, dead or alive, as far as it is there.
    pub(crate) fn remove(&self, lab: &LabName, host: &HostName) -> Result<(), HostError> {
        process::end(lab, host).map_err(doing(format!("ending emulated machine {host}")))?;
        namespace::remove(&self.shell, lab, host)?;
        let machine = self.folders.machine(lab, host);
        drop(capabilities::keep_new(&self.folders, &machine));
        delete(&machine).map_err(doing(format!("deleting {}", machine.display())))?;
        // The last one takes the folder of all of them along; it stays where another is still in it.
        if let Some(machines) = machine.parent() {
            drop(fs::remove_dir(machines));
        }
        Ok(())
    }
}

/// Deletes a folder unless it is not there. Follows no symbolic link and crosses into no other file system.
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
        Err(io::Error::other("it should be a folder"))
    }
}

/// Mount points in netlab's own mount namespace (proc_pid_mountinfo(5), field 5: blanks as three octal digits).
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

/// The last lines of a log.
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
    fn a_folder_that_is_a_symbolic_link_is_not_deleted_nor_what_it_points_to() {
        let temp = tempfile::tempdir().unwrap();
        let (target, link) = (temp.path().join("target"), temp.path().join("link"));
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(delete(&link).is_err());
        assert!(target.is_dir() && link.is_symlink());
    }

    #[test]
    fn deleting_a_folder_that_is_not_there_is_no_error() {
        let temp = tempfile::tempdir().unwrap();
        delete(&temp.path().join("nothing")).unwrap();
    }

    #[test]
    fn the_root_is_a_mount_point() {
        assert!(mounts().unwrap().contains(&PathBuf::from("/")));
    }
}
