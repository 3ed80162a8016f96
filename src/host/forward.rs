//! Forwarded ports: a netlab process each, which listens on 127.0.0.1 and outlives the run that started it. It is found by
//! its arguments, which say everything about it; a file in the lab's folder records that it is wanted, so that one that
//! died is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::linux::{LinuxHost, Place};
use super::{Host as _, HostError};
use crate::causes::chain;
use crate::emulated::Emulator;
use crate::folders::Folders;
use crate::lab::{Connect, LabName};
use crate::state::PortForward;
use crate::transport::relay;

/// netlab's command that forwards a port.
pub const COMMAND: &str = "forward-port";
/// How long the kernel may take to end a process.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Returns the arguments of the process, by which it is found.
fn arguments(folders: &Folders, lab: &LabName, port: u16, forward: &PortForward) -> io::Result<Vec<Vec<u8>>> {
    let forward = serde_json::to_string(forward)?;
    let mut arguments: Vec<Vec<u8>> = [
        COMMAND,
        "--lab",
        lab.as_str(),
        "--port",
        &port.to_string(),
        "--to",
        &forward,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    arguments.push(b"--state".to_vec());
    arguments.push(folders.state.as_os_str().as_bytes().to_vec());
    Ok(arguments)
}

/// Returns what a process forwards for the lab of this state folder.
fn forwarded_by(pid: i32, folders: &Folders, lab: &LabName) -> Option<(u16, PortForward)> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
    // Behind the name of the program, and while it starts also behind that of setsid(1).
    let at = words.iter().position(|word| *word == COMMAND.as_bytes())?;
    let [
        _,
        b"--lab",
        of,
        b"--port",
        port,
        b"--to",
        forward,
        b"--state",
        state,
        ..,
    ] = words[at..]
    else {
        return None;
    };
    if of != lab.as_str().as_bytes() || Path::new(OsStr::from_bytes(state)) != folders.state {
        return None;
    }
    let port = std::str::from_utf8(port).ok()?.parse().ok()?;
    Some((port, serde_json::from_slice(forward).ok()?))
}

/// Lists the processes that forward ports for the lab.
fn running(folders: &Folders, lab: &LabName) -> Vec<(i32, u16, PortForward)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| forwarded_by(pid, folders, lab).map(|(port, forward)| (pid, port, forward)))
        .collect()
}

/// Returns the folder of the records, and the file for one port.
fn records(folders: &Folders, lab: &LabName) -> PathBuf {
    folders.lab(lab).join("forwards")
}

/// Returns the ports that were wanted when the lab came up, and whether each is forwarded now.
pub fn recorded(folders: &Folders, lab: &LabName) -> BTreeMap<u16, (PortForward, bool)> {
    let folders = absolute(folders);
    let running = running(&folders, lab);
    let files = fs::read_dir(records(&folders, lab)).into_iter().flatten().flatten();
    let record = |file: &Path| -> Option<(u16, PortForward)> {
        let port = file.file_name()?.to_str()?.parse().ok()?;
        Some((port, serde_json::from_slice(&fs::read(file).ok()?).ok()?))
    };
    let wanted = files.filter_map(|file| record(&file.path()));
    wanted
        .map(|(port, forward)| {
            let runs = running.iter().any(|(_, at, is)| *at == port && *is == forward);
            (port, (forward, runs))
        })
        .collect()
}

/// Returns the TCP ports that a listener on 127.0.0.1 could not have (proc_pid_net(5)): those of listeners on that
/// address and on all of them.
pub(super) fn listening() -> BTreeSet<u16> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    tables
        .iter()
        .flat_map(|table| table.lines().filter_map(listener))
        .collect()
}

/// Returns the port of a line of /proc/net/tcp that is such a listener.
fn listener(line: &str) -> Option<u16> {
    /// TCP_LISTEN, include/net/tcp_states.h.
    const LISTEN: &str = "0A";
    let mut words = line.split_whitespace().skip(1);
    let (address, port) = words.next()?.split_once(':')?;
    let is_listener = words.nth(1) == Some(LISTEN);
    let covers = address.bytes().all(|digit| digit == b'0') || address.ends_with("0100007F");
    (is_listener && covers).then(|| u16::from_str_radix(port, 16).ok())?
}

fn absolute(folders: &Folders) -> Folders {
    Folders {
        state: std::path::absolute(&folders.state).unwrap_or_else(|_| folders.state.clone()),
        ..folders.clone()
    }
}

impl Emulator {
    /// Returns the ports that are forwarded for the lab.
    pub(super) fn forwards(&self, lab: &LabName) -> BTreeMap<u16, PortForward> {
        let running = running(&self.folders, lab).into_iter();
        running.map(|(_, port, forward)| (port, forward)).collect()
    }

