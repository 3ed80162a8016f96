//! Unpacks a download into a file while it is received, within a size limit and a reserve of free space.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use liblzma::stream::{CONCATENATED, Stream};

use super::digest::Sums;
use super::follow::Follower;
use super::space;
use crate::lab::Compression;

/// Bytes read from the download and written to the disk at a time.
const CHUNK: usize = 64 * 1024;
/// Chunks that may be unpacked and not yet written.
const AHEAD: usize = 16;
/// Most memory that an xz stream may ask for, in bytes: `xz -9` asks for 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;
/// Most memory that a zstd frame may ask for, as a power of two of bytes: 256 MiB, like xz.
const ZSTD_WINDOW: u32 = 28;
/// Bytes written between two checks of the free space.
const CHECK_EVERY: u64 = 16 << 20;

/// An unpacked file.
#[derive(Debug)]
pub struct Unpacked {
    /// Digests of the download: SHA-256, and SHA-512 if it was requested.
    pub download: (String, Option<String>),
    /// Digests of the unpacked file.
    pub content: (String, Option<String>),
    /// Its size in bytes.
    pub size: u64,
}

/// Why a download was not unpacked. `Display` includes the cause; there is no `source()`.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The download was restarted or abandoned.
    #[error("abandoned")]
    Abandoned,
    /// The content cannot be unpacked.
    #[error("it cannot be unpacked: {0}")]
    Corrupt(std::io::Error),
    /// The content exceeds its size limit.
    #[error("it has more than {at_most} bytes, the limit of its entry")]
    TooBig {
        /// The limit.
        at_most: u64,
    },
    /// The disk is full, except for the reserve.
    #[error("no space left for {}", path.display())]
    NoSpace {
        /// The file.
        path: PathBuf,
    },
    /// There is less free space than the file needs.
    #[error(
        "not enough space in {}: at least {} MiB are needed, {} MiB are free",
        folder.display(), needed.div_ceil(1 << 20), available >> 20
    )]
    TooLittle {
        /// The folder.
        folder: PathBuf,
        /// Bytes of the download and of what is unpacked of it, as far as they are known.
        needed: u64,
        /// Free bytes besides the reserve.
        available: u64,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        error: std::io::Error,
    },
}

impl UnpackError {
    /// Returns what a user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Abandoned => "try again",
            Self::Corrupt(error) if is_cut(error) => "fetch the file again: a copy or a download of it was cut off",
            Self::Corrupt(_) => "check `compression` of the image's entry; the file may be damaged",
            Self::TooBig { .. } => "check the file, then raise `at_most` in `unpacked` of the image's entry",
            Self::NoSpace { .. } | Self::TooLittle { .. } => {
                "free some space, or move the cache elsewhere with NETLAB_CACHE_DIR"
            }
            Self::Io { .. } => "check the permissions of the cache (NETLAB_CACHE_DIR)",
        }
    }
}

/// Returns whether a decoder found the end of the file too early.
fn is_cut(error: &std::io::Error) -> bool {
    let text = error.to_string();
    error.kind() == std::io::ErrorKind::UnexpectedEof || text.contains("incomplete") || text.contains("eof")
}

/// The destination of unpacked bytes.
#[derive(Debug)]
pub struct Sink {
    path: PathBuf,
    /// Absent: the bytes are only hashed.
    file: Option<File>,
    sums: Sums,
    size: u64,
    at_most: u64,
    checked: u64,
}

impl Sink {
    /// Creates a file at `path` if `keep`, else only hashes the bytes with `sums`. At most `at_most` bytes are taken.
    pub fn new(path: &Path, keep: bool, sums: Sums, at_most: u64) -> Result<Self, UnpackError> {
        let file = if keep {
            Some(File::create(path).map_err(|error| io(path, error))?)
        } else {
            None
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            sums,
            size: 0,
            at_most,
            checked: 0,
        })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        self.size += bytes.len() as u64;
        if self.size > self.at_most {
            return Err(UnpackError::TooBig { at_most: self.at_most });
        }
        self.sums.update(bytes);
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        if self.size - self.checked > CHECK_EVERY {
            self.checked = self.size;
            if !space::has_space(&self.path) {
                return Err(UnpackError::NoSpace {
                    path: self.path.clone(),
                });
            }
        }
        // Disk images are mostly zeros, which become holes.
        let written = if bytes.iter().all(|byte| *byte == 0) {
            i64::try_from(bytes.len())
                .map_err(std::io::Error::other)
                .and_then(|length| file.seek(SeekFrom::Current(length)).map(|_| ()))
        } else {
            file.write_all(bytes)
        };
        written.map_err(|error| io(&self.path, error))
    }

    fn finish(mut self) -> Result<((String, Option<String>), u64), UnpackError> {
        if let Some(file) = &mut self.file {
            let done = file.set_len(self.size).and_then(|()| file.sync_all());
            done.map_err(|error| io(&self.path, error))?;
        }
        Ok((self.sums.finish(), self.size))
    }
}

fn io(path: &Path, error: std::io::Error) -> UnpackError {
    let path = path.to_owned();
    if error.kind() == std::io::ErrorKind::StorageFull {
        UnpackError::NoSpace { path }
    } else {
        UnpackError::Io { path, error }
    }
}

