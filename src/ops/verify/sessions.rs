//! Opens the sessions with the guests that will be asked, while the hosts are observed: QEMU checks only once a second
//! whether a console was opened (chardev/char-pty.c, pty_chr_timer).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::super::Env;
use super::ask::{Unasked, unasked};
use crate::causes::chain;
use crate::guest::{Console, Session, SessionFault, Transcript};
use crate::host::{Host, NamedHosts};
use crate::lab::{ConsoleKind, ImageConsole, LabName, VmName};
use crate::state::DomainName;
use crate::topology::Topology;

/// How long the shell of a guest that has booted may take to answer: a busy machine included, its boot not.
/// With what `verify` and `diagnose` do besides, they end within 30 s.
const READY_SECONDS: u64 = 20;
/// In a larger lab each session is opened when it is its guest's turn.
const MOST: usize = 64;

/// A session and the kind of its console.
pub(super) type Opened = (Session<'static>, ConsoleKind);

/// A session that is being opened; absent where its console could not be.
type Begun = JoinHandle<Option<Result<Opened, Unasked>>>;

/// Sessions that are being opened.
#[derive(Default)]
pub(super) struct Sessions(Mutex<BTreeMap<VmName, Begun>>);

impl Sessions {
    /// Begins to open a session with each of `guests` that has a serial console. Typing on a screen is slow: those are
    /// opened by who asks. Nothing is reported here: the caller that takes a session that could not be opened tries again.
    pub fn begin(env: &Env, topology: &Topology, hosts: &NamedHosts, guests: &dyn Fn(&VmName) -> bool) -> Self {
        let mut guests: Vec<_> = topology.guests.keys().filter(|vm| guests(vm)).collect();
        if guests.len() > MOST {
            guests.clear();
        }
        let opening = guests.into_iter().filter_map(|vm| {
            let opening = Opening::new(env, topology, hosts, vm).ok()?;
            (opening.console.kind == ConsoleKind::Serial).then(|| (vm.clone(), thread::spawn(|| opening.early())))
        });
        Self(Mutex::new(opening.collect()))
    }

    /// Waits for the session with `vm` that was begun; absent where none was, or its console could not be opened.
    pub fn take(&self, vm: &VmName) -> Option<Result<Opened, Unasked>> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(vm);
        begun?.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// What is needed to open a session.
pub(super) struct Opening {
    host: Arc<dyn Host>,
    lab: LabName,
    vm: VmName,
    domain: DomainName,
    console: ImageConsole,
    transcript: PathBuf,
}

impl Opening {
    /// Collects what is needed for a session with `vm`.
    pub fn new(env: &Env, topology: &Topology, hosts: &NamedHosts, vm: &VmName) -> Result<Self, Unasked> {
        let guest = topology.guests.get(vm).ok_or("no such guest")?;
        let image = topology
            .images
            .get(&guest.image)
            .ok_or("its image is not in the catalog")?;
        let host = hosts.get(&guest.host).ok_or("its host is not connected")?;
        let mut console = image.console.clone();
        console.boot_seconds = console.boot_seconds.min(READY_SECONDS);
        Ok(Self {
            host: Arc::clone(host),
            lab: topology.lab.clone(),
            vm: vm.clone(),
            domain: DomainName::new(&topology.lab, vm),
            console,
            transcript: env.folders.transcript(&topology.lab, vm),
        })
    }

    /// Opens a session with a guest that has booted: its shell answers soon, or something else has its console.
    pub fn open(self) -> Result<Opened, Unasked> {
        let console = self.host.open_console(&self.domain, self.console.kind);
        let console = console.map_err(|error| chain(&error))?;
        self.on(console)
    }

    /// Like [`Self::open`]; absent where the console cannot be opened, or the guest does not run.
    fn early(self) -> Option<Result<Opened, Unasked>> {
        let mut console = self.host.open_console(&self.domain, self.console.kind).ok()?;
        console.obstacle().is_none().then(|| self.on(console))
    }

    fn on(self, console: Box<dyn Console>) -> Result<Opened, Unasked> {
        let transcript = Transcript::append(&self.transcript).map_err(|error| error.to_string())?;
        let session = Session::open(console, &self.console, transcript, &mut |_| ());
        let session = session.map_err(|error| match error.fault {
            SessionFault::Silent(within) | SessionFault::NoPrompt { within, .. } => Unasked::from(format!(
                "the guest's shell did not answer within {} s: it is stopped, or a program reads from its console; shown by \
                 `netlab console {lab} {vm}`; fix: end that program there, or `netlab restart {lab} {vm}`",
                within.as_secs(),
                lab = self.lab,
                vm = self.vm
            )),
            _ => unasked(&error),
        })?;
        Ok((session, self.console.kind))
    }
}
