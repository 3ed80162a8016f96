//! DHCP and DNS servers of a host's networks by dnsmasq, one for each network: starts and stops them, looks which
//! there are and whether they live. A constant number of commands, however many networks. Decides nothing about what
//! is wanted; never touches a server that is not this lab's.
//!
//! A server has a folder of its own, `<lab>.<network>` (neither name can hold a dot), below `/run`, which a reboot
//! empties just as it ends the servers: `record` is the [`Dhcp`] it was started with, `conf` what it reads, `leases`
//! what it gave out, `pid` its process. A process is ours only while its command line names our `conf`; a number that
//! has gone to somebody else is left alone. A folder whose record is not whole, since a run was killed in the middle,
//! is observed as a server of nothing that does not run: a plan stops it, which removes the folder.

mod conf;
mod script;
#[cfg(test)]
mod tests;

pub use conf::text;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::lab::{IfName, LabName, NetworkName};
use crate::state::Dhcp;
use crate::transport::cmd::{Cmd, CmdError, Output, Shell};

/// Servers could not be started or stopped. Those before are done, those behind not begun.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Failed {
    /// Which of those given.
    pub at: usize,
    /// Why.
    #[source]
    pub cause: DhcpError,
}

/// Why a server could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// A command could not be run.
    #[error(transparent)]
    Command(#[from] CmdError),
    /// It cannot, or must not, be done here.
    #[error("{0}")]
    Refused(String),
}

/// The folder of a host that holds the servers' own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpServers {
    /// The folder; made when first needed.
    pub folder: PathBuf,
}

impl Default for DhcpServers {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("/run/netlab/dhcp"),
        }
    }
}

impl DhcpServers {
    /// The servers of `lab`. One command.
    pub fn observe(&self, shell: &dyn Shell, lab: &LabName) -> Result<BTreeMap<NetworkName, Dhcp>, CmdError> {
        let output = self.run(shell, &script::observe(), &[lab.as_str()], String::new())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut servers = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (Some(name), Some(alive), Some(record)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            // A folder that has another name was made by somebody else.
            let Ok(network) = NetworkName::new(name) else {
                continue;
            };
            let recorded: Option<Dhcp> = serde_json::from_str(record).ok();
            let running = alive == "alive" && recorded.is_some();
            let recorded = recorded.map_or_else(|| nothing(lab), Ok)?;
            servers.insert(network, Dhcp { running, ..recorded });
        }
        Ok(servers)
    }

    /// Starts servers, after asking each wire that leads anywhere whether it has one already, which takes two seconds.
    /// One command.
    pub fn start(&self, shell: &dyn Shell, lab: &LabName, servers: &[(&NetworkName, &Dhcp)]) -> Result<(), Failed> {
        let mut input = String::new();
        for (network, dhcp) in servers {
            let Dhcp { bridge, gateway, .. } = dhcp;
            let record = serde_json::to_string(dhcp).unwrap_or_default();
            // Writing to a `String` cannot fail.
            let _ = writeln!(input, "network {lab}.{network} {bridge} {gateway}\nrecord {record}");
            for line in text(dhcp).lines() {
                let _ = writeln!(input, "conf {line}");
            }
        }
        self.change(shell, &script::start(), &[script::PROBE.to_owned()], input)
    }

    /// Stops servers and removes all that they left; one that is not there is stopped. One command.
    pub fn stop(&self, shell: &dyn Shell, lab: &LabName, networks: &[&NetworkName]) -> Result<(), Failed> {
        let folders: Vec<String> = networks.iter().map(|network| format!("{lab}.{network}")).collect();
        self.change(shell, &script::stop(), &folders, String::new())
    }

    /// Runs a script that prints `failed <which> <why>`, or nothing.
    fn change(&self, shell: &dyn Shell, script: &str, arguments: &[String], input: String) -> Result<(), Failed> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = self.run(shell, script, &arguments, input).map_err(|error| Failed {
            at: 0,
            cause: error.into(),
        })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let failed = text.lines().find_map(|line| {
            let (at, why) = line.strip_prefix("failed ")?.split_once(' ')?;
            Some((at.parse().ok()?, why.to_owned()))
        });
        match failed {
            Some((at, why)) => Err(Failed {
                at,
                cause: DhcpError::Refused(why),
            }),
            None => Ok(()),
        }
    }

    /// Runs one of the scripts, which are constant; all that varies is an argument or input to them.
    fn run(&self, shell: &dyn Shell, script: &str, arguments: &[&str], input: String) -> Result<Output, CmdError> {
        let mut cmd = Cmd::new(["sh", "-c", script, "sh", &self.folder.to_string_lossy()]).fed(input);
        cmd.argv.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let output = shell.run(&cmd)?;
        if output.status == 0 {
            return Ok(output);
        }
        Err(CmdError::Failed {
            // The script itself would only be noise.
            command: "dnsmasq".to_owned(),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

/// A server of nothing, which no lab wants.
fn nothing(lab: &LabName) -> Result<Dhcp, CmdError> {
    let bridge = IfName::new("none").map_err(|error| CmdError::Unreadable {
        command: "dnsmasq".to_owned(),
        message: error.to_string(),
    })?;
    Ok(Dhcp {
        bridge,
        subnet: Ipv4Net::default(),
        gateway: Ipv4Addr::UNSPECIFIED,
        domain: lab.clone(),
        leases: BTreeMap::new(),
        nameservers: Vec::new(),
        mtu: None,
        running: false,
    })
}
