//! A host's packet rules by nftables: takes a [`Firewall`] and loads it as one transaction, reads what the lab has and
//! returns it as a [`Firewall`]. Decides nothing about what is wanted; never touches a table that is not this lab's, nor
//! any rule of iptables.
//!
//! A lab has at most two tables on a host, `ip netlab-<lab>` for address translation and for what is not routed, and
//! `bridge netlab-<lab>` for what must stay off a port. The lab's name is in the table's name and the owner's mark in the table: a chain
//! `MARK` without rules, which also outlives a `flush table`. (A comment on the table would be the place for it, but
//! `nft -j` of 2023 does not print that.) A table of that name without the mark is somebody else's.
//!
//! The `nftables` crate is not used for reading: its types drop fields and reject statements that they do not know, and
//! netlab must notice any change to its rules, and tolerate any rule of others.
//!
//! Machines behind the host reach a guest by its floating address, with one exception: where `br_netfilter` passes
//! bridged packets to these rules, the kernel would have to send a guest's packet to its own floating address back to the
//! port it came from, which a bridge does not do.
//!
//! Packets of a connection that existed before a rule was added or removed are translated as before: that is in the
//! kernel's connection tracking table, which a rule set does not affect.

mod observe;
mod rule;
mod ruleset;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use observe::Table;
use rule::{Hook, Match};
pub use survey::survey;

use crate::lab::{IfName, LabName};
use crate::state::Firewall;
use crate::transport::cmd::{Cmd, CmdError, Shell};

/// The chain that marks a table as netlab's.
const MARK: &str = "made-by-netlab";

/// Returns the name of a lab's tables.
pub fn table(lab: &LabName) -> String {
    format!("netlab-{lab}")
}

/// Why a rule set could not be loaded or deleted.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// A command could not be run or failed.
    #[error(transparent)]
    Command(#[from] CmdError),
    /// A table of the lab's name does not have its mark.
    #[error("nftables table `{table}` was not created by netlab and was left unchanged")]
    Foreign {
        /// Family and name.
        table: String,
    },
    /// nft or the kernel rejected the rules; nothing was changed.
    #[error("nft rejected the rules, and nothing was changed: {message}")]
    Rejected {
        /// What nft printed, on one line.
        message: String,
    },
}

impl NftError {
    /// Returns what the user can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Command(error) => error.help(),
            Self::Foreign { table } => Some(format!("if nobody needs it, delete it: `nft delete table {table}`")),
            Self::Rejected { .. } => None,
        }
    }
}

/// Returns the rules that `lab` has on the host; `None` where it has none. One command.
pub fn observe(shell: &dyn Shell, lab: &LabName) -> Result<Option<Firewall>, CmdError> {
    let tables = observe::tables(shell, lab)?;
    let mut rules = Vec::new();
    let mut altered = false;
    let mut any = false;
    for table in tables.iter().filter(|table| table.is_ours) {
        any = true;
        altered |= table.altered;
        rules.extend_from_slice(&table.rules);
    }
    Ok(any.then(|| {
        let mut firewall = ruleset::firewall(&rules);
        // netlab creates no table without rules.
        let needless = ruleset::families(&rules).count() < tables.iter().filter(|table| table.is_ours).count();
        firewall.altered |= altered || needless;
        firewall
    }))
}

/// What a lab's rules on a host have dropped since they were loaded, in packets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Between networks of different tenants, by the bridge on which the packets arrived.
    pub between: BTreeMap<IfName, u64>,
    /// ARP and IPv4 packets of guests from addresses that are not their own.
    pub forged: u64,
}

/// Returns the command that prints what [`dropped`] reads.
pub fn counters(lab: &LabName) -> Cmd {
    observe::list(lab)
}

/// Reads the output of [`counters`].
pub fn dropped(lab: &LabName, output: &[u8]) -> Result<Dropped, CmdError> {
    let mut dropped = Dropped::default();
    let tables = observe::read_all(lab, output)?;
    for table in tables.iter().filter(|table| table.is_ours) {
        for (rule, packets) in table.rules.iter().zip(&table.packets) {
            match (rule.hook, &rule.matches[..]) {
                (Hook::Forward, [Match::Enters(bridge), ..]) => _ = dropped.between.insert(bridge.clone(), *packets),
                (Hook::Prerouting, [_, Match::NotAddress(..)]) => dropped.forged += packets,
                _ => {}
            }
        }
    }
    Ok(dropped)
}

/// Loads `firewall` in place of what `lab` has: all of it or, after an error, nothing. Two commands.
pub fn load(shell: &dyn Shell, lab: &LabName, firewall: &Firewall) -> Result<(), NftError> {
    let rules = ruleset::rules(firewall);
    let tables = observe::tables(shell, lab)?;
    if let Some(foreign) = tables.iter().find(|table| !table.is_ours) {
        return Err(NftError::Foreign {
            table: format!("{} {}", foreign.family.keyword(), table(lab)),
        });
    }
    let mut text = deletion(&tables);
    for family in ruleset::families(&rules) {
        // Fails where somebody has created such a table since the tables were listed.
        let _ = writeln!(text, "create table {} {}", family.keyword(), table(lab));
    }
    text.push_str(&ruleset::text(lab, &rules));
    if text.is_empty() { Ok(()) } else { run(shell, text) }
}

/// Deletes what `lab` has. A foreign table of its name stays. Two commands.
pub fn delete(shell: &dyn Shell, lab: &LabName) -> Result<(), NftError> {
    let text = deletion(&observe::tables(shell, lab)?);
    if text.is_empty() { Ok(()) } else { run(shell, text) }
}

/// Returns the lab's tables as text for `nft -f`.
pub fn text(lab: &LabName, firewall: &Firewall) -> String {
    ruleset::text(lab, &ruleset::rules(firewall))
}

/// Returns the lines that delete the lab's tables: by the kernel's handle, which is never reused, and not by name.
fn deletion(tables: &[Table]) -> String {
    let mut text = String::new();
    for Table { family, handle, .. } in tables.iter().filter(|table| table.is_ours) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "delete table {} handle {handle}", family.keyword());
    }
    text
}

fn run(shell: &dyn Shell, text: String) -> Result<(), NftError> {
    let output = shell.run(&Cmd::new(["nft", "-f", "-"]).fed(text))?;
    if output.status == 0 {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(NftError::Rejected {
        message: stderr.split_whitespace().collect::<Vec<_>>().join(" "),
    })
}
