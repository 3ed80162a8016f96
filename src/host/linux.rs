//! A Linux host with libvirt: this machine, an emulated one, or one behind ssh. Hands each step to the room that knows it and keeps
//! the rule of the house: told to the log first, then done.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::emulated;
use crate::folders::Folders;
use crate::guest::vga::Screen;
use crate::guest::{Answer, Console};
use crate::host::guests::{self, BootSlots};
use crate::host::images::Copies;
use crate::host::{Host, HostError, StepError, StepLog, console, network, ping_through};
use crate::lab::{Asked, ConsoleKind, HostName, LabName, SshTarget};
use crate::libvirt::domain_xml::Template;
use crate::libvirt::{self, Libvirt};
use crate::linux::{ip, nftables};
use crate::plan::{Stage, Step};
use crate::state::survey::Ports;
use crate::state::{DomainName, HostState, Survey, Volume};
use crate::transport::ssh::confirm::{self, CONFIRM_WITHIN, Outcome, Watch};
use crate::transport::ssh::{self, SshShell, Tunnel};
use crate::transport::{Cmd, CmdError, LocalShell, NamespaceShell, Output, Shell};

/// Where a host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// This machine and its `qemu:///system`.
    Local,
    /// An emulated host of this lab, once the rig has made it.
    Emulated(LabName, HostName),
    /// A machine behind ssh and its `qemu:///system`.
    Ssh(SshTarget),
}

/// A Linux host with libvirt.
pub struct LinuxHost {
    place: Place,
    folders: Folders,
    slots: Arc<BootSlots>,
    connection: Mutex<Option<Arc<Connection>>>,
    confirm_within: Duration,
}

/// An open way to a host: one shell and one libvirt connection for a whole run.
pub(super) struct Connection {
    /// Init's process id, for an emulated host.
    pid: Option<u32>,
    pub(super) shell: Arc<dyn Shell>,
    pub(super) libvirt: Libvirt,
    /// For a host behind ssh.
    remote: Option<Remote>,
}

/// What a host behind ssh has besides.
struct Remote {
    settings: ssh::Settings,
    copies: Copies,
    _tunnel: Tunnel,
}

impl LinuxHost {
    /// A host at `place`. Nothing is opened yet. Hosts that share this machine's processors share `slots`.
    pub fn new(place: Place, folders: Folders, slots: Arc<BootSlots>) -> Self {
        Self {
            place,
            folders,
            slots,
            connection: Mutex::new(None),
            confirm_within: CONFIRM_WITHIN,
        }
    }

    /// The same, but a change that may cut the way has to be confirmed within `within`.
    #[must_use]
    pub fn confirmed_within(self, within: Duration) -> Self {
        Self {
            confirm_within: within,
            ..self
        }
    }

    /// The way to the host, opened at the first need; `None` for an emulated host that is not there (yet).
    fn connection(&self) -> Result<Option<Arc<Connection>>, HostError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = match &self.place {
            Place::Local | Place::Ssh(_) => None,
            Place::Emulated(lab, host) => match emulated::init_pid(lab, host) {
                Some(pid) => Some(pid),
                None => return Ok(None),
            },
        };
        if let Some(open) = connection.as_ref().filter(|open| open.pid == pid) {
            return Ok(Some(open.clone()));
        }
        let mut remote = None;
        let (shell, uri): (Arc<dyn Shell>, _) = match (&self.place, pid) {
            (Place::Emulated(lab, host), Some(pid)) => (
                Arc::new(NamespaceShell::of_process(pid)),
                emulated::libvirt_uri(&self.folders, lab, host)?,
            ),
            (Place::Ssh(target), _) => {
                let settings = ssh::Settings::read(target)?;
                let (shell, tunnel) = both(|| SshShell::open(settings.clone()), || Tunnel::open(settings.clone()));
                let (shell, tunnel) = (shell?, tunnel?);
                let uri = tunnel.uri();
                remote = Some(Remote {
                    settings,
                    copies: Copies::of(self.folders.images()),
                    _tunnel: tunnel,
                });
                (Arc::new(shell), uri)
            }
            _ => (Arc::new(LocalShell), "qemu:///system".to_owned()),
        };
        let template = Template::load(&self.folders.domain_template());
        let open = Arc::new(Connection {
            pid,
            libvirt: Libvirt::open(&uri, shell.clone(), template)?,
            shell,
            remote,
        });
        *connection = Some(open.clone());
        Ok(Some(open))
    }

    fn connected(&self) -> Result<Arc<Connection>, HostError> {
        self.connection()?.ok_or_else(|| HostError::Other {
            doing: "reaching the emulated host".to_owned(),
            message: "it is not running".to_owned(),
        })
    }
}

