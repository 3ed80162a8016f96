//! Reads a lab file: takes its TOML tree, returns a [`LabFile`]. Knows keys, types and single values; what values mean
//! together is checked in [`super::check`].

mod addresses;
mod conform;
mod hosts;
mod networks;
mod nova;
mod services;
mod setup;
mod shaping;
mod vms;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) use services::is_numeric;

use super::file::{At, LabFile};
use super::problem::{Problem, suggest};

pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// The value of a key.
pub(in crate::lab) fn get<'a, 'i>(table: &'a DeTable<'i>, key: &str) -> Option<&'a Value<'i>> {
    table.get(key)
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Collects problems while it reads.
#[derive(Debug, Default)]
pub(in crate::lab) struct Reader {
    pub(in crate::lab) problems: Vec<Problem>,
    /// Places of values of a wrong type, which are reported.
    mistyped: BTreeSet<(usize, usize)>,
    /// Tables of names, by their keys, of which something could not be read; and keys of values that could not.
    pub(in crate::lab) broken: BTreeSet<&'static str>,
}

impl Reader {
    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        // A value of a wrong type has no other error.
        if !self.mistyped.contains(&(span.start, span.end)) {
            self.problems.push(Problem::new(span, message, help));
        }
    }

    /// Whether a value of `table` has a wrong type, which is reported before everything else.
    pub(super) fn has_mistyped(&self, table: &DeTable<'_>) -> bool {
        let mut spans = table.values().map(Spanned::span);
        spans.any(|span| self.mistyped.contains(&(span.start, span.end)))
    }

    pub(super) fn wrong_type(&mut self, value: &Value<'_>, wanted: &str) {
        let found = kind(value.get_ref());
        self.add(value.span(), format!("expected {wanted}, found {found}"), "");
    }

    pub(super) fn table<'a, 'i>(&mut self, value: &'a Value<'i>) -> Option<&'a DeTable<'i>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(table);
        }
        self.wrong_type(value, "a table");
        None
    }

    pub(super) fn list<'a, 'i>(&mut self, value: Option<&'a Value<'i>>) -> Vec<&'a Value<'i>> {
        match value.map(|v| (v, v.get_ref())) {
            None => Vec::new(),
            Some((_, DeValue::Array(list))) => list.iter().collect(),
            Some((value, _)) => {
                self.wrong_type(value, "a list");
                Vec::new()
            }
        }
    }

    pub(super) fn string<'a>(&mut self, value: &'a Value<'_>) -> Option<&'a str> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(text.as_ref());
        }
        self.wrong_type(value, "a string");
        None
    }

    pub(super) fn name<T>(&mut self, text: &str, span: Range<usize>) -> Option<At<T>>
    where
        T: FromStr<Err: Display>,
    {
        match text.parse() {
            Ok(value) => Some(At { value, span }),
            Err(error) => {
                self.add(span, format!("`{text}`: {error}"), "");
                None
            }
        }
    }

    pub(super) fn parsed<T>(&mut self, value: Option<&Value<'_>>) -> Option<At<T>>
    where
        T: FromStr<Err: Display>,
    {
        let value = value?;
        let text = self.string(value)?;
        self.name(text, value.span())
    }

    /// Returns `value`, which was read from `key`. Where that is written and could not be read, that is the mistake: nothing
    /// is reported that follows from its absence.
    pub(in crate::lab) fn kept<T>(&mut self, table: &DeTable<'_>, key: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() && get(table, key).is_some() {
            self.broken.insert(key);
        }
        value
    }

    pub(super) fn integer(&mut self, value: Option<&Value<'_>>) -> Option<At<i64>> {
        let value = value?;
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(value, "an integer");
            return None;
        };
        // A number beyond i64 is beyond every range here, too.
        let value_ = i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(i64::MAX);
        Some(At {
            value: value_,
            span: value.span(),
        })
    }

    pub(super) fn ranged(&mut self, value: Option<&Value<'_>>, what: &str, most: u32) -> Option<At<u32>> {
        let At { value, span } = self.integer(value)?;
        if let Some(value) = u32::try_from(value).ok().filter(|n| (1..=most).contains(n)) {
            return Some(At { value, span });
        }
        self.add(
            span,
            format!("{what} is out of range"),
            format!("{what} is a number from 1 to {most}"),
        );
        None
    }

    pub(super) fn boolean(&mut self, value: Option<&Value<'_>>) -> bool {
        match value.map(|v| (v, v.get_ref())) {
            None => false,
            Some((_, DeValue::Boolean(yes))) => *yes,
            Some((value, _)) => {
                self.wrong_type(value, "true or false");
                false
            }
        }
    }

    /// Named tables under `key`, e.g. every `[hosts.X]`.
    pub(super) fn named<'a, 'i, N>(&mut self, root: &'a DeTable<'i>, key: &'static str) -> Vec<(At<N>, &'a DeTable<'i>)>
    where
        N: FromStr<Err: Display>,
    {
        let Some(value) = get(root, key) else {
            return Vec::new();
        };
        let Some(table) = self.table(value) else {
            self.broken.insert(key);
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, value) in table {
            let name = self.name(name.get_ref().as_ref(), name.span());
            let value = self.table(value);
            if let (Some(name), Some(value)) = (name, value) {
                found.push((name, value));
            } else {
                self.broken.insert(key);
            }
        }
        found
    }

    /// One of a few names; the first of `names` where the key is absent.
    pub(super) fn choice<T: Clone>(&mut self, value: Option<&Value<'_>>, what: &str, names: &[(&str, T)]) -> Option<T> {
        let Some(value) = value else {
            return names.first().map(|(_, chosen)| chosen.clone());
        };
        let text = self.string(value)?;
        let found = names.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let help = suggest(text, names.iter().map(|(name, _)| *name));
            self.add(value.span(), format!("unknown {what} `{text}`"), help);
        }
        found.map(|(_, chosen)| chosen.clone())
    }

    /// A value for each of several hosts: a table from host to value.
    pub(super) fn per_host<T>(&mut self, value: Option<&Value<'_>>) -> Vec<(At<super::HostName>, At<T>)>
    where
        T: FromStr<Err: Display>,
    {
        let Some(table) = value.and_then(|value| self.table(value)) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (host, value) in table {
            let host = self.name(host.get_ref().as_ref(), host.span());
            let value = self.parsed(Some(value));
            found.extend(host.zip(value));
        }
        found
    }

    /// A list, or one item without the brackets.
    pub(super) fn one_or_more<'a, 'i>(&mut self, value: Option<&'a Value<'i>>) -> Vec<&'a Value<'i>> {
        match value.map(|value| (value, value.get_ref())) {
            Some((value, DeValue::String(_))) => vec![value],
            _ => self.list(value),
        }
    }

    /// Reads the whole file; `folder` is the base of relative paths.
    pub(in crate::lab) fn lab(&mut self, root: &DeTable<'_>, folder: &Path) -> LabFile {
        if get(root, "name").is_none() {
            self.add(
                0..0,
                "the lab has no name",
                "write `name = \"...\"` at the top of the file",
            );
        }
        let name = self.parsed(get(root, "name")).map(|at| at.value);
        let image = self.parsed(get(root, "image"));
        let setup = self.setup(root);
        let vars = get(root, "vars").map(|v| self.vars(v)).unwrap_or_default();
        let hosts = self.named(root, "hosts");
        let hosts = hosts.into_iter().map(|(n, t)| self.host(n, t)).collect();
        let switches = self.named(root, "switches");
        let switches = switches.into_iter().map(|(n, t)| self.switch(n, t)).collect();
        let routers = self.named(root, "routers");
        let routers = routers.into_iter().map(|(n, t)| self.router(n, t)).collect();
        let cables = self.list(get(root, "cables"));
        let cables = cables.into_iter().filter_map(|v| self.cable(v)).collect();
        let networks = self.named(root, "networks");
        let networks = networks.into_iter().map(|(n, t)| self.network(n, t)).collect();
        let routes = self.list(get(root, "route"));
        let routes = routes.into_iter().filter_map(|v| self.route(v)).collect();
        let nat = self.list(get(root, "nat"));
        let nat = nat.into_iter().filter_map(|v| self.nat(v)).collect();
        let vms = self.named(root, "vms");
        let vms = vms.into_iter().map(|(n, t)| self.vm(n, t, folder)).collect();
        let verify = get(root, "verify").map(|v| self.verify(v)).unwrap_or_default();
        let nova = get(root, "nova").and_then(|v| self.nova(v));
        LabFile {
            broken: std::mem::take(&mut self.broken),
            name,
            image,
            setup,
            vars,
            hosts,
            switches,
            routers,
            cables,
            networks,
            routes,
            nat,
            vms,
            outside: verify.outside,
            outside_names: verify.outside_names,
            pings: verify.pings,
            checks: verify.checks,
            nova,
        }
    }
}
