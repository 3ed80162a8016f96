//! Runs one command in VMs over their consoles, on hosts, and in emulated switches and routers.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Env, OpsError, UpLab, Vm, up_lab};
use crate::event::Event;
use crate::guest::{Console, LINE_LIMIT, Session, Transcript, upload};
use crate::host::{Host, HostError};
use crate::lab::{HostName, ImageConsole, LabName};
use crate::state::{MachineKind, localhost};
use crate::transport::{Cmd, quote};

/// The longest line that is typed; a script with a longer one is sent as a file.
const LONGEST: usize = LINE_LIMIT - 100;
/// Between two attempts at a console that another netlab has.
const RETRY_EVERY: Duration = Duration::from_millis(200);
/// How long deleting the files of a command may take.
const CLEAN_WITHIN: Duration = Duration::from_secs(10);

/// Which command runs where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOptions {
    /// The lab's name, or its file.
    pub lab: String,
    /// Where.
    pub on: Targets,
    /// How long all of it may take: opening the console, waiting for the shell, the command.
    pub within: Duration,
    /// The command and its arguments; a single one is a script for the shell there.
    pub command: Vec<String>,
    /// The command's standard input.
    pub stdin: Vec<u8>,
}

/// Where a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// In this VM, on this host, or in this emulated switch or router.
    One(String),
    /// In every VM.
    AllVms,
    /// Everywhere with a name like this, in which `*` means any characters and `?` one.
    Matching(String),
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExecReport {
    /// Its exit status.
    pub status: i32,
    /// Its output; of a VM, with its errors.
    pub output: String,
    /// What it printed to standard error on a host, a switch or a router.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub errors: String,
}

/// Something of a lab in which commands run.
enum Target {
    Vm(Box<Vm>),
    Host(Arc<dyn Host>),
    /// An emulated switch or router.
    Device(Arc<dyn Host>, HostName),
}

/// Runs a command in one place. A command that does not end in time is an [`OpsError::Guest`] with a deadline, or on a
/// host has the status 124; so is a shell that is not ready in time.
pub fn exec(env: &Env, options: &ExecOptions, name: &str) -> Result<ExecReport, OpsError> {
    shell_line(&options.command)?;
    let lab = up_lab(env, &options.lab)?;
    target(env, &lab, name)?.run(env, &lab.lab, options)
}

/// Runs a command in several places at the same time; `ended` is called with each name and result, in the order in
/// which they end. An error where there is no such place.
pub fn exec_each(
    env: &Env,
    options: &ExecOptions,
    ended: impl FnMut(&str, &Result<ExecReport, OpsError>),
) -> Result<BTreeMap<String, Result<ExecReport, OpsError>>, OpsError> {
    shell_line(&options.command)?;
    let lab = up_lab(env, &options.lab)?;
    let names = names(&lab, &options.on)?;
    let (lab, mut ended) = (&lab, ended);
    let (done, results) = mpsc::channel();
    thread::scope(|scope| {
        for name in &names {
            let done = done.clone();
            scope.spawn(move || {
                let result = target(env, lab, name).and_then(|target| target.run(env, &lab.lab, options));
                done.send((name.clone(), result))
            });
        }
        drop(done);
        let results = results.into_iter().inspect(|(name, result)| ended(name, result));
        Ok(results.collect())
    })
}

/// Returns the command that opens a login shell on the host, or in the emulated switch or router `name`; none where it
/// is a VM, or nothing.
pub fn login_command(env: &Env, lab: &str, name: &str) -> Result<Option<Vec<String>>, OpsError> {
    let lab = up_lab(env, lab)?;
    if lab.domains().any(|(_, vm, _)| vm.vm().as_str() == name) {
        return Ok(None);
    }
    Ok(match machine(&lab, name) {
        Some(Target::Host(host)) => Some(host.dialer()?.login(name)),
        Some(Target::Device(host, device)) => Some(host.login_device(&lab.lab, &device)?),
        Some(Target::Vm(_)) | None => None,
    })
}

