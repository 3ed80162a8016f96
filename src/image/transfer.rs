//! Fetches from one mirror: the download into a partial file, resumed after an interruption, is unpacked meanwhile.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, header};

use super::client::client;
use super::decompress::{Sink, UnpackError, Unpacked, unpack};
use super::digest::Sums;
use super::fetch::{FetchError, Job};
use super::follow::{Follower, Growing};
use super::part::Part;
use super::space;
use crate::event::Event;
use crate::lab::Compression;

/// How often a waiting download checks for cancellation.
const TICK: Duration = Duration::from_millis(100);
/// Bytes written between two checks of the free space and two events.
const CHECK_EVERY: u64 = 1 << 20;

/// A thread that unpacks the download.
struct Unpacking {
    growing: Arc<Growing>,
    thread: JoinHandle<Result<Unpacked, UnpackError>>,
}

impl Unpacking {
    fn start(job: &Job<'_>, from: &Path, keep: bool, growing: Arc<Growing>) -> Result<Self, FetchError> {
        let download = job.download;
        let file = File::open(from).map_err(|source| FetchError::io(from, source))?;
        let follower = Follower::new(file, growing.clone(), Sums::new(download.digest.as_ref()));
        let sums = Sums::new(download.unpacked.as_ref());
        let sink = Sink::new(&job.target, keep, sums, download.at_most)?;
        let compression = download.compression;
        let thread = std::thread::spawn(move || unpack(follower, compression, sink));
        Ok(Self { growing, thread })
    }

    fn join(self) -> Result<Unpacked, FetchError> {
        match self.thread.join() {
            Ok(result) => Ok(result?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn abandon(self) {
        self.growing.abandon();
        let _ = self.thread.join();
    }
}

/// Reads the image from a file of this machine.
pub(super) async fn from_file(job: &Job<'_>, path: &Path) -> Result<Unpacked, FetchError> {
    let found = path.metadata().map_err(FetchError::NoFile)?;
    if !found.is_file() {
        return Err(FetchError::not_a_file(&found));
    }
    let length = found.len();
    let at_most = job.download.at_most;
    if job.download.compression == Compression::None && length > at_most {
        return Err(UnpackError::TooBig { at_most }.into());
    }
    let growing = Arc::new(Growing::default());
    growing.grew(length);
    growing.complete();
    // Holes are copied as holes.
    let blocks = found.blocks();
    space::check(&job.parts, length.min(blocks.saturating_mul(512)))?;
    let unpacking = Unpacking::start(job, path, true, growing)?;
    while !unpacking.thread.is_finished() {
        if job.is_cancelled() {
            unpacking.abandon();
            return Err(FetchError::Cancelled);
        }
        tokio::time::sleep(TICK / 5).await;
    }
    unpacking.join()
}

/// Downloads the image from `url`; an interrupted download is resumed, as often as the job's limits allow.
pub(super) async fn from_url(job: &Job<'_>, url: &str, part: &Part) -> Result<Unpacked, FetchError> {
    let client = client(url, job.limits.stall)?;
    let mut unpacking = None;
    let mut attempt = 1;
    loop {
        let began = part.length();
        let error = match attempt_once(job, &client, url, part, &mut unpacking).await {
            Ok(()) => {
                if let Some(unpacking) = unpacking {
                    unpacking.growing.complete();
                    let unpacked = unpacking.join();
                    if unpacked.is_ok() && job.download.compression == Compression::None {
                        std::fs::rename(part.path(), &job.target)
                            .map_err(|source| FetchError::io(&job.target, source))?;
                    }
                    return unpacked;
                }
                return Err(FetchError::Empty);
            }
            Err(error) => error,
        };
        // Only attempts without progress are counted.
        let progress = part.length() > began;
        attempt = if progress { attempt } else { attempt + 1 };
        job.attempts_left.fetch_sub(1, Ordering::Relaxed);
        let spent = attempt > job.limits.attempts || job.attempts_left.load(Ordering::Relaxed) <= 0;
        if spent || !error.is_transient() {
            if let Some(unpacking) = unpacking {
                unpacking.abandon();
            }
            return Err(error);
        }
        job.report(&format!("{error}; trying again"));
        wait(job, job.limits.pause * attempt).await?;
    }
}

async fn wait(job: &Job<'_>, time: Duration) -> Result<(), FetchError> {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        if job.is_cancelled() {
            return Err(FetchError::Cancelled);
        }
        tokio::time::sleep(TICK.min(time)).await;
    }
    Ok(())
}

/// One request and its body.
async fn attempt_once(
    job: &Job<'_>,
    client: &Client,
    url: &str,
    part: &Part,
    unpacking: &mut Option<Unpacking>,
) -> Result<(), FetchError> {
    let (have, headers) = part.request_headers(job.download.digest.is_some());
    let stalled = || FetchError::Stalled(job.limits.stall.as_secs_f64());
    let request = client.get(url).headers(headers).send();
    let mut response = limited(job, request).await?.map_err(FetchError::Connection)?;
    let at = match response.status() {
        StatusCode::PARTIAL_CONTENT if starts_at(&response, have) => have,
        StatusCode::OK => 0,
        StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT => {
            // The part is complete, or the file has changed.
            if whole(&response) == Some(have) && job.download.digest.is_some() {
                return follow(job, part, have, unpacking).map(|_| ());
            }
            part.remove();
            return Err(FetchError::Cut { got: 0, of: None });
        }
        status => return Err(FetchError::Status(status.as_u16())),
    };
    let kind = response.headers().get(header::CONTENT_TYPE);
    // Servers send any file as a web page: a right checksum counts more.
    if !job.download.is_pinned() && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        return Err(FetchError::WebPage);
    }
    let total = response.content_length().map(|length| at + length);
    if at == 0 {
        if let Some(old) = unpacking.take() {
            old.abandon();
        }
        part.remember(&response)?;
    }
    if let Some(total) = total {
        // What is unpacked is at least as large as the download.
        let unpacked = if job.download.compression == Compression::None {
            0
        } else {
            total
        };
        space::check(&job.parts, total - at + unpacked)?;
    }
    let mut file = part.open(at)?;
    let growing = follow(job, part, at, unpacking)?;
    let (mut written, mut checked) = (at, at);
    job.bytes(written, total);
    loop {
        let next = limited(job, response.chunk()).await;
        let chunk = match next? {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) if error.is_timeout() => return Err(stalled()),
            Err(_) => {
                return Err(FetchError::Cut {
                    got: written,
                    of: total,
                });
            }
        };
        file.write_all(&chunk)
            .map_err(|source| FetchError::io(part.path(), source))?;
        written += chunk.len() as u64;
        growing.grew(written);
        if written - checked >= CHECK_EVERY {
            checked = written;
            job.bytes(written, total);
            if !space::has_space(part.path()) {
                let path = part.path().to_owned();
                return Err(FetchError::Unpack(UnpackError::NoSpace { path }));
            }
        }
        // The thread has found the end or an error: that counts more than the rest of the download.
        if unpacking
            .as_ref()
            .is_some_and(|unpacking| unpacking.thread.is_finished())
            && let Some(unpacking) = unpacking.take()
        {
            unpacking.join()?;
            return Err(FetchError::Excess);
        }
    }
    if total.is_some_and(|total| written < total) {
        return Err(FetchError::Cut {
            got: written,
            of: total,
        });
    }
    job.bytes(written, Some(written));
    Ok(())
}

