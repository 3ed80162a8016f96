//! What values are called in messages, and an example of each.

use super::{Kind, Table};

impl Kind {
    /// Returns what a value of this kind is.
    pub(in crate::lab) fn what(&self) -> String {
        match self {
            Self::Text | Self::Pattern(..) | Self::Name(..) | Self::Choice(_) => "a string".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Integer(..) => "an integer".to_owned(),
            Self::List(_) | Self::Two(..) => "a list".to_owned(),
            Self::OneOrMore(item) => format!("{} or a list", item.what()),
            Self::Either(one, other) if one.what() == other.what() => one.what(),
            Self::Either(one, other) => format!("{} or {}", one.what(), other.what()),
            Self::Table(_) | Self::Named(..) => "a table".to_owned(),
        }
    }

    /// Returns a value of this kind, as it is written.
    pub(in crate::lab) fn example(&self) -> String {
        match self {
            Self::Text | Self::Pattern(..) | Self::Name(..) | Self::Choice(_) => {
                toml::Value::String(self.bare_example()).to_string()
            }
            Self::Flag => "true".to_owned(),
            Self::Integer(least, _) => least.to_string(),
            Self::Two(_, example) => (*example).to_owned(),
            Self::List(item) | Self::OneOrMore(item) => format!("[{}]", item.example()),
            Self::Either(one, _) => one.example(),
            Self::Table(table) => table.example(),
            Self::Named(name, of) => {
                // A dot in a bare key separates tables.
                let dots = name.bare_example().contains('.');
                let name = if dots { name.example() } else { name.bare_example() };
                format!("{{ {name} = {} }}", of.example())
            }
        }
    }

    /// The same without the quotes of a string.
    pub(in crate::lab) fn bare_example(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Pattern(_, example) | Self::Name(_, _, example) => (*example).to_owned(),
            Self::Choice(names) => names().first().map(|name| (*name).to_owned()).unwrap_or_default(),
            other => other.example(),
        }
    }
}

impl Table {
    /// Its required keys, or nothing.
    fn example(&self) -> String {
        let required = self.keys.iter().filter(|key| key.required);
        let entries: Vec<String> = required
            .map(|key| format!("{} = {}", key.name, key.value.example()))
            .collect();
        if entries.is_empty() {
            "{}".to_owned()
        } else {
            format!("{{ {} }}", entries.join(", "))
        }
    }
}
