//! Replaces secrets in texts by `***`.

use crate::lab::masked::{self, MASKED, passwords};
use crate::lab::{Login, Password};
use crate::ops::Entries;

/// Shorter secrets are masked only where they are whole words: in the middle of others they are no secret, and a text
/// without the letter `a` cannot be read.
const SHORT: usize = 4;

/// The secrets of one lab, in every form in which a text may hold them, longest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mask(Vec<String>);

impl Mask {
    /// Collects the passwords of a lab file. One that an image of the `catalog` has is no secret, and may be a word of
    /// many other texts, such as `netlab`.
    pub(super) fn of(lab_file: &str, catalog: &Entries) -> Self {
        let logins = catalog.values().filter_map(|image| image.console.login.as_ref());
        let public: Vec<&str> = logins.flat_map(Login::passwords).filter_map(Password::text).collect();
        let passwords = passwords(lab_file).into_iter().map(|(_, password)| password);
        Self::of_secrets(
            passwords
                .filter(|password| !public.contains(&password.as_str()))
                .collect(),
        )
    }

    fn of_secrets(secrets: Vec<String>) -> Self {
        let mut forms: Vec<String> = secrets
            .into_iter()
            .flat_map(|secret| {
                let json = serde_json::to_string(&secret).unwrap_or_default();
                // Without the quotes around it.
                let json = json.get(1..json.len().saturating_sub(1)).unwrap_or_default().to_owned();
                let shell = secret.replace('\'', r"'\''");
                [secret, json, shell]
            })
            .filter(|form| !form.is_empty())
            .collect();
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self(forms)
    }

    /// Returns `text` without the secrets and without credentials in URLs.
    pub(super) fn text(&self, text: &str) -> String {
        let text = self.0.iter().fold(text.to_owned(), |text, secret| {
            if secret.chars().count() < SHORT {
                without_word(&text, secret)
            } else {
                text.replace(secret.as_str(), MASKED)
            }
        });
        masked::urls(&text)
    }

    /// Returns a lab file without the values of its passwords, however they are quoted, and without the secrets.
    pub(super) fn lab_file(&self, lab_file: &str) -> String {
        let mut text = lab_file.to_owned();
        let mut found = passwords(lab_file);
        found.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
        for (span, _) in found {
            text.replace_range(span, &format!("\"{MASKED}\""));
        }
        self.text(&text)
    }
}

/// `word` masked where no letter or digit is beside it.
fn without_word(text: &str, word: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, behind) = (&rest[..at], &rest[at + word.len()..]);
        let inside = masked
            .chars()
            .chain(before.chars())
            .next_back()
            .is_some_and(char::is_alphanumeric)
            || behind.chars().next().is_some_and(char::is_alphanumeric);
        masked.push_str(before);
        masked.push_str(if inside { word } else { MASKED });
        rest = behind;
    }
    masked + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        Mask::of_secrets(secrets.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn secrets_are_masked_in_every_form_a_text_may_hold() {
        let mask = mask(&["it's \"x\"", "plain1"]);
        let text = r#"raw it's "x", json it's \"x\", shell 'it'\''s "x"', plain1."#;
        assert_eq!(mask.text(text), "raw ***, json ***, shell '***', ***.");
    }

    #[test]
    fn a_short_secret_is_masked_as_a_word_only() {
        assert_eq!(mask(&["a"]).text("a cat, a=a"), "*** cat, ***=***");
    }

    #[test]
    fn a_lab_file_loses_its_passwords_however_they_are_written() {
        let file = "[images.a]\nconsole.login = { user = \"u\", password = \"\\u0061bcd\" }\n\
                    [images.b.console.login]\npassword = 'lit eral'\n";
        let mask = Mask::of(file, &Entries::new());
        let masked = mask.lab_file(file);
        assert_eq!(masked.matches("password = \"***\"").count(), 2, "{masked}");
        assert!(!masked.contains("u0061") && !masked.contains("lit eral"), "{masked}");
        assert_eq!(mask.text("typed abcd"), "typed ***");
    }
}
