//! The bytes of one exchange with a shell: input, output and errors, and the marks that say where an output ends.

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::{Session, SshError};
use crate::transport::cmd::Output;

/// How many bytes are read or written at a time.
const CHUNK: usize = 64 * 1024;

/// Input, output and errors of one command, each moving as it can, so that none waits for another forever.
pub(super) struct Exchange<'a> {
    /// What is still to be sent.
    pub input: &'a [u8],
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    buffer: Vec<u8>,
}

impl<'a> Exchange<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            stdout: Vec::new(),
            stderr: Vec::new(),
            buffer: vec![0; CHUNK],
        }
    }

    /// Moves what can be moved without waiting; returns whether something was.
    pub fn step(&mut self, session: &Session, channel: &mut ssh2::Channel) -> Result<bool, SshError> {
        let mut moved = false;
        for (stream, into) in [(0, &mut self.stdout), (ssh2::EXTENDED_DATA_STDERR, &mut self.stderr)] {
            match channel.stream(stream).read(&mut self.buffer) {
                Ok(got) => {
                    into.extend_from_slice(&self.buffer[..got]);
                    moved |= got > 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(session.broken(error)),
            }
        }
        if !self.input.is_empty() && !channel.eof() {
            match channel.write(&self.input[..self.input.len().min(CHUNK)]) {
                Ok(sent) => {
                    self.input = &self.input[sent..];
                    moved |= sent > 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The command has closed its input; its exit status counts.
                Err(_) => self.input = &[],
            }
        }
        Ok(moved)
    }

    /// Returns the commands' outputs once the shell has printed all of `ends` to both standard output and error.
    pub fn ended_by(&self, ends: &[String]) -> Option<Vec<Output>> {
        let last = ends.last()?.as_bytes();
        if !self.stderr.ends_with(last) || !self.stdout.ends_with(b",") {
            return None;
        }
        let (mut stdout, mut stderr) = (self.stdout.as_slice(), self.stderr.as_slice());
        let mut outputs = Vec::new();
        for end in ends {
            let (printed, behind) = split(stdout, end)?;
            let (errors, rest) = split(stderr, end)?;
            let comma = behind.iter().position(|byte| *byte == b',')?;
            let status = std::str::from_utf8(behind[..comma].strip_prefix(b" ")?).ok()?;
            outputs.push(Output {
                status: status.parse().ok()?,
                stdout: printed.to_vec(),
                stderr: errors.to_vec(),
            });
            (stdout, stderr) = (&behind[comma + 1..], rest);
        }
        (stdout.is_empty() && stderr.is_empty()).then_some(outputs)
    }
}

/// Returns what is before the first `end` and what is after it.
fn split<'a>(text: &'a [u8], end: &str) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(end.len()).position(|window| window == end.as_bytes())?;
    Some((&text[..at], &text[at + end.len()..]))
}

/// Waits where nothing can be moved.
pub(super) fn pause(session: &Session, channel: &ssh2::Channel, moved: bool) -> Result<(), SshError> {
    // Reading one of the two streams, libssh2 may have taken in something for the other: the socket has nothing more
    // then.
    if moved || channel.eof() || channel.read_window().available > 0 {
        return Ok(());
    }
    session.wait(None)
}

/// Returns a token that no command prints by chance or after reading an earlier one.
pub(super) fn nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst);
    let now = std::time::Instant::now();
    let digest = Sha256::digest(format!("{count} {} {now:?}", std::process::id()));
    let number = digest[..16]
        .iter()
        .fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    format!("{number:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_that_resembles_the_end_is_not_taken_for_it() {
        let mut exchange = Exchange::new(b"");
        exchange.stdout = b"x 0,abc 7,".to_vec();
        exchange.stderr = b"why abc".to_vec();
        assert_eq!(exchange.ended_by(&["other".to_owned()]), None);
        let output = |status, stdout: &[u8], stderr: &[u8]| Output {
            status,
            stdout: stdout.to_vec(),
            stderr: stderr.to_vec(),
        };
        let ended = exchange.ended_by(&["abc".to_owned()]).unwrap();
        assert_eq!(ended, [output(7, b"x 0,", b"why ")]);

        exchange.stdout = b"one,abc 0,two, 3xyz 1,".to_vec();
        exchange.stderr = b"abcwhyxy".to_vec();
        let ends = ["abc", "xyz"].map(ToOwned::to_owned);
        assert_eq!(exchange.ended_by(&ends), None);
        exchange.stderr.push(b'z');
        let ended = exchange.ended_by(&ends).unwrap();
        assert_eq!(ended, [output(0, b"one,", b""), output(1, b"two, 3", b"why")]);
    }
}
