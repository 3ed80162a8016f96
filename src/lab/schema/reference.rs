//! Every key of a lab file as a list, for reference pages.

use super::tables::LAB;
use super::{Kind, Table};

/// One key of a lab file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaKey {
    /// Where it is, e.g. `networks.NAME.vlan`; `NAME` is a name of the user's, `[]` an item of a list.
    pub path: String,
    /// What its value can be, e.g. `1 to 4094`.
    pub value: String,
    /// A table without it is refused.
    pub required: bool,
    /// What it means.
    pub about: &'static str,
}

/// Returns every key of a lab file, in the order of the schema; each table's own keys come before those of its tables.
pub fn keys() -> Vec<SchemaKey> {
    let mut keys = Vec::new();
    add(&LAB, "", &mut keys);
    keys
}

fn add(table: &Table, at: &str, keys: &mut Vec<SchemaKey>) {
    let path = |name: &str| {
        if at.is_empty() {
            name.to_owned()
        } else {
            format!("{at}.{name}")
        }
    };
    keys.extend(table.keys.iter().map(|key| SchemaKey {
        path: path(key.name),
        value: value(&key.value),
        required: key.required,
        about: key.about,
    }));
    for key in table.keys {
        tables(&key.value, &path(key.name), keys);
    }
}

/// Adds the keys of the tables in a value.
fn tables(kind: &Kind, at: &str, keys: &mut Vec<SchemaKey>) {
    match kind {
        Kind::Table(table) => add(table, at, keys),
        Kind::Named(_, of) => tables(of, &format!("{at}.NAME"), keys),
        Kind::List(of) | Kind::OneOrMore(of) => tables(of, &format!("{at}[]"), keys),
        Kind::Either(one, other) => {
            tables(one, at, keys);
            tables(other, at, keys);
        }
        _ => {}
    }
}

/// Returns what a value can be, in words.
fn value(kind: &Kind) -> String {
    match kind {
        Kind::Text => "string".to_owned(),
        Kind::Pattern(_, example) => format!("string, e.g. {example}"),
        Kind::Name(_, most, example) => format!("name of at most {most} characters, e.g. {example}"),
        Kind::Choice(names) => names()
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect::<Vec<_>>()
            .join(" or "),
        Kind::Flag => "true or false".to_owned(),
        Kind::Integer(least, most) => format!("{least} to {most}"),
        Kind::List(of) => format!("list of: {}", value(of)),
        Kind::Two(of, _) => format!("list of two: {}", value(of)),
        Kind::OneOrMore(of) => format!("{}; or a list", value(of)),
        Kind::Either(one, other) => format!("{}; or {}", value(one), value(other)),
        Kind::Table(_) => "table".to_owned(),
        Kind::Named(..) => "tables by name".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_tables_in_tables_and_in_lists_are_there() {
        let keys = keys();
        let key = |path: &str| keys.iter().find(|key| key.path == path);
        assert!(key("name").unwrap().required);
        assert_eq!(key("networks.NAME.vlan").unwrap().value, "1 to 4094");
        for path in [
            "hosts.NAME.nics.NAME.address",
            "cables[].ends",
            "vms.NAME.nics[].network",
        ] {
            assert!(key(path).is_some(), "{path}: {keys:#?}");
        }
    }
}
