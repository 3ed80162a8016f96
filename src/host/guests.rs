//! Guests of one host, in parallel: each is started paused, its console opened, resumed, waited for and configured, in a
//! chain of its own. How many boot at a time is bounded for the whole machine, because guests that share too few
//! processors make each other exceed their deadlines.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::causes::chain;
use crate::folders::Folders;
use crate::guest::{
    ConfigureError, Console, ConsoleError, Restored, Session, SessionFault, Transcript, configure, restored_console,
    set_clock, set_up, wake,
};
use crate::host::linux::Connection;
use crate::host::steps::one;
use crate::host::warm::{Tried, Warm};
use crate::host::{HostError, StepError, StepFailure, StepLog, console};
use crate::lab::{ConsoleKind, MacAddr};
use crate::libvirt::Age;
use crate::linux::{flows, ip};
use crate::plan::Step;
use crate::state::{DomainName, GuestConfig, SetUp, Start};
use crate::transport::CmdError;

/// How often starting or configuring a guest is repeated after libvirt's daemon was restarted during it.
const RETRIES: u32 = 3;

/// The limit of guests that boot at a time on one machine, and what is known of the saved states that they start from.
pub struct BootSlots {
    free: Mutex<usize>,
    freed: Condvar,
    tried: Tried,
}

impl Default for BootSlots {
    /// Two guests per processor, at least four: measured under TCG, more are not faster, and fewer leave processors idle
    /// while libvirt and the consoles are waited for.
    fn default() -> Self {
        let processors = thread::available_parallelism().map_or(2, usize::from);
        Self {
            free: Mutex::new((2 * processors).max(4)),
            freed: Condvar::new(),
            tried: Tried::default(),
        }
    }
}

impl BootSlots {
    fn with<T>(&self, work: impl FnOnce() -> T) -> T {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .freed
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        drop(free);
        let result = work();
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.freed.notify_one();
        result
    }
}

