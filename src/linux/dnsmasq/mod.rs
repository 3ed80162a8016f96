//! DHCP and DNS servers of a host's networks by dnsmasq, one for each network: starts and stops them, observes which
//! exist and whether they run. A constant number of commands, however many networks. Decides nothing about what is
//! wanted; never touches a server that is not this lab's.
//!
//! A server has a folder of its own, `<lab>.<network>` (neither name can hold a dot), below `/run`, which a reboot
//! empties just as it ends the servers: `record` is the [`Dhcp`] it was started with, `conf` its configuration, `leases`
//! the leases it granted. A process is a server while its command line names such a `conf`, whichever run started it and
//! however far that got. A folder with an incomplete record, since a run was killed in the middle, or a process whose
//! folder was removed, is observed as a server of nothing: a plan stops it, which removes both.

mod conf;
mod error;
#[cfg(test)]
mod tests;

pub use conf::text;
pub use error::DhcpError;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::lab::{IfName, LabName, NetworkName};
use crate::linux::FailedAt;
use crate::state::Dhcp;
use crate::transport::{Cmd, CmdError, Output, Script, Shell};

const SERVERS: Script = Script {
    name: "dnsmasq/servers.sh",
    text: include_str!("servers.sh"),
};
const PROBE: &str = include_str!("probe.pl");

/// The folder of a host that holds the servers' own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpServers {
    /// The folder; created when first needed.
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
    /// Returns the servers of `lab`. One command.
    pub fn observe(&self, shell: &dyn Shell, lab: &LabName) -> Result<BTreeMap<NetworkName, Dhcp>, CmdError> {
        let output = shell.check(&self.script("observe", [lab.as_str()]))?;
        let mut servers = BTreeMap::new();
        for line in String::from_utf8_lossy(&output).lines() {
            let mut fields = line.splitn(3, ' ');
            let (Some(name), Some(alive), Some(record)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            // netlab made no folder of another name.
            let Ok(network) = NetworkName::new(name) else {
                continue;
            };
            let recorded: Option<Dhcp> = serde_json::from_str(record).ok();
            let running = alive == "alive" && recorded.is_some();
            if let Some(recorded) = recorded.or_else(|| nothing(lab)) {
                servers.insert(network, Dhcp { running, ..recorded });
            }
        }
        Ok(servers)
    }

    /// Starts servers, in one command. Each bridge with a port is first probed for another server, which takes two
    /// seconds for all of them together.
    pub fn start(
        &self,
        shell: &dyn Shell,
        lab: &LabName,
        servers: &[(&NetworkName, &Dhcp)],
    ) -> Result<(), FailedAt<DhcpError>> {
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
        change(shell, &self.script("start", [PROBE]).fed(input))
    }

    /// Stops servers and removes all that they left; one that does not exist counts as stopped. One command.
    pub fn stop(&self, shell: &dyn Shell, lab: &LabName, networks: &[&NetworkName]) -> Result<(), FailedAt<DhcpError>> {
        let folders = networks.iter().map(|network| format!("{lab}.{network}"));
        change(shell, &self.script("stop", folders))
    }

    fn script<S: Into<String>>(&self, verb: &str, arguments: impl IntoIterator<Item = S>) -> Cmd {
        let own = [self.folder.to_string_lossy().into_owned(), verb.to_owned()];
        Cmd::script(SERVERS, own.into_iter().chain(arguments.into_iter().map(Into::into)))
    }
}

/// Returns the command that asks on bridges, each with its gateway, which DHCP servers answer: two seconds for all of them.
pub fn probe<'a>(bridges: impl IntoIterator<Item = (&'a IfName, Ipv4Addr)>) -> Cmd {
    let asked = bridges
        .into_iter()
        .map(|(bridge, gateway)| format!("{bridge},{gateway}"));
    let perl = ["perl", "-e", PROBE].map(str::to_owned);
    Cmd::new(perl.into_iter().chain(asked))
}

/// Returns the bridges and addresses that [`probe`] printed, of the servers that answered.
pub fn answered(output: &Output) -> Vec<(String, Ipv4Addr)> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| line.strip_prefix("answer "));
    lines
        .filter_map(|line| {
            let (bridge, address) = line.split_once(' ')?;
            Some((bridge.to_owned(), address.parse().ok()?))
        })
        .collect()
}

/// Runs the script for one of its verbs that print `failed …`, or nothing.
fn change(shell: &dyn Shell, cmd: &Cmd) -> Result<(), FailedAt<DhcpError>> {
    let output = shell.check(cmd).map_err(FailedAt::first)?;
    let failed = String::from_utf8_lossy(&output).lines().find_map(|line| {
        let (at, reason) = line.strip_prefix("failed ")?.split_once(' ')?;
        Some((at.parse().ok()?, DhcpError::read(reason)))
    });
    failed.map_or(Ok(()), |(at, cause)| Err(FailedAt { at, cause }))
}

/// Returns a server of nothing, which no lab wants.
fn nothing(lab: &LabName) -> Option<Dhcp> {
    Some(Dhcp {
        bridge: IfName::new("none").ok()?,
        subnet: Ipv4Net::default(),
        gateway: Ipv4Addr::UNSPECIFIED,
        domain: lab.clone(),
        leases: BTreeMap::new(),
        nameservers: Vec::new(),
        mtu: None,
        lease: None,
        running: false,
    })
}
