//! The init of an emulated host, from outside: finds and kills it. No pid file: a number in a file outlives the process
//! and then names another one.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::namespace;
use crate::lab::{HostName, LabName};

/// How long the kernel may take to clear a PID namespace after its init was killed.
const END_WITHIN: Duration = Duration::from_secs(30);

/// Returns the process id, in netlab's own PID namespace, of an emulated host's init; none where it does not run.
///
/// It is the process that was started as that host's init (its arguments say so), is PID 1 of a namespace of its own,
/// and is in the network namespace of the host's name.
pub fn init_pid(lab: &LabName, host: &HostName) -> Option<u32> {
    let namespace = identity(&namespace::path(lab, host))?;
    let is_inside = |pid: &u32| identity(&proc(*pid, "ns/net")) == Some(namespace);
    let is_init = |pid: &u32| is_init_of(*pid, lab, host);
    started_as(lab, host).into_iter().filter(is_init).find(is_inside)
}

/// Kills the init of an emulated host and waits until it and everything below it have ended, also where the namespace
/// has lost its name. No error where it does not run.
///
/// Where the run that started it was killed at that moment, it may not be the init yet, but one of the programs that
/// become it: all have its arguments behind their own. Each is killed, and the next one that it had started, if any.
pub(super) fn end(lab: &LabName, host: &HostName) -> io::Result<()> {
    loop {
        let started = started_as(lab, host);
        if started.is_empty() {
            return Ok(());
        }
        for pid in started {
            // From here on the handle, not the number, identifies the process.
            let Some(process) = handle(pid)? else { continue };
            if position_of_init(pid, lab, host).is_none() {
                continue;
            }
            pidfd_send_signal(&process, Signal::KILL).or_else(|error| match error {
                rustix::io::Errno::SRCH => Ok(()),
                error => Err(error),
            })?;
            // The kernel lets a namespace's init end only after all others in it have (zap_pid_ns_processes,
            // kernel/pid_namespace.c), and the handle reports that without waiting for the process to be reaped.
            wait_for(&process)?;
        }
    }
}

/// Lists the emulated hosts of every lab whose init runs, with the state folder that each was started with. Needs no
/// right but to read command lines.
pub fn running() -> Vec<(LabName, HostName, PathBuf)> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = processes.filter_map(|process| process.ok()?.file_name().to_str()?.parse().ok());
    let mut found: Vec<_> = pids.filter_map(started_for).collect();
    found.sort();
    found.dedup();
    found
}

/// Returns what a process was started as the init of.
fn started_for(pid: u32) -> Option<(LabName, HostName, PathBuf)> {
    let arguments = fs::read(proc(pid, "cmdline")).ok()?;
    let given: Vec<&[u8]> = arguments.split(|byte| *byte == 0).skip(1).collect();
    let [_, _, lab, _, host, state, folder, ..] = given[..] else {
        return None;
    };
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let (lab, host): (LabName, HostName) = (text(lab)?.parse().ok()?, text(host)?.parse().ok()?);
    // Only the name of the option is left to compare.
    (state == b"--state" && is_init_of(pid, &lab, &host)).then(|| (lab, host, PathBuf::from(OsStr::from_bytes(folder))))
}

/// Lists the processes that were started as the init of this host, or in order to become it: the init itself first, whose
/// end the one that waits for it notices.
fn started_as(lab: &LabName, host: &HostName) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut started: Vec<(usize, u32)> = processes
        .filter_map(|process| {
            let pid = process.ok()?.file_name().to_str()?.parse().ok()?;
            Some((position_of_init(pid, lab, host)?, pid))
        })
        .collect();
    started.sort_unstable();
    started.into_iter().map(|(_, pid)| pid).collect()
}

fn is_init_of(pid: u32, lab: &LabName, host: &HostName) -> bool {
    position_of_init(pid, lab, host) == Some(1) && is_first_of_its_namespace(pid)
}

/// Returns which argument of a process is the first of those by which the host's init is recognized. A process that has
/// ended has no arguments.
fn position_of_init(pid: u32, lab: &LabName, host: &HostName) -> Option<usize> {
    let arguments = fs::read(proc(pid, "cmdline")).ok()?;
    let given: Vec<&[u8]> = arguments.split(|byte| *byte == 0).collect();
    let wanted = super::machine::init_arguments(lab, host);
    let wanted: Vec<&[u8]> = wanted.iter().map(String::as_bytes).collect();
    given.windows(wanted.len()).position(|part| *part == *wanted)
}

/// `NSpid:` lists the process's number in each PID namespace from the reader's to its own (proc_pid_status(5)).
fn is_first_of_its_namespace(pid: u32) -> bool {
    let numbers = status(pid, "NSpid:").unwrap_or_default();
    let numbers: Vec<_> = numbers.split_whitespace().collect();
    matches!(numbers.as_slice(), [_, .., "1"])
}

/// Returns a line of /proc/PID/status, without its key.
fn status(pid: u32, key: &str) -> Option<String> {
    let status = fs::read_to_string(proc(pid, "status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .map(ToOwned::to_owned)
}

pub(super) fn proc(pid: u32, file: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(file)
}

/// Returns the identity of a namespace, by its named file or by /proc/PID/ns.
pub(super) fn identity(file: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Opens a handle on a process; none where it has ended.
pub(super) fn handle(pid: u32) -> io::Result<Option<std::os::fd::OwnedFd>> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => Ok(Some(handle)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn wait_for(process: &std::os::fd::OwnedFd) -> io::Result<()> {
    let timeout = Timespec::try_from(END_WITHIN).map_err(io::Error::other)?;
    let ended = || poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout));
    match rustix::io::retry_on_intr(ended)? {
        0 => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "processes still exist {} s after they were killed",
                END_WITHIN.as_secs()
            ),
        )),
        _ => Ok(()),
    }
}
