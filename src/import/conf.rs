//! The options of a configuration: takes its text, returns each option with its line. Knows the forms that nova read: the
//! flag file of the first releases (gflags: `--vlan_start=100`, `--vlan_start 100`, `--nomulti_host`) and oslo.config's INI
//! file (`vlan_start = 100` or `vlan_start: 100` in `[DEFAULT]`, values in quotes, values over several lines).

use std::collections::BTreeSet;

use super::Wrong;
use super::options::{Kind, known};
use super::value::Value;

/// An option as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The line, from 1; 0: a default that is not in the file.
    pub line: usize,
    pub option: String,
    pub value: String,
}

/// Everything that was read, in the file's order.
#[derive(Debug, Default)]
pub(super) struct Conf {
    pub entries: Vec<Entry>,
    /// Sections other than `[DEFAULT]`, which are not read, with their lines.
    pub sections: Vec<(usize, String)>,
    /// Lines that are no option.
    pub unreadable: Vec<(usize, String)>,
}

/// Returns the bytes of a file as text: UTF-16 where it begins with that mark, UTF-8, else Latin-1, in which every byte is a
/// character. Lines may end as on any system.
pub(super) fn decode(bytes: &[u8]) -> String {
    let units = |unit: fn([u8; 2]) -> u16| -> Vec<u16> {
        let pairs = bytes.chunks_exact(2).skip(1);
        pairs.filter_map(|pair| Some(unit(pair.try_into().ok()?))).collect()
    };
    let wide = match bytes {
        [0xff, 0xfe, ..] => Some(units(u16::from_le_bytes)),
        [0xfe, 0xff, ..] => Some(units(u16::from_be_bytes)),
        _ => None,
    };
    if let Some(wide) = wide {
        return String::from_utf16_lossy(&wide)
            .replace("\r\n", "\n")
            .replace('\r', "\n");
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}').to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    };
    text.replace("\r\n", "\n").replace('\r', "\n")
}

impl Conf {
    /// Reads a whole nova.conf.
    pub(super) fn read(text: &str) -> Self {
        let mut conf = Self::default();
        conf.add(text.lines().enumerate().map(|(at, line)| (at + 1, line)));
        conf
    }

