//! Errors of TOML: one for each line, and for a key that is given twice both lines.

use std::ops::Range;

use toml::de::{DeTable, DeValue, Error};

use super::problem::{Lines, MOST_SHOWN, Problem};
use super::schema::Kind;
use super::schema::tables::LAB;

/// What the parser calls a key that exists.
const TWICE: &str = "duplicate key";

/// Returns the errors of the file `text`, of which `root` could be read.
pub(super) fn problems(text: &str, root: &DeTable<'_>, errors: &[Error]) -> Vec<Problem> {
    let mut found: Vec<Problem> = Vec::new();
    let mut last = None;
    let lines = Lines::new(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        // What follows on the same line is mostly caused by the first error.
        let line = Some(lines.of(span.start));
        if line == last {
            continue;
        }
        last = line;
        if found.len() > MOST_SHOWN {
            break;
        }
        found.push(if error.message() == TWICE {
            twice(text, &lines, root, span)
        } else {
            Problem::new(span, error.message(), help(error.message()))
        });
    }
    found
}

/// Returns what to do about an error of the parser's.
fn help(message: &str) -> &'static str {
    let is_of_value = ["invalid float", "invalid integer", "invalid datetime", "must be quoted"];
    if is_of_value.iter().any(|part| message.contains(part)) {
        "this is not TOML: a text has quotes around it, e.g. `subnet = \"10.0.1.0/24\"`"
    } else {
        "this is not TOML"
    }
}

/// A key that is given twice: `span` is the second one.
fn twice(text: &str, lines: &Lines, root: &DeTable<'_>, span: Range<usize>) -> Problem {
    let second = lines.of(span.start);
    let start = text
        .get(..span.start)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |at| at + 1);
    let before_key = text.get(start..span.start).unwrap_or_default().trim_start();
    let is_header = before_key.starts_with('[');
    let mut path = if is_header { Vec::new() } else { header(text, start) };
    path.extend(parts(before_key.trim_start_matches('[')));
    let key = text.get(span.clone()).unwrap_or_default();
    let name = parts(key).pop().unwrap_or_default();
    let first = first(root, &path, &name)
        .map(|first| lines.of(first.start))
        .filter(|first| *first < second);
    // Of a table that is given twice, the parser keeps the second one.
    let first = first.or_else(|| earlier_header(text, second, &path, &name).filter(|_| is_header));
    let on = first.map(|first| format!(", on lines {first} and {second}"));
    let on = on.unwrap_or_default();
    let is_named = LAB.keys.iter().find(|key| key.name == name && path.is_empty());
    match is_named.map(|key| &key.value) {
        Some(Kind::Named(example, _)) if before_key.starts_with("[[") => {
            let message = format!("`{name}` is a table and a list{on}");
            let help = format!("write `[{name}.{}]`: each has a name", example.bare_example());
            Problem::new(span, message, help)
        }
        _ if is_header => {
            path.push(name);
            let message = format!("`[{}]` is given twice{on}", path.join("."));
            Problem::new(span, message, "write all its keys below one header")
        }
        _ => Problem::new(span, format!("`{name}` is given twice{on}"), "remove one of them"),
    }
}

/// Returns the path of the header above the line that starts at `start`.
fn header(text: &str, start: usize) -> Vec<String> {
    let above = text.get(..start).unwrap_or_default();
    let line = above.lines().rev().map(str::trim).find(|line| line.starts_with('['));
    let inside = line.map(|line| line.trim_start_matches('[').split(']').next().unwrap_or_default());
    inside.map(parts).unwrap_or_default()
}

/// Returns the number of the first line, before another one, that is the header of this table.
fn earlier_header(text: &str, before: usize, path: &[String], name: &str) -> Option<usize> {
    let is_same = |line: &str| {
        let inside = line.trim().strip_prefix('[').and_then(|line| line.split(']').next());
        let found = inside.map(parts).unwrap_or_default();
        found
            .split_last()
            .is_some_and(|(last, above)| last == name && above == path)
    };
    let found = text.lines().position(is_same)? + 1;
    (found < before).then_some(found)
}

/// Splits a dotted key.
fn parts(key: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quote = None;
    for c in key.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '.' => parts.push(String::new()),
            None if c.is_whitespace() => {}
            _ => parts.last_mut().into_iter().for_each(|part| part.push(c)),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Returns the place of a key that is the first of its name in its table.
fn first(root: &DeTable<'_>, path: &[String], name: &str) -> Option<Range<usize>> {
    let mut table = root;
    for part in path {
        let (_, value) = table.iter().find(|(key, _)| key.get_ref() == part)?;
        table = match value.get_ref() {
            DeValue::Table(table) => table,
            DeValue::Array(list) => match list.iter().next_back()?.get_ref() {
                DeValue::Table(table) => table,
                _ => return None,
            },
            _ => return None,
        };
    }
    table.keys().find(|key| key.get_ref() == name).map(toml::Spanned::span)
}
