//! Named network namespaces: one per emulated machine, under /run/netns so that `ip netns exec` finds them.
//!
//! The owner's mark is on the object itself: the alias of the namespace's loopback device, set before the namespace
//! gets its name. A namespace of the same name without the mark is not netlab's. A switch or a router is nothing but
//! such a namespace, and its mark says which of the two it is.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::batch::batch;
use super::error::{EmulatedError, Operation, failed};
use super::links::{self, Link};
use super::switch;
use crate::lab::{HostName, LabName};
use crate::state::MachineKind;
use crate::transport::{Cmd, Script, Shell};

/// The folder of iproute2's named network namespaces (ip-netns(8)).
const FOLDER: &str = "/run/netns";

/// `f_type` of a file that is a namespace: NSFS_MAGIC, include/uapi/linux/magic.h.
const NSFS: u64 = 0x6e73_6673;

/// Creates a namespace: arguments are its mark, its name, the machine's kind and a switch's bridge.
const CREATE: Script = Script {
    name: "emulated/create_namespace.sh",
    text: include_str!("create_namespace.sh"),
};

/// Returns the name of a machine's namespace, as `ip netns` prints it.
pub(super) fn name(lab: &LabName, host: &HostName) -> String {
    format!("netlab.{lab}.{host}")
}

/// Returns the path of the file that names it.
pub(super) fn path(lab: &LabName, host: &HostName) -> PathBuf {
    Path::new(FOLDER).join(name(lab, host))
}

fn mark(lab: &LabName, host: &HostName, kind: MachineKind) -> String {
    match kind {
        MachineKind::Host => format!("netlab:{lab}:{host}"),
        MachineKind::Switch | MachineKind::Router => format!("netlab:{lab}:{host}:{kind}"),
    }
}

/// What has the name of a machine's namespace.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// A file that is not a namespace: what a reboot leaves where /run is on disk.
    Stale,
    /// A namespace without the lab's mark.
    Foreign,
    /// The lab's, with the links in it.
    Own(MachineKind, Vec<Link>),
}

/// Inspects what has the name of a machine's namespace.
pub(super) fn find(shell: &dyn Shell, lab: &LabName, host: &HostName) -> Result<Found, EmulatedError> {
    let path = path(lab, host);
    let stat = match rustix::fs::statfs(&path) {
        Ok(stat) => stat,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Absent),
        Err(error) => return Err(failed(Operation::Inspect(path))(error.into())),
    };
    if u64::try_from(stat.f_type) != Ok(NSFS) {
        return Ok(Found::Stale);
    }
    let links = links::read(shell, &name(lab, host))?;
    let alias = links.iter().find(|link| link.ifname == "lo");
    let alias = alias.and_then(|lo| lo.ifalias.as_deref()).unwrap_or_default();
    let kind = [MachineKind::Host, MachineKind::Switch, MachineKind::Router]
        .into_iter()
        .find(|kind| alias == mark(lab, host, *kind));
    Ok(kind.map_or(Found::Foreign, |kind| Found::Own(kind, links)))
}

/// Returns the links of a namespace that must be the lab's.
pub(super) fn links(shell: &dyn Shell, lab: &LabName, host: &HostName) -> Result<Vec<Link>, EmulatedError> {
    match find(shell, lab, host)? {
        Found::Own(_, links) => Ok(links),
        Found::Foreign => Err(foreign(lab, host)),
        Found::Absent | Found::Stale => Err(EmulatedError::NoNamespace(host.clone())),
    }
}

/// Lists the machines of `lab` that a namespace is named after, with or without the mark.
pub(super) fn named(lab: &LabName) -> Result<Vec<HostName>, EmulatedError> {
    let files = match fs::read_dir(FOLDER) {
        Ok(files) => files,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(Operation::List(FOLDER.into()))(error)),
    };
    let prefix = format!("netlab.{lab}.");
    Ok(files
        .filter_map(|file| file.ok()?.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok())
        .collect())
}

/// Lists the machines of all labs that a namespace is named after, with or without the mark. Needs no rights.
pub(crate) fn all() -> Result<Vec<(LabName, HostName)>, EmulatedError> {
    let files = match fs::read_dir(FOLDER) {
        Ok(files) => files,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(Operation::List(FOLDER.into()))(error)),
    };
    let parts = |name: &str| {
        let (lab, host) = name.strip_prefix("netlab.")?.split_once('.')?;
        Some((lab.parse().ok()?, host.parse().ok()?))
    };
    Ok(files
        .filter_map(|file| parts(file.ok()?.file_name().to_str()?))
        .collect())
}

/// Creates the namespace with its loopback device up; that of a switch with its bridge, that of a router forwarding.
/// An error where anything has the name already.
pub(crate) fn create(
    shell: &dyn Shell,
    lab: &LabName,
    host: &HostName,
    kind: MachineKind,
) -> Result<(), EmulatedError> {
    match find(shell, lab, host)? {
        Found::Absent => {}
        Found::Foreign => return Err(foreign(lab, host)),
        Found::Stale | Found::Own(..) => {
            return Err(EmulatedError::NamespaceExists(name(lab, host)));
        }
    }
    let (mark, name, kind) = (mark(lab, host, kind), name(lab, host), kind.to_string());
    // Killed with netlab, so that no namespace gets its name after the next run has observed the machine.
    let killed_with_netlab = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net"];
    let create = Cmd::script(CREATE, [mark.as_str(), &name, &kind, switch::BRIDGE]);
    shell.check(&create.run_by(killed_with_netlab))?;
    Ok(())
}

/// Removes a namespace with the lab's mark, if there is one. Its cables are deleted on return.
pub(super) fn remove(shell: &dyn Shell, lab: &LabName, host: &HostName) -> Result<(), EmulatedError> {
    match find(shell, lab, host)? {
        Found::Absent | Found::Foreign => Ok(()),
        Found::Stale => {
            let path = path(lab, host);
            fs::remove_file(&path).map_err(failed(Operation::Delete(path)))
        }
        Found::Own(_, links) => {
            // The kernel clears a namespace some time after its name was deleted; until then the remote end of a
            // cable would conflict with a new one.
            let cables = links.iter().filter(|link| link.kind() == Some("veth"));
            let lines: Vec<_> = cables.map(|link| format!("link delete dev {}", link.ifname)).collect();
            // A cable with both ends in here is deleted with the first of them: that the second is missing is no error.
            let _ = batch(shell, Some(&name(lab, host)), &lines);
            shell.check(&Cmd::new(["ip", "netns", "delete", &name(lab, host)]))?;
            Ok(())
        }
    }
}

fn foreign(lab: &LabName, host: &HostName) -> EmulatedError {
    EmulatedError::ForeignNamespace(name(lab, host))
}
