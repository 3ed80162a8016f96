//! TCP connections that a host behind ssh makes (RFC 4254, 7.2, `direct-tcpip`), each through a session of its own.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;

use super::tunnel::pump_to_the_end;
use super::{Session, Settings, SshError};

/// Connects to `to` from the host; returns the local end.
pub fn connect_from(settings: &Settings, to: SocketAddrV4) -> Result<OwnedFd, SshError> {
    let session = Session::open(settings)?;
    session.expect_answers();
    let host = to.ip().to_string();
    let channel = session.finish(|| session.ssh.channel_direct_tcpip(&host, to.port(), None))?;
    let failed = |cause| SshError::LocalSocket {
        place: settings.place(),
        cause,
    };
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let serve = move || {
        let _ = pump_to_the_end(&session, channel, theirs);
        let _ = session.ssh.disconnect(None, "done", None);
    };
    let thread = thread::Builder::new().name("ssh-direct".to_owned());
    thread.spawn(serve).map_err(failed)?;
    Ok(ours.into())
}
