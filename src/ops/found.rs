//! Finds labs on this machine by the marks on their objects, whether or not a state folder knows them: namespaces and
//! processes of emulated machines, links, domains of the local libvirt.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::causes::chain;
use crate::emulated;
use crate::lab::LabName;
use crate::libvirt;
use crate::linux::ip;
use crate::transport::LocalShell;

/// How long the local libvirt may take to list its domains.
const LIBVIRT_WITHIN: Duration = Duration::from_secs(10);
/// The local libvirt.
const LOCAL: &str = "qemu:///system";
/// Where its daemons listen, for those who only read.
const SOCKETS: [&str; 2] = ["/run/libvirt/libvirt-sock-ro", "/run/libvirt/virtqemud-sock-ro"];

/// Labs by the marks on objects.
#[derive(Debug, Default)]
pub(super) struct Marked {
    /// Labs with emulated machines.
    pub emulated: BTreeSet<LabName>,
    /// Labs with links or domains of this machine itself.
    pub local: BTreeSet<LabName>,
    /// What could not be searched, and why.
    pub unseen: Vec<String>,
}

/// Searches this machine.
pub(super) fn marked() -> Marked {
    let mut marked = Marked::default();
    marked
        .emulated
        .extend(emulated::running().into_iter().map(|(lab, ..)| lab));
    match emulated::all_machines() {
        Ok(machines) => marked.emulated.extend(machines.into_iter().map(|(lab, _)| lab)),
        Err(error) => marked.unseen.push(chain(&error)),
    }
    match ip::labs(&LocalShell) {
        Ok(labs) => marked.local.extend(labs),
        Err(error) => marked.unseen.push(chain(&error)),
    }
    match domains() {
        Ok(labs) => marked.local.extend(labs),
        Err(why) => marked.unseen.push(why),
    }
    marked
}

/// Returns the labs that have domains on this machine's own libvirt; none where it has no libvirt.
fn domains() -> Result<BTreeSet<LabName>, String> {
    if !SOCKETS.iter().any(|socket| Path::new(socket).exists()) {
        return Ok(BTreeSet::new());
    }
    // libvirt's calls have no timeout, and a list of labs is not to depend on a daemon that hangs.
    let (answered, answer) = mpsc::channel();
    thread::spawn(move || answered.send(libvirt::labs(LOCAL)));
    match answer.recv_timeout(LIBVIRT_WITHIN) {
        Ok(Ok(labs)) => Ok(labs),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(format!("libvirt did not answer within {} s", LIBVIRT_WITHIN.as_secs())),
    }
}
