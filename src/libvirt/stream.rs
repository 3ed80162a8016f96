//! A guest's serial console over a non-blocking libvirt stream. No stream callbacks: the event loop's thread moves the
//! data, this side only polls for it. (The crate's callbacks are unsound, and blocking streams hang now and then. A
//! test makes two thousand round trips over such a stream.)

use std::time::{Duration, Instant};

use virt::connect::Connect;
use virt::stream::Stream;

use super::connection::is_alive;
use super::halted::Guest;
use crate::guest::{Console, ConsoleError};

/// The shortest and the longest wait between two polls. Between them a 32nd of the time since data last moved: data is
/// delayed by no more than that, and a guest that boots in silence costs next to nothing.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(25));
/// How long a guest's console may accept no input before sending counts as failed.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// A console over a stream; closing it is dropping it.
pub(super) struct StreamConsole {
    stream: Stream,
    conn: Connect,
    guest: Guest,
    /// After this time sending fails, whatever its own limit.
    until: Option<Instant>,
    /// When data was last received or sent.
    moved: Instant,
}

impl StreamConsole {
    /// Wraps a stream of `conn`, made with `VIR_STREAM_NONBLOCK`, on which a console was opened.
    pub(super) fn new(stream: Stream, conn: Connect, guest: Guest) -> Self {
        Self {
            stream,
            conn,
            guest,
            until: None,
            moved: Instant::now(),
        }
    }

    /// Returns why the stream ended: because the guest stopped, or because the connection to libvirt was lost.
    fn ended(&self) -> ConsoleError {
        if is_alive(&self.conn) {
            return ConsoleError::Closed;
        }
        ConsoleError::Lost
    }
}

impl Drop for StreamConsole {
    fn drop(&mut self) {
        // `abort` takes a stream by value; the clone is one more reference to the same one.
        let _ = self.stream.clone().abort();
    }
}

impl Console for StreamConsole {
    fn read(&mut self, wait: Duration) -> Result<Vec<u8>, ConsoleError> {
        let deadline = Instant::now() + wait;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.stream.recv(&mut buffer).map(usize::try_from) {
                Ok(Ok(got)) if got > 0 => {
                    self.moved = Instant::now();
                    buffer.truncate(got);
                    return Ok(buffer);
                }
                // Below 0 means "would block"; a stream whose connection was lost would block for ever.
                Ok(Err(_)) if is_alive(&self.conn) => {}
                _ => return Err(self.ended()),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            std::thread::sleep(left.min(pause(self.moved.elapsed())));
        }
    }

    fn send(&mut self, text: &[u8]) -> Result<(), ConsoleError> {
        let mut rest = text;
        let until = self.until;
        let limit = |from: Instant| until.map_or(from + SEND_LIMIT, |until| until.min(from + SEND_LIMIT));
        let mut deadline = limit(Instant::now());
        while !rest.is_empty() {
            match self.stream.send(rest).map(usize::try_from) {
                Ok(Ok(sent)) => {
                    rest = rest.get(sent..).unwrap_or_default();
                    self.moved = Instant::now();
                    deadline = limit(self.moved);
                }
                Ok(Err(_)) if Instant::now() >= deadline => {
                    return Err(ConsoleError::NoInput);
                }
                Ok(Err(_)) if is_alive(&self.conn) => std::thread::sleep(PAUSE.0),
                _ => return Err(self.ended()),
            }
        }
        Ok(())
    }

    fn until(&mut self, deadline: Option<Instant>) {
        self.until = deadline;
    }

    fn obstacle(&mut self) -> Option<String> {
        self.guest.halted()
    }
}

/// Returns how long to wait before the next poll, where no data moved for `silence`.
fn pause(silence: Duration) -> Duration {
    (silence / 32).clamp(PAUSE.0, PAUSE.1)
}
