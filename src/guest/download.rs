//! Reads a file of a guest over its console: base64 where the guest has base64(1), else od(1)'s bytes. The guest's own
//! checksum of the file proves that it has arrived.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::error::{SessionError, SessionFault};
use super::session::Session;

/// Bytes that are read in one exchange: about two seconds of a serial port.
const PIECE: usize = 48 * 1024;
/// How often a piece that arrived with something else in it is read again.
const ATTEMPTS: u32 = 3;

/// What a guest has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Download {
    /// The content of the file.
    File(Vec<u8>),
    /// It cannot be read; what the guest printed about it.
    Unreadable(String),
}

/// Reads the file `path`, which is one word of the guest's shell, of at most `most` bytes.
///
/// # Errors
/// [`SessionFault::Download`] where what arrived differs from the guest's file; [`SessionFault::Deadline`] after
/// `within`.
pub fn download(
    session: &mut Session<'_>,
    path: &str,
    most: usize,
    within: Duration,
) -> Result<Download, SessionError> {
    let began = Instant::now();
    let left = || within.saturating_sub(began.elapsed());
    let ask = format!(
        "( cd; if [ -d {path} ]; then echo it is a directory; exit; fi\n\
         wc -c <{path} && {{ sha256sum <{path} || echo unknown; }} ) 2>&1"
    );
    let printed = session.run_idempotent(&ask, left())?.text;
    let mut words = printed.split_whitespace();
    let Some(size) = words.next().and_then(|word| word.parse::<usize>().ok()) else {
        let said = printed.trim().lines().last().unwrap_or_default();
        return Ok(Download::Unreadable(said.to_owned()));
    };
    if size > most {
        return Ok(Download::Unreadable(format!(
            "it has {size} bytes, and over the console at most {most} are copied"
        )));
    }
    let sum = words.next().unwrap_or_default().to_owned();
    let has_base64 = session
        .run_idempotent("echo QQ== | base64 -d", left())?
        .text
        .contains('A');
    let print = if has_base64 { "base64" } else { "od -An -v -tx1" };
    let mut content = Vec::with_capacity(size);
    for number in 0..size.div_ceil(PIECE) {
        let script = format!("( cd; dd if={path} bs={PIECE} skip={number} count=1 2>/dev/null | {print} )");
        let length = PIECE.min(size - content.len());
        let mut attempts = 0;
        let piece = loop {
            let text = session.run_idempotent(&script, left())?.text;
            let piece = if has_base64 { of_base64(&text) } else { of_od(&text) };
            attempts += 1;
            match piece.filter(|piece| piece.len() == length) {
                Some(piece) => break piece,
                None if attempts < ATTEMPTS => {}
                None => return Err(session.error(SessionFault::Download { bytes: size })),
            }
        };
        content.extend(piece);
    }
    let mut own = String::new();
    for byte in Sha256::digest(&content) {
        // Writing to a `String` cannot fail.
        let _ = write!(own, "{byte:02x}");
    }
    if sum != own && sum.len() == own.len() && sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(session.error(SessionFault::Download { bytes: size }));
    }
    Ok(Download::File(content))
}

fn of_base64(text: &str) -> Option<Vec<u8>> {
    let joined: String = text.split_whitespace().collect();
    STANDARD.decode(joined).ok()
}

fn of_od(text: &str) -> Option<Vec<u8>> {
    let bytes = text.split_whitespace().map(|word| u8::from_str_radix(word, 16).ok());
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::scripted::{Scripted, Shell, open};

    /// A guest that runs scripts by the shell of this machine; without base64(1) where `od` is wanted.
    fn guest(od: bool) -> Session<'static> {
        open(Scripted::new(Shell::running(move |script| {
            let script = if od {
                script.replace("base64 -d", "false")
            } else {
                script.to_owned()
            };
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (text, output.status.code().unwrap_or(1))
        })))
    }

    #[test]
    fn every_byte_arrives_by_base64_and_by_od() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bytes");
        let content: Vec<u8> = (0..PIECE + 700).map(|n| n.to_le_bytes()[0]).collect();
        std::fs::write(&file, &content).unwrap();
        for od in [false, true] {
            let path = file.display().to_string();
            let got = download(&mut guest(od), &path, 1 << 20, Duration::from_secs(60)).unwrap();
            assert!(got == Download::File(content.clone()), "od: {od}");
        }
    }

    #[test]
    fn what_is_no_file_or_too_large_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none").display().to_string();
        let seconds = Duration::from_secs(60);
        let Download::Unreadable(why) = download(&mut guest(false), &path, 10, seconds).unwrap() else {
            panic!("it does not exist");
        };
        assert!(why.to_lowercase().contains("no such file"), "{why}");
        let of = |path: &str| download(&mut guest(false), path, 10, seconds).unwrap();
        assert_eq!(of("/tmp"), Download::Unreadable("it is a directory".to_owned()));
        std::fs::write(&path, "eleven bytes").unwrap();
        assert!(matches!(of(&path), Download::Unreadable(why) if why.contains("12 bytes")));
    }
}
