//! Problems of a lab file: all at once, each with its place and what to do.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use miette::{Diagnostic, LabeledSpan, SourceCode, SourceSpan};

use super::excerpt::{Excerpt, readable};

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

/// Most characters of a quoted value in a message, and of all the rest between two.
const QUOTED: usize = 80;
const UNQUOTED: usize = 600;

/// A message quotes what the user wrote between backticks: what a terminal would act on is escaped, and long values are
/// cut.
fn brief(message: &str) -> String {
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
    /// Sorts the problems by place, removes duplicates, and adds to each the lines of `text` around it.
    pub(super) fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (a.span.offset(), &a.message).cmp(&(b.span.offset(), &b.message)));
        problems.dedup();
        for problem in &mut problems {
            let span = problem.span.offset()..problem.span.offset() + problem.span.len();
            problem.excerpt = Some(Excerpt::new(file, text, &span));
        }
        Self {
            file: file.to_owned(),
            problems,
        }
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
