//! Feeds a child process, reads what it prints, and waits for its end, for a limited time. Takes a child with pipes; returns
//! its exit status and what it printed, or nothing where it did not end. Then its process group is killed.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdin, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// The exit status, standard output and standard error.
type Ended = (ExitStatus, Vec<u8>, Vec<u8>);

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// Feeds `input` to `child`, the first of its process group, and reads until it has exited and nothing has its output open
/// any more.
pub(super) fn feed_and_wait(child: &mut Child, input: &[u8], within: Duration) -> io::Result<Option<Ended>> {
    let until = Instant::now() + within;
    let printed = feed_and_read(child, input, until);
    if !matches!(printed, Ok(Some(_))) {
        // The child was not waited for, so that its process ID is still its group's.
        _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    }
    let status = child.wait()?;
    Ok(printed?.map(|(stdout, stderr)| (status, stdout, stderr)))
}

/// Moves what can be moved until the output is closed and the child has exited; nothing at `until`. All in one thread:
/// a child that fills its output before it has read its input would wait for us, and we for it.
fn feed_and_read(child: &mut Child, input: &[u8], until: Instant) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut stdin = Feed::new(child.stdin.take(), input)?;
    let (mut stdout, mut stderr) = (Pipe::new(child.stdout.take()), Pipe::new(child.stderr.take()));
    let mut exited = false;
    while !exited || stdout.from.is_some() || stderr.from.is_some() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let (input, output) = (PollFlags::OUT, PollFlags::IN);
        let waited: [(Option<BorrowedFd<'_>>, PollFlags); 4] = [
            (stdin.into.as_ref().map(AsFd::as_fd), input),
            (stdout.from.as_ref().map(AsFd::as_fd), output),
            (stderr.from.as_ref().map(AsFd::as_fd), output),
            ((!exited).then(|| process.as_fd()), output),
        ];
        let open = waited.iter().filter_map(|(fd, flags)| Some((fd.as_ref()?, *flags)));
        let mut fds: Vec<PollFd<'_>> = open.map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, flags)).collect();
        let timeout = Timespec::try_from(left).ok();
        rustix::io::retry_on_intr(|| poll(&mut fds, timeout.as_ref()))?;
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let ready = waited.map(|(fd, _)| fd.is_some() && ready.next() == Some(true));
        if ready[0] {
            stdin.write();
        }
        if ready[1] {
            stdout.read()?;
        }
        if ready[2] {
            stderr.read()?;
        }
        exited |= ready[3];
    }
    Ok(Some((stdout.text, stderr.text)))
}

/// The child's input, closed once it has all of it or reads no more.
struct Feed<'a> {
    into: Option<ChildStdin>,
    left: &'a [u8],
}

impl<'a> Feed<'a> {
    fn new(into: Option<ChildStdin>, left: &'a [u8]) -> io::Result<Self> {
        if let Some(pipe) = &into {
            // Of this end of the pipe only.
            fcntl_setfl(pipe, OFlags::NONBLOCK)?;
        }
        Ok(Self { into, left })
    }

    /// Writes what fits. A child that stops reading is no error: its exit status counts.
    fn write(&mut self) {
        let Some(into) = &mut self.into else { return };
        match into.write(self.left) {
            Ok(count) => self.left = &self.left[count..],
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => {}
            Err(_) => self.left = &[],
        }
        if self.left.is_empty() {
            self.into = None;
        }
    }
}

/// One pipe of the child's output, closed once it has ended, and what came from it.
struct Pipe<R> {
    from: Option<R>,
    text: Vec<u8>,
}

impl<R: Read> Pipe<R> {
    fn new(from: Option<R>) -> Self {
        Self { from, text: Vec::new() }
    }

    /// Reads once; there is something to read, or the end.
    fn read(&mut self) -> io::Result<()> {
        let Some(from) = &mut self.from else { return Ok(()) };
        let before = self.text.len();
        self.text.resize(before + CHUNK, 0);
        let count = from.read(&mut self.text[before..]);
        self.text.truncate(before + *count.as_ref().unwrap_or(&0));
        match count {
            Ok(0) => self.from = None,
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        Ok(())
    }
}
