//! A Linux host with libvirt: this machine, an emulated one, or one behind ssh. Applies each step through the module it
//! is about, recorded in the log first; returns what it observes. Never decides what is wanted.

mod apply;
mod connection;
mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::emulated;
use crate::folders::Folders;
use crate::guest::vga::Screen;
use crate::guest::{Console, ProbeOptions, Reply, Target};
use crate::host::guests::BootSlots;
use crate::host::run_state::Consoles;
use crate::host::{Host, HostError, StepError, StepLog, console, network, ping_through};
use crate::lab::{Asked, CheckpointName, ConsoleKind, HostName, LabName, SshTarget};
use crate::linux::ip;
use crate::plan::Step;
use crate::state::view::View;
use crate::state::{DomainName, HostState, Survey};
use crate::transport::ssh::confirm::{self, CONFIRM_WITHIN};
use crate::transport::{Cmd, Dialer, Output, Owner, ssh};
pub(super) use connection::Connection;
use connection::both;
pub use survey::PlannedSurvey;

/// Where a host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// This machine and its `qemu:///system`.
    Local,
    /// An emulated host of this lab, which need not exist yet.
    Emulated(LabName, HostName),
    /// A machine behind ssh and its `qemu:///system`.
    Ssh(SshTarget),
}

/// A Linux host with libvirt.
pub struct LinuxHost {
    name: HostName,
    place: Place,
    folders: Folders,
    slots: Arc<BootSlots>,
    planned: Arc<PlannedSurvey>,
    consoles: Consoles,
    connection: Mutex<Option<Arc<Connection>>>,
    confirm_within: Duration,
    owner: Option<Owner>,
}

impl LinuxHost {
    /// Creates a host at `place`, called `name` in the log. It connects at its first use. Hosts that share this
    /// machine's processors share `slots`.
    pub fn new(name: HostName, place: Place, folders: Folders, slots: Arc<BootSlots>) -> Self {
        Self {
            name,
            place,
            folders,
            slots,
            planned: Arc::default(),
            consoles: Consoles::default(),
            connection: Mutex::new(None),
            confirm_within: CONFIRM_WITHIN,
            owner: None,
        }
    }

    /// Shares the survey of emulated hosts that do not exist yet with others.
    #[must_use]
    pub fn planned_like(self, planned: Arc<PlannedSurvey>) -> Self {
        Self { planned, ..self }
    }

    /// Sets the time within which a change that may cut the connection has to be confirmed.
    #[must_use]
    pub fn confirmed_within(self, within: Duration) -> Self {
        Self {
            confirm_within: within,
            ..self
        }
    }

    /// Marks what is run on the host as the run's whose owner on this machine is `owner`.
    #[must_use]
    pub fn owned(self, owner: &Owner) -> Self {
        let owner = match self.place {
            Place::Local | Place::Emulated(..) => owner.clone(),
            Place::Ssh(_) => owner.on(&self.name),
        };
        Self {
            owner: Some(owner),
            ..self
        }
    }

    /// Returns the connection to the host, opened at its first use; none for an emulated host that does not run.
    fn connection(&self) -> Result<Option<Arc<Connection>>, HostError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = match &self.place {
            Place::Local | Place::Ssh(_) => None,
            // Without its folder nothing in it can be reached, whatever runs.
            Place::Emulated(lab, host) if !self.folders.machine(lab, host).exists() => return Ok(None),
            Place::Emulated(lab, host) => match emulated::init_pid(lab, host) {
                Some(pid) => Some(pid),
                None => return Ok(None),
            },
        };
        if let Some(open) = connection.as_ref().filter(|open| open.pid == pid) {
            return Ok(Some(open.clone()));
        }
        let open = Arc::new(Connection::open(
            &self.name,
            &self.place,
            pid,
            &self.folders,
            self.owner.as_ref(),
        )?);
        *connection = Some(open.clone());
        Ok(Some(open))
    }

    fn connected(&self) -> Result<Arc<Connection>, HostError> {
        self.connection()?
            .ok_or_else(|| HostError::NotRunning(self.name.clone()))
    }
}