    /// Listens on a port and starts the process that serves it. The listener is its standard input: it has the port
    /// from its first moment, and that the port is taken is an error here.
    pub(super) fn start_forward(&self, lab: &LabName, port: u16, forward: &PortForward) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let records = records(&self.folders, lab);
        Folders::make(&records)?;
        fs::write(records.join(port.to_string()), serde_json::to_vec(forward)?)?;
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.folders.lab(lab).join("forwards.log"))?;
        // What netlab inherited would stay open in it.
        close_fds::set_fds_cloexec_threadsafe(3, &[]);
        let arguments = arguments(&self.folders, lab, port, forward)?;
        let mut child = Command::new("setsid")
            .arg(&self.program)
            .args(arguments.iter().map(|word| OsStr::from_bytes(word)))
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        // Reaped should it end before netlab does.
        thread::spawn(move || child.wait());
        Ok(())
    }

    /// Ends the process that serves a port; none is no error.
    pub(super) fn stop_forward(&self, lab: &LabName, port: u16) -> io::Result<()> {
        for (pid, ..) in running(&self.folders, lab).into_iter().filter(|(_, at, _)| *at == port) {
            let Some(raw) = Pid::from_raw(pid) else { continue };
            // From here on the handle, not the number, identifies the process.
            let Ok(process) = pidfd_open(raw, PidfdFlags::empty()) else {
                continue;
            };
            if forwarded_by(pid, &self.folders, lab).is_none_or(|(at, _)| at != port) {
                continue;
            }
            let _ = pidfd_send_signal(&process, Signal::KILL);
            let within = Timespec::try_from(END_WITHIN).map_err(io::Error::other)?;
            let ended = || poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&within));
            if rustix::io::retry_on_intr(ended)? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        let records = records(&self.folders, lab);
        let _ = fs::remove_file(records.join(port.to_string()));
        // It fails where another port is still in it.
        let _ = fs::remove_dir(records);
        Ok(())
    }
}

/// Serves the listener that is standard input, and returns only where that is none: connects to the guest for each
/// client, from the host that is connected to its network.
pub fn serve(folders: &Folders, lab: &LabName, forward: &PortForward) -> io::Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let place = match &forward.connect {
        Connect::Emulated => Place::Emulated(lab.clone(), forward.via.clone()),
        Connect::Local => Place::Local,
        Connect::Ssh(target) => Place::Ssh(target.clone()),
    };
    let host = LinuxHost::new(forward.via.clone(), place, folders.clone(), Arc::default());
    let host = &host;
    thread::scope(|scope| {
        loop {
            let client = match listener.accept() {
                Ok((client, _)) => client,
                // The client has left already, or there are too many for the moment.
                Err(error) if error.raw_os_error().is_some_and(is_passing) => {
                    thread::sleep(Duration::from_millis(50));
                    continue;
                }
                Err(error) => return Err(error),
            };
            scope.spawn(move || {
                if let Err(error) = pass(host, forward, &client) {
                    // To the lab's log; nobody else is there to read it.
                    let _ = io::Write::write_all(&mut io::stderr(), format!("{}: {error}\n", forward.to).as_bytes());
                }
            });
        }
    })
}

/// Errors of accept(2) after which it goes on.
fn is_passing(errno: i32) -> bool {
    use rustix::io::Errno;
    [
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
    ]
    .iter()
    .any(|passing| passing.raw_os_error() == errno)
}

fn pass(host: &LinuxHost, forward: &PortForward, client: &TcpStream) -> io::Result<()> {
    let failed = |error: HostError| io::Error::other(chain(&error));
    let dialer = host.dialer().map_err(failed)?;
    let socket = dialer
        .dial(forward.to)
        .map_err(|error| io::Error::other(chain(&error)))?;
    client.set_nodelay(true)?;
    let input = File::from(OwnedFd::from(client.try_clone()?));
    let done = relay(input, client, &socket);
    let _ = client.shutdown(if done.is_ok() { Shutdown::Write } else { Shutdown::Both });
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_on_the_loopback_address_and_on_all_addresses_are_found() {
        let line = |address: &str, state: &str| format!("   0: {address} 00000000:0000 {state} 00000000:00000000 00:0");
        assert_eq!(listener(&line("0100007F:1F90", "0A")), Some(8080));
        assert_eq!(listener(&line("00000000:1F90", "0A")), Some(8080));
        assert_eq!(listener(&line("0100007F:1F90", "01")), None);
        assert_eq!(listener(&line("0200000A:1F90", "0A")), None);
        assert_eq!(listener("  sl  local_address rem_address   st"), None);
        let open = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(listening().contains(&open.local_addr().unwrap().port()));
    }
}
