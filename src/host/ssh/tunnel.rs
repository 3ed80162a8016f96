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
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Session, SshError};

/// Where libvirt listens: the daemon of all drivers, or that of QEMU alone (libvirt.org/daemons.html).
const SOCKETS: [&str; 2] = ["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"];
/// libvirt connects at once or not at all.
const ACCEPT_WITHIN: Duration = Duration::from_secs(10);
const CHUNK: usize = 64 * 1024;

/// Makes the socket, and gives the URI by which libvirt's client gets there. It takes one connection, which lasts
/// until either side closes it.
pub fn tunnel(session: Session) -> Result<String, SshError> {
    let channel = open(&session)?;
    let failed = |error: io::Error| SshError::NoLibvirt {
        place: session.place().to_owned(),
        message: format!("making a socket here: {error}"),
    };
    let door = Door::new().map_err(failed)?;
    let uri = format!("qemu+unix:///system?socket={}", door.socket().display());
    thread::Builder::new()
        .name("ssh-tunnel".to_owned())
        .spawn(move || {
            if let Ok(near) = door.answer() {
                let _ = pump(&session, channel, near);
            }
            let _ = session.ssh.disconnect(None, "done", None);
        })
        .map_err(|error| SshError::NoLibvirt {
            place: String::new(),
            message: error.to_string(),
        })?;
    Ok(uri)
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

/// A socket in a folder that only its owner can enter, there until the one connection has come.
struct Door {
    folder: PathBuf,
    listener: UnixListener,
}

impl Door {
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

    /// Waits for the connection.
    fn answer(self) -> io::Result<UnixStream> {
        let timeout = Timespec::try_from(ACCEPT_WITHIN).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        match rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))? {
            0 => Err(ErrorKind::TimedOut.into()),
            _ => self.listener.accept().map(|(stream, _)| stream),
        }
    }
}

impl Drop for Door {
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
