//! Finds secrets in texts and replaces them: passwords of a lab file, and credentials of URLs in any text.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What replaces a secret.
pub(crate) const MASKED: &str = "***";
/// What a parameter of a URL with a secret has in its name.
const SECRET_PARAMETERS: [&str; 10] = [
    "token",
    "secret",
    "passw",
    "signature",
    "credential",
    "apikey",
    "api_key",
    "api-key",
    "accesskey",
    "access_key",
];
/// Names of parameters that are secrets: that of Azure's shared access signatures is `sig`.
const SECRET_NAMES: [&str; 7] = ["sig", "key", "auth", "pass", "pwd", "jwt", "hmac"];

/// The values of every key `password` or `root_password` in a TOML text, with their places in bytes.
pub(crate) fn passwords(text: &str) -> Vec<(Range<usize>, String)> {
    fn of_table(table: &DeTable<'_>, found: &mut Vec<(Range<usize>, String)>) {
        for (key, value) in table {
            match value.get_ref() {
                DeValue::String(password) if ["password", "root_password"].contains(&key.get_ref().as_ref()) => {
                    found.push((value.span(), password.to_string()));
                }
                _ => of_value(value, found),
            }
        }
    }
    fn of_value(value: &Spanned<DeValue<'_>>, found: &mut Vec<(Range<usize>, String)>) {
        match value.get_ref() {
            DeValue::Table(table) => of_table(table, found),
            DeValue::Array(values) => values.iter().for_each(|value| of_value(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    of_table(DeTable::parse_recoverable(text).0.get_ref(), &mut found);
    found
}

/// Returns `text` with the credentials of its URLs masked.
pub(crate) fn urls(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut end = 0;
    for secret in credentials(text) {
        masked.push_str(&text[end..secret.start]);
        masked.push_str(MASKED);
        end = secret.end;
    }
    masked + &text[end..]
}

/// Returns `text` with an asterisk for each byte of a secret of a lab file, so that every other byte keeps its place.
pub(super) fn in_place(text: &str) -> String {
    let mut secrets = credentials(text);
    secrets.extend(passwords(text).into_iter().map(|(span, _)| span));
    let mut bytes = text.as_bytes().to_vec();
    for secret in secrets {
        if let Some(secret) = bytes.get_mut(secret) {
            secret.fill(b'*');
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Returns whether a URL has credentials.
pub(crate) fn has_credentials(url: &str) -> bool {
    !credentials(url).is_empty()
}

/// Returns where secrets of URLs are: the password before a host; what is before it at all in a URL of the web, where
/// it is often a token; and the values of parameters that are named like secrets.
fn credentials(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("://") {
        let start = from + at + "://".len();
        let scheme = text[..from + at].to_ascii_lowercase();
        let is_web = scheme.ends_with("http") || scheme.ends_with("https");
        let ends = |one: char| one.is_whitespace() || "\"'`<>\\".contains(one);
        let url = start..text[start..].find(ends).map_or(text.len(), |length| start + length);
        let length = text[url.clone()].find(['/', '?', '#']).unwrap_or(url.len());
        let authority = &text[start..start + length];
        if let Some(login) = authority.rfind('@').map(|at| &authority[..at]) {
            match login.find(':') {
                Some(colon) => found.push(start + colon + 1..start + login.len()),
                None if is_web => found.push(start..start + login.len()),
                None => {}
            }
        }
        let mut place = start + length;
        for part in text[place..url.end].split_inclusive(['?', '&', ';', '#']) {
            let pair = part.trim_end_matches(['?', '&', ';', '#']);
            if let Some((name, value)) = pair.split_once('=') {
                let name = name.to_lowercase();
                let is_secret = SECRET_NAMES.contains(&name.as_str())
                    || SECRET_PARAMETERS.iter().any(|secret| name.contains(secret));
                if !value.starts_with(MASKED) && is_secret {
                    found.push(place + pair.len() - value.len()..place + pair.len());
                }
            }
            place += part.len();
        }
        from = url.end;
    }
    found.retain(|secret| !secret.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_url_is_masked_and_its_user_and_host_are_kept() {
        for (text, masked) in [
            (
                "get https://me:s3c:r@t@example.org/x and ssh://root@node1",
                "get https://me:***@example.org/x and ssh://root@node1",
            ),
            ("https://ghp_token@example.org/x", "https://***@example.org/x"),
            (
                "\"http://u:p@h\", \"http://h/@b:c@d\"",
                "\"http://u:***@h\", \"http://h/@b:c@d\"",
            ),
            (
                "https://h/x?a=1&access_token=abc&X-Amz-Signature=12#z",
                "https://h/x?a=1&access_token=***&X-Amz-Signature=***#z",
            ),
            ("https://h/x?sv=1&sig=a%2Bb&se=2", "https://h/x?sv=1&sig=***&se=2"),
            ("HTTPS://token@h/x?KEY=1&monkey=2", "HTTPS://***@h/x?KEY=***&monkey=2"),
            ("https://h/x?sig=***: not found", "https://h/x?sig=***: not found"),
            ("http://", "http://"),
        ] {
            assert_eq!(urls(text), masked);
        }
    }

    #[test]
    fn secrets_of_a_lab_file_are_replaced_and_nothing_is_moved() {
        let text = "password = \"päss\"\nmirrors = [\"http://u:pw@h/x\"] # é\n";
        let masked = in_place(text);
        assert_eq!(masked, "password = *******\nmirrors = [\"http://u:**@h/x\"] # é\n");
        assert_eq!(masked.len(), text.len());
    }
}
