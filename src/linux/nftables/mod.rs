//! A host's packet rules by nftables: takes a [`Firewall`] and loads it as one transaction, looks at what the lab has
//! and gives it back as a [`Firewall`]. Decides nothing about what is wanted; never touches a table that is not this
//! lab's, nor any rule of iptables.
//!
//! A lab has at most two tables on a host, `ip netlab-<lab>` for address translation and `bridge netlab-<lab>` for
//! what must stay off a port. The lab's name is in the table's name and the owner's mark in the table: a chain
//! [`MARK`] without rules, which also outlives a `flush table`. (A comment on the table would be the place for it, but
//! `nft -j` of 2023 does not print that.) A table of that name without the mark is somebody else's.
//!
//! Whoever is behind the host reaches a guest by its floating address, with one exception: where `br_netfilter` hands
//! bridged packets to these rules, the kernel sends a guest's packet to its own floating address back to the very port
//! it came from, which a bridge does not do.
//!
//! Packets of a connection that stood before a rule came or went are translated as before: that is in the kernel's
//! table of connections, which a rule set does not touch.

mod observe;
mod rule;
mod ruleset;
mod survey;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use observe::Table;
pub use survey::survey;

use crate::lab::LabName;
use crate::state::Firewall;
use crate::transport::cmd::{Cmd, CmdError, Shell};

/// The chain that says whose a table is.
const MARK: &str = "made-by-netlab";

/// The name of a lab's tables.
pub fn table(lab: &LabName) -> String {
    format!("netlab-{lab}")
}

/// Why a rule set could not be looked at, loaded or deleted.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// A command could not be run.
    #[error(transparent)]
    Command(#[from] CmdError),
    /// A table of the lab's name has not its mark.
    #[error(
        "nftables table `{0}` is not this lab's: netlab did not make it; it was left alone (if nobody needs it, \
         `nft delete table {0}`)"
    )]
    Foreign(String),
    /// nft or the kernel said no; nothing was changed.
    #[error("nft did not load the rules, and nothing was changed: {0}")]
    Rejected(String),
}

/// The rules that `lab` has on the host; None: it has none. One command.
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
        // A table that has nothing to say would not have been made.
        let needless = ruleset::families(&rules).count() < tables.iter().filter(|table| table.is_ours).count();
        firewall.altered |= altered || needless;
        firewall
    }))
}

/// Loads `firewall` in place of what `lab` has: all of it or, after an error, nothing. Two commands.
pub fn load(shell: &dyn Shell, lab: &LabName, firewall: &Firewall) -> Result<(), NftError> {
    let rules = ruleset::rules(firewall);
    let tables = observe::tables(shell, lab)?;
    if let Some(foreign) = tables.iter().find(|table| !table.is_ours) {
        return Err(NftError::Foreign(format!("{} {}", foreign.family.word(), table(lab))));
    }
    let mut text = deletion(&tables);
    for family in ruleset::families(&rules) {
        // Fails where somebody has made such a table since it was looked for.
        let _ = writeln!(text, "create table {} {}", family.word(), table(lab));
    }
    text.push_str(&ruleset::text(lab, &rules));
    run(shell, text)
}

/// Deletes what `lab` has. A foreign table of its name stays. Two commands.
pub fn delete(shell: &dyn Shell, lab: &LabName) -> Result<(), NftError> {
    let text = deletion(&observe::tables(shell, lab)?);
    if text.is_empty() { Ok(()) } else { run(shell, text) }
}

/// The lab's tables for somebody who reads, or loads them by hand with `nft -f`.
pub fn text(lab: &LabName, firewall: &Firewall) -> String {
    ruleset::text(lab, &ruleset::rules(firewall))
}

/// The lines that delete what is ours: by the kernel's own number, which is never given twice, and not by name.
fn deletion(tables: &[Table]) -> String {
    let mut text = String::new();
    for Table { family, handle, .. } in tables.iter().filter(|table| table.is_ours) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "delete table {} handle {handle}", family.word());
    }
    text
}

fn run(shell: &dyn Shell, text: String) -> Result<(), NftError> {
    let output = shell.run(&Cmd::new(["nft", "-f", "-"]).fed(text))?;
    if output.status == 0 {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(NftError::Rejected(
        said.split_whitespace().collect::<Vec<_>>().join(" "),
    ))
}
