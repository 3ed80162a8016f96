//! Writes a file in a guest over its console: lines that a terminal takes, base64 where the guest has base64(1), else
//! octal escapes of printf(1). The guest's own checksum of the file proves that it has arrived.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::error::{SessionError, SessionFault};
use super::frame::fresh_nonce;
use super::session::Session;

/// Bytes of a line: with its command it is shorter than [`super::LINE_LIMIT`]. A multiple of three, so that the lines'
/// base64 can be joined.
const LINE: usize = 600;
/// The same where each byte takes four characters.
const OCTAL_LINE: usize = 200;
/// Lines that are typed in one exchange.
const LINES: usize = 24;

/// Writes `content` to a new file that only the session's account can read, and returns its path.
///
/// # Errors
/// [`SessionFault::Upload`] where the guest's file differs, e.g. since its disk is full;
/// [`SessionFault::UploadDeadline`] after `within`.
pub fn upload(session: &mut Session<'_>, content: &[u8], within: Duration) -> Result<String, SessionError> {
    write(session, content, within).map_err(|error| match error.fault {
        // The command that was typed last is none of the caller's.
        SessionFault::Deadline { .. } => SessionError {
            fault: SessionFault::UploadDeadline {
                bytes: content.len(),
                within,
            },
            screen: Vec::new(),
            ..error
        },
        _ => error,
    })
}

fn write(session: &mut Session<'_>, content: &[u8], within: Duration) -> Result<String, SessionError> {
    let began = Instant::now();
    let left = || within.saturating_sub(began.elapsed());
    let path = format!("/tmp/netlab.{}", fresh_nonce());
    let has_base64 = session
        .run_idempotent("echo QQ== | base64 -d", left())?
        .text
        .contains('A');
    let lines: Vec<String> = if has_base64 {
        let encoded = content.chunks(LINE).map(|chunk| STANDARD.encode(chunk));
        encoded.map(|text| format!("printf %s '{text}'")).collect()
    } else {
        content.chunks(OCTAL_LINE).map(octal).collect()
    };
    let mut parts = 0;
    for some in lines.chunks(LINES) {
        // Each part begins its file again, so that an exchange can be repeated.
        let mut script = format!("(umask 077; : >{path}.{parts})\n");
        for line in some {
            // Writing to a `String` cannot fail.
            let _ = writeln!(script, "{line} >>{path}.{parts}");
        }
        session.run_idempotent(&script, left())?;
        parts += 1;
    }
    let decode = if has_base64 { " | base64 -d" } else { "" };
    let join = format!(
        "(umask 077; : >{path}); n=0; while [ $n -lt {parts} ]; do cat {path}.$n; n=$((n+1)); done{decode} >{path}\n\
         rm -f {path}.*; wc -c <{path}; sha256sum {path} || echo unknown"
    );
    let printed = session.run_idempotent(&join, left())?.text;
    let mut words = printed.split_whitespace();
    let size = words.next().and_then(|word| word.parse::<usize>().ok());
    let sum = words.next().unwrap_or_default();
    let mut wanted = String::new();
    for byte in Sha256::digest(content) {
        let _ = write!(wanted, "{byte:02x}");
    }
    let checked = sum == wanted || !sum.bytes().all(|byte| byte.is_ascii_hexdigit());
    if size == Some(content.len()) && checked {
        return Ok(path);
    }
    let _ = session.run_idempotent(&format!("rm -f {path}"), left());
    Err(session.error(SessionFault::Upload { bytes: content.len() }))
}

/// Returns the command that prints `bytes`.
fn octal(bytes: &[u8]) -> String {
    let mut text = String::from("printf '");
    for byte in bytes {
        let _ = write!(text, "\\{byte:03o}");
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::super::LINE_LIMIT;
    use super::*;

    #[test]
    fn every_line_fits_into_a_terminal() {
        let tail = " >>/tmp/netlab.n0123456789abcdef.12345".len();
        assert!("printf %s ''".len() + LINE.div_ceil(3) * 4 + tail <= LINE_LIMIT);
        assert!(octal(&[0; OCTAL_LINE]).len() + tail <= LINE_LIMIT);
        assert_eq!(LINE % 3, 0);
    }
}
