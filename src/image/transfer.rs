//! One mirror: the download into a `.part` file, resumed after a cut, while it is unpacked.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use super::decompress::{self, Sink, UnpackError, Unpacked, unpack};
use super::digest::Sums;
use super::fetch::{FetchError, Job};
use super::follow::{Follower, Growing};
use crate::event::Event;
use crate::lab::Compression;

/// Redirects followed.
const REDIRECTS: usize = 10;
/// How often a waiting download looks whether it is to stop.
const TICK: Duration = Duration::from_millis(100);
/// Bytes written between two looks at the free space and two events.
const LOOK: u64 = 1 << 20;

/// Plain bytes of an URL being downloaded, kept until the image is ready. Beside it what the server said to tell
/// whether the file is still the same (`.tag`).
#[derive(Debug, Clone)]
pub(super) struct Part {
    path: PathBuf,
}

impl Part {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn tag(&self) -> PathBuf {
        self.path.with_extension("tag")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn length(&self) -> u64 {
        self.path.metadata().map_or(0, |data| data.len())
    }

    pub(super) fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(self.tag());
    }

    /// Opened to be written from `at`, what stood behind it gone.
    fn open(&self, at: u64) -> Result<File, FetchError> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o644);
        let open = || {
            let mut file = options.open(&self.path)?;
            file.set_len(at)?;
            file.seek(SeekFrom::Start(at))?;
            Ok(file)
        };
        open().map_err(|source| FetchError::io(&self.path, source))
    }
}

/// A thread that unpacks what is downloaded.
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

    fn give_up(self) {
        self.growing.abandon();
        let _ = self.thread.join();
    }
}

/// Takes the image from a file of this machine.
pub(super) async fn from_file(job: &Job<'_>, path: &Path) -> Result<Unpacked, FetchError> {
    let length = path
        .metadata()
        .map_err(|error| FetchError::NoFile(error.to_string()))?
        .len();
    let growing = Arc::new(Growing::default());
    growing.grew(length);
    growing.complete();
    if !path.is_file() {
        return Err(FetchError::NoFile("it is not a file".to_owned()));
    }
    let unpacking = Unpacking::start(job, path, true, growing)?;
    while !unpacking.thread.is_finished() {
        if job.is_cancelled() {
            unpacking.give_up();
            return Err(FetchError::Cancelled);
        }
        tokio::time::sleep(TICK / 5).await;
    }
    unpacking.join()
}

/// Takes the image from `url`; a cut download is resumed, up to the number of attempts that the job allows.
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
                return Err(FetchError::Transport("the server sent nothing".to_owned()));
            }
            Err(error) => error,
        };
        // Whoever got further may try again; who stands still may not do so for ever.
        let further = part.length() > began;
        attempt = if further { attempt } else { attempt + 1 };
        job.attempts_left.fetch_sub(1, Ordering::Relaxed);
        let spent = attempt > job.limits.attempts || job.attempts_left.load(Ordering::Relaxed) <= 0;
        if spent || !error.may_pass() {
            if let Some(unpacking) = unpacking {
                unpacking.give_up();
            }
            return Err(error);
        }
        job.say(&format!("{error}; trying again"));
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

fn client(url: &str, stall: Duration) -> Result<Client, FetchError> {
    // Fails where the process has chosen already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let policy = redirect::Policy::custom(|attempt| {
        let before: Vec<&str> = attempt.previous().iter().map(Url::as_str).collect();
        match may_follow(&before, attempt.url().as_str()) {
            Ok(()) => attempt.follow(),
            Err(message) => attempt.error(message),
        }
    });
    let mut builder = Client::builder()
        .user_agent(concat!("netlab/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(stall)
        .redirect(policy);
    let host = url.split("://").nth(1).unwrap_or_default();
    if ["127.", "localhost", "[::1]"].iter().any(|this| host.starts_with(this)) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| FetchError::transport(&error))
}

/// Whether a redirect from the addresses `before` to `next` is followed.
fn may_follow(before: &[&str], next: &str) -> Result<(), String> {
    let secure = |url: &str| url.starts_with("https:");
    if before.iter().any(|url| secure(url)) && !secure(next) {
        return Err(format!("it redirects from https to {next}, which is not allowed"));
    }
    if before.len() > REDIRECTS {
        return Err("too many redirects".to_owned());
    }
    Ok(())
}

/// What the server is asked for.
fn wishes(job: &Job<'_>, part: &Part) -> (u64, HeaderMap) {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let have = part.length();
    let tag = std::fs::read_to_string(part.tag()).ok();
    let tag = tag.and_then(|tag| HeaderValue::from_str(tag.trim()).ok());
    // Without a tag only a digest can tell whether two halves are of one file.
    if have == 0 || (tag.is_none() && job.download.digest.is_none()) {
        return (0, headers);
    }
    if let (Some(tag), Ok(range)) = (tag, HeaderValue::from_str(&format!("bytes={have}-"))) {
        headers.insert(header::RANGE, range);
        headers.insert(header::IF_RANGE, tag);
    } else if let Ok(range) = HeaderValue::from_str(&format!("bytes={have}-")) {
        headers.insert(header::RANGE, range);
    }
    (have, headers)
}