impl LinuxHost {
    /// Applies steps on links. A NIC of a host behind ssh is taken or given back only with the way back assured: what
    /// looks like any NIC from here may carry the session.
    fn change_links(&self, connection: &Connection, lab: &LabName, steps: &[Step]) -> Result<(), ip::Failed> {
        let shell = connection.shell.as_ref();
        let moves = |step: &Step| matches!(step, Step::TakeUplink(..) | Step::ReleaseUplink(..));
        let (Some(Remote { settings, .. }), Some(at)) = (&connection.remote, steps.iter().position(moves)) else {
            return ip::apply(shell, lab, steps);
        };
        let unsafe_yet = |error: CmdError| ip::Failed {
            at: 0,
            cause: error.into(),
        };
        let rollback = ip::rollback(shell, lab, steps).map_err(unsafe_yet)?;
        if rollback.is_empty() {
            return ip::apply(shell, lab, steps);
        }
        let watch = Watch::start(shell, settings, lab, rollback, self.confirm_within).map_err(unsafe_yet)?;
        let done = ip::apply(shell, lab, steps);
        let cut = |what| ip::Failed {
            at,
            cause: ip::NetworkError::CutOff(what),
        };
        match (watch.confirm(), done) {
            // It is the answer that did not come: what has been taken away is not there to be taken away again.
            (Outcome::Kept, Err(failed)) if failed.is_transport_failure() && steps.iter().all(Step::is_removal) => {
                ip::apply(shell, lab, steps)
            }
            (Outcome::Kept, done) => done,
            (Outcome::WentBack, _) => Err(cut("the host has undone it by itself and is reached again")),
            (Outcome::Lost, _) => Err(cut(
                "the host should have undone it by itself, but is not reached again yet; look at it, then run netlab \
                 again",
            )),
        }
    }
}

/// Does two things at the same time: each takes a number of round trips on a connection of its own.
fn both<A, B: Send>(one: impl FnOnce() -> A, other: impl FnOnce() -> B + Send) -> (A, B) {
    thread::scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        (
            one,
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    })
}

/// The address of this host that its ssh session came to: the third word of what sshd(8) says about it.
fn reached_at(shell: &dyn Shell) -> Result<Option<IpAddr>, HostError> {
    let output = shell.run(&Cmd::new(["printenv", "SSH_CONNECTION"]))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().nth(2).and_then(|address| address.parse().ok()))
}

impl Host for LinuxHost {
    fn observe(&self, lab: &LabName) -> Result<HostState, HostError> {
        let Some(connection) = self.connection()? else {
            return Ok(HostState::default());
        };
        let (state, guests) = both(
            || network::observe(connection.shell.as_ref(), lab),
            || connection.libvirt.observe(lab),
        );
        let (mut state, guests) = (state?, guests?);
        state.seen.domains = guests.seen;
        state.volumes = guests.volumes;
        state.domains = guests.domains;
        if let Some(remote) = &connection.remote {
            remote.copies.read_back(&mut state);
        }
        Ok(state)
    }

