//! One authenticated session: opened, waited on, found dead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ssh2::{BlockDirections, ErrorCode, MethodType};

use super::known_hosts::KnownKeys;
use super::transport::Transport;
use super::{ASK_EVERY, SILENCE, Settings, SshError, auth};

/// libssh2.h: LIBSSH2_ERROR_EAGAIN
pub(super) const AGAIN: i32 = -37;

/// A session whose host key was verified and whose user was authenticated. It never blocks by itself:
/// `finish` and `wait` do, and detect a dead peer.
pub struct Session {
    pub(super) ssh: ssh2::Session,
    transport: Transport,
    place: String,
    /// When the peer was heard last, in milliseconds since `began`.
    heard: AtomicU64,
    began: Instant,
}

impl Session {
    /// Connects, verifies the host's key, authenticates.
    pub fn open(settings: &Settings) -> Result<Self, SshError> {
        let known = KnownKeys::read(settings)?;
        let transport = Transport::open(settings)?;
        let place = settings.place();
        let refused = |cause: ssh2::Error| SshError::Handshake {
            place: place.clone(),
            cause,
            proxy: transport.proxy_output(),
        };
        let mut ssh = ssh2::Session::new().map_err(&refused)?;
        let limit = settings.connect_within.max(SILENCE);
        ssh.set_timeout(u32::try_from(limit.as_millis()).unwrap_or(u32::MAX));
        prefer(&ssh, &known);
        let socket = transport.socket().map_err(|cause| SshError::Connect {
            place: place.clone(),
            cause,
        })?;
        ssh.set_tcp_stream(socket);
        ssh.handshake().map_err(&refused)?;
        let (key, _) = ssh
            .host_key()
            .ok_or_else(|| SshError::NoHostKey { place: place.clone() })?;
        known.verify(settings, key)?;
        auth::authenticate(&ssh, settings)?;
        ssh.set_keepalive(true, u32::try_from(ASK_EVERY.as_secs()).unwrap_or(2));
        ssh.set_blocking(false);
        Ok(Self {
            ssh,
            transport,
            place,
            heard: AtomicU64::new(0),
            began: Instant::now(),
        })
    }

    /// Makes libssh2's error one of this session.
    pub(super) fn failed(&self, cause: ssh2::Error) -> SshError {
        SshError::Session {
            place: self.place.clone(),
            cause,
        }
    }

    /// The same for an error of the crate's streams.
    pub(super) fn broken(&self, cause: std::io::Error) -> SshError {
        SshError::Stream {
            place: self.place.clone(),
            cause,
        }
    }

    /// Host and port.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Counts the peer's silence from now on; until now nothing was expected of it.
    pub(super) fn expect_answers(&self) {
        self.heard.store(self.now(), Ordering::SeqCst);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Repeats `act` until it no longer returns "again".
    pub(super) fn finish<T>(&self, mut act: impl FnMut() -> Result<T, ssh2::Error>) -> Result<T, SshError> {
        loop {
            match act() {
                Err(error) if error.code() == ErrorCode::Session(AGAIN) => self.wait(None)?,
                Err(error) => return Err(self.failed(error)),
                Ok(done) => return Ok(done),
            }
        }
    }

    /// Waits until libssh2 or `beside` can continue, or half a second has passed. An error once the peer is dead.
    pub(super) fn wait(&self, beside: Option<PollFd<'_>>) -> Result<(), SshError> {
        const MOMENT: Duration = Duration::from_millis(500);
        // Sends a keepalive only when one is due, and before the poll, which then notices the answer: a read of the caller's
        // would take it in unnoticed.
        match self.ssh.keepalive_send() {
            // libssh2 schedules them by the time of day (keepalive.c): once that was set back, nothing is asked for a
            // while and silence proves nothing. TCP's own keepalive still finds a dead peer.
            Ok(due_in) if u64::from(due_in) > ASK_EVERY.as_secs() => self.expect_answers(),
            Err(error) if error.code() != ErrorCode::Session(AGAIN) => return Err(self.failed(error)),
            _ => {}
        }
        let flags = match self.ssh.block_directions() {
            BlockDirections::Outbound | BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
            BlockDirections::Inbound | BlockDirections::None => PollFlags::IN,
        };
        let mut fds = vec![PollFd::new(&self.transport, flags)];
        fds.extend(beside);
        let timeout = Timespec::try_from(MOMENT).ok();
        rustix::io::retry_on_intr(|| poll(&mut fds, timeout.as_ref())).map_err(|error| self.broken(error.into()))?;
        if fds[0].revents().contains(PollFlags::IN) {
            self.heard.store(self.now(), Ordering::SeqCst);
            return Ok(());
        }
        let silence = self.now().saturating_sub(self.heard.load(Ordering::SeqCst));
        if u128::from(silence) > SILENCE.as_millis() {
            return Err(SshError::Silent {
                place: self.place.clone(),
            });
        }
        Ok(())
    }
}

/// Asks for a key of a known type, so that a host with several keys presents one that can be compared.
fn prefer(ssh: &ssh2::Session, known: &KnownKeys) {
    let Ok(supported) = ssh.supported_algs(MethodType::HostKey) else {
        return;
    };
    let mut wanted: Vec<&str> = known.algorithms();
    wanted.retain(|algorithm| supported.contains(algorithm));
    for algorithm in supported {
        if !wanted.contains(&algorithm) {
            wanted.push(algorithm);
        }
    }
    // Without it the host chooses, and a key that cannot be compared is refused.
    let _ = ssh.method_pref(MethodType::HostKey, &wanted.join(","));
}