    /// Reads numbered lines; the first ones are those of `[DEFAULT]`.
    pub(super) fn add<'a>(&mut self, lines: impl Iterator<Item = (usize, &'a str)>) {
        let mut default = true;
        // Whether an indented line continues a value.
        let mut continues = false;
        for (number, written) in lines {
            let line = written.trim();
            if let Some(section) = line.strip_prefix('[') {
                let name = section.split(']').next().unwrap_or_default().trim();
                default = name == "DEFAULT";
                if !default {
                    self.sections.push((number, name.to_owned()));
                }
                continues = false;
            } else if line.is_empty() {
                continues = false;
            } else if line.starts_with(['#', ';']) || !default {
                // A comment, or not nova-network's.
            } else if let Some(entry) = option(number, line) {
                self.entries.push(entry);
                continues = true;
            } else if continues && written.starts_with([' ', '\t']) {
                if let Some(entry) = self.entries.last_mut() {
                    if !entry.value.is_empty() {
                        entry.value.push('\n');
                    }
                    entry.value.push_str(line);
                }
            } else {
                self.unreadable.push((number, line.to_owned()));
            }
        }
    }

    /// Adds what is not in the file, before everything that is.
    pub(super) fn with_defaults(mut self, defaults: &[(&str, &str)]) -> Self {
        let made = defaults.iter().map(|(option, value)| Entry {
            line: 0,
            option: (*option).to_owned(),
            value: (*value).to_owned(),
        });
        self.entries.splice(0..0, made);
        self
    }

    /// Returns the value of an option; of several the last one, and none for one that is empty.
    pub(super) fn value(&self, option: &str) -> Result<Option<Value>, Wrong> {
        Ok(self.values(option)?.pop())
    }

    /// Returns the values of an option that can be given several times.
    pub(super) fn values(&self, option: &str) -> Result<Vec<Value>, Wrong> {
        let mut found = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.option == option) {
            let text = self.substitute(&entry.value, &mut vec![option])?;
            match text {
                // Written and empty is the same as not written.
                Some(text) if text.trim().is_empty() => found.clear(),
                Some(text) => found.push(Value {
                    line: entry.line,
                    option: option.to_owned(),
                    text: text.trim().to_owned(),
                }),
                None => {}
            }
        }
        Ok(found)
    }

    /// Whether a value names an option that is not in the file.
    pub(super) fn is_open(&self, entry: &Entry) -> bool {
        matches!(self.substitute(&entry.value, &mut vec![&entry.option]), Ok(None))
    }

    /// Replaces `$name` and `${name}` by the values of those options, and `$$` by `$`, as Python's `string.Template` does.
    /// None where such an option is not in the file: its value is then a default that only the host knows. `outer` are the
    /// options on the path here.
    fn substitute<'a>(&'a self, text: &'a str, outer: &mut Vec<&'a str>) -> Result<Option<String>, Wrong> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            let braced = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let (name, after) = braced.unwrap_or_else(|| {
                let end = after.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
                after.split_at(end.unwrap_or(after.len()))
            });
            if name.is_empty() {
                out.push('$');
                rest = after;
                continue;
            }
            if outer.contains(&name) {
                let first = outer.first().copied().unwrap_or_default();
                return Err(self.circle(first));
            }
            let Some(entry) = self.entries.iter().rev().find(|entry| entry.option == name) else {
                return Ok(None);
            };
            outer.push(name);
            let Some(value) = self.substitute(&entry.value, outer)? else {
                return Ok(None);
            };
            outer.pop();
            out.push_str(&value);
            rest = after;
        }
        out.push_str(rest);
        Ok(Some(out))
    }

    fn circle(&self, option: &str) -> Wrong {
        let entry = self.entries.iter().rev().find(|entry| entry.option == option);
        Wrong {
            line: entry.map_or(0, |entry| entry.line),
            option: option.to_owned(),
            value: entry.map(|entry| entry.value.clone()).unwrap_or_default(),
            message: "the value refers to itself".to_owned(),
        }
    }

    /// Returns the names of all options in the file.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        let written = self.entries.iter().filter(|entry| entry.line > 0);
        written.map(|entry| entry.option.as_str()).collect()
    }
}

/// Returns the option of a line; none where the line has none.
fn option(line: usize, text: &str) -> Option<Entry> {
    let flag = text.trim_start_matches('-');
    let (name, value) = if flag.len() < text.len() {
        let end = flag.find(|c: char| c == '=' || c.is_whitespace());
        let (name, rest) = flag.split_at(end.unwrap_or(flag.len()));
        let value = rest.trim_start();
        let value = value.strip_prefix('=').unwrap_or(value);
        match (end, name.strip_prefix("no")) {
            (Some(_), _) => (name, value),
            (None, Some(negated)) if is_flag(negated) => (negated, "false"),
            (None, _) if known(name).is_some_and(|known| known.kind != Kind::Flag) => return None,
            (None, _) => (name, "true"),
        }
    } else {
        text.split_at_checked(text.find(['=', ':'])?)
            .map(|(name, value)| (name, value.get(1..).unwrap_or_default()))?
    };
    let (name, value) = (name.trim(), unquoted(value.trim()));
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    is_name.then(|| Entry {
        line,
        option: name.to_owned(),
        value: value.to_owned(),
    })
}

fn is_flag(option: &str) -> bool {
    known(option).is_some_and(|known| known.kind == Kind::Flag)
}

/// Returns a value without the quotes around it, where both are the same.
fn unquoted(value: &str) -> &str {
    let inside = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}
