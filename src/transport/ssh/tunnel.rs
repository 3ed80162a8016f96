//! libvirt over ssh: a local socket that is forwarded to libvirt's socket on the host, through a session of its own.
//! libvirt's own ssh transports support no ProxyJump (libssh2) or lose their child to Ctrl-C (ssh); with the tunnel,
//! libvirt is reached with the same settings, keys and checks as commands.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ssh2::ErrorCode;

use super::session::AGAIN;
use super::tunnel_folder::TunnelFolder;
use super::{Session, Settings, SshError};

/// Where libvirt listens: the daemon of all drivers, or that of QEMU alone (libvirt.org/daemons.html).
const SOCKETS: [&str; 2] = ["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"];
const CHUNK: usize = 64 * 1024;

/// The local socket. Dropping it removes the socket; open connections end by themselves.
pub struct Tunnel {
    socket: PathBuf,
    /// Dropped, it ends the thread that accepts connections.
    end: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// A session with a channel to libvirt's socket. The first one is opened before libvirt's client connects, so that an
/// error is reported at once.
type Forward = (Session, ssh2::Channel);

impl Tunnel {
    /// Creates the socket after connecting to libvirt there.
    pub fn open(settings: Settings) -> Result<Self, SshError> {
        let mut first = Some(forward(&settings)?);
        let place = settings.place();
        let failed = |cause: io::Error| SshError::LocalSocket {
            place: place.clone(),
            cause,
        };
        let listener = Listener::new().map_err(failed)?;
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let socket = listener.socket();
        let serve = move || {
            while let Ok(client) = listener.accept(&theirs) {
                let (first, settings) = (first.take(), settings.clone());
                // A restarted daemon is reached by a new session; until it listens again, that fails.
                thread::spawn(move || {
                    let Ok((session, channel)) = first.map_or_else(|| forward(&settings), Ok) else {
                        return;
                    };
                    let _ = pump(&session, channel, client);
                    let _ = session.ssh.disconnect(None, "done", None);
                });
            }
        };
        let thread = thread::Builder::new().name("ssh-tunnel".to_owned()).spawn(serve);
        Ok(Self {
            socket,
            end: Some(ours),
            thread: Some(thread.map_err(failed)?),
        })
    }

    /// Removes the sockets that killed runs left, whichever hosts they were for.
    pub fn remove_stale() {
        TunnelFolder::remove_stale(&std::env::temp_dir());
    }

    /// Returns the URI for libvirt's client.
    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket.display())
    }
}

/// Waits until the thread has removed the socket: netlab may be about to exit.
impl Drop for Tunnel {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn forward(settings: &Settings) -> Result<Forward, SshError> {
    let session = Session::open(settings)?;
    let channel = open(&session)?;
    Ok((session, channel))
}

/// Opens a channel to libvirt's socket.
fn open(session: &Session) -> Result<ssh2::Channel, SshError> {
    session.expect_answers();
    let mut message = String::new();
    for socket in SOCKETS {
        match session.finish(|| session.ssh.channel_direct_streamlocal(socket, None)) {
            Ok(channel) => return Ok(channel),
            Err(error @ SshError::Silent { .. }) => return Err(error),
            Err(error) => message = error.to_string(),
        }
    }
    Err(SshError::NoLibvirt {
        place: session.place().to_owned(),
        sockets: &SOCKETS,
        message,
    })
}

/// A socket in a folder that only its owner can enter.
struct Listener {
    folder: TunnelFolder,
    listener: UnixListener,
}

impl Listener {
    fn new() -> io::Result<Self> {
        let folder = TunnelFolder::create(&std::env::temp_dir())?;
        let listener = UnixListener::bind(folder.socket())?;
        Ok(Self { folder, listener })
    }

    fn socket(&self) -> PathBuf {
        self.folder.socket()
    }

    /// Waits for a connection; an error once `end` is closed.
    fn accept(&self, end: &UnixStream) -> io::Result<UnixStream> {
        let mut fds = [
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(end, PollFlags::IN),
        ];
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        if !fds[1].revents().is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.listener.accept().map(|(stream, _)| stream)
    }
}

/// Copies bytes in both directions until one side closes or the peer is dead.
fn pump(session: &Session, remote: ssh2::Channel, local: UnixStream) -> Result<(), SshError> {
    copy(session, remote, local, false)
}

/// Copies bytes in both directions until the remote side closes, the local one is closed for reading, too, or the peer
/// is dead. The end of what the local side sends is passed on.
pub(super) fn pump_to_the_end(session: &Session, remote: ssh2::Channel, local: UnixStream) -> Result<(), SshError> {
    copy(session, remote, local, true)
}

fn copy(
    session: &Session,
    mut remote: ssh2::Channel,
    mut local: UnixStream,
    half_closes: bool,
) -> Result<(), SshError> {
    local.set_nonblocking(true).map_err(|error| session.broken(error))?;
    session.expect_answers();
    let (mut out, mut back) = (Flow::default(), Flow::default());
    let mut end_sent = false;
    loop {
        let moved = out
            .copy(&mut local, &mut remote)
            .map_err(|error| session.broken(error))?
            | back
                .copy(&mut remote, &mut local)
                .map_err(|error| session.broken(error))?;
        if remote.eof() && back.is_empty() || out.ended && (!half_closes || is_hung_up(&local)) {
            return Ok(());
        }
        if out.ended && out.is_empty() && !end_sent {
            end_sent = !matches!(remote.send_eof(), Err(error) if error.code() == ErrorCode::Session(AGAIN));
        }
        // Writing, libssh2 may have taken in something to read: then the socket has nothing more.
        if moved || back.is_empty() && (remote.eof() || remote.read_window().available > 0) {
            continue;
        }
        let mut flags = PollFlags::empty();
        if out.is_empty() && !out.ended {
            flags |= PollFlags::IN;
        }
        if !back.is_empty() {
            flags |= PollFlags::OUT;
        }
        session.wait(Some(PollFd::new(&local, flags)))?;
    }
}

/// Returns whether the peer of a local socket has closed it for reading and for writing.
fn is_hung_up(local: &UnixStream) -> bool {
    let mut fds = [PollFd::new(local, PollFlags::empty())];
    let now = Timespec::default();
    let polled = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&now)));
    polled.is_err() || fds[0].revents().contains(PollFlags::HUP)
}

/// One direction.
struct Flow {
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
    ended: bool,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            buffer: vec![0; CHUNK],
            at: 0,
            filled: 0,
            ended: false,
        }
    }
}

impl Flow {
    fn is_empty(&self) -> bool {
        self.at == self.filled
    }

    /// Copies what can be copied without waiting; returns whether something was.
    fn copy(&mut self, from: &mut impl Read, to: &mut impl Write) -> io::Result<bool> {
        let mut moved = false;
        if self.is_empty() && !self.ended {
            match from.read(&mut self.buffer) {
                // An ssh2 channel also reads 0 when there is nothing to read yet; the caller asks it for its end.
                Ok(0) => self.ended = true,
                Ok(got) => {
                    (self.at, self.filled) = (0, got);
                    moved = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        while !self.is_empty() {
            match to.write(&self.buffer[self.at..self.filled]) {
                Ok(0) => break,
                Ok(sent) => {
                    self.at += sent;
                    moved = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }
}
