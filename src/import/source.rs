//! The lab file that is parsed: each of its lines with the option that it is from, so that whatever is wrong with the lab is
//! reported at the configuration's line.

use std::fmt::{Display, Write as _};
use std::ops::Range;

use super::Wrong;
use super::value::Value;
use crate::lab::Problem;

/// The text of a lab file.
#[derive(Debug, Default)]
pub(super) struct Source {
    text: String,
    origins: Vec<(Range<usize>, Value)>,
}

impl Source {
    /// Adds a line.
    pub(super) fn line(&mut self, text: impl Display) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, "{text}");
    }

    /// Adds a line that is from an option.
    pub(super) fn line_from(&mut self, from: &Value, text: impl Display) {
        let start = self.text.len();
        self.line(text);
        self.origins.push((start..self.text.len(), from.clone()));
    }

    /// Adds an entry, which is from an option or a default.
    pub(super) fn entry(&mut self, key: &str, value: impl Display, from: Option<&Value>) {
        match from {
            Some(from) => self.line_from(from, format_args!("{key} = {value}")),
            None => self.line(format_args!("{key} = {value}")),
        }
    }

    /// Adds an option's own text under its own name or another, as a string.
    pub(super) fn option(&mut self, key: &str, value: Option<&Value>) {
        if let Some(value) = value {
            self.entry(key, quoted(&value.text), Some(value));
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns a problem of the lab file as one of the configuration.
    pub(super) fn place(&self, problem: &Problem) -> Wrong {
        let origin = self
            .origins
            .iter()
            .find(|(range, _)| range.contains(&problem.span.offset()));
        let (line, option, value) = origin.map_or_else(Default::default, |(_, value)| {
            (value.line, value.option.clone(), value.text.clone())
        });
        let help = problem.help.as_ref().filter(|help| !help.starts_with("write"));
        let help = help.map(|help| format!(" ({help})")).unwrap_or_default();
        Wrong {
            line,
            option,
            value,
            message: format!("{}{help}", problem.message),
        }
    }
}

/// Returns a TOML string with `text`.
pub(super) fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}
