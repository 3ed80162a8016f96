//! The state of all of a host's links, of whatever owner.

use super::snapshot::Snapshot;
use crate::state::survey::{Port, Ports};
use crate::transport::cmd::{CmdError, Shell};

/// Returns every link of the host.
pub fn ports(shell: &dyn Shell) -> Result<Ports, CmdError> {
    let links = Snapshot::take(shell)?.links.into_iter();
    let ports = links.map(|link| {
        let port = Port {
            up: link.is_up(),
            carrier: link.has_carrier(),
            mtu: link.mtu.unwrap_or(u32::MAX),
            master: link.master,
        };
        (link.ifname, port)
    });
    Ok(ports.collect())
}
