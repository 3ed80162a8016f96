//! The folder on the host where the consoles of a lab's domains are logged: readable by root only, removed with the
//! lab's last domain. libvirt creates the files in it, with mode 0600, but not the folder.

use crate::lab::LabName;
use crate::state::DomainName;
use crate::transport::cmd::{Cmd, CmdError, Shell};

/// How many old logs virtlogd keeps: `max_backups` of virtlogd.conf.
const BACKUPS: usize = 3;

fn folder(lab: &LabName) -> String {
    format!("/var/log/libvirt/netlab.{lab}")
}

/// Returns the path of the log of a domain's console.
pub(super) fn console(name: &DomainName) -> String {
    format!("{}/{}.console.log", folder(name.lab()), name.vm())
}

/// Creates the folder of a lab's logs.
pub(super) fn create_folder(lab: &LabName, shell: &dyn Shell) -> Result<(), CmdError> {
    let folder = folder(lab);
    shell
        .check(&Cmd::new(["mkdir", "-p", "-m", "0700", "--", &folder]))
        .map(drop)
}

/// Deletes a domain's logs: the console's and libvirt's log of QEMU's messages. Removes the folder when it is empty.
pub(super) fn delete(name: &DomainName, shell: &dyn Shell) -> Result<(), CmdError> {
    let mut files = Vec::new();
    for log in [console(name), format!("/var/log/libvirt/qemu/{name}.log")] {
        files.extend((0..BACKUPS).map(|old| format!("{log}.{old}")));
        files.push(log);
    }
    shell.check(&Cmd::new(
        ["rm", "-f", "--"].into_iter().map(str::to_owned).chain(files),
    ))?;
    // It fails where the folder holds the logs of other domains.
    let folder = folder(name.lab());
    shell.run(&Cmd::new(["rmdir", "--", &folder])).map(drop)
}