/// Returns the names that are meant, VMs first.
fn names(lab: &UpLab, on: &Targets) -> Result<Vec<String>, OpsError> {
    let vms = lab.domains().map(|(_, name, _)| name.vm().to_string());
    let names: Vec<String> = match on {
        Targets::One(name) => vec![name.clone()],
        Targets::AllVms => vms.collect(),
        Targets::Matching(pattern) => {
            let machines = machines(lab).map(ToString::to_string);
            vms.chain(machines).filter(|name| matches(pattern, name)).collect()
        }
    };
    match (names.is_empty(), on) {
        (false, _) => Ok(names),
        (true, Targets::Matching(pattern)) => Err(no_such(lab, pattern)),
        (true, _) => Err(OpsError::NotUp {
            lab: lab.lab.clone(),
            file: None,
        }),
    }
}

/// Returns the lab's hosts and its emulated switches and routers.
fn machines(lab: &UpLab) -> impl Iterator<Item = &HostName> {
    let hosts = lab.hosts.keys().filter(|name| **name != localhost());
    hosts.chain(devices(lab))
}

fn devices(lab: &UpLab) -> impl Iterator<Item = &HostName> {
    let machines = lab.site.values().flat_map(|state| &state.machines);
    machines
        .filter(|(_, machine)| machine.kind != MachineKind::Host)
        .map(|(name, _)| name)
}

fn no_such(lab: &UpLab, name: &str) -> OpsError {
    let vms = lab.domains().map(|(_, name, _)| name.vm().to_string());
    OpsError::NoSuchVm {
        lab: lab.lab.clone(),
        vm: name.to_owned(),
        known: vms.chain(machines(lab).map(ToString::to_string)).collect(),
    }
}

/// Finds the VM, else the host, switch or router `name`.
fn target(env: &Env, lab: &UpLab, name: &str) -> Result<Target, OpsError> {
    if lab.domains().any(|(_, vm, _)| vm.vm().as_str() == name) {
        return Ok(Target::Vm(Box::new(lab.vm(env, name)?)));
    }
    machine(lab, name).ok_or_else(|| no_such(lab, name))
}

fn machine(lab: &UpLab, name: &str) -> Option<Target> {
    if let Some(device) = devices(lab).find(|device| device.as_str() == name) {
        let emulator = lab.hosts.get(&localhost())?;
        return Some(Target::Device(emulator.clone(), device.clone()));
    }
    let name = machines(lab).find(|host| host.as_str() == name)?;
    Some(Target::Host(lab.hosts.get(name)?.clone()))
}

/// Returns whether a name is like a pattern, in which `*` means any characters and `?` one.
fn matches(pattern: &str, name: &str) -> bool {
    let mut rest = name.chars();
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => matches(&pattern[1..], name) || rest.next().is_some() && matches(pattern, rest.as_str()),
        Some(one) => {
            let fits = rest.next().is_some_and(|first| one == '?' || one == first);
            fits && matches(&pattern[one.len_utf8()..], rest.as_str())
        }
    }
}