    fn survey(&self, lab: &LabName) -> Result<Survey, HostError> {
        let mut survey = Survey::default();
        if let Some(connection) = self.connection()? {
            let network = || -> Result<_, HostError> {
                let mut survey = Survey::default();
                ip::survey(connection.shell.as_ref(), lab, &mut survey)?;
                nftables::survey(connection.shell.as_ref(), lab, &mut survey)?;
                if !matches!(self.place, Place::Emulated(..)) {
                    survey.reached_at = reached_at(connection.shell.as_ref())?;
                }
                Ok(survey)
            };
            let mut of_guests = Survey::default();
            let (of_network, guests) = both(network, || connection.libvirt.survey(lab, &mut of_guests));
            guests?;
            survey = Survey {
                foreign_domains: of_guests.foreign_domains,
                foreign_macs: of_guests.foreign_macs,
                arches: of_guests.arches,
                kvm: of_guests.kvm,
                ..of_network?
            };
        } else {
            Template::load(&self.folders.domain_template()).map_err(|error| HostError::Other {
                doing: "reading the template of domains".to_owned(),
                message: error.to_string(),
            })?;
            // An emulated host that is still to be made will have this machine's programs, kernel and memory, and
            // none of its links.
            let mut machine = Survey::default();
            ip::survey(&LocalShell, lab, &mut machine)?;
            survey.programs = machine.programs;
            survey.missing_modules = machine.missing_modules;
            survey.memory_mib = machine.memory_mib;
            survey.kvm = libvirt::kvm_to_come(&LocalShell)?;
        }
        Ok(survey)
    }

    fn settle(&self, lab: &LabName) -> Result<(), HostError> {
        if matches!(self.place, Place::Ssh(_)) {
            confirm::settle(self.connected()?.shell.as_ref(), lab)?;
        }
        Ok(())
    }

    fn ports(&self) -> Result<Ports, HostError> {
        match self.connection()? {
            Some(connection) => Ok(ip::ports(connection.shell.as_ref())?),
            None => Ok(Ports::new()),
        }
    }

