//! The libvirt daemon of an emulated host: which program it is, the path of its socket, and whether it answers.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use virt::connect::Connect;

use super::error::{EmulatedError, Operation, failed};
use crate::folders::Folders;
use crate::lab::{HostName, LabName};

/// The daemon of all drivers.
pub(super) const LIBVIRTD: &str = "libvirtd";
/// The daemon of QEMU alone, where a distribution has split [`LIBVIRTD`] up (libvirt.org/daemons.html).
pub(super) const VIRTQEMUD: &str = "virtqemud";
/// Writes the guests' logs and rotates them.
pub(super) const VIRTLOGD: &str = "virtlogd";

/// PATH inside an emulated host.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a daemon may take until it answers: the probe of one emulator takes a second, and some machines have thirty
/// of them and two cores. A daemon that cannot answer at all exits, which is noticed at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(180);

/// The longest name of a socket that is connected to from outside of an emulated host.
const LONGEST: &str = "virtqemud-sock";

/// The most bytes that the path of a socket may have: sun_path without its terminating zero, unix(7).
const SOCKET_PATH: usize = 107;

/// Returns the path of a program in one of the folders of [`PATH`].
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    PATH.split(':')
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file())
}

/// Returns the architectures whose emulators are installed, by libvirt's names.
pub(crate) fn architectures() -> BTreeSet<String> {
    let folders = PATH.split(':').filter_map(|folder| std::fs::read_dir(folder).ok());
    let files = folders.flatten().flatten();
    let runs = |file: &std::fs::DirEntry| {
        let metadata = file.path().metadata();
        metadata.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let arch = |file: std::fs::DirEntry| {
        let name = file.file_name();
        // The names differ for these two (virQEMUCapsGuestIsNative and util/virarch.c).
        Some(match name.to_str()?.strip_prefix("qemu-system-")? {
            "i386" => "i686".to_owned(),
            "arm" => "armv7l".to_owned(),
            other => other.to_owned(),
        })
    };
    files.filter(runs).filter_map(arch).collect()
}

/// Returns the daemons that an emulated host runs, in the order they are started.
pub(super) fn programs() -> Result<[PathBuf; 2], EmulatedError> {
    Ok([
        find(VIRTLOGD).ok_or(EmulatedError::NotInstalled("virtlogd"))?,
        find(LIBVIRTD)
            .or_else(|| find(VIRTQEMUD))
            .ok_or(EmulatedError::NotInstalled("libvirt (neither libvirtd nor virtqemud)"))?,
    ])
}

/// Returns the libvirt URI of an emulated host, for use outside of it.
///
/// An error where the state folder's path is so long that no socket in it could be connected to.
pub fn libvirt_uri(folders: &Folders, lab: &LabName, host: &HostName) -> Result<String, EmulatedError> {
    let socket = socket(&folders.machine(lab, host))?;
    let mut uri = "qemu+unix:///system?socket=".to_owned();
    for byte in socket.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            // RFC 3986, section 2.1. Writing to a string cannot fail.
            _ => drop(write!(uri, "%{byte:02X}")),
        }
    }
    Ok(uri)
}

/// Returns the path of the daemon's socket in the machine with the private folder `machine`.
pub(super) fn socket(machine: &Path) -> Result<PathBuf, EmulatedError> {
    let name = if find(LIBVIRTD).is_some() {
        "libvirt-sock"
    } else {
        "virtqemud-sock"
    };
    let socket = std::path::absolute(sockets(machine).join(name)).map_err(failed(Operation::ResolveSocket))?;
    // The longest of the names there, whichever daemon is installed.
    let length = socket.as_os_str().len() - name.len() + LONGEST.len();
    if length > SOCKET_PATH {
        return Err(EmulatedError::SocketPath {
            path: socket,
            length,
            limit: SOCKET_PATH,
        });
    }
    Ok(socket)
}

fn sockets(machine: &Path) -> PathBuf {
    machine.join("run/libvirt")
}

/// Returns whether both daemons of the machine with the private folder `machine` accept connections.
pub(super) fn listens(machine: &Path) -> bool {
    let log = sockets(machine).join("virtlogd-sock");
    socket(machine).is_ok_and(|socket| UnixStream::connect(socket).is_ok() && UnixStream::connect(log).is_ok())
}

/// Waits until the daemon at `uri` of a machine just started has answered, which is after it has probed QEMU. `init`
/// is the machine's first process: if it exits, the daemon will not answer.
pub(super) fn wait_until_it_answers(uri: &str, machine: &Path, init: &mut Child) -> io::Result<()> {
    const POLL_EVERY: Duration = Duration::from_millis(5);
    let deadline = Instant::now() + ANSWER_WITHIN;
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {ANSWER_WITHIN:?}"));
    let mut alive = || match init.try_wait()? {
        Some(status) => Err(io::Error::other(format!("its init ended ({status})"))),
        None if Instant::now() > deadline => Err(late()),
        None => Ok(()),
    };
    loop {
        while !listens(machine) {
            alive()?;
            thread::sleep(POLL_EVERY);
        }
        // libvirt's calls have no timeout, so this one is made in a thread of its own: should it never return, the
        // machine is removed, which closes the connection.
        let (answered, answer) = mpsc::channel();
        let uri = uri.to_owned();
        thread::spawn(move || answered.send(query(&uri)));
        loop {
            match answer.recv_timeout(Duration::from_millis(100)) {
                Ok(Ok(())) => return Ok(()),
                // It died during the call; init restarts it, or gives up.
                Ok(Err(_)) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    alive()?;
                    thread::sleep(POLL_EVERY);
                    break;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => alive()?,
            }
        }
    }
}

/// Connects and queries which domains are possible, for which the daemon has to probe its QEMU. That there is no QEMU
/// for an architecture is an answer too.
fn query(uri: &str) -> Result<(), virt::error::Error> {
    // Errors here are expected, and libvirt would print them.
    virt::error::clear_error_callback();
    let connection = Connect::open(Some(uri))?;
    // This machine's own architecture and the older one that its CPU runs as well: what guests are made of.
    let older = cfg!(target_arch = "x86_64").then_some("i686");
    for arch in [None, older] {
        drop(connection.domain_capabilities(None, arch, None, None, 0));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(state: &str) -> Result<String, EmulatedError> {
        let folders = Folders {
            state: state.into(),
            cache: "/cache".into(),
        };
        libvirt_uri(&folders, &"lab".parse().unwrap(), &"node1".parse().unwrap())
    }

    #[test]
    fn special_characters_in_a_path_are_escaped_in_the_uri() {
        let uri = uri("/a b&c%d").unwrap();
        let socket = "/a%20b%26c%25d/labs/lab/hosts/node1/run/libvirt/";
        assert!(
            uri.starts_with(&format!("qemu+unix:///system?socket={socket}")),
            "{uri}"
        );
    }

    #[test]
    fn the_longest_names_fit_into_the_usual_state_folder_and_a_longer_path_is_an_error() {
        let (long, host) = ("l".repeat(24).parse().unwrap(), "h".repeat(24).parse().unwrap());
        let folders = |state: String| Folders {
            state: state.into(),
            cache: "/cache".into(),
        };
        assert!(libvirt_uri(&folders("/var/lib/netlab".to_owned()), &long, &host).is_ok());
        let error = libvirt_uri(&folders(format!("/{}", "x".repeat(60))), &long, &host).unwrap_err();
        assert!(error.to_string().contains("at most 107 are"), "{error}");
    }
}
