//! Compares a file with the tables of its keys before anything of it is read: reports unknown keys and values of wrong types,
//! each once. A mistyped key is then read as the one that was meant, so that its absence is not reported as well.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Reader, Value, kind};
use crate::lab::problem::{MOST_SHOWN, meant, suggest};
use crate::lab::schema::{Key, Kind, Table};

/// The key whose value is compared, for examples.
struct Place<'a> {
    key: &'a Key,
    /// It is a key of the lab itself, written as a header.
    top: bool,
}

impl Reader {
    /// Compares a table with its keys. `top`: it is the file itself.
    pub(in crate::lab) fn conform(&mut self, table: &mut DeTable<'_>, known: &Table, top: bool) {
        let names = || known.keys.iter().map(|key| key.name);
        let is_known = |name: &str| names().any(|known| known == name);
        let mut renamed = Vec::new();
        for key in table.keys().filter(|key| !is_known(key.get_ref())) {
            let name = key.get_ref().as_ref();
            let message = format!("unknown key `{name}` in {}", known.name);
            let help = if self.problems.len() < MOST_SHOWN {
                suggest(name, names())
            } else {
                String::new()
            };
            self.add(key.span(), message, help);
            if renamed.len() < known.keys.len()
                && let Some(meant) = meant(name, names())
            {
                renamed.push((key.clone(), meant.to_owned()));
            }
        }
        for (key, meant) in renamed {
            let is_there = table.keys().any(|key| *key.get_ref() == meant);
            if let Some(value) = table.remove(&key).filter(|_| !is_there) {
                let kind = known.keys.iter().find(|key| key.name == meant).map(|key| &key.value);
                if kind.is_some_and(|kind| !is_of(kind, value.get_ref())) {
                    // The key is reported; a value that does not fit it is no further mistake.
                    self.mistyped.insert((value.span().start, value.span().end));
                }
                table.insert(Spanned::new(key.span(), meant.into()), value);
            }
        }
        for (name, value) in table.iter_mut() {
            if let Some(key) = known.keys.iter().find(|key| key.name == name.get_ref()) {
                self.conform_value(value, &key.value, &Place { key, top });
            }
        }
    }

    fn conform_value(&mut self, value: &mut Value<'_>, wanted: &Kind, place: &Place<'_>) {
        match (wanted, value.get_mut()) {
            (Kind::Table(keys), DeValue::Table(table)) => self.conform(table, keys, false),
            (Kind::Named(_, of), DeValue::Table(table)) => {
                for (_, value) in table.iter_mut() {
                    self.conform_value(value, of, place);
                }
            }
            (Kind::List(item) | Kind::OneOrMore(item) | Kind::Two(item, _), DeValue::Array(list)) => {
                for value in list.iter_mut() {
                    self.conform_value(value, item, place);
                }
            }
            (Kind::Either(one, other), inner) => {
                let chosen = if is_of(one, inner) { one } else { other };
                if is_of(chosen, inner) {
                    self.conform_value(value, chosen, place);
                } else {
                    self.mismatch(value, wanted, place);
                }
            }
            (Kind::OneOrMore(item), inner) if is_of(item, inner) => {}
            (wanted, inner) if is_of(wanted, inner) => {}
            _ => self.mismatch(value, wanted, place),
        }
    }

    fn mismatch(&mut self, value: &Value<'_>, wanted: &Kind, place: &Place<'_>) {
        let message = format!("expected {}, found {}", wanted.what(), kind(value.get_ref()));
        let Range { start, end } = value.span();
        let help = match (place.top, &place.key.value) {
            (true, Kind::Named(name, Kind::Table(_))) => {
                format!(
                    "write `[{}.{}]` and its keys below",
                    place.key.name,
                    name.bare_example()
                )
            }
            (true, Kind::Table(_)) => format!("write `[{}]` and its keys below", place.key.name),
            (true, Kind::List(Kind::Table(_))) => format!("write `[[{}]]` and its keys below", place.key.name),
            _ => format!("write e.g. `{} = {}`", place.key.name, place.key.value.example()),
        };
        self.add(value.span(), message, help);
        self.mistyped.insert((start, end));
    }
}

/// Whether a value has the type, without what is in it.
fn is_of(wanted: &Kind, value: &DeValue<'_>) -> bool {
    match wanted {
        Kind::Text | Kind::Pattern(..) | Kind::Name(..) | Kind::Choice(_) => matches!(value, DeValue::String(_)),
        Kind::Flag => matches!(value, DeValue::Boolean(_)),
        Kind::Integer(..) => matches!(value, DeValue::Integer(_)),
        Kind::List(_) | Kind::Two(..) => matches!(value, DeValue::Array(_)),
        Kind::OneOrMore(item) => matches!(value, DeValue::Array(_)) || is_of(item, value),
        Kind::Either(one, other) => is_of(one, value) || is_of(other, value),
        Kind::Table(_) | Kind::Named(..) => matches!(value, DeValue::Table(_)),
    }
}
