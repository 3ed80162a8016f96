//! An error as one line: with its causes, from the outermost to the innermost.

/// Returns an error with its causes, in one line; a cause whose text the line has already is left out.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.map(ToString::to_string).fold(error.to_string(), |text, cause| {
        if text.contains(&cause) {
            text
        } else {
            format!("{text}: {cause}")
        }
    })
}