/// Returns the first 64 KiB of the unpacked file at `path`.
pub(super) fn head(path: &Path, compression: Compression) -> std::io::Result<Vec<u8>> {
    let source = BufReader::new(File::open(path)?);
    let unpacked: Box<dyn Read> = match compression {
        Compression::None => Box::new(source),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(source)),
        Compression::Gzip => Box::new(Members::new(source)),
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(source, stream))
        }
        Compression::Zstd => Box::new(zstd_decoder(source)?),
    };
    let mut head = Vec::new();
    unpacked.take(CHUNK as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Returns a decoder of consecutive zstd frames.
fn zstd_decoder<R: BufRead>(source: R) -> std::io::Result<zstd::Decoder<'static, R>> {
    let mut decoder = zstd::Decoder::with_buffer(source)?;
    decoder.window_log_max(ZSTD_WINDOW)?;
    Ok(decoder)
}

/// Unpacks everything that `follower` reads into `sink`.
pub fn unpack(follower: Follower, compression: Compression, mut sink: Sink) -> Result<Unpacked, UnpackError> {
    let source = BufReader::with_capacity(CHUNK, follower);
    let follower = match compression {
        Compression::None => drain(source, &mut sink, Some)?,
        Compression::Bzip2 => {
            let decoder = bzip2::bufread::MultiBzDecoder::new(source);
            drain(decoder, &mut sink, |decoder| Some(decoder.into_inner()))?
        }
        Compression::Gzip => drain(Members::new(source), &mut sink, Members::into_inner)?,
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)
                .map_err(|error| UnpackError::Corrupt(error.into()))?;
            let decoder = liblzma::bufread::XzDecoder::new_stream(source, stream);
            drain(decoder, &mut sink, |decoder| Some(decoder.into_inner()))?
        }
        Compression::Zstd => {
            let decoder = zstd_decoder(source).map_err(UnpackError::Corrupt)?;
            drain(decoder, &mut sink, |decoder| Some(decoder.finish()))?
        }
    };
    let (content, size) = sink.finish()?;
    Ok(Unpacked {
        download: follower.sums.finish(),
        content,
        size,
    })
}

/// Unpacks in this thread while another one hashes and writes.
fn drain<D: Read>(
    mut decoder: D,
    sink: &mut Sink,
    inner: impl FnOnce(D) -> Option<BufReader<Follower>>,
) -> Result<Follower, UnpackError> {
    let (decoded, written) = thread::scope(|scope| {
        let (chunks, received) = mpsc::sync_channel::<Vec<u8>>(AHEAD);
        let writer = scope.spawn(move || received.iter().try_for_each(|bytes| sink.take(&bytes)));
        let decoded = decode(&mut decoder, &chunks);
        drop(chunks);
        (
            decoded,
            writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    });
    // The error of the writer is the reason for a closed channel.
    written?;
    let Some(mut source) = inner(decoder) else {
        return Err(UnpackError::Corrupt(std::io::ErrorKind::UnexpectedEof.into()));
    };
    if let Err(error) = decoded {
        return Err(if source.get_ref().abandoned {
            UnpackError::Abandoned
        } else {
            UnpackError::Corrupt(error)
        });
    }
    match source.fill_buf().map(<[u8]>::is_empty) {
        Ok(true) => Ok(source.into_inner()),
        Ok(false) => Err(UnpackError::Corrupt(std::io::Error::other(
            "data follows the compressed stream",
        ))),
        Err(_) if source.get_ref().abandoned => Err(UnpackError::Abandoned),
        Err(error) => Err(UnpackError::Corrupt(error)),
    }
}

/// Sends full chunks, so that holes are at the same places whatever a decoder returns at a time. Ends early when the
/// channel is closed.
fn decode(decoder: &mut impl Read, chunks: &mpsc::SyncSender<Vec<u8>>) -> std::io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        decoder.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        let last = chunk.len() < CHUNK;
        if chunks.send(chunk).is_err() || last {
            return Ok(());
        }
    }
}

/// Reads consecutive gzip members. What follows them and is none is ignored, like gzip(1) does: OpenWrt appends a
/// signature to its images.
struct Members<R: BufRead> {
    /// Absent only while a member follows another one.
    decoder: Option<flate2::bufread::GzDecoder<R>>,
    ended: bool,
}

impl<R: BufRead> Members<R> {
    fn new(source: R) -> Self {
        Self {
            decoder: Some(flate2::bufread::GzDecoder::new(source)),
            ended: false,
        }
    }
}

impl<R: BufRead> Members<R> {
    fn into_inner(self) -> Option<R> {
        self.decoder.map(flate2::bufread::GzDecoder::into_inner)
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while let Some(decoder) = self.decoder.as_mut().filter(|_| !self.ended) {
            let length = decoder.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            let source = decoder.get_mut();
            if source.fill_buf()?.first() == Some(&0x1f) {
                if let Some(done) = self.decoder.take() {
                    self.decoder = Some(flate2::bufread::GzDecoder::new(done.into_inner()));
                }
            } else {
                std::io::copy(source, &mut std::io::sink())?;
                self.ended = true;
            }
        }
        Ok(0)
    }
}
