//! Reads the tables that have a lab's name.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::rule::{Family, Hook, Rule};
use super::ruleset::{chains, has_type};
use super::{MARK, table};
use crate::lab::LabName;
use crate::transport::{Cmd, CmdError, Script, Shell};

const LIST: Script = Script {
    name: "nftables/list.sh",
    text: include_str!("list.sh"),
};

/// A table of the lab's name.
#[derive(Debug)]
pub(super) struct Table {
    pub family: Family,
    /// The kernel's number for it.
    pub handle: u64,
    /// It has the owner's mark.
    pub is_ours: bool,
    /// Those of its rules that netlab could have made, in the order in which they were printed.
    pub rules: Vec<Rule>,
    /// How many packets each of them has counted.
    pub packets: Vec<u64>,
    /// Something else is in it, or a chain of ours is not.
    pub altered: bool,
}

/// One object of a listing; of the many kinds only those that netlab creates.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Object {
    Metainfo(serde::de::IgnoredAny),
    Table(RawTable),
    Chain(RawChain),
    Rule(RawRule),
    #[serde(untagged)]
    Other(serde::de::IgnoredAny),
}

#[derive(Debug, Deserialize)]
struct RawTable {
    family: String,
    name: String,
    handle: u64,
}

#[derive(Debug, Deserialize)]
struct RawChain {
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    hook: Option<String>,
    prio: Option<i64>,
    policy: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RawRule {
    chain: String,
    comment: Option<String>,
    expr: Value,
}

#[derive(Debug, Deserialize)]
struct Listing {
    nftables: Vec<Object>,
}

/// Reads the tables of `lab`'s name. One command.
pub(super) fn tables(shell: &dyn Shell, lab: &LabName) -> Result<Vec<Table>, CmdError> {
    read_all(lab, &shell.check(&list(lab))?)
}

/// Returns the command that prints them.
pub(super) fn list(lab: &LabName) -> Cmd {
    Cmd::script(LIST, [table(lab)])
}

/// Reads what [`list`] printed.
pub(super) fn read_all(lab: &LabName, output: &[u8]) -> Result<Vec<Table>, CmdError> {
    let name = table(lab);
    let mut tables = Vec::new();
    // The first listing is of all tables and holds no chain: a table that is deleted meanwhile does not exist.
    for listing in serde_json::Deserializer::from_slice(output).into_iter().skip(1) {
        let Listing { nftables } = listing.map_err(|cause| CmdError::Json {
            command: list(lab).to_string(),
            cause,
        })?;
        tables.extend(read(&nftables, &name));
    }
    Ok(tables)
}

/// Reads the table of a listing.
fn read(objects: &[Object], name: &str) -> Option<Table> {
    let (family, handle) = objects.iter().find_map(|object| match object {
        Object::Table(table) if table.name == name => {
            let family = Family::ALL
                .into_iter()
                .find(|family| family.keyword() == table.family)?;
            Some((family, table.handle))
        }
        _ => None,
    })?;
    let mut table = Table {
        family,
        handle,
        is_ours: false,
        rules: Vec::new(),
        packets: Vec::new(),
        altered: false,
    };
    let mut present: BTreeSet<Hook> = BTreeSet::new();
    for object in objects {
        match object {
            Object::Metainfo(_) | Object::Table(_) => {}
            Object::Chain(chain) if chain.name == MARK => table.is_ours = true,
            Object::Chain(chain) => {
                let whole = chains(family).iter().find(|(hook, kind, priority)| {
                    chain.name == hook.keyword()
                        && chain.hook.as_deref() == Some(hook.keyword())
                        && chain.kind.as_deref() == Some(kind)
                        && chain.prio == Some(*priority)
                        && chain.policy.as_deref() == Some("accept")
                });
                present.extend(whole.map(|(hook, ..)| *hook));
                table.altered |= whole.is_none();
            }
            Object::Rule(rule) => {
                let hook = chains(family).iter().find(|(hook, ..)| hook.keyword() == rule.chain);
                let known = hook
                    .filter(|_| rule.comment.is_none())
                    .and_then(|(hook, ..)| Rule::read(family, *hook, &rule.expr));
                match known {
                    Some(known) => {
                        table.rules.push(known);
                        table.packets.push(Rule::packets(&rule.expr));
                    }
                    None => table.altered = true,
                }
            }
            Object::Other(_) => table.altered = true,
        }
    }
    let mut own = chains(family).iter();
    table.altered |= own.any(|(hook, kind, _)| present.contains(hook) != has_type(&table.rules, family, kind));
    Some(table)
}
