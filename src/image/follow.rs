//! Reads a file while another thread writes it: a download is unpacked while it is received, and a resumed one is
//! hashed from its first byte.

use std::fs::File;
use std::io::{Error, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::digest::Sums;

/// The written length of a file, shared by its writer and its reader.
#[derive(Debug, Default)]
pub struct Growing {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    written: u64,
    complete: bool,
    abandoned: bool,
}

impl Growing {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports that the file now has `written` bytes.
    pub fn grew(&self, written: u64) {
        self.change(|state| state.written = written);
    }

    /// Reports that the file is complete.
    pub fn complete(&self) {
        self.change(|state| state.complete = true);
    }

    /// Makes the reader stop with an error.
    pub fn abandon(&self) {
        self.change(|state| state.abandoned = true);
    }
}

/// The reader. It hashes everything it reads.
#[derive(Debug)]
pub struct Follower {
    file: File,
    at: u64,
    growing: Arc<Growing>,
    /// The digests of what was read so far.
    pub sums: Sums,
    /// Whether it was stopped by [`Growing::abandon`].
    pub abandoned: bool,
}

impl Follower {
    /// Reads `file` from its first byte.
    pub fn new(file: File, growing: Arc<Growing>, sums: Sums) -> Self {
        Self {
            file,
            at: 0,
            growing,
            sums,
            abandoned: false,
        }
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let ready = {
            let mut state = self.growing.lock();
            while !state.abandoned && !state.complete && state.written <= self.at {
                state = self.growing.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.abandoned {
                self.abandoned = true;
                return Err(Error::other("abandoned"));
            }
            state.written.saturating_sub(self.at)
        };
        let most = usize::try_from(ready).map_or(buffer.len(), |ready| ready.min(buffer.len()));
        let length = self.file.read(&mut buffer[..most])?;
        self.sums.update(&buffer[..length]);
        self.at += length as u64;
        Ok(length)
    }
}
