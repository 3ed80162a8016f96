//! The rig: emulated hosts, switches and routers and the cables between them, on the machine that netlab runs on. Takes
//! the steps of [`localhost`](crate::state::localhost) and gives that host's state: machines and cables, nothing else.
//!
//! An emulated host is a network, a mount, a PID and a UTS namespace whose PID 1 is netlab itself ([`init_main`]),
//! with a private /run, /var and /etc/libvirt and a libvirt daemon of its own; everything else it sees is this
//! machine's. What is inside it (bridges, domains) is observed and changed like on any other host, through
//! [`libvirt_uri`] and [`init_pid`]. A switch or a router is a network namespace and nothing else: no process, no file;
//! all that it is can be read back from the kernel. The rig never touches a link of this machine's own network namespace, and never
//! a namespace that does not bear the lab's mark, whatever it is called.

mod cables;
mod capabilities;
mod daemon;
mod init;
mod machine;
mod namespace;
mod nics;
mod observe;
mod process;
mod rootfs;
mod router;
mod switch;

use std::path::{Path, PathBuf};

use crate::folders::Folders;
use crate::host::HostError;
use crate::transport::LocalShell;

pub(crate) use capabilities::are_cold;
pub(crate) use daemon::find;
pub use daemon::libvirt_uri;
pub use init::init_main;
pub(crate) use namespace::{Failed, create as create_device};
pub use process::init_pid;
pub(crate) use switch::can_filter;

/// The machine netlab runs on, as the owner of the emulated hosts.
#[derive(Debug)]
pub struct Emulator {
    pub(crate) folders: Folders,
    /// The netlab binary, run as the init of every emulated host.
    program: PathBuf,
    pub(crate) shell: LocalShell,
}

impl Emulator {
    /// The rig whose emulated hosts live in `folders` and have `program`, a netlab binary, as their init.
    pub fn new(folders: &Folders, program: &Path) -> std::io::Result<Self> {
        Ok(Self {
            folders: Folders {
                state: std::path::absolute(&folders.state)?,
                cache: std::path::absolute(&folders.cache)?,
            },
            program: std::path::absolute(program)?,
            shell: LocalShell,
        })
    }
}

pub(crate) fn other(doing: &str, message: &str) -> HostError {
    HostError::Other {
        doing: doing.to_owned(),
        message: message.to_owned(),
    }
}

/// What was being done when the file system said no.
fn doing(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> HostError {
    move |error| other(&what.to_string(), &error.to_string())
}

pub(crate) fn need_root() -> Result<(), HostError> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(other(
        "reaching the emulated hosts",
        "emulated hosts need root: run netlab with sudo",
    ))
}
