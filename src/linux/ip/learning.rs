//! Asks whether spanning tree still keeps guests from sending.

use crate::lab::MacAddr;
use crate::transport::{Cmd, CmdError, Script, Shell};

const LEARNING: Script = Script {
    name: "ip/learning.sh",
    text: include_str!("learning.sh"),
};

/// Returns whether the port of a guest's NIC with one of these MAC addresses listens or learns: it passes no frames before
/// it forwards, twice the forward delay after the guest's start. One command.
pub fn learning(shell: &dyn Shell, macs: &[MacAddr]) -> Result<bool, CmdError> {
    let macs: Vec<String> = macs.iter().map(ToString::to_string).collect();
    let printed = shell.check(&Cmd::script(LEARNING, macs))?;
    Ok(!printed.is_empty())
}
