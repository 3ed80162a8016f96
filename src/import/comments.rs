//! The comments at the top of an imported lab: what was assumed, and what was not carried over, each with its line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Format;
use super::conf::Conf;
use super::options::{known, meant};
use super::value::Value;
use crate::lab::readable;

/// Most characters of a value in a comment.
const LONGEST: usize = 80;
/// Most characters of a line of names.
const WIDTH: usize = 100;

/// Comments in the order in which they are added.
#[derive(Debug, Clone)]
pub(super) struct Comments {
    format: Format,
    notes: Vec<(usize, String)>,
    dropped: Vec<(usize, String)>,
    /// Options of other parts of nova, with their lines: their values may be secret.
    other: BTreeMap<String, Vec<usize>>,
}

/// Returns a text without what a terminal acts on, on one line and cut.
pub(super) fn brief(text: &str) -> String {
    let text = text.replace(['\n', '\t'], " ");
    let mut cut: String = text.chars().take(LONGEST).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    readable(&cut)
}

/// Returns the start of a line that is no option: the rest may be secret.
pub(super) fn first_word(text: &str) -> String {
    let mut words = text.split_whitespace();
    let first = brief(words.next().unwrap_or_default());
    if words.next().is_some() {
        format!("{first} …")
    } else {
        first
    }
}

impl Comments {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            notes: Vec::new(),
            dropped: Vec::new(),
            other: BTreeMap::new(),
        }
    }

    /// Says what was made of an option.
    pub(super) fn note(&mut self, value: &Value, text: &str) {
        self.notes
            .push((value.line, written(value.line, &value.option, &value.text, text)));
    }

    /// Says what was assumed, since it is not in the file.
    pub(super) fn assume(&mut self, text: &str) {
        self.notes.push((0, text.to_owned()));
    }

    /// Says why an option was not carried over.
    pub(super) fn drop(&mut self, value: &Value, text: &str) {
        // A default is no loss.
        if value.line > 0 {
            let text = written(value.line, &value.option, &value.text, text);
            self.dropped.push((value.line, text));
        }
    }

    /// Adds every option that has no equivalent in a lab, and everything that was not read.
    pub(super) fn rest(&mut self, conf: &Conf) {
        let last: BTreeMap<&str, usize> = conf
            .entries
            .iter()
            .map(|entry| (entry.option.as_str(), entry.line))
            .collect();
        for entry in conf.entries.iter().filter(|entry| entry.line > 0) {
            let (line, option) = (entry.line, entry.option.as_str());
            let reason = match known(option) {
                Some(_) if entry.value.trim().is_empty() => "empty, as if it were not written",
                Some(known) if !known.dropped.is_empty() => known.dropped,
                Some(_) if option != "dns_server" && last.get(option) != Some(&line) => "a later line replaces it",
                Some(_) if conf.is_open(entry) => "names an option that is not in the file",
                Some(_) => continue,
                None => {
                    if let Some(meant) = meant(option) {
                        let text = written(line, option, &entry.value, &format!("did you mean {meant}?"));
                        self.dropped.push((line, text));
                    } else {
                        self.other.entry(readable(option)).or_default().push(line);
                    }
                    continue;
                }
            };
            self.dropped.push((line, written(line, option, &entry.value, reason)));
        }
        for (line, text) in &conf.unreadable {
            self.dropped
                .push((*line, format!("line {line}: {}: not an option", first_word(text))));
        }
        for (line, section) in &conf.sections {
            self.other
                .entry(format!("[{}]", brief(section)))
                .or_default()
                .push(*line);
        }
        self.notes.sort();
        self.dropped.sort();
    }

    /// Returns the comments, each line after `# `.
    pub(super) fn text(&self) -> String {
        let what = match self.format {
            Format::NovaConf => "a nova.conf",
            Format::DevStack => "DevStack's local.conf",
        };
        let mut out = format!("# Imported from {what}.\n");
        let mut section = |head: &str, lines: &mut dyn Iterator<Item = &String>| {
            let mut lines = lines.peekable();
            if lines.peek().is_some() {
                let _ = writeln!(out, "# {head}");
            }
            for line in lines {
                let _ = writeln!(out, "#   {line}");
            }
        };
        section("Assumed or changed:", &mut self.notes.iter().map(|(_, text)| text));
        section("Not carried over:", &mut self.dropped.iter().map(|(_, text)| text));
        let other = self.other.iter().map(|(name, lines)| {
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            format!("{name} (line {})", lines.join(", "))
        });
        section("Not about networks:", &mut wrapped(other).iter());
        out.push('\n');
        out
    }
}

/// Returns an option as it is written, with its line and what there is to say about it.
fn written(line: usize, option: &str, value: &str, text: &str) -> String {
    let place = if line > 0 {
        format!("line {line}: ")
    } else {
        String::new()
    };
    format!("{place}{} = {}: {text}", readable(option), brief(value))
}

/// Returns items separated by commas, several on a line.
fn wrapped(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if line.len() + item.len() < WIDTH => {
                line.push_str(", ");
                line.push_str(&item);
            }
            _ => lines.push(item),
        }
    }
    lines
}