/// One request and its body.
async fn attempt_once(
    job: &Job<'_>,
    client: &Client,
    url: &str,
    part: &Part,
    unpacking: &mut Option<Unpacking>,
) -> Result<(), FetchError> {
    let (have, headers) = wishes(job, part);
    let stalled = || FetchError::Stalled(job.limits.stall.as_secs_f64());
    let request = client.get(url).headers(headers).send();
    let mut response = patient(job, request)
        .await?
        .map_err(|error| FetchError::transport(&error))?;
    let at = match response.status() {
        StatusCode::PARTIAL_CONTENT if starts_at(&response, have) => have,
        StatusCode::OK => 0,
        StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT => {
            // All is there already, or the file is another one now.
            if whole(&response) == Some(have) && job.download.digest.is_some() {
                return follow(job, part, have, unpacking).map(|_| ());
            }
            part.remove();
            return Err(FetchError::Cut { got: 0, of: None });
        }
        status => return Err(FetchError::Status(status.as_u16())),
    };
    let kind = response.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        return Err(FetchError::WebPage);
    }
    let total = response.content_length().map(|length| at + length);
    if at == 0 {
        if let Some(old) = unpacking.take() {
            old.give_up();
        }
        remember(part, &response)?;
    }
    let mut file = part.open(at)?;
    let growing = follow(job, part, at, unpacking)?;
    let (mut written, mut looked) = (at, at);
    job.bytes(written, total);
    loop {
        let next = patient(job, response.chunk()).await;
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
        if written - looked >= LOOK {
            looked = written;
            job.bytes(written, total);
            if !decompress::has_room(part.path()) {
                let path = part.path().to_owned();
                return Err(FetchError::Unpack(UnpackError::NoSpace { path }));
            }
        }
        // Whoever unpacks has seen enough: what it says counts more than what is still to come.
        if unpacking
            .as_ref()
            .is_some_and(|unpacking| unpacking.thread.is_finished())
            && let Some(unpacking) = unpacking.take()
        {
            unpacking.join()?;
            return Err(FetchError::Transport("the server sends more than the file".to_owned()));
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

/// The thread that unpacks, started if there is none.
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

/// Waits for `what`, not longer than a server may be silent, and not once the run is over.
async fn patient<T>(job: &Job<'_>, what: impl Future<Output = T>) -> Result<T, FetchError> {
    let mut what = std::pin::pin!(what);
    let end = tokio::time::Instant::now() + job.limits.stall;
    loop {
        match tokio::time::timeout(TICK.min(job.limits.stall), &mut what).await {
            Ok(result) => return Ok(result),
            Err(_) if job.is_cancelled() => return Err(FetchError::Cancelled),
            Err(_) if tokio::time::Instant::now() >= end => {
                return Err(FetchError::Stalled(job.limits.stall.as_secs_f64()));
            }
            Err(_) => {}
        }
    }
}

/// Keeps what tells this file from a later one of the same address: a strong ETag, else the date.
fn remember(part: &Part, response: &Response) -> Result<(), FetchError> {
    let of = |name| {
        response
            .headers()
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let strong = of(header::ETAG).filter(|tag| tag.starts_with('"'));
    if let Some(tag) = strong.or_else(|| of(header::LAST_MODIFIED)) {
        return std::fs::write(part.tag(), tag).map_err(|source| FetchError::io(&part.tag(), source));
    }
    let _ = std::fs::remove_file(part.tag());
    Ok(())
}

/// Whether the partial answer begins where the part ends.
fn starts_at(response: &Response, have: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE);
    let range = range.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let start = range.strip_prefix("bytes ").and_then(|rest| rest.split_once('-'));
    start.and_then(|(start, _)| start.parse().ok()) == Some(have)
}

/// The whole length that the server tells where it cannot give a part.
fn whole(response: &Response) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes */")?.parse().ok()
}

impl Job<'_> {
    fn say(&self, text: &str) {
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
        self.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_redirect_leads_away_from_https_or_round_and_round() {
        assert_eq!(may_follow(&["http://a/x"], "https://b/x"), Ok(()));
        assert_eq!(may_follow(&["https://a/x"], "https://b/x"), Ok(()));
        let refused = may_follow(&["http://a/x", "https://a/x"], "http://a/x").unwrap_err();
        assert!(refused.contains("from https to http://a/x"), "{refused}");
        assert!(may_follow(&["http://a/x"; 11], "http://a/x").is_err());
    }
}
