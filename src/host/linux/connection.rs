//! The open connection to a host: a shell and libvirt, and for a host behind ssh the tunnel between them.

use std::sync::Arc;
use std::thread;

use super::Place;
use crate::emulated;
use crate::folders::Folders;
use crate::host::HostError;
use crate::host::copies::Copies;
use crate::lab::HostName;
use crate::libvirt::Libvirt;
use crate::libvirt::domain_xml::Template;
use crate::transport::ssh::{self, SshShell, Tunnel};
use crate::transport::{LocalShell, NamespaceShell, OwnedShell, Owner, Shell, TracedShell};

/// An open connection to a host: one shell and one libvirt connection for a whole run.
pub(in crate::host) struct Connection {
    /// Init's process id, for an emulated host.
    pub(super) pid: Option<u32>,
    pub shell: Arc<dyn Shell>,
    pub libvirt: Libvirt,
    /// For a host behind ssh.
    pub remote: Option<Remote>,
}

/// What a host behind ssh needs besides.
pub(in crate::host) struct Remote {
    pub settings: ssh::Settings,
    pub copies: Copies,
    _tunnel: Tunnel,
}

impl Connection {
    /// Connects to host `name` at `place`, for the run `owner` if it is for one that changes it; `pid` is the init of an
    /// emulated host.
    pub(super) fn open(
        name: &HostName,
        place: &Place,
        pid: Option<u32>,
        folders: &Folders,
        owner: Option<&Owner>,
    ) -> Result<Self, HostError> {
        let mut remote = None;
        let (shell, uri): (Arc<dyn Shell>, _) = match (place, pid) {
            (Place::Emulated(lab, host), Some(pid)) => (
                Arc::new(TracedShell::new(
                    name.as_str(),
                    OwnedShell::new(NamespaceShell::of_process(pid), owner),
                )),
                emulated::libvirt_uri(folders, lab, host)?,
            ),
            (Place::Ssh(target), _) => {
                let settings = ssh::Settings::read(target)?;
                let (shell, tunnel) = both(
                    || SshShell::open(settings.clone(), owner),
                    || Tunnel::open(settings.clone()),
                );
                let (shell, tunnel) = (shell?, tunnel?);
                let uri = tunnel.uri();
                remote = Some(Remote {
                    settings,
                    copies: Copies::of(folders.images()),
                    _tunnel: tunnel,
                });
                (Arc::new(TracedShell::new(name.as_str(), shell)), uri)
            }
            _ => (
                Arc::new(TracedShell::new(name.as_str(), OwnedShell::new(LocalShell, owner))),
                "qemu:///system".to_owned(),
            ),
        };
        let template = Template::load(&folders.domain_template());
        Ok(Self {
            pid,
            libvirt: Libvirt::open_inside(name.clone(), &uri, shell.clone(), template, pid)?,
            shell,
            remote,
        })
    }
}

/// Runs two functions at the same time, e.g. when each takes several round trips on a connection of its own.
pub(super) fn both<A, B: Send>(one: impl FnOnce() -> A, other: impl FnOnce() -> B + Send) -> (A, B) {
    thread::scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        (
            one,
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    })
}
