//! Opening a guest's serial console, and finding the process that has it open already.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use virt::connect::Connect;
use virt::domain::Domain as VirDomain;
use virt::stream::Stream;
use virt::sys;

use super::error::{LibvirtError, Operation, failed};
use super::halted::Guest;
use super::processes::Processes;
use super::stream::StreamConsole;
use crate::guest::{Console, ConsoleError};
use crate::state::DomainName;

/// After this time a daemon has noticed that a connection is lost: six times its keepalive_interval of 5 s
/// (libvirtd.conf), and a margin.
pub(super) const LOST_WITHIN: Duration = Duration::from_secs(35);
/// After this time a daemon has ended a session that its client closed.
pub(super) const CLOSED_WITHIN: Duration = Duration::from_secs(2);
/// Between two attempts at a console that is open already.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// Opens the console of a running or paused domain, unless it is open already: no other session is closed. Where the
/// process that has it cannot be found, it may be a lost connection that the daemon has not noticed yet: tried again
/// for `patience`.
pub(super) fn open(
    conn: &Connect,
    domain: &VirDomain,
    name: &DomainName,
    patience: Duration,
    outside: &Processes,
) -> Result<Box<dyn Console>, LibvirtError> {
    let operation = Operation::OpenConsole(name.clone());
    let busy = |holder: String| LibvirtError::Console {
        domain: name.clone(),
        source: ConsoleError::Busy(holder),
    };
    let until = Instant::now() + patience;
    loop {
        let stream = Stream::new(conn, sys::VIR_STREAM_NONBLOCK).map_err(failed(&operation))?;
        let error = match domain.open_console(None, &stream, 0) {
            Ok(()) => {
                let guest = Guest::new(domain.clone(), name.clone(), outside.clone());
                return Ok(Box::new(StreamConsole::new(stream, conn.clone(), guest)));
            }
            Err(error) => error,
        };
        if !error.message().contains("Active console session exists") {
            return Err(failed(&operation)(error));
        }
        let uuid = domain.uuid_string().unwrap_or_default();
        let holder = processes().find_map(|(pid, arguments)| Some((holds(&arguments, name, &uuid)?, pid)));
        if let Some((command, pid)) = holder {
            return Err(busy(format!("{command}, process {pid}")));
        }
        if Instant::now() >= until {
            return Err(busy(
                "by a program on another machine or of another user, e.g. `virsh console` or virt-manager".to_owned(),
            ));
        }
        thread::sleep(RETRY_EVERY);
    }
}

/// Lists the processes of this machine with their arguments (proc_pid_cmdline(5)). libvirt does not say who has a
/// console open.
fn processes() -> impl Iterator<Item = (u32, Vec<String>)> {
    let all = fs::read_dir("/proc").into_iter().flatten();
    all.filter_map(|process| {
        let process = process.ok()?;
        let pid = process.file_name().to_str()?.parse().ok()?;
        let arguments = fs::read(process.path().join("cmdline")).ok()?;
        let arguments = arguments
            .split(|byte| *byte == 0)
            .map(|argument| String::from_utf8_lossy(argument).into_owned());
        Some((pid, arguments.filter(|argument| !argument.is_empty()).collect()))
    })
}

/// Returns the command line if it is one of virsh(1) that has the console of this domain open. (Another netlab has a
/// lock that names it.)
fn holds(arguments: &[String], name: &DomainName, uuid: &str) -> Option<String> {
    let (program, arguments) = arguments.split_first()?;
    let program = program.rsplit('/').next().unwrap_or(program);
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    let names = program == "virsh" && has("console") && (has(&name.to_string()) || has(uuid));
    names.then(|| format!("by `{program} {}`", arguments.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_can_have_the_console_is_named_as_its_holder() {
        let name = DomainName::try_from("demo.vm1".to_owned()).unwrap();
        let holds = |command: &str| {
            let arguments: Vec<_> = command.split(' ').map(str::to_owned).collect();
            holds(&arguments, &name, "6f1d")
        };
        let holder = "by `virsh -c qemu:///system console demo.vm1`".to_owned();
        let virsh = holds("/usr/bin/virsh -c qemu:///system console demo.vm1");
        assert_eq!(virsh, Some(holder));
        assert!(holds("virsh console 6f1d").is_some());
        for other in [
            "virsh console demo.vm10",
            "virsh start demo.vm1",
            "vi console demo.vm1",
            "netlab verify labs/demo.toml",
        ] {
            assert_eq!(holds(other), None, "{other}");
        }
    }
}
