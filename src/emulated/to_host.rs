//! A router's connection to the network of the machine that netlab runs on (`outside = "host"`): a link of two ends, source
//! address translation at both, a route, and forwarding on this machine.
//!
//! What is on this machine and not in the router's namespace has a record, written first and deleted last:
//! `/run/netlab/to-host/LAB.ROUTER`, which a reboot empties just as it removes all the rest.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ipnet::Ipv4Net;

use super::Emulator;
use super::error::{EmulatedError, Operation, failed};
use super::namespace;
use crate::lab::{HostName, LabName};
use crate::linux::sysctl::SysctlMarks;
use crate::state::Sysctl;
use crate::topology::derive;
use crate::transport::{Cmd, Script, Shell as _};

/// The folder of the records.
const FOLDER: &str = "/run/netlab/to-host";
/// Where systemd-resolved(8) lists the name servers that it asks itself, and the list of everybody else (resolv.conf(5)).
const RESOLVERS: [&str; 2] = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"];

const CONNECT: Script = Script {
    name: "emulated/to_host.sh",
    text: include_str!("to_host.sh"),
};

/// Of two routers that are removed, the second one restores the setting.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Returns the record of a router's connection.
fn record(lab: &LabName, router: &HostName) -> PathBuf {
    Path::new(FOLDER).join(format!("{lab}.{router}"))
}

/// Returns the name of the table on this machine. No lab's own table has a period in its name.
fn table(lab: &LabName, router: &HostName) -> String {
    format!("netlab.{lab}.{router}")
}

/// Returns the routers of `lab` that have a record.
pub(super) fn recorded(lab: &LabName) -> Result<Vec<HostName>, EmulatedError> {
    let files = match fs::read_dir(FOLDER) {
        Ok(files) => files,
        // Only root's labs have records: those of another user's state folder have none.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(Operation::List(FOLDER.into()))(error)),
    };
    let prefix = format!("{lab}.");
    Ok(files
        .filter_map(|file| file.ok()?.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok())
        .collect())
}

/// Returns whether a router has a record: it is, or was, connected.
pub(super) fn is_recorded(lab: &LabName, router: &HostName) -> bool {
    record(lab, router).exists()
}

/// Returns the name servers that this machine asks and that others can ask, too.
pub(super) fn resolvers() -> Vec<Ipv4Addr> {
    let listed = |file: &&str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
        let servers = servers.filter_map(|server| server.trim().parse::<Ipv4Addr>().ok());
        let servers: Vec<_> = servers.filter(|server| !server.is_loopback()).collect();
        (!servers.is_empty()).then_some(servers)
    };
    RESOLVERS.iter().find_map(listed).unwrap_or_default()
}

impl Emulator {
    /// Connects a router that has the address `inside` on its end of the link.
    pub(super) fn connect_to_host(
        &self,
        lab: &LabName,
        router: &HostName,
        inside: Ipv4Net,
    ) -> Result<(), EmulatedError> {
        let record = record(lab, router);
        let write = || {
            fs::create_dir_all(FOLDER)?;
            fs::write(&record, format!("{inside}\n"))
        };
        write().map_err(failed(Operation::Write(record.clone())))?;
        SysctlMarks::default().set(&self.shell, lab, Sysctl::Ipv4Forward, "1")?;
        self.shell.check(&command("connect", lab, router, inside))?;
        Ok(())
    }

    /// Returns whether all of the connection is there.
    pub(super) fn is_connected_to_host(
        &self,
        lab: &LabName,
        router: &HostName,
        inside: Ipv4Net,
    ) -> Result<bool, EmulatedError> {
        let observed = self.shell.check(&command("observe", lab, router, inside))?;
        Ok(!observed.is_empty() && is_recorded(lab, router))
    }

    /// Removes what this machine has of a router's connection besides the link, which goes with the router's namespace.
    pub(super) fn disconnect_from_host(&self, lab: &LabName, router: &HostName) -> Result<(), EmulatedError> {
        if !is_recorded(lab, router) {
            return Ok(());
        }
        let table = table(lab, router);
        // Without the table (it was deleted before) creating it first makes deleting it no error.
        let rules = format!("table ip {table}\ndelete table ip {table}\n");
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        self.shell.check(&Cmd::new(["nft", "-f", "-"]).fed(rules))?;
        if recorded(lab)?.iter().all(|other| other == router) {
            SysctlMarks::default().restore(&self.shell, lab, Sysctl::Ipv4Forward)?;
        }
        let record = record(lab, router);
        fs::remove_file(&record).map_err(failed(Operation::Delete(record)))?;
        // With the last record the folders go as well.
        for folder in [Some(Path::new(FOLDER)), Path::new(FOLDER).parent()]
            .into_iter()
            .flatten()
        {
            drop(fs::remove_dir(folder));
        }
        Ok(())
    }
}

fn command(what: &str, lab: &LabName, router: &HostName, inside: Ipv4Net) -> Cmd {
    let here = derive::host_end(inside);
    let arguments = [
        what.to_owned(),
        namespace::name(lab, router),
        derive::to_host_link(lab, router).to_string(),
        format!("netlab:{lab}:{router}"),
        inside.to_string(),
        here.to_string(),
        inside.trunc().to_string(),
        table(lab, router),
    ];
    Cmd::script(CONNECT, arguments)
}
