//! PID 1 of an emulated host: mounts the private folders, runs the daemons, reaps orphaned processes. When it exits, the
//! kernel kills everything else in its PID namespace.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::mount::{mount, mount_remount, move_mount, open_tree, unmount};
use rustix::process::{Pid, WaitOptions, WaitStatus};
use tokio::signal::unix::{SignalKind, signal};

use super::error::{EmulatedError, Operation, failed};
use super::{daemon, rootfs};
use crate::causes::chain;
use crate::folders::Folders;
use crate::lab::{HostName, LabName};

/// A daemon that dies this often within [`SPAN`] is not started again, and init exits.
const STARTS: usize = 5;
/// See [`STARTS`].
const SPAN: Duration = Duration::from_secs(60);

/// Runs `netlab host-init`; returns when the emulated host ends. Errors are written to standard error, which is the
/// host's log.
pub fn init_main(folders: &Folders, lab: &LabName, host: &HostName) -> ExitCode {
    let end = if std::process::id() == 1 {
        start(folders, lab, host)
            .map_err(|error| chain(&error))
            .and_then(|daemons| watch(daemons).map_err(|error| error.to_string()))
    } else {
        // Outside of its own namespaces this would change the machine itself.
        Err("`host-init` is run by netlab itself, as the first process of an emulated host".to_owned())
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(&error);
            ExitCode::FAILURE
        }
    }
}

fn log(text: &str) {
    // Where the log cannot be written, the error cannot be reported either.
    drop(writeln!(io::stderr(), "netlab: {text}"));
}

/// Sets the machine up and starts its daemons.
fn start(folders: &Folders, lab: &LabName, host: &HostName) -> Result<Vec<Daemon>, EmulatedError> {
    // Guests' logs and disks are for root only.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    rustix::system::sethostname(host.as_str().as_bytes())
        .map_err(|error| failed(Operation::SetHostName)(error.into()))?;
    mount_folders(folders, &folders.machine(lab, host)).map_err(failed(Operation::MountFolders))?;
    let programs = daemon::programs()?;
    programs
        .into_iter()
        .map(|program| Daemon::start(program.clone()).map_err(failed(Operation::StartDaemon(program))))
        .collect()
}

/// Mounts the private folders over the machine's own, and /proc and /sys of the new namespaces.
fn mount_folders(folders: &Folders, machine: &Path) -> io::Result<()> {
    // All are opened before the first is mounted: after that their paths lead elsewhere.
    let private = rootfs::MOUNTS
        .iter()
        .map(|(what, place)| (machine.join(what), PathBuf::from(place)))
        .filter(|(what, _)| what.exists());
    let mut trees = Vec::new();
    for (what, place) in private {
        trees.push((tree(&what)?, place));
    }
    // netlab's own files keep their paths; by default they are below /var.
    for kept in [&folders.state, &folders.cache] {
        let kept = kept.canonicalize()?;
        for (what, place) in rootfs::MOUNTS {
            if let Ok(below) = kept.strip_prefix(place) {
                std::fs::create_dir_all(machine.join(what).join(below))?;
                trees.push((tree(&kept)?, kept.clone()));
            }
        }
    }
    for (tree, place) in trees {
        move_mount(&tree, "", CWD, &place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(|error| io::Error::other(format!("{}: {error}", place.display())))?;
        // Read-only for root too: programs then treat it like a missing /dev/kvm.
        if place == Path::new("/dev/kvm") {
            mount_remount(&place, MountFlags::BIND | MountFlags::RDONLY, "")?;
        }
    }

    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Unmounted with everything below it: libvirt would find control groups in the list of mounts.
    unmount("/sys", UnmountFlags::DETACH)?;
    mount("sysfs", "/sys", "sysfs", plain, None)?;
    mount("proc", "/proc", "proc", plain, None)?;
    Ok(())
}

/// Opens a folder or file so that it can be mounted elsewhere, with what is mounted below it.
fn tree(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(CWD, path, flags)?)
}

/// A daemon that is restarted when it dies.
struct Daemon {
    program: PathBuf,
    pid: Pid,
    /// When it was started, the last [`STARTS`] times.
    starts: Vec<Instant>,
}

impl Daemon {
    fn start(program: PathBuf) -> io::Result<Self> {
        let pid = spawn(&program)?;
        Ok(Self {
            program,
            pid,
            starts: vec![Instant::now()],
        })
    }

    /// Starts it again; an error if it died too often.
    fn restart(&mut self, status: WaitStatus) -> io::Result<()> {
        let ended = match (status.exit_status(), status.terminating_signal()) {
            (Some(status), _) => format!("{} exited with {status}", self.program.display()),
            (_, signal) => format!(
                "{} was killed by signal {}",
                self.program.display(),
                signal.unwrap_or(0)
            ),
        };
        self.starts.retain(|start| start.elapsed() < SPAN);
        if self.starts.len() >= STARTS {
            let message = format!(
                "{ended}; not started again after {STARTS} starts in {} s",
                SPAN.as_secs()
            );
            return Err(io::Error::other(message));
        }
        log(&format!("{ended}; starting it again"));
        self.pid = spawn(&self.program)?;
        self.starts.push(Instant::now());
        Ok(())
    }
}

/// Starts a daemon in the foreground. It is reaped with all other processes, by PID.
fn spawn(program: &Path) -> io::Result<Pid> {
    let child = Command::new(program).stdin(Stdio::null()).spawn()?;
    Ok(Pid::from_child(&child))
}

/// Reaps processes until SIGTERM.
fn watch(mut daemons: Vec<Daemon>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // The kernel delivers to PID 1 only those signals that it has a handler for.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut child = signal(SignalKind::child())?;
        loop {
            reap(&mut daemons)?;
            tokio::select! {
                _ = child.recv() => {}
                _ = terminate.recv() => return Ok(()),
            }
        }
    })
}

/// Reaps all processes that have ended, and restarts daemons.
fn reap(daemons: &mut [Daemon]) -> io::Result<()> {
    // NOHANG: where none has ended, or none exists, the next signal wakes this up again.
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if let Some(daemon) = daemons.iter_mut().find(|daemon| daemon.pid == pid) {
            daemon.restart(status)?;
        }
    }
    Ok(())
}
