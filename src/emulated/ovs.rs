//! Open vSwitch in an emulated host: its own database and daemons, in its own folders and namespaces.

use crate::transport::{Cmd, CmdError, Script, Shell};

const START: Script = Script {
    name: "emulated/start_ovs.sh",
    text: include_str!("start_ovs.sh"),
};

/// Starts Open vSwitch in the emulated host that `shell` runs commands in, unless it runs. It ends with the host.
pub(crate) fn start(shell: &dyn Shell) -> Result<(), CmdError> {
    shell.check(&Cmd::script(START, [""; 0])).map(drop)
}
