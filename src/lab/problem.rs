//! Problems of a lab file: all at once, each with its place and what to do.

use std::ops::Range;
use std::path::PathBuf;

use miette::{Diagnostic, NamedSource, SourceSpan};

/// One thing wrong in a lab file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Diagnostic)]
#[error("{message}")]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes of the file.
    #[label("here")]
    pub span: SourceSpan,
    /// What to do about it.
    #[help]
    pub help: Option<String>,
}

impl Problem {
    /// A problem at `span`; an empty `help` is none.
    pub(super) fn new(span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Self {
        let help = help.into();
        Self {
            message: readable(&message.into()),
            span: span.into(),
            help: (!help.is_empty()).then_some(help),
        }
    }
}

/// A message quotes what the user wrote between backticks: control characters of it are escaped, and more than 80
/// characters of it are cut.
fn readable(message: &str) -> String {
    let pieces = message.split('`').enumerate().map(|(at, piece)| {
        let most = if at % 2 == 1 { 80 } else { usize::MAX };
        let mut text = String::new();
        for c in piece.chars().take(most) {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        if piece.chars().nth(most).is_some() {
            text.push('…');
        }
        text
    });
    pieces.collect::<Vec<_>>().join("`")
}

/// Everything wrong with one lab file, in the order of the file; never empty.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{file}: {} problem(s)", problems.len())]
pub struct Problems {
    /// The file's name, as the user gave it.
    pub file: String,
    /// Its text.
    #[source_code]
    pub source_code: NamedSource<String>,
    /// The problems.
    #[related]
    pub problems: Vec<Problem>,
}

impl Problems {
    /// Sorts the problems by place and removes duplicates.
    pub(super) fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (a.span.offset(), &a.message).cmp(&(b.span.offset(), &b.message)));
        problems.dedup();
        Self {
            file: file.to_owned(),
            source_code: NamedSource::new(file, text.to_owned()).with_language("TOML"),
            problems,
        }
    }
}

/// Why a lab file cannot be loaded.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    #[diagnostic(help("check that the file exists, is readable and is UTF-8 text"))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file has problems.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(#[from] Box<Problems>),
}

/// Returns "did you mean ...?", or the list of what exists.
pub(crate) fn suggest<'a>(wrong: &str, existing: impl IntoIterator<Item = &'a str>) -> String {
    let existing: Vec<&str> = existing.into_iter().collect();
    let near = existing
        .iter()
        .map(|word| (strsim::damerau_levenshtein(wrong, word), *word))
        .min()
        .filter(|(distance, word)| *distance <= 1.max(word.len().max(wrong.len()) / 3));
    match near {
        Some((_, word)) => format!("did you mean `{word}`?"),
        None if existing.is_empty() => "there are none in this lab".to_owned(),
        None => format!("there is: {}", existing.join(", ")),
    }
}