impl Target {
    fn run(self, env: &Env, lab: &LabName, options: &ExecOptions) -> Result<ExecReport, OpsError> {
        let output = match self {
            Self::Vm(vm) => return in_vm(env, &vm, options),
            Self::Host(host) => host.ask(&on_host(options)?)?,
            Self::Device(host, device) => host.ask_router(lab, &device, &on_host(options)?)?,
        };
        Ok(ExecReport {
            status: output.status,
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// How long the command of timeout(1) may take beyond its limit.
const AFTER_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the command for the shell of a host; timeout(1) ends it in time, with the status 124.
fn on_host(options: &ExecOptions) -> Result<Cmd, OpsError> {
    let script = shell_line(&options.command)?;
    let seconds = format!("{}", options.within.as_secs_f32());
    let timeout = ["timeout", "-k", "5", &seconds, "sh", "-c", &script];
    let cmd = Cmd::new(timeout).fed(options.stdin.clone());
    Ok(cmd.within(options.within + AFTER_TIMEOUT))
}

/// Runs a command in a VM.
fn in_vm(env: &Env, vm: &Vm, options: &ExecOptions) -> Result<ExecReport, OpsError> {
    let script = shell_line(&options.command)?;
    let image = vm.console()?;
    let began = Instant::now();
    let console = open(env, vm, image, (began, options.within))?;
    let mut session = Session::open_within(console, image, transcript(env, vm)?, (began, options.within))?;
    let left = || options.within.saturating_sub(began.elapsed());
    let mut files = Vec::new();
    let mut upload = |session: &mut Session, content: &[u8]| -> Result<String, OpsError> {
        let path = upload(session, content, left())?;
        files.push(path.clone());
        Ok(path)
    };
    let script = if script.lines().any(|line| line.len() > LONGEST) {
        let path = upload(&mut session, script.as_bytes())?;
        format!(". {path}")
    } else {
        script
    };
    let input = if options.stdin.is_empty() {
        String::new()
    } else {
        format!(" <{}", upload(&mut session, &options.stdin)?)
    };
    // In a subshell: on a serial port `exit` would end the shell that netlab uses.
    let output = session.run(&format!("( {script}\n){input}"), left());
    if !files.is_empty() {
        // The command's own result counts.
        let _ = session.run_idempotent(&format!("rm -f {}", files.join(" ")), CLEAN_WITHIN);
    }
    let output = output?;
    Ok(ExecReport {
        status: output.status,
        output: output.text,
        errors: String::new(),
    })
}

/// Opens the transcript of the VM's console, to be continued.
pub(super) fn transcript(env: &Env, vm: &Vm) -> Result<Transcript, OpsError> {
    let path = env.folders.transcript(vm.name.lab(), vm.name.vm());
    Transcript::append(&path).map_err(|source| OpsError::File {
        doing: "write transcript",
        path,
        source,
    })
}

/// Opens the VM's console; waits while another netlab has it.
pub(super) fn open(
    env: &Env,
    vm: &Vm,
    image: &ImageConsole,
    (began, within): (Instant, Duration),
) -> Result<Box<dyn Console>, OpsError> {
    let mut reported = false;
    loop {
        let error = match vm.host.open_console(&vm.name, image.kind) {
            Err(error @ HostError::ConsoleInUse { .. }) if began.elapsed() < within => error,
            result => return Ok(result?),
        };
        if !reported {
            env.events.send(Event::Warning(format!("waiting: {error}")));
            reported = true;
        }
        thread::sleep(RETRY_EVERY);
    }
}

/// Returns an error where a terminal would act on a character of `text` as a key, e.g. on Ctrl-C.
pub(super) fn check_characters(text: &str) -> Result<(), OpsError> {
    if text.contains(|one: char| one.is_control() && one != '\n') {
        return Err(OpsError::ControlCharacters);
    }
    Ok(())
}

/// Returns the arguments as one line for the guest's shell.
pub fn shell_line(arguments: &[String]) -> Result<String, OpsError> {
    arguments.iter().try_for_each(|one| check_characters(one))?;
    Ok(match arguments {
        [script] => script.clone(),
        arguments => arguments.iter().map(|one| quote(one)).collect::<Vec<_>>().join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script_of(arguments: &[&str]) -> String {
        shell_line(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn arguments_are_quoted_and_a_single_one_is_a_script() {
        assert_eq!(script_of(&["ls | wc -l"]), "ls | wc -l");
        assert_eq!(
            script_of(&["echo", "a b", "$x", "it's", ""]),
            "echo 'a b' '$x' 'it'\\''s' ''"
        );
        assert_eq!(script_of(&["ping", "-c1", "10.0.1.2"]), "ping -c1 10.0.1.2");
    }

    #[test]
    fn a_pattern_has_stars_and_question_marks() {
        for (pattern, name, like) in [
            ("web-*", "web-12", true),
            ("web-*", "web", false),
            ("*-1", "web-1", true),
            ("*", "", true),
            ("vm?", "vm1", true),
            ("vm?", "vm12", false),
            ("a*b*c", "aXbYbZc", true),
        ] {
            assert_eq!(matches(pattern, name), like, "{pattern} {name}");
        }
    }

    #[test]
    fn control_characters_are_refused() {
        assert!(shell_line(&["echo".to_owned(), "\x03".to_owned()]).is_err());
    }
}
