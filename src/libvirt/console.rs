//! Opening a guest's console, and whom to blame where somebody else has it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use virt::connect::Connect;
use virt::domain::Domain as VirDomain;
use virt::stream::Stream;
use virt::sys;

use super::stream::StreamConsole;
use super::{failed, other};
use crate::guest::{Console, ConsoleError};
use crate::host::HostError;
use crate::state::DomainName;

/// After this long a daemon has found out that a connection is lost: six times its keepalive_interval of 5 s
/// (libvirtd.conf), and a little.
pub(super) const LOST_WITHIN: Duration = Duration::from_secs(35);
/// Between two attempts at a console that is open already.
const NAP: Duration = Duration::from_millis(100);

/// Opens the console of a running or paused domain, unless it is open already: nobody is thrown out. Where it cannot
/// be told by whom, that may be a connection which the daemon does not know to be lost yet: tried again for `patience`.
pub(super) fn open(
    conn: &Connect,
    domain: &VirDomain,
    name: &DomainName,
    doing: &str,
    patience: Duration,
) -> Result<Box<dyn Console>, HostError> {
    let until = Instant::now() + patience;
    loop {
        let stream = Stream::new(conn, sys::VIR_STREAM_NONBLOCK).map_err(failed(doing))?;
        let error = match domain.open_console(None, &stream, 0) {
            Ok(()) => return Ok(Box::new(StreamConsole::new(stream, conn.clone()))),
            Err(error) => error,
        };
        if !error.message().contains("Active console session exists") {
            return Err(failed(doing)(error));
        }
        let uuid = domain.uuid_string().unwrap_or_default();
        let me = std::process::id();
        let holder = processes()
            .filter(|(pid, _)| *pid != me)
            .filter_map(|(pid, arguments)| Some((holds(&arguments, name, &uuid)?, pid)))
            .min();
        if let Some(((_, who), pid)) = holder {
            return Err(other(doing, ConsoleError::Busy(format!("{who}, process {pid}"))));
        }
        if Instant::now() >= until {
            let holder =
                "by a program that cannot be told from here; `virsh console` and virt-manager are the usual ones";
            return Err(other(doing, ConsoleError::Busy(holder.to_owned())));
        }
        thread::sleep(NAP);
    }
}

/// Processes of this machine with their arguments (proc_pid_cmdline(5)). libvirt does not tell who has a console.
fn processes() -> impl Iterator<Item = (u32, Vec<String>)> {
    let all = fs::read_dir("/proc").into_iter().flatten();
    all.filter_map(|process| {
        let process = process.ok()?;
        let pid = process.file_name().to_str()?.parse().ok()?;
        let arguments = fs::read(process.path().join("cmdline")).ok()?;
        let arguments = arguments
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned());
        Some((pid, arguments.filter(|word| !word.is_empty()).collect()))
    })
}

/// How sure it is that a program has the console; the surer, the less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blame {
    /// It names the domain.
    Named,
    /// It may be at work on another lab.
    Likely,
}

/// The command line, if it is one that has the console of this domain.
fn holds(arguments: &[String], name: &DomainName, uuid: &str) -> Option<(Blame, String)> {
    let (program, words) = arguments.split_first()?;
    let program = program.rsplit('/').next().unwrap_or(program);
    let names = |wanted: &str| words.iter().any(|word| word == wanted);
    let blame = match program {
        "virsh" if names("console") && (names(&name.to_string()) || names(uuid)) => Blame::Named,
        // A run on the lab holds its guests' consoles while it configures or asks them; it is given a file, not a lab.
        "netlab" if ["up", "verify", "console"].into_iter().any(names) => Blame::Likely,
        _ => return None,
    };
    Some((blame, format!("by `{program} {}`", words.join(" "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_that_can_have_the_console_is_blamed() {
        let name = DomainName::try_from("demo.vm1".to_owned()).unwrap();
        let holds = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            holds(&words, &name, "6f1d")
        };
        let who = "by `virsh -c qemu:///system console demo.vm1`".to_owned();
        let virsh = holds("/usr/bin/virsh -c qemu:///system console demo.vm1");
        assert_eq!(virsh, Some((Blame::Named, who)));
        assert!(holds("virsh console 6f1d").is_some());
        assert!(
            virsh < holds("./netlab verify labs/demo.toml"),
            "a run may be on another lab"
        );
        for other in [
            "virsh console demo.vm10",
            "virsh start demo.vm1",
            "vi console demo.vm1",
            "netlab status demo",
        ] {
            assert_eq!(holds(other), None, "{other}");
        }
    }
}
