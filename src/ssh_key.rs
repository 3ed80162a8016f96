//! Public SSH keys as in authorized_keys (sshd(8)): `TYPE BASE64 COMMENT`, without options.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What the types of keys begin with (ssh-keygen(1)).
const TYPES: [&str; 3] = ["ssh-", "ecdsa-sha2-", "sk-"];
/// What the types of certificates end with: a certificate is no key that can be authorized by itself.
const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// Returns whether `text` begins like a key, and so is no path.
pub fn begins_like_one(text: &str) -> bool {
    let text = text.trim_start();
    TYPES.iter().any(|kind| text.starts_with(kind)) && text.trim().contains(' ')
}

/// Returns the key of a line, with single spaces; none where it has none. The type is also in the key's own bytes
/// (RFC 4253, section 6.6), so a key that is cut or garbled is none.
pub fn parse(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [kind, blob, ..] = words[..] else {
        return None;
    };
    if !TYPES.iter().any(|start| kind.starts_with(start)) || kind.ends_with(CERTIFICATE) {
        return None;
    }
    let bytes = STANDARD.decode(blob).ok()?;
    let (mut rest, mut fields) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        fields.push(after.get(..length)?);
        rest = after.get(length..)?;
    }
    let whole = fields.len() > 1 && fields.first() == Some(&kind.as_bytes()) && !line.contains(control);
    whole.then(|| words.join(" "))
}

fn control(c: char) -> bool {
    c.is_control() && !c.is_whitespace()
}

/// Returns the keys of the lines of a text that have one.
pub fn of_lines(text: &str) -> Vec<String> {
    text.lines().filter_map(parse).collect()
}

/// Returns what identifies a key: without its comment.
pub fn identity(key: &str) -> String {
    key.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2gCxVcTzZ5wYtbZKOEm7nQRNmXyWeeVp0wS7IwLXTN";

    #[test]
    fn a_key_is_read_with_its_comment_and_nothing_else_is_a_key() {
        let line = format!(" {KEY}  a b\n");
        assert_eq!(parse(&line).unwrap(), format!("{KEY} a b"));
        assert_eq!(identity(&parse(&line).unwrap()), KEY);
        assert!(begins_like_one(&line) && !begins_like_one("ssh-keys.pub"));
        let cut = &KEY[..KEY.len() - 8];
        for wrong in [
            cut,
            "ssh-rsa AAAAC3NzaC1lZDI1NTE5",
            "ssh-ed25519",
            "",
            "# a comment here",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        let other_type = KEY.replace("ssh-ed25519", "ssh-rsa");
        assert_eq!(parse(&other_type), None);
        assert_eq!(of_lines(&format!("# mine\n{KEY}\n\n")), [KEY]);
    }
}