impl Host for LinuxHost {
    fn observe(&self, lab: &LabName) -> Result<HostState, HostError> {
        let Some(connection) = self.connection()? else {
            return Ok(HostState::default());
        };
        let (state, guests) = both(
            || network::observe(connection.shell.as_ref(), lab, &self.name),
            || connection.libvirt.observe(lab),
        );
        let (mut state, guests) = (state?, guests?);
        state.seen.domains = guests.seen;
        state.volumes = guests.volumes;
        state.disks = guests.disks;
        state.domains = guests.domains;
        // The NICs of an emulated host are the ends of cables: what limits those is localhost's.
        if matches!(self.place, Place::Emulated(..)) {
            let taps: BTreeSet<_> = state
                .domains
                .values()
                .flat_map(|domain| &domain.nics)
                .map(|nic| &nic.tap)
                .collect();
            for links in state.shaped.values_mut() {
                links.retain(|link, _| taps.contains(link));
            }
            state.shaped.retain(|_, links| !links.is_empty());
        }
        if let Some(remote) = &connection.remote {
            remote.copies.read_back(&mut state);
        }
        Ok(state)
    }

    fn check_space(&self, files: &BTreeSet<PathBuf>) -> Result<(), HostError> {
        let Some(connection) = self.connection()? else {
            return Ok(());
        };
        match &connection.remote {
            Some(remote) => Ok(remote.copies.check_space(&connection.libvirt, files)?),
            None => Ok(()),
        }
    }

    fn check_checkpoint_space(
        &self,
        lab: &LabName,
        memory_mib: u64,
        restore: Option<&CheckpointName>,
    ) -> Result<(), HostError> {
        let connection = self.connected()?;
        match restore {
            None => connection.libvirt.check_space_to_save(lab, memory_mib)?,
            Some(checkpoint) => connection.libvirt.check_space_to_restore(lab, checkpoint)?,
        }
        Ok(())
    }

    fn survey(&self, lab: &LabName) -> Result<Survey, HostError> {
        match self.connection()? {
            Some(connection) => {
                let own_sshd = !matches!(self.place, Place::Emulated(..));
                survey::of_connected(&connection, lab, own_sshd)
            }
            None => self.planned.get(&self.folders, lab),
        }
    }

    fn settle(&self, lab: &LabName) -> Result<(), HostError> {
        // What was run on this machine, or in an emulated host of it, the emulator ends; an emulated host itself is removed
        // with all that is in it.
        if matches!(self.place, Place::Emulated(..)) {
            return Ok(());
        }
        let connection = self.connected()?;
        if matches!(self.place, Place::Ssh(_)) {
            let stale = self.owner.iter().map(Owner::end_stale);
            let cmds: Vec<Cmd> = stale.chain([confirm::settle(lab)]).collect();
            connection.shell.check_all(&cmds)?;
        }
        Ok(connection.libvirt.settle(lab)?)
    }

    fn views(&self, _lab: &LabName) -> Result<BTreeMap<HostName, View>, HostError> {
        match self.connection()? {
            Some(connection) => Ok([(self.name.clone(), ip::view(connection.shell.as_ref())?)].into()),
            None => Ok(BTreeMap::new()),
        }
    }

    fn apply(&self, lab: &LabName, steps: &[Step], log: &dyn StepLog) -> Result<(), Vec<StepError>> {
        let Some(first) = steps.first() else {
            return Ok(());
        };
        let connection = self.connected().map_err(|error| vec![StepError::new(first, error)])?;
        let errors = self.apply_all(&connection, lab, steps, log);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn ask(&self, cmd: &Cmd) -> Result<Output, HostError> {
        Ok(self.connected()?.shell.run(cmd)?)
    }

    /// Needs neither libvirt nor an open session.
    fn dialer(&self) -> Result<Dialer, HostError> {
        Ok(match &self.place {
            Place::Local => Dialer::Local,
            Place::Emulated(lab, host) => match emulated::init_pid(lab, host) {
                Some(pid) => Dialer::Namespace(pid),
                None => return Err(HostError::NotRunning(self.name.clone())),
            },
            Place::Ssh(target) => Dialer::Ssh(Box::new(ssh::Settings::read(target)?)),
        })
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
        screen.screenshot().map_err(|source| HostError::Console {
            domain: domain.clone(),
            source,
        })
    }

    fn ping(
        &self,
        _lab: &LabName,
        _from: &Asked,
        targets: &[Target],
        options: &ProbeOptions,
    ) -> Result<BTreeMap<IpAddr, Reply>, HostError> {
        ping_through(self.connected()?.shell.as_ref(), targets, options)
    }
}