    fn apply(&self, lab: &LabName, steps: &[Step], log: &dyn StepLog) -> Result<(), Vec<StepError>> {
        let Some(first) = steps.first() else {
            return Ok(());
        };
        let connection = self.connected().map_err(|error| vec![failed(first, error)])?;
        let mut errors = Vec::new();
        for batch in steps.chunk_by(|a, b| batch_kind(a) == batch_kind(b)) {
            if log.cancelled() || errors.iter().any(|error: &StepError| !error.step.is_removal()) {
                break;
            }
            errors.extend(match batch_kind(&batch[0]) {
                Batch::Network => network::apply(connection.shell.as_ref(), lab, batch, log, &|steps| {
                    self.change_links(&connection, lab, steps)
                }),
                // The pool comes with its first volume and goes with its last: one at a time.
                Batch::Libvirt(_) if matches!(batch[0], Step::CreateVolume(..) | Step::DeleteVolume(_)) => batch
                    .iter()
                    .filter_map(|step| one(step, log, || apply_libvirt(&connection, step, log)))
                    .collect(),
                Batch::Libvirt(_) => {
                    side_by_side(batch, |step| one(step, log, || apply_libvirt(&connection, step, log)))
                }
                Batch::Guests => guests::run(&connection, &self.folders, &self.slots, batch, log),
            });
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn ask(&self, cmd: &Cmd) -> Result<Output, HostError> {
        Ok(self.connected()?.shell.run(cmd)?)
    }

    fn open_console(&self, domain: &DomainName, kind: ConsoleKind) -> Result<Box<dyn Console>, HostError> {
        console::open(&self.connected()?.libvirt, &self.folders, domain, kind)
    }

    fn open_screen(&self, domain: &DomainName) -> Result<Box<dyn Screen>, HostError> {
        let screen = console::screen(&self.connected()?.libvirt, &self.folders, domain)?;
        Ok(Box::new(screen))
    }

    fn screenshot(&self, domain: &DomainName) -> Result<Vec<u8>, HostError> {
        let mut screen = self.connected()?.libvirt.screen(domain)?;
        screen.screenshot().map_err(|error| HostError::Other {
            doing: format!("taking a screenshot of {domain}"),
            message: error.to_string(),
        })
    }

    fn ping(&self, _lab: &LabName, _from: &Asked, targets: &[IpAddr]) -> Result<BTreeMap<IpAddr, Answer>, HostError> {
        ping_through(self.connected()?.shell.as_ref(), targets)
    }
}

/// How a step is run: network steps in batches, libvirt calls of one kind side by side, guests one chain each.
#[derive(PartialEq)]
enum Batch {
    Network,
    Libvirt(std::mem::Discriminant<Step>),
    Guests,
}

fn batch_kind(step: &Step) -> Batch {
    match step.stage() {
        Stage::Network | Stage::RemoveNetwork => Batch::Network,
        Stage::Guests => Batch::Guests,
        _ => Batch::Libvirt(std::mem::discriminant(step)),
    }
}

/// Applies one step that is a libvirt call.
fn apply_libvirt(connection: &Connection, step: &Step, log: &dyn StepLog) -> Result<(), HostError> {
    let libvirt = &connection.libvirt;
    if let Some(Remote { copies, .. }) = &connection.remote {
        let tell = |text: &str| log.note(step, text);
        match step {
            Step::CreateVolume(name, volume) => {
                let base = copies.bring(libvirt, &volume.base, &tell)?;
                return libvirt.create_volume(name, &Volume { base, ..volume.clone() });
            }
            Step::DefineDomain(name, domain) => {
                return libvirt.define(name, &copies.domain(libvirt, domain, &tell)?);
            }
            _ => {}
        }
    }
    match step {
        Step::CreateVolume(name, volume) => libvirt.create_volume(name, volume),
        Step::DeleteVolume(name) => libvirt.delete_volume(name),
        Step::DefineDomain(name, domain) => libvirt.define(name, domain),
        Step::UndefineDomain { name, uuid } => libvirt.undefine(name, uuid),
        Step::StopDomain { name, uuid } => libvirt.stop(name, uuid),
        other => Err(HostError::Other {
            doing: other.to_string(),
            message: "this step is not for a host inside the lab".to_owned(),
        }),
    }
}

/// One step, told to the log before and after.
pub(super) fn one<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    step: &Step,
    log: &dyn StepLog,
    apply: impl FnOnce() -> Result<(), E>,
) -> Option<StepError> {
    let this = std::slice::from_ref(step);
    if let Err(error) = log.begin(this) {
        return Some(failed(step, error));
    }
    match apply() {
        Ok(()) => {
            log.end(this, Ok(()));
            None
        }
        Err(error) => {
            let error = failed(step, error);
            log.end(this, Err(&error));
            Some(error)
        }
    }
}

/// Runs `apply` on each item in a few threads: libvirt serves five requests of one connection at a time.
pub(super) fn side_by_side<T: Sync>(items: &[T], apply: impl Fn(&T) -> Option<StepError> + Sync) -> Vec<StepError> {
    const WORKERS: usize = 4;
    let next = std::sync::atomic::AtomicUsize::new(0);
    let errors = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    let Some(item) = items.get(at) else { return };
                    if let Some(error) = apply(item) {
                        errors.lock().unwrap_or_else(PoisonError::into_inner).insert(at, error);
                    }
                }
            });
        }
    });
    errors
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_values()
        .collect()
}

pub(super) fn failed(step: &Step, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StepError {
    StepError {
        step: step.clone(),
        source: source.into(),
    }
}

impl From<HostError> for io::Error {
    fn from(error: HostError) -> Self {
        Self::other(error)
    }
}
