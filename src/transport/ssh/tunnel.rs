//! libvirt over ssh: a socket here that ends at libvirt's socket there, through a session of its own. libvirt's own
//! ssh transports know no ProxyJump (libssh2) or lose their child to Ctrl-C (ssh); this way libvirt is reached by the
//! very settings, keys and checks that commands are.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};

use super::{Session, Settings, SshError};

/// Where libvirt listens: the daemon of all drivers, or that of QEMU alone (libvirt.org/daemons.html).
const SOCKETS: [&str; 2] = ["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"];
const CHUNK: usize = 64 * 1024;

/// The socket here. It goes with this value; connections that it led to end by themselves.
pub struct Tunnel {
    socket: PathBuf,
    /// Dropped, it ends the thread that answers.
    _end: UnixStream,
}

/// What a connection goes through; the first one is made before anybody asks, so that what is wrong is said at once.
type Way = (Session, ssh2::Channel);

impl Tunnel {
    /// Makes the socket, once libvirt there was reached.
    pub fn open(settings: Settings) -> Result<Self, SshError> {
        let mut first = Some(way(&settings)?);
        let place = settings.place();
        let failed = |error: io::Error| SshError::NoLibvirt {
            place: place.clone(),
            message: format!("making a socket here: {error}"),
        };
        let door = Proxy::new().map_err(failed)?;
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let socket = door.socket();
        let answer = move || {
            while let Ok(near) = door.answer(&theirs) {
                let (first, settings) = (first.take(), settings.clone());
                // A daemon that was restarted is reached by a new session; until it is back, that is refused.
                thread::spawn(move || {
                    let Ok((session, channel)) = first.map_or_else(|| way(&settings), Ok) else {
                        return;
                    };
                    let _ = pump(&session, channel, near);
                    let _ = session.ssh.disconnect(None, "done", None);
                });
            }
        };
        let thread = thread::Builder::new().name("ssh-tunnel".to_owned()).spawn(answer);
        thread.map_err(failed)?;
        Ok(Self { socket, _end: ours })
    }

    /// How libvirt's client gets there.
    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket.display())
    }
}

fn way(settings: &Settings) -> Result<Way, SshError> {
    let session = Session::open(settings)?;
    let channel = open(&session)?;
    Ok((session, channel))
}

/// The channel to libvirt's socket.
fn open(session: &Session) -> Result<ssh2::Channel, SshError> {
    session.expect_answers();
    let mut said = String::new();
    for socket in SOCKETS {
        match session.finish(|| session.ssh.channel_direct_streamlocal(socket, None)) {
            Ok(channel) => return Ok(channel),
            Err(error @ SshError::Silent { .. }) => return Err(error),
            Err(error) => said = error.to_string(),
        }
    }
    Err(SshError::NoLibvirt {
        place: session.place().to_owned(),
        message: format!(
            "neither {} can be opened ({said}): is libvirt installed and running there, may this user use it, and \
             does sshd allow it (AllowStreamLocalForwarding)?",
            SOCKETS.join(" nor ")
        ),
    })
}

/// A socket in a folder that only its owner can enter.
struct Proxy {
    folder: PathBuf,
    listener: UnixListener,
}

impl Proxy {
    fn new() -> io::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::SeqCst);
            let folder = std::env::temp_dir().join(format!("netlab-{}-{count}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    return match UnixListener::bind(socket_in(&folder)) {
                        Ok(listener) => Ok(Self { folder, listener }),
                        Err(error) => {
                            let _ = std::fs::remove_dir(&folder);
                            Err(error)
                        }
                    };
                }
            }
        }
    }

    fn socket(&self) -> PathBuf {
        socket_in(&self.folder)
    }

    /// Waits for a connection; an error once `end` is closed.
    fn answer(&self, end: &UnixStream) -> io::Result<UnixStream> {
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

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        let _ = std::fs::remove_dir(&self.folder);
    }
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join("libvirt")
}

/// Carries bytes both ways until one side closes or the peer is dead.
fn pump(session: &Session, mut far: ssh2::Channel, mut near: UnixStream) -> Result<(), SshError> {
    near.set_nonblocking(true).map_err(|error| session.broken(&error))?;
    session.expect_answers();
    let (mut out, mut back) = (Flow::default(), Flow::default());
    loop {
        let moved = out.carry(&mut near, &mut far).map_err(|error| session.broken(&error))?
            | back
                .carry(&mut far, &mut near)
                .map_err(|error| session.broken(&error))?;
        if out.ended || far.eof() && back.is_empty() {
            return Ok(());
        }
        // Writing, libssh2 may have taken in something to read: then the socket has nothing more.
        if moved || back.is_empty() && (far.eof() || far.read_window().available > 0) {
            continue;
        }
        let mut flags = PollFlags::empty();
        if out.is_empty() {
            flags |= PollFlags::IN;
        }
        if !back.is_empty() {
            flags |= PollFlags::OUT;
        }
        session.wait(Some(PollFd::new(&near, flags)))?;
    }
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

    /// Moves what can be moved without waiting; true if something was.
    fn carry(&mut self, from: &mut impl Read, to: &mut impl Write) -> io::Result<bool> {
        let mut moved = false;
        if self.is_empty() && !self.ended {
            match from.read(&mut self.buffer) {
                // An ssh2 channel reads 0 also when there is nothing to read yet; who calls asks it for its end.
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
