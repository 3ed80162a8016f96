//! The bytes below a session: a TCP connection, or a child process that makes one (`ProxyCommand`, `ProxyJump`) with
//! a socket as its standard input and output.

use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::config::Proxy;
use super::{ASK_EVERY, SILENCE, Settings, SshError};

/// How many bytes of a proxy's standard error are kept: the last ones.
const PROXY_OUTPUT: usize = 4096;
/// How long to wait for the end of it.
const PROXY_OUTPUT_WITHIN: Duration = Duration::from_secs(1);

/// A socket to the host, and the process behind it where there is one. Dropping it ends both.
#[derive(Debug)]
pub(super) struct Transport {
    socket: OwnedFd,
    proxy: Option<ProxyChild>,
}

#[derive(Debug)]
struct ProxyChild {
    child: Child,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Transport {
    /// Connects as the settings say.
    pub fn open(settings: &Settings) -> Result<Self, SshError> {
        let failed = |cause: io::Error| SshError::Connect {
            place: settings.place(),
            cause,
        };
        match &settings.proxy {
            Proxy::None => {
                let socket = tcp(&settings.host, settings.port, settings.connect_within).map_err(failed)?;
                Ok(Self {
                    socket: socket.into(),
                    proxy: None,
                })
            }
            Proxy::Jump(jumps) => Self::through(jump(jumps, settings)).map_err(failed),
            Proxy::Command(command) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("exec {command}")]);
                Self::through(shell).map_err(failed)
            }
        }
    }

    fn through(mut command: Command) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut child = command
            .stdin(OwnedFd::from(theirs.try_clone()?))
            .stdout(OwnedFd::from(theirs))
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C is for netlab, which stops between two steps and then disconnects.
            .process_group(0)
            .spawn()?;
        let stderr = Arc::<Mutex<Vec<u8>>>::default();
        if let Some(mut pipe) = child.stderr.take() {
            let stderr = stderr.clone();
            // Read all the time: a proxy whose standard error is full would block.
            thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(got @ 1..) = pipe.read(&mut buffer) {
                    let mut stderr = stderr.lock().unwrap_or_else(PoisonError::into_inner);
                    stderr.extend_from_slice(&buffer[..got]);
                    let surplus = stderr.len().saturating_sub(PROXY_OUTPUT);
                    stderr.drain(..surplus);
                }
            });
        }
        Ok(Self {
            socket: ours.into(),
            proxy: Some(ProxyChild { child, stderr }),
        })
    }

    /// Returns a duplicate of the socket, for the session to own.
    pub fn socket(&self) -> io::Result<Socket> {
        self.socket.try_clone().map(Socket)
    }

    /// Returns what the proxy printed to standard error last, if there is one and it printed something. One that is about
    /// to exit is waited for.
    pub fn proxy_output(&self) -> Option<String> {
        let proxy = self.proxy.as_ref()?;
        let deadline = Instant::now() + PROXY_OUTPUT_WITHIN;
        // The reading thread holds the other one until the proxy has closed its standard error.
        while Arc::strong_count(&proxy.stderr) > 1 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let stderr = proxy.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&stderr).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        if let Some(ProxyChild { child, .. }) = &mut self.proxy {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A socket as the ssh2 crate takes it.
pub(super) struct Socket(OwnedFd);

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Tries each address of the host within the time given for all.
fn tcp(host: &str, port: u16, within: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + within;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name resolves to no address");
    for address in (host, port).to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                detect_dead_peer(&stream)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Lets the kernel, too, detect a dead peer: what is sent must be acknowledged in time, and an idle connection is
/// probed.
fn detect_dead_peer(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    let millis = u32::try_from(SILENCE.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, millis)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, ASK_EVERY)?;
    sockopt::set_tcp_keepintvl(stream, ASK_EVERY)?;
    Ok(sockopt::set_tcp_keepcnt(stream, 3)?)
}

/// Returns the ssh(1) command that forwards to our host from the last jump host, through all before it. It never
/// prompts, and the jump hosts' keys must be known as well.
fn jump(jumps: &str, settings: &Settings) -> Command {
    let (before, last) = match jumps.rsplit_once(',') {
        Some((before, last)) => (Some(before), last),
        None => (None, jumps),
    };
    let mut ssh = Command::new("ssh");
    if let Some(file) = &settings.file {
        ssh.arg("-F").arg(file);
    }
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "ClearAllForwardings=yes",
        "ServerAliveInterval=2",
        "ServerAliveCountMax=3",
    ] {
        ssh.args(["-o", option]);
    }
    ssh.args(["-o", &format!("ConnectTimeout={}", settings.connect_within.as_secs())]);
    if let Some(before) = before {
        ssh.args(["-J", before]);
    }
    ssh.args(["-W", &format!("[{}]:{}", settings.host, settings.port), "--"]);
    if last.starts_with("ssh://") {
        ssh.arg(last);
    } else {
        ssh.arg(format!("ssh://{last}"));
    }
    ssh
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_prints_many_errors_does_not_block_and_its_last_ones_are_kept() {
        let mut sh = Command::new("sh");
        sh.args([
            "-c",
            "head -c 300000 /dev/zero | tr '\\0' x >&2; echo end >&2; echo hello",
        ]);
        let transport = Transport::through(sh).unwrap();
        let mut text = String::new();
        UnixStream::from(transport.socket.try_clone().unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "hello\n");
        while transport.proxy_output().is_none_or(|text| !text.ends_with("end")) {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(transport.proxy_output().unwrap().len() <= PROXY_OUTPUT);
    }
}
