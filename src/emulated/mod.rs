//! Emulated machines: hosts, switches and routers, and the cables between them, on the machine that netlab runs on. Takes
//! the operations of [`localhost`] and gives that host's state: machines and cables, nothing
//! else.
//!
//! An emulated host is a network, a mount, a PID and a UTS namespace whose PID 1 is netlab itself ([`init_main`]),
//! with a private /run, /var and /etc/libvirt and a libvirt daemon of its own; everything else it sees is this
//! machine's. What is inside it (bridges, domains) is observed and changed like on any other host, through
//! [`libvirt_uri`] and [`init_pid`]. A switch or a router is a network namespace and nothing else: no process, no file;
//! its whole state is read back from the kernel. No link of this machine's own network namespace is ever changed, nor
//! a namespace without the lab's mark, whatever its name. A router with `outside = "host"` adds a link and a table of its own
//! there, and switches forwarding on.

mod batch;
mod cables;
mod capabilities;
mod daemon;
mod error;
mod init;
mod links;
mod machine;
mod names;
mod namespace;
mod nics;
mod observe;
mod ovs;
mod process;
mod rootfs;
mod router;
mod shaping;
mod switch;
mod to_host;

use std::path::{Path, PathBuf};

use crate::folders::Folders;
use crate::state::localhost;
use crate::transport::{LocalShell, OwnedShell, Owner, TracedShell};

pub(crate) use capabilities::are_cold;
pub use daemon::libvirt_uri;
pub(crate) use daemon::{architectures, find};
pub use error::{EmulatedError, Operation};
pub use init::init_main;
pub(crate) use namespace::{all as all_machines, create as create_device};
pub(crate) use ovs::start as start_ovs;
pub use process::{init_pid, running};
pub(crate) use switch::can_filter;

/// The machine netlab runs on, as the owner of the emulated hosts.
#[derive(Debug)]
pub struct Emulator {
    pub(crate) folders: Folders,
    /// The netlab binary, run as the init of every emulated host.
    pub(crate) program: PathBuf,
    pub(crate) shell: TracedShell<OwnedShell<LocalShell>>,
    /// The run that changes the machines, where one does.
    pub(crate) owner: Option<Owner>,
}

impl Emulator {
    /// Creates the owner of emulated hosts whose files are in `folders` and whose init is `program`, a netlab binary.
    pub fn new(folders: &Folders, program: &Path) -> std::io::Result<Self> {
        Ok(Self {
            folders: Folders {
                state: std::path::absolute(&folders.state)?,
                cache: std::path::absolute(&folders.cache)?,
            },
            program: std::path::absolute(program)?,
            shell: shell(None),
            owner: None,
        })
    }

    /// Marks what it runs as `owner`'s, a run on this machine.
    #[must_use]
    pub fn owned(self, owner: Owner) -> Self {
        Self {
            shell: shell(Some(&owner)),
            owner: Some(owner),
            ..self
        }
    }
}

fn shell(owner: Option<&Owner>) -> TracedShell<OwnedShell<LocalShell>> {
    TracedShell::new(localhost().to_string(), OwnedShell::new(LocalShell, owner))
}

/// Returns an error unless netlab runs as root.
pub(crate) fn need_root() -> Result<(), EmulatedError> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(EmulatedError::NeedsRoot)
}
