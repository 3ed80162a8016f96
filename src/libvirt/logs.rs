//! Where a domain's console is logged on its host: a folder for root's eyes only, that the lab's last domain takes
//! along. libvirt makes the files in it, of mode 0600, but not the folder.

use crate::lab::LabName;
use crate::state::DomainName;
use crate::transport::cmd::{Cmd, CmdError, Shell};

/// How many old logs virtlogd keeps: `max_backups` of virtlogd.conf.
const BACKUPS: usize = 3;

fn folder(lab: &LabName) -> String {
    format!("/var/log/libvirt/netlab.{lab}")
}

/// The log of a domain's console.
pub(super) fn console(name: &DomainName) -> String {
    format!("{}/{}.console.log", folder(name.lab()), name.vm())
}

/// Makes the folder of a lab's logs.
pub(super) fn make(lab: &LabName, shell: &dyn Shell) -> Result<(), CmdError> {
    let folder = folder(lab);
    shell
        .check(&Cmd::new(["mkdir", "-p", "-m", "0700", "--", &folder]))
        .map(drop)
}

/// Deletes a domain's logs: ours, and the one in which libvirt keeps what QEMU had to say. The folder goes when it is
/// empty.
pub(super) fn delete(name: &DomainName, shell: &dyn Shell) -> Result<(), CmdError> {
    let mut files = Vec::new();
    for log in [console(name), format!("/var/log/libvirt/qemu/{name}.log")] {
        files.extend((0..BACKUPS).map(|old| format!("{log}.{old}")));
        files.push(log);
    }
    shell.check(&Cmd::new(
        ["rm", "-f", "--"].into_iter().map(str::to_owned).chain(files),
    ))?;
    // Its status says no more than that something is still in it.
    let folder = folder(name.lab());
    shell.run(&Cmd::new(["rmdir", "--", &folder])).map(drop)
}
