//! A router's DNS server: a dnsmasq in its network namespace that answers for the router's names and for no other. It has
//! no files: what it was started with is in its arguments, and so is whose it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::Ipv4Addr;

use rustix::process::{Signal, pidfd_send_signal};

use super::error::{EmulatedError, Operation, failed};
use super::{daemon, namespace, process, to_host};
use crate::lab::{DnsName, HostName, LabName};
use crate::transport::{Cmd, NamespaceShell, Shell};

const PROGRAM: &str = "dnsmasq";
/// The option of a name and its address.
const RECORD: &str = "--host-record=";

/// Names with their addresses.
type Names = BTreeMap<DnsName, BTreeSet<Ipv4Addr>>;

/// Returns the argument by which a router's server is recognized: an empty TXT record of that name.
fn mark(lab: &LabName, router: &HostName) -> String {
    format!("--txt-record={}", namespace::name(lab, router))
}

/// Replaces the router's server by one for `names`, which on a router that is connected `to_host` asks this machine's name
/// servers for all others; by none where it would answer nothing.
pub(super) fn serve(lab: &LabName, router: &HostName, names: &Names, to_host: bool) -> Result<(), EmulatedError> {
    stop(lab, router)?;
    let resolvers = if to_host { to_host::resolvers() } else { Vec::new() };
    if names.is_empty() && resolvers.is_empty() {
        return Ok(());
    }
    let program = daemon::find(PROGRAM).ok_or(EmulatedError::NotInstalled(PROGRAM))?;
    // Without the mark of the run, which it outlives on purpose. dnsmasq(8): no other file is read or written, and names
    // without a record do not exist.
    let mut argv = vec!["env".to_owned(), "-u".to_owned(), "NETLAB_RUN".to_owned()];
    argv.push(program.display().to_string());
    argv.push(mark(lab, router));
    let fixed = ["--conf-file=/dev/null", "--pid-file=", "--no-hosts", "--no-resolv"];
    argv.extend(fixed.map(ToOwned::to_owned));
    if resolvers.is_empty() {
        argv.push("--local=/#/".to_owned());
    }
    argv.extend(resolvers.iter().map(|server| format!("--server={server}")));
    for (name, addresses) in names {
        argv.extend(addresses.iter().map(|address| format!("{RECORD}{name},{address}")));
    }
    NamespaceShell::of_network(&namespace::name(lab, router)).check(&Cmd::new(argv))?;
    Ok(())
}

/// Ends the router's server, if it has one, wherever it runs.
pub(super) fn stop(lab: &LabName, router: &HostName) -> Result<(), EmulatedError> {
    let end = || -> io::Result<()> {
        for (pid, _) in servers(lab, router) {
            // From here on the handle, not the number, identifies the process.
            let Some(server) = process::handle(pid)? else { continue };
            if !servers(lab, router).iter().any(|(again, _)| *again == pid) {
                continue;
            }
            match pidfd_send_signal(&server, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => process::wait_for(&server)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    };
    end().map_err(failed(Operation::EndProcesses(router.clone())))
}

/// Returns the names that the router's server answers for; none where it does not run.
pub(super) fn observe(lab: &LabName, router: &HostName) -> Names {
    let Some(own) = process::identity(&namespace::path(lab, router)) else {
        return Names::new();
    };
    let servers = servers(lab, router);
    let inside = |pid: u32| process::identity(&process::proc(pid, "ns/net")) == Some(own);
    let arguments = servers.into_iter().find(|(pid, _)| inside(*pid));
    arguments.map(|(_, arguments)| names(&arguments)).unwrap_or_default()
}

/// Lists the processes that were started as the router's server, with their arguments.
fn servers(lab: &LabName, router: &HostName) -> Vec<(u32, Vec<String>)> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mark = mark(lab, router);
    let found = processes.filter_map(|found| {
        let pid = found.ok()?.file_name().to_str()?.parse().ok()?;
        let arguments = fs::read(process::proc(pid, "cmdline")).ok()?;
        let arguments = arguments.split(|byte| *byte == 0);
        let arguments: Vec<String> = arguments
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect();
        // The programs that become it have its arguments behind their own.
        arguments.contains(&mark).then_some((pid, arguments))
    });
    found.collect()
}

fn names(arguments: &[String]) -> Names {
    let mut names = Names::new();
    for record in arguments.iter().filter_map(|argument| argument.strip_prefix(RECORD)) {
        let Some((name, address)) = record.split_once(',') else {
            continue;
        };
        if let (Ok(name), Ok(address)) = (name.parse(), address.parse()) {
            names.entry(name).or_default().insert(address);
        }
    }
    names
}
