//! PID 1 of an emulated host: puts the private folders in place, runs the daemons, reaps everything that is orphaned.
//! When it ends, the kernel ends everything else in its PID namespace.

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

use super::{daemon, doing, rootfs};
use crate::folders::Folders;
use crate::host::HostError;
use crate::lab::{HostName, LabName};

/// A daemon that dies more often than this within [`SPAN`] is given up, and the machine with it.
const STARTS: usize = 5;
/// See [`STARTS`].
const SPAN: Duration = Duration::from_secs(60);

/// What `netlab host-init` does: never returns while the emulated host lives. What goes wrong is written to standard
/// error, which is the host's log.
pub fn init_main(folders: &Folders, lab: &LabName, host: &HostName) -> ExitCode {
    let end = if std::process::id() == 1 {
        settle(folders, lab, host)
            .map_err(|error| error.to_string())
            .and_then(|daemons| watch(daemons).map_err(|error| error.to_string()))
    } else {
        // Outside of its own namespaces all of this would befall the machine itself.
        Err("this is started by netlab itself, as the first process of an emulated host".to_owned())
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    // Nobody is left to be told that the log cannot be written.
    drop(writeln!(io::stderr(), "netlab: {text}"));
}

/// Everything up to the daemons.
fn settle(folders: &Folders, lab: &LabName, host: &HostName) -> Result<Vec<Daemon>, HostError> {
    // Guests' logs and disks are for root only.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    rustix::system::sethostname(host.as_str().as_bytes())
        .map_err(|error| doing("setting the host name")(error.into()))?;
    put_in_place(folders, &folders.machine(lab, host)).map_err(doing("putting the private folders in place"))?;
    let programs = daemon::programs()?;
    programs
        .into_iter()
        .map(|program| Daemon::start(program.clone()).map_err(doing(format!("starting {}", program.display()))))
        .collect()
}

/// Puts the private folders over the machine's own, and this namespace's processes and links into /proc and /sys.
fn put_in_place(folders: &Folders, machine: &Path) -> io::Result<()> {
    // All are taken in hand before the first is put down: after that their paths lead elsewhere.
    let private = rootfs::PLACES
        .iter()
        .map(|(what, place)| (machine.join(what), PathBuf::from(place)))
        .filter(|(what, _)| what.exists());
    let mut trees = Vec::new();
    for (what, place) in private {
        trees.push((tree(&what)?, place));
    }
    // netlab's own files lie where they lie outside; by default that is below /var.
    for kept in [&folders.state, &folders.cache] {
        let kept = kept.canonicalize()?;
        for (what, place) in rootfs::PLACES {
            if let Ok(below) = kept.strip_prefix(place) {
                std::fs::create_dir_all(machine.join(what).join(below))?;
                trees.push((tree(&kept)?, kept.clone()));
            }
        }
    }
    for (tree, place) in trees {
        move_mount(&tree, "", CWD, &place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(|error| io::Error::other(format!("{}: {error}", place.display())))?;
        // Unwritable for root too: what makes it a /dev/kvm that is not there.
        if place == Path::new("/dev/kvm") {
            mount_remount(&place, MountFlags::BIND | MountFlags::RDONLY, "")?;
        }
    }

    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Taken away with what is mounted below it: libvirt would find control groups in the list of mounts.
    unmount("/sys", UnmountFlags::DETACH)?;
    mount("sysfs", "/sys", "sysfs", plain, None)?;
    mount("proc", "/proc", "proc", plain, None)?;
    Ok(())
}

/// A folder or file that can be mounted elsewhere, with what is mounted below it.
fn tree(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(CWD, path, flags)?)
}

/// A daemon that is kept running.
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

    /// Starts it again, unless that has been done too often.
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
            let often = format!("{ended}; given up after {STARTS} starts in {} s", SPAN.as_secs());
            return Err(io::Error::other(often));
        }
        say(&format!("{ended}; starting it again"));
        self.pid = spawn(&self.program)?;
        self.starts.push(Instant::now());
        Ok(())
    }
}

/// Starts a daemon in the foreground. It is reaped with all others, by number.
fn spawn(program: &Path) -> io::Result<Pid> {
    let child = Command::new(program).stdin(Stdio::null()).spawn()?;
    Ok(Pid::from_child(&child))
}

/// Reaps until told to end.
fn watch(mut daemons: Vec<Daemon>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // A PID 1 is sent only those signals that it has asked for.
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

/// Reaps all that have ended, and restarts those of them that are daemons.
fn reap(daemons: &mut [Daemon]) -> io::Result<()> {
    // NOHANG: none has ended means that the next signal will tell; that there are no children at all, the same.
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if let Some(daemon) = daemons.iter_mut().find(|daemon| daemon.pid == pid) {
            daemon.restart(status)?;
        }
    }
    Ok(())
}
