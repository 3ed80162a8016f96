//! Quotes text for a POSIX shell. Pure.
//!
//! Not the `shlex` crate: it switches to double quotes where the text holds a single one, and
//! [`ssh`](crate::transport::ssh) needs to know that a newline is always inside single quotes.

/// Returns `text` as exactly one word for a POSIX shell: unchanged where no character of it is special, else in single
/// quotes, with each single quote written as `'\''`. Empty text becomes `''`.
///
/// A NUL is passed through; no argument of a program can hold one.
///
/// Source: POSIX.1-2017, Shell Command Language, 2.2.
pub fn quote(text: &str) -> String {
    // `=` and `~` are plain only in some positions, so they count as special.
    let plain = |one: char| one.is_ascii_alphanumeric() || "-_./:,+@%".contains(one);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::{Cmd, LocalShell, Shell};

    /// What `sh` passes to a program that is given `quote(text)` as its argument.
    fn passed(text: &str) -> String {
        let script = format!("printf %s. {}", quote(text));
        String::from_utf8(LocalShell.check(&Cmd::new(["sh", "-c", &script])).unwrap()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_reaches_a_program_as_one_unchanged_argument(text in "(?s)[^\0]{0,40}") {
            prop_assert_eq!(passed(&text), format!("{text}."));
        }
    }

    #[test]
    fn special_characters_reach_a_program_unchanged() {
        for text in [
            "", "'", "''", "\\", "'\\''", "$(id)", "`id`", "a\nb", "\n", "*", "~", "~root", "-n", "!x", "a=b", "#",
            "\u{fe0f}", "\t ", "$n", "{a,b}", "a;b", "a&b",
        ] {
            assert_eq!(passed(text), format!("{text}."));
        }
    }

    #[test]
    fn plain_text_stays_readable() {
        assert_eq!(
            quote("/var/lib/libvirt/images/lab.vm1.qcow2"),
            "/var/lib/libvirt/images/lab.vm1.qcow2"
        );
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}