/// Returns the state shared with the thread that unpacks, which is started if there is none.
fn follow(job: &Job<'_>, part: &Part, at: u64, unpacking: &mut Option<Unpacking>) -> Result<Arc<Growing>, FetchError> {
    if let Some(running) = unpacking {
        return Ok(running.growing.clone());
    }
    let growing = Arc::new(Growing::default());
    growing.grew(at);
    let keep = job.download.compression != Compression::None;
    *unpacking = Some(Unpacking::start(job, part.path(), keep, growing.clone())?);
    Ok(growing)
}

/// Waits for `operation`, at most as long as a server may send nothing, and until the run is cancelled.
async fn limited<T>(job: &Job<'_>, operation: impl Future<Output = T>) -> Result<T, FetchError> {
    let mut operation = std::pin::pin!(operation);
    let end = tokio::time::Instant::now() + job.limits.stall;
    loop {
        match tokio::time::timeout(TICK.min(job.limits.stall), &mut operation).await {
            Ok(result) => return Ok(result),
            Err(_) if job.is_cancelled() => return Err(FetchError::Cancelled),
            Err(_) if tokio::time::Instant::now() >= end => {
                return Err(FetchError::Stalled(job.limits.stall.as_secs_f64()));
            }
            Err(_) => {}
        }
    }
}

/// Whether a partial response begins at the end of the part.
fn starts_at(response: &Response, have: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE);
    let range = range.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let start = range.strip_prefix("bytes ").and_then(|rest| rest.split_once('-'));
    start.and_then(|(start, _)| start.parse().ok()) == Some(have)
}

/// Returns the total length that the server reports where it cannot send a range.
fn whole(response: &Response) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes */")?.parse().ok()
}

impl Job<'_> {
    fn report(&self, text: &str) {
        self.events.send(Event::Busy {
            what: self.what.clone(),
            text: text.to_owned(),
        });
    }

    fn bytes(&self, done: u64, total: Option<u64>) {
        self.events.send(Event::Bytes {
            what: self.what.clone(),
            done,
            total,
        });
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_requested()
    }
}
