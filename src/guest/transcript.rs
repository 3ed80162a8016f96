//! Records everything on a guest's console in a file, and keeps its last lines for errors.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::folders::Folders;

/// Lines that are kept for an error.
const KEPT_LINES: usize = 15;
/// Characters of a line that are kept for an error.
const KEPT_WIDTH: usize = 200;

/// A record of one session with a guest.
///
/// In the file every line starts with the seconds since the session began and a sign: `|` for what the guest printed
/// (without escape sequences), `>` for what was typed.
#[derive(Debug)]
pub struct Transcript {
    file: Option<(PathBuf, File)>,
    began: Instant,
    in_line: bool,
    /// Never empty: the unfinished line is the last one.
    last: VecDeque<String>,
}

impl Transcript {
    /// Appends to the file at `path`. The file, and its folder if it has to be created, are readable by the owner only.
    pub fn append(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            Folders::make(folder)?;
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        if file.metadata()?.len() > 0 {
            file.write_all(b"\n")?;
        }
        Ok(Self {
            file: Some((path.to_owned(), file)),
            ..Self::unwritten()
        })
    }

    /// Creates a record that keeps the last lines for errors and writes no file.
    pub fn unwritten() -> Self {
        Self {
            file: None,
            began: Instant::now(),
            in_line: false,
            last: VecDeque::from([String::new()]),
        }
    }

    /// Returns the path of the file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| path.as_path())
    }

    /// Returns the last lines that the guest printed, oldest first; the last one may be unfinished.
    pub fn last_lines(&self) -> Vec<String> {
        let lines = self.last.iter().map(|line| line.trim_end());
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Records what the guest printed.
    pub(super) fn printed(&mut self, text: &str) -> io::Result<()> {
        for (number, piece) in text.split('\n').enumerate() {
            if number > 0 {
                self.last.push_back(String::new());
            }
            if self.last.len() > KEPT_LINES {
                self.last.pop_front();
            }
            if let Some(line) = self.last.back_mut() {
                let left = KEPT_WIDTH.saturating_sub(line.chars().count());
                line.extend(piece.chars().take(left));
            }
        }
        self.write('|', text)
    }

    /// Records what was typed.
    pub(super) fn typed(&mut self, text: &str) -> io::Result<()> {
        if self.in_line {
            self.write('>', "\n")?;
        }
        self.write('>', text)?;
        if self.in_line {
            self.write('>', "\n")?;
        }
        Ok(())
    }

    fn write(&mut self, sign: char, text: &str) -> io::Result<()> {
        let seconds = self.began.elapsed().as_secs_f64();
        let mut record = String::new();
        for piece in text.split_inclusive('\n') {
            if !self.in_line {
                // Writing to a `String` cannot fail.
                let _ = write!(record, "{seconds:9.3} {sign} ");
            }
            record.push_str(piece);
            self.in_line = !piece.ends_with('\n');
        }
        match &mut self.file {
            Some((_, file)) => file.write_all(record.as_bytes()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_and_printed_lines_have_different_signs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("transcripts/vm1.log");
        let mut transcript = Transcript::append(&path).unwrap();
        transcript.printed("login: ").unwrap();
        transcript.typed("root").unwrap();
        transcript.printed("> a prompt of the guest's\n~ # ").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let without_time: Vec<&str> = text.lines().map(|line| &line[10..]).collect();
        assert_eq!(
            without_time,
            ["| login: ", "> root", "| > a prompt of the guest's", "| ~ # "]
        );
    }

    #[test]
    fn it_is_readable_by_its_owner_only_and_a_second_session_appends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("transcripts/vm1.log");
        for text in ["first", "second"] {
            Transcript::append(&path).unwrap().printed(text).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("first") && text.contains("second"));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }

    #[test]
    fn the_last_lines_are_joined_from_their_pieces() {
        let mut transcript = Transcript::unwritten();
        for number in 0..100 {
            for piece in ["li", "ne ", &number.to_string(), "\n"] {
                transcript.printed(piece).unwrap();
            }
        }
        transcript.printed("~ # ").unwrap();
        let last = transcript.last_lines();
        assert_eq!(last.len(), KEPT_LINES);
        assert_eq!(last[0], "line 86");
        assert_eq!(last[KEPT_LINES - 1], "~ #");
    }

    #[test]
    fn an_endless_line_does_not_fill_the_memory() {
        let mut transcript = Transcript::unwritten();
        for _ in 0..1000 {
            transcript.printed("xxxxxxxxxx").unwrap();
        }
        assert_eq!(transcript.last_lines(), ["x".repeat(KEPT_WIDTH)]);
    }
}
