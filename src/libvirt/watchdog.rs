//! Ends libvirt calls that do not return. libvirt's own keepalive notices only a daemon whose main loop has stopped, after
//! half a minute, and by the wall clock; a call that a worker of the daemon never answers waits for ever.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, SocketAddrUnix, getpeername, shutdown};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::error::Operation;
use super::processes::{Process, Processes};

/// How often it is checked what the daemon is doing while a call goes on.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// How long a call may take. Longer than any: a daemon may probe thirty emulators first.
const CALL_WITHIN: Duration = Duration::from_secs(400);

/// The sockets behind `qemu:///system` (libvirt.org/daemons.html).
const DEFAULT: [&str; 4] = [
    "/run/libvirt/libvirt-sock",
    "/var/run/libvirt/libvirt-sock",
    "/run/libvirt/virtqemud-sock",
    "/var/run/libvirt/virtqemud-sock",
];

/// Runs `work`, which makes a call over the connection to the daemon of `processes`. Where the daemon is stopped meanwhile, or the call takes
/// too long, the connection is cut: the call then returns an error.
pub(super) fn watched<T>(processes: &Processes, operation: &Operation, work: impl FnOnce() -> T) -> T {
    let (done, ended) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || watch(processes, operation, &ended));
        let result = work();
        drop(done);
        result
    })
}

fn watch(processes: &Processes, operation: &Operation, ended: &Receiver<()>) {
    let began = Instant::now();
    // A large file over a slow line takes as long as it takes.
    let limit = (!matches!(operation, Operation::CopyFile(_))).then_some(CALL_WITHIN);
    while ended.recv_timeout(CHECK_EVERY) == Err(RecvTimeoutError::Timeout) {
        let stopped = processes.daemon().process.as_ref().is_some_and(Process::is_stopped);
        if stopped || limit.is_some_and(|limit| began.elapsed() >= limit) {
            cut(processes.uri());
        }
    }
}

/// Shuts down this process's connections to the daemon at `uri`. The library has no function for that: closing a
/// connection waits for its calls.
pub(super) fn cut(uri: &str) {
    let Ok(me) = pidfd_open(getpid(), PidfdFlags::empty()) else {
        return;
    };
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let peer = pidfd_getfd(&me, number, PidfdGetfdFlags::empty()).and_then(|fd| Ok((getpeername(&fd)?, fd)));
        let Ok((Some(peer), fd)) = peer else { continue };
        let path = SocketAddrUnix::try_from(peer).ok();
        let path = path.as_ref().and_then(SocketAddrUnix::path_bytes);
        if path.is_some_and(|path| is_socket_of(uri, path)) {
            let _ = shutdown(&fd, Shutdown::Both);
        }
    }
}

/// Returns whether a connection to `uri` is one to the socket `path`.
fn is_socket_of(uri: &str, path: &[u8]) -> bool {
    match uri.split_once("?socket=") {
        Some((_, wanted)) => decoded(wanted) == path,
        None => DEFAULT.iter().any(|default| default.as_bytes() == path) && uri == "qemu:///system",
    }
}

/// Decodes a part of a URI (RFC 3986, section 2.1).
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.split('&').next().unwrap_or_default().bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match byte {
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => out.extend(u8::try_from(high * 16 + low)),
                _ => return Vec::new(),
            },
            byte => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn only_connections_to_the_daemon_of_this_uri_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["a b", "other"].map(|name| folder.path().join(name));
        let listeners = [&one, &other].map(|path| UnixListener::bind(path).unwrap());
        let streams = [&one, &other].map(|path| UnixStream::connect(path).unwrap());
        let accepted: Vec<_> = listeners.iter().map(|listener| listener.accept().unwrap().0).collect();
        let escaped = one.display().to_string().replace(' ', "%20");
        cut(&format!("qemu+unix:///system?socket={escaped}"));
        let [mut cut, mut kept] = streams;
        assert_eq!(cut.read(&mut [0]).unwrap(), 0, "the end of the connection");
        kept.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(kept.read(&mut [0]).is_err(), "nothing to read, and open");
        drop(accepted);
        assert!(is_socket_of("qemu:///system", b"/run/libvirt/libvirt-sock"));
        assert!(!is_socket_of("test:///default", b"/run/libvirt/libvirt-sock"));
    }
}
