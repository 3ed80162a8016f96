//! Problems of a lab file: all at once, each with its place and what to do.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use miette::{Diagnostic, LabeledSpan, SourceCode, SourceSpan};

use super::excerpt::{Excerpt, readable};
use super::masked;

/// One thing wrong in a lab file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes of the file.
    pub span: SourceSpan,
    /// What to do about it.
    pub help: Option<String>,
    /// The file around that place.
    excerpt: Option<Excerpt>,
}

impl Problem {
    /// A problem at `span`; an empty `help` is none.
    pub(super) fn new(span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Self {
        let help = help.into();
        Self {
            message: brief(&message.into()),
            span: span.into(),
            help: (!help.is_empty()).then(|| brief(&help)),
            excerpt: None,
        }
    }
}

impl Problem {
    /// Returns the file, and the line and column in it, from 1; the column in characters.
    pub fn place(&self) -> Option<(&str, usize, usize)> {
        self.excerpt.as_ref().map(Excerpt::place)
    }
}

/// Shows the place as it is in the excerpt, not the file itself: a terminal would act on some of its characters.
impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let mark = self.excerpt.as_ref()?.mark();
        let label = LabeledSpan::new_with_span(Some("here".to_owned()), mark);
        Some(Box::new(std::iter::once(label)))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.excerpt.as_ref().map(|excerpt| excerpt as &dyn SourceCode)
    }
}

/// Most problems of one file that are reported.
pub(super) const MOST_SHOWN: usize = 100;

/// Most characters of a quoted value in a message, and of all the rest between two.
const QUOTED: usize = 80;
const UNQUOTED: usize = 600;

/// A message quotes what the user wrote between backticks: what a terminal would act on is escaped, and long values are
/// cut.
fn brief(message: &str) -> String {
    let message = masked::urls(message);
    let pieces = message.split('`').enumerate().map(|(at, piece)| {
        let most = if at % 2 == 1 { QUOTED } else { UNQUOTED };
        let end = piece.char_indices().nth(most).map(|(end, _)| end);
        let mut text = readable(piece.get(..end.unwrap_or(piece.len())).unwrap_or_default());
        if end.is_some() {
            text.push('…');
        }
        text
    });
    pieces.collect::<Vec<_>>().join("`")
}

/// Everything wrong with one lab file, in the order of the file; never empty.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{}: {} problem(s)", readable(file), problems.len())]
pub struct Problems {
    /// The file's name, as the user gave it.
    pub file: String,
    /// The problems.
    #[related]
    pub problems: Vec<Problem>,
}

impl Problems {
    /// Sorts the problems by place, removes duplicates, and adds to each the lines of `text` around it. The same mistake in
    /// several places is one problem, and of very many problems the first are kept.
    pub(super) fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (a.span.offset(), &a.message).cmp(&(b.span.offset(), &b.message)));
        problems.dedup();
        let text = &masked::in_place(text);
        let mut places: BTreeMap<(String, Option<String>), Vec<usize>> = BTreeMap::new();
        problems.retain(|problem| {
            // A message that names nothing is about its place.
            if !problem.message.contains('`') {
                return true;
            }
            let same = places
                .entry((problem.message.clone(), problem.help.clone()))
                .or_default();
            same.push(problem.span.offset());
            same.len() == 1
        });
        let more = problems.len().saturating_sub(MOST_SHOWN);
        problems.truncate(MOST_SHOWN);
        let lines = Lines::new(text);
        for problem in &mut problems {
            let others = places.get(&(problem.message.clone(), problem.help.clone()));
            let others = others
                .and_then(|others| others.split_first())
                .map_or(&[][..], |(_, others)| others);
            problem.message.push_str(&also(&lines, others));
            let span = problem.span.offset()..problem.span.offset() + problem.span.len();
            problem.excerpt = Some(Excerpt::new(file, text, &span));
        }
        if more > 0
            && let Some(last) = problems.last_mut()
        {
            last.help = Some(match &last.help {
                Some(help) => format!("{help}; {more} further problems are not shown"),
                None => format!("{more} further problems are not shown"),
            });
        }
        Self {
            file: file.to_owned(),
            problems,
        }
    }
}

/// Most further lines of the same problem that are named.
const MOST_LINES: usize = 10;

/// Returns the lines of further places.
fn also(lines: &Lines, places: &[usize]) -> String {
    let mut lines: Vec<usize> = places.iter().take(MOST_LINES).map(|at| lines.of(*at)).collect();
    lines.dedup();
    let word = match lines.as_slice() {
        [] => return String::new(),
        [_] => "line",
        _ => "lines",
    };
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    let more = if places.len() > MOST_LINES { ", …" } else { "" };
    format!(" (also on {word} {}{more})", lines.join(", "))
}

/// Where the lines of a text start.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect())
    }

    /// Returns the number of the line of a place, from 1.
    pub(super) fn of(&self, at: usize) -> usize {
        self.0.partition_point(|start| *start <= at)
    }
}

/// Why a lab file cannot be loaded.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    #[diagnostic(help("check that the file exists and is readable"))]
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

/// What people write who know the words of other tools, and the word here.
const OTHER_WORDS: [(&str, &str); 10] = [
    ("url", "mirrors"),
    ("urls", "mirrors"),
    ("path", "mirrors"),
    ("file", "mirrors"),
    ("source", "mirrors"),
    ("src", "mirrors"),
    ("gz", "gzip"),
    ("bz2", "bzip2"),
    ("zst", "zstd"),
    ("uefi", "efi"),
];

/// Returns "did you mean ...?", or the list of what exists.
pub(crate) fn suggest<'a>(wrong: &str, existing: impl IntoIterator<Item = &'a str>) -> String {
    let existing: Vec<&str> = existing.into_iter().collect();
    match meant(wrong, existing.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None if existing.is_empty() => "there are none in this lab".to_owned(),
        None => format!("there is: {}", existing.join(", ")),
    }
}

/// Returns what was probably meant by a name that does not exist.
pub(super) fn meant<'a>(wrong: &str, existing: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let existing: Vec<&str> = existing.into_iter().collect();
    let same = OTHER_WORDS.iter().filter(|(other, _)| *other == wrong);
    for (_, word) in same {
        if let Some(word) = existing.iter().find(|one| *one == word) {
            return Some(word);
        }
    }
    let most = |word: &str| 1.max(word.len().max(wrong.len()) / 3);
    // A difference in length is at least as many errors.
    let possible = existing
        .into_iter()
        .filter(|word| word.len().abs_diff(wrong.len()) <= most(word));
    let near = possible
        .map(|word| (strsim::damerau_levenshtein(wrong, word), word))
        .min();
    near.filter(|(distance, word)| *distance <= most(word))
        .map(|(_, word)| word)
}
