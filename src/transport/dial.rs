//! TCP connections as a host makes them: from this machine, from inside an emulated host's network, or through an ssh
//! session. So a guest is reached whose address only its host has a route to.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::prompt::shell_on;
use super::ssh::{Settings, SshError, connect_from};
use super::{NamespaceShell, quote};

/// How long the guest may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const CHUNK: usize = 64 * 1024;

/// From where a connection is made.
#[derive(Debug, Clone)]
pub enum Dialer {
    /// This machine.
    Local,
    /// The network namespace of this process, the init of an emulated host.
    Namespace(u32),
    /// A machine behind ssh.
    Ssh(Box<Settings>),
}

/// A connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nothing accepted it.
    #[error("cannot connect to {to}")]
    Connect {
        /// The address.
        to: SocketAddrV4,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The host that makes it is not reached, or it cannot connect.
    #[error("cannot connect to {to} from there")]
    Ssh {
        /// The address.
        to: SocketAddrV4,
        /// Why.
        #[source]
        source: SshError,
    },
}

impl DialError {
    /// Returns whether the machine answered that nothing listens there; behind ssh that is not known.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
    }
}

impl Dialer {
    /// Connects to `to`; returns the connected socket, which passes on the end of each direction by itself.
    pub fn dial(&self, to: SocketAddrV4) -> Result<OwnedFd, DialError> {
        let failed = |source| DialError::Connect { to, source };
        match self {
            Self::Local => tcp(to).map_err(failed),
            Self::Namespace(pid) => in_network(*pid, move || tcp(to)).map_err(failed),
            Self::Ssh(settings) => connect_from(settings, to).map_err(|source| DialError::Ssh { to, source }),
        }
    }

    /// Returns the command that runs `argv` there, with this terminal's or another's standard input and output; behind ssh
    /// by ssh(1).
    pub fn command(&self, argv: &[String]) -> Vec<String> {
        match self {
            Self::Local => argv.to_vec(),
            Self::Namespace(pid) => NamespaceShell::of_process(*pid).command(argv),
            Self::Ssh(settings) => {
                let quoted: Vec<String> = argv.iter().map(|word| quote(word)).collect();
                let mut words = settings.login();
                words.push(quoted.join(" "));
                words
            }
        }
    }

    /// Returns the command that opens a shell there for the user of this terminal: behind ssh his login shell, else one whose
    /// prompt shows `machine`.
    pub fn login(&self, machine: &str) -> Vec<String> {
        match self {
            Self::Local => shell_on(machine),
            Self::Namespace(pid) => NamespaceShell::of_process(*pid).login(machine),
            Self::Ssh(settings) => settings.login(),
        }
    }
}

fn tcp(to: SocketAddrV4) -> io::Result<OwnedFd> {
    let stream = TcpStream::connect_timeout(&SocketAddr::V4(to), CONNECT_WITHIN)?;
    stream.set_nodelay(true)?;
    Ok(stream.into())
}

/// Runs `work` in the network namespace of process `pid`. A socket that it creates stays in there.
fn in_network<T: Send>(pid: u32, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    // A namespace is a thread's own (setns(2)): this one ends with the work.
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Copies from `input` to the socket and from the socket to `output`. Returns when the socket's peer has sent its last
/// byte; the end of `input` is passed on to it. An error of either side ends both.
pub fn relay(input: impl Read + Send + 'static, mut output: impl Write, socket: &OwnedFd) -> io::Result<()> {
    let sending = File::from(socket.try_clone()?);
    thread::spawn(move || {
        let done = copy(input, &sending);
        // One whose input failed is not to take it for the end.
        let how = if done.is_ok() { Shutdown::Write } else { Shutdown::Both };
        let _ = shutdown(&sending, how);
    });
    let received = copy(File::from(socket.try_clone()?), &mut output);
    if received.is_err() {
        let _ = shutdown(socket, Shutdown::Both);
    }
    received
}

/// Copies each piece as soon as it comes.
fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return to.flush(),
            Ok(got) => {
                to.write_all(&buffer[..got])?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn all_bytes_pass_in_both_directions_and_each_end_is_passed_on() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        // Answers only once it has read everything.
        let server = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            peer.write_all(&got).unwrap();
        });
        let socket = Dialer::Local
            .dial(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
            .unwrap();
        let sent: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let mut received = Vec::new();
        relay(io::Cursor::new(sent.clone()), &mut received, &socket).unwrap();
        assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
        server.join().unwrap();
    }

    #[test]
    fn a_port_on_which_nothing_listens_is_refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
        drop(listener);
        let error = Dialer::Local.dial(to).unwrap_err();
        assert!(error.is_refused(), "{error}");
    }
}