/// Runs the start and configure steps of one host. A guest that fails stops only its own chain.
pub(super) fn run(
    connection: &Connection,
    folders: &Folders,
    slots: &BootSlots,
    steps: &[Step],
    log: &dyn StepLog,
) -> Vec<StepError> {
    let chains: Vec<&[Step]> = steps.chunk_by(|a, b| domain(a) == domain(b)).collect();
    thread::scope(|scope| {
        let running: Vec<_> = chains
            .iter()
            .map(|chain| scope.spawn(move || slots.with(|| run_chain(connection, folders, &slots.tried, chain, log))))
            .collect();
        running
            .into_iter()
            .filter_map(|chain| chain.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn domain(step: &Step) -> Option<&DomainName> {
    match step {
        Step::StartDomain(name, _) | Step::ConfigureGuest(name, _) | Step::SetUpGuest(name, _) => Some(name),
        _ => None,
    }
}

fn run_chain(
    connection: &Connection,
    folders: &Folders,
    tried: &Tried,
    steps: &[Step],
    log: &dyn StepLog,
) -> Option<StepError> {
    let mut opened = None;
    let console = steps.iter().find_map(|step| match step {
        Step::ConfigureGuest(_, config) => Some(&config.console),
        _ => None,
    });
    for step in steps {
        if log.cancelled() {
            return None;
        }
        let error = match step {
            Step::StartDomain(name, how) => one(step, log, || -> Result<(), HostError> {
                let mut why = None;
                if let (Start::Warm, Some(console)) = (how, console) {
                    let warm = Warm {
                        connection,
                        folders,
                        tried,
                        name,
                        console,
                        step,
                        log,
                    };
                    match warm.start() {
                        Ok(started) => opened = started,
                        Err(error) => why = Some(error),
                    }
                }
                if opened.is_none() {
                    let kind = console.map(|console| console.kind).unwrap_or_default();
                    opened = Some(start(connection, folders, name, kind)?);
                }
                if let Some(opened) = opened.as_ref().filter(|opened| !opened.was_paused) {
                    log.started(name.vm(), opened.restored.is_some(), why.as_deref());
                }
                Ok(())
            }),
            Step::ConfigureGuest(name, config) => {
                let opened = opened.take();
                one(step, log, || {
                    configure_guest(connection, folders, name, config, opened, step, log)
                })
            }
            Step::SetUpGuest(name, what) => one(step, log, || set_up_guest(connection, folders, name, what, step, log)),
            other => Some(StepError::new(other, StepFailure::NotForThisHost)),
        };
        if error.is_some() {
            return error;
        }
    }
    None
}

/// A guest that was just started, with its console open.
pub(super) struct Opened {
    pub(super) age: Age,
    pub(super) console: Box<dyn Console>,
    /// What has to be made different in a guest that was restored.
    pub(super) restored: Option<Restored>,
    /// It was paused: its clock is late, and it is no fresh guest that could be reset.
    pub(super) was_paused: bool,
}

/// Gives the ports of a paused guest their flows, opens its console and resumes it.
pub(super) fn open_started(
    connection: &Connection,
    folders: &Folders,
    name: &DomainName,
    kind: ConsoleKind,
) -> Result<Opened, HostError> {
    flows::reload(connection.shell.as_ref(), name.lab())?;
    let opened = Opened {
        age: connection.libvirt.age()?,
        console: console::open(&connection.libvirt, folders, name, kind)?,
        restored: None,
        was_paused: false,
    };
    connection.libvirt.resume(name)?;
    Ok(opened)
}

/// Starts a guest with its console open before it prints anything. A daemon that is restarted during this first finds
/// the half-started domain and then stops it: it is then started once more.
fn start(
    connection: &Connection,
    folders: &Folders,
    name: &DomainName,
    kind: ConsoleKind,
) -> Result<Opened, HostError> {
    let was_paused = connection.libvirt.is_paused(name)?;
    let once = || -> Result<_, HostError> {
        connection.libvirt.start_paused(name)?;
        let opened = open_started(connection, folders, name, kind)?;
        Ok(Opened { was_paused, ..opened })
    };
    for _ in 0..RETRIES {
        let age = connection.libvirt.age()?;
        let result = once();
        if result.is_ok() || connection.libvirt.age()? == age {
            return result;
        }
    }
    once()
}

fn configure_guest(
    connection: &Connection,
    folders: &Folders,
    name: &DomainName,
    config: &GuestConfig,
    mut opened: Option<Opened>,
    step: &Step,
    log: &dyn StepLog,
) -> Result<(), StepFailure> {
    if opened.is_none()
        && config.seeded
        && connection.libvirt.is_restored(name).map_err(HostError::from)?
        && !connection.libvirt.was_configured(name).map_err(HostError::from)?
    {
        // A run that was killed has restored it. cloud-init does as it boots what it has not done.
        opened = Some(reset(connection, folders, name, config.console.kind)?);
    }
    // Only a guest that this run has started has nothing to lose.
    let mut may_reset = opened.as_ref().is_some_and(|opened| !opened.was_paused);
    for _ in 0..RETRIES {
        let age = match &opened {
            Some(opened) => opened.age,
            None => connection.libvirt.age()?,
        };
        let restored = opened.as_ref().is_some_and(|opened| opened.restored.is_some());
        let result = configure_once(connection, folders, name, config, opened.take(), step, log);
        if let Err(failure) = &result
            && may_reset
            && (restored || is_deaf(failure))
            && !log.cancelled()
        {
            may_reset = false;
            if restored {
                let why = format!("the guest that was restored cannot be used: {}", chain(failure));
                log.started(name.vm(), false, Some(&why));
            } else {
                log.note(step, "the guest takes nothing from its keyboard: reset it, once");
            }
            opened = Some(reset(connection, folders, name, config.console.kind)?);
            continue;
        }
        // A daemon that is restarted closes all consoles and leaves the guests running.
        if result.is_ok() || log.cancelled() || connection.libvirt.age()? == age {
            return result;
        }
        log.note(step, "libvirt's daemon was restarted: configuring the guest again");
    }
    configure_once(connection, folders, name, config, None, step, log)
}

/// Whether nothing that was typed on a screen appeared there: a kernel that probed the keyboard while the machine was busy
/// may have left it dead, and the next boot has it again.
fn is_deaf(failure: &StepFailure) -> bool {
    let (StepFailure::Guest(error) | StepFailure::Configure(ConfigureError::Session(error))) = failure else {
        return false;
    };
    matches!(error.fault, SessionFault::Console(ConsoleError::NoEcho { .. }))
}

/// Cuts a guest's power and starts it with its console open.
fn reset(
    connection: &Connection,
    folders: &Folders,
    name: &DomainName,
    kind: ConsoleKind,
) -> Result<Opened, HostError> {
    connection.libvirt.restart_paused(name)?;
    open_started(connection, folders, name, kind)
}

fn configure_once(
    connection: &Connection,
    folders: &Folders,
    name: &DomainName,
    config: &GuestConfig,
    opened: Option<Opened>,
    step: &Step,
    log: &dyn StepLog,
) -> Result<(), StepFailure> {
    let (console, restored, was_paused) = match opened {
        Some(opened) => (opened.console, opened.restored, opened.was_paused),
        None => (
            console::open(&connection.libvirt, folders, name, config.console.kind)?,
            left_by_another(connection, name, config)?,
            false,
        ),
    };
    let console = Box::new(Cancellable { console, log });
    let transcript = Transcript::append(&folders.transcript(name.lab(), name.vm())).map_err(StepFailure::Transcript)?;
    let seeded = restored.as_ref().is_some_and(|restored| restored.seeded);
    let at_first = seeded.then(|| restored_console(&config.console));
    let at_first = at_first.as_ref().unwrap_or(&config.console);
    let mut note = |line: &str| log.note(step, line);
    let mut session = Session::open(console, at_first, transcript, &mut note)?;
    if let Some(restored) = restored
        && !wake(&mut session, &restored)?
    {
        return Err(StepFailure::NicsNotSeen);
    }
    if seeded {
        session.change_shell("exit", &config.console, &mut note)?;
    }
    if was_paused && let Err(error) = set_clock(&mut session, config.console.login.as_ref()) {
        log.note(step, &error.fault.to_string());
    }
    await_forwarding(connection, config, log)?;
    let again = config.seeded && connection.libvirt.was_configured(name).map_err(HostError::from)?;
    configure(&mut session, config, again, &mut |text| log.warn(name.vm(), text))?;
    connection.libvirt.set_configured(name, config)?;
    Ok(())
}

/// Returns what has to be made different in a running guest that was never configured: a run that was killed may have restored it.
fn left_by_another(
    connection: &Connection,
    name: &DomainName,
    config: &GuestConfig,
) -> Result<Option<Restored>, HostError> {
    let console = &config.console;
    if console.kind != ConsoleKind::Serial || console.login.is_some() || connection.libvirt.was_configured(name)? {
        return Ok(None);
    }
    Ok(Some(Restored {
        // Those that it lacks, its configuration finds out.
        macs: Vec::new(),
        has_disk: true,
        seeded: false,
    }))
}

/// The longest that a port listens and learns: twice the largest forward delay of 30 s (IEEE 802.1D-2004, table 17-1).
const LONGEST_LEARNING: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// Waits for spanning tree at the ports of a guest that asks a DHCP server: it would give up before it can send anything.
fn await_forwarding(connection: &Connection, config: &GuestConfig, log: &dyn StepLog) -> Result<(), CmdError> {
    let asking = config.nics.iter().filter(|nic| nic.dhcp);
    let macs: Vec<MacAddr> = asking.map(|nic| nic.mac).collect();
    let began = Instant::now();
    while !macs.is_empty()
        && began.elapsed() < LONGEST_LEARNING
        && !log.cancelled()
        && ip::learning(connection.shell.as_ref(), &macs)?
    {
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Writes files and runs commands in a guest, and records each one that is done: after a failure the next run goes on with
/// the one that failed.
fn set_up_guest(
    connection: &Connection,
    folders: &Folders,
    name: &DomainName,
    what: &SetUp,
    step: &Step,
    log: &dyn StepLog,
) -> Result<(), StepFailure> {
    let console = console::open(&connection.libvirt, folders, name, what.console.kind)?;
    let console = Box::new(Cancellable { console, log });
    let transcript = Transcript::append(&folders.transcript(name.lab(), name.vm())).map_err(StepFailure::Transcript)?;
    let note = |line: &str| log.note(step, line);
    let mut session = Session::open(console, &what.console, transcript, &mut |line| note(line))?;
    let mut record = |done| {
        let done = what.tasks.get(..done).unwrap_or_default();
        Ok(connection.libvirt.set_tasks(name, done, what.lasting)?)
    };
    set_up(&mut session, what, &mut |line| note(line), &mut record, &mut |text| {
        log.warn(name.vm(), text);
    })
}

/// A console that fails when the user asks to stop, so that no guest's deadline is waited for.
pub(super) struct Cancellable<'a> {
    pub(super) console: Box<dyn Console>,
    pub(super) log: &'a dyn StepLog,
}

impl Console for Cancellable<'_> {
    fn read(&mut self, wait: Duration) -> Result<Vec<u8>, ConsoleError> {
        if self.log.cancelled() {
            return Err(ConsoleError::Cancelled);
        }
        self.console.read(wait)
    }

    fn send(&mut self, text: &[u8]) -> Result<(), ConsoleError> {
        self.console.send(text)
    }

    fn send_unseen(&mut self, text: &[u8]) -> Result<(), ConsoleError> {
        self.console.send_unseen(text)
    }

    fn is_screen(&self) -> bool {
        self.console.is_screen()
    }

    fn until(&mut self, deadline: Option<Instant>) {
        self.console.until(deadline);
    }

    fn obstacle(&mut self) -> Option<String> {
        self.console.obstacle()
    }

    fn screen_text(&mut self) -> Option<Vec<String>> {
        self.console.screen_text()
    }

    fn screenshot(&mut self) -> Result<Option<Vec<u8>>, ConsoleError> {
        self.console.screenshot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::SessionError;

    #[test]
    fn only_a_guest_that_shows_nothing_of_what_is_typed_is_deaf() {
        let failed = |fault| SessionError {
            fault,
            screen: Vec::new(),
            transcript: None,
        };
        let no_echo = || {
            failed(SessionFault::Console(ConsoleError::NoEcho {
                line: "root".into(),
                attempts: 3,
            }))
        };
        assert!(is_deaf(&StepFailure::Guest(no_echo())));
        assert!(is_deaf(&StepFailure::Configure(no_echo().into())));
        let silent = failed(SessionFault::Silent(Duration::from_secs(1)));
        assert!(!is_deaf(&StepFailure::Guest(silent)));
        assert!(!is_deaf(&StepFailure::Guest(failed(ConsoleError::Lost.into()))));
        assert!(!is_deaf(&StepFailure::NotForThisHost));
    }
}
