//! Shell code that is typed into guests: from files beside the modules, whose comments are for readers (every byte that is
//! typed costs time), and words of it.

/// Returns the lines of a file without its comment lines.
pub(super) fn code(file: &str) -> String {
    let mut code = String::new();
    for line in file.lines().filter(|line| !line.trim_start().starts_with('#')) {
        code.push_str(line);
        code.push('\n');
    }
    code
}

/// Returns `text` as one word of a shell, whatever it has.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comment_lines_are_not_typed_and_all_others_are() {
        assert_eq!(
            code("# why\na() { echo ${#b}; } # c\n\t# d\nx\n"),
            "a() { echo ${#b}; } # c\nx\n"
        );
    }
}
