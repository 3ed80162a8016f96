//! One look at the tables that have a lab's name.

use serde::Deserialize;
use serde_json::Value;

use super::rule::{Family, Rule};
use super::ruleset::chains;
use super::{MARK, table};
use crate::lab::LabName;
use crate::transport::cmd::{Cmd, CmdError, Shell};

/// Prints all tables, then those of the name `$1` in full. Nothing at all where there is no nft, or where the kernel
/// has no nftables: then there is no table of ours either.
const LIST: &str = r#"PATH=$PATH:/usr/sbin:/sbin
command -v nft >/dev/null || exit 0
if ! said=$(nft -j list tables 2>&1); then
    case $said in *[Nn]"ot supported"*) exit 0 ;; esac
    printf '%s\n' "$said" >&2; exit 1
fi
printf '%s\n' "$said"
for family in ip bridge; do
    nft -j list table "$family" "$1" 2>/dev/null || true
done
"#;

/// A table of the lab's name.
#[derive(Debug)]
pub(super) struct Table {
    pub family: Family,
    /// The kernel's number for it.
    pub handle: u64,
    /// It has the owner's mark.
    pub is_ours: bool,
    /// Its rules, as far as they are such as netlab makes, in the order in which they were printed.
    pub rules: Vec<Rule>,
    /// Something else is in it, or a chain of ours is not.
    pub altered: bool,
}

/// One object of a listing; of the many kinds those that netlab makes.
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

/// Looks.
pub(super) fn tables(shell: &dyn Shell, lab: &LabName) -> Result<Vec<Table>, CmdError> {
    let name = table(lab);
    let output = shell.run(&Cmd::new(["sh", "-c", LIST, "sh", &name]))?;
    let command = || "nft -j list tables".to_owned();
    if output.status != 0 {
        return Err(CmdError::Failed {
            command: command(),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    let mut tables = Vec::new();
    // The first listing is of all tables and holds no chain: a table that goes while it is looked at is not there.
    for listing in serde_json::Deserializer::from_slice(&output.stdout).into_iter().skip(1) {
        let Listing { nftables } = listing.map_err(|error| CmdError::Unreadable {
            command: command(),
            message: error.to_string(),
        })?;
        tables.extend(read(&nftables, &name));
    }
    Ok(tables)
}

/// The table of a listing.
fn read(objects: &[Object], name: &str) -> Option<Table> {
    let (family, handle) = objects.iter().find_map(|object| match object {
        Object::Table(table) if table.name == name => {
            let family = Family::ALL.into_iter().find(|family| family.word() == table.family)?;
            Some((family, table.handle))
        }
        _ => None,
    })?;
    let mut table = Table {
        family,
        handle,
        is_ours: false,
        rules: Vec::new(),
        altered: false,
    };
    let mut there = 0;
    for object in objects {
        match object {
            Object::Metainfo(_) | Object::Table(_) => {}
            Object::Chain(chain) if chain.name == MARK => table.is_ours = true,
            Object::Chain(chain) => {
                let is_whole = chains(family).iter().any(|(hook, kind, priority)| {
                    chain.name == hook.word()
                        && chain.hook.as_deref() == Some(hook.word())
                        && chain.kind.as_deref() == Some(kind)
                        && chain.prio == Some(*priority)
                        && chain.policy.as_deref() == Some("accept")
                });
                there += usize::from(is_whole);
                table.altered |= !is_whole;
            }
            Object::Rule(rule) => {
                let hook = chains(family).iter().find(|(hook, ..)| hook.word() == rule.chain);
                let rule = hook
                    .filter(|_| rule.comment.is_none())
                    .and_then(|(hook, ..)| Rule::read(family, *hook, &rule.expr));
                match rule {
                    Some(rule) => table.rules.push(rule),
                    None => table.altered = true,
                }
            }
            Object::Other(_) => table.altered = true,
        }
    }
    table.altered |= there != chains(family).len();
    Some(table)
}
