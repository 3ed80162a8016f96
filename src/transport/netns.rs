//! Runs commands inside namespaces of this machine: an emulated host, switch or router.

use super::cmd::{Cmd, CmdError, Output, Shell};
use super::local::{spawn, split};
use super::prompt::shell_on;

/// Runs commands inside namespaces of this machine, by nsenter(1). Needs CAP_SYS_ADMIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceShell {
    target: Vec<String>,
}

impl NamespaceShell {
    /// Runs commands in the network, mount and PID namespaces of process `pid`, the init of an emulated host.
    pub fn of_process(pid: u32) -> Self {
        let target = ["--target", &pid.to_string(), "--net", "--mount", "--pid"];
        Self {
            target: target.map(ToOwned::to_owned).into(),
        }
    }

    /// Runs commands in the network namespace that `ip netns add <name>` made; files and processes are this machine's.
    pub fn of_network(name: &str) -> Self {
        Self {
            target: vec![format!("--net=/run/netns/{name}")],
        }
    }

    /// Returns the command that opens a shell there for the user of this terminal; the prompt shows `machine`.
    pub fn login(&self, machine: &str) -> Vec<String> {
        self.command(&shell_on(machine))
    }

    /// Returns the command that runs `argv` there.
    pub fn command(&self, argv: &[String]) -> Vec<String> {
        let nsenter = std::iter::once("nsenter".to_owned()).chain(self.target.clone());
        let words = nsenter.chain(std::iter::once("--".to_owned()));
        words.chain(argv.iter().cloned()).collect()
    }
}

impl Shell for NamespaceShell {
    fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
        let (program, _) = split(cmd)?;
        let mut arguments = self.target.clone();
        arguments.push("--".to_owned());
        arguments.extend_from_slice(&cmd.argv);
        let output = spawn(cmd, "nsenter", &arguments)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        // nsenter prints a message of its own only where the command never ran; 127 is "no such program" (util-linux
        // include/exec_shell.h, errexec).
        match stderr.trim().strip_prefix("nsenter: ") {
            Some(_) if output.status == 127 => Err(CmdError::NotFound {
                program: program.to_owned(),
            }),
            Some(message) => Err(CmdError::Namespace {
                command: cmd.to_string(),
                message: message.to_owned(),
            }),
            None => Ok(output),
        }
    }
}
