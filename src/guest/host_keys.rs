//! The public keys of a guest's ssh server, read over its console: nobody on the network between can replace them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::SessionError;
use super::session::Session;

/// OpenSSH's keys, and those of dropbear, which are not kept as text.
const PRINT: &str = "cat /etc/ssh/ssh_host_*_key.pub 2>/dev/null\n\
                     for k in /etc/dropbear/dropbear_*_host_key; do [ -r \"$k\" ] && dropbearkey -y -f \"$k\"; done \
                     2>/dev/null";

/// Returns the keys as `TYPE BASE64`; none where the guest has none that its account can read.
pub fn host_keys(session: &mut Session<'_>, within: Duration) -> Result<Vec<String>, SessionError> {
    let printed = session.run_idempotent(PRINT, within)?;
    Ok(keys(&printed.text))
}

/// Returns the lines that are a public key (RFC 4253, 6.6: the key begins with the name of its type).
fn keys(text: &str) -> Vec<String> {
    let is_key = |kind: &str, key: &str| {
        let key = STANDARD.decode(key).unwrap_or_default();
        let length = u32::try_from(kind.len()).unwrap_or_default().to_be_bytes();
        key.strip_prefix(&length[..])
            .is_some_and(|rest| rest.starts_with(kind.as_bytes()))
    };
    let key = |line: &str| {
        let mut words = line.split_whitespace();
        let (kind, key) = (words.next()?, words.next()?);
        is_key(kind, key).then(|| format!("{kind} {key}"))
    };
    text.lines().filter_map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5uiN9I9sc3pKFLrSFyRZtvWnVZ3T0wHnMzN3dm2Gqo";

    #[test]
    fn public_keys_are_taken_and_nothing_else() {
        let text = format!("Public key portion is:\n{KEY} root@vm1\nFingerprint: SHA256:x\nssh-rsa AAAA\n\n");
        assert_eq!(keys(&text), [KEY]);
        assert_eq!(keys("[    3.1] eth0: up"), Vec::<String>::new());
    }
}
