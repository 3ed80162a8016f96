//! An image as a user or the catalog describes it: where its file comes from and its digest. Paths of the cache are not
//! known here; the image module adds them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ImageConsole, ImageMachine, masked};

/// An image as an entry of the catalog or a lab file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageEntry {
    /// One line for `netlab image list`.
    pub description: String,
    /// Where its files come from.
    pub source: ImageSource,
    /// How the virtual machine must be built.
    pub machine: ImageMachine,
    /// How its console behaves.
    pub console: ImageConsole,
    /// Whether the guest takes its settings from a NoCloud seed disk at its first boot.
    pub cloud_init: bool,
    /// Whether its guests are started from the saved state of one that has booted.
    pub warm: bool,
}

/// Where the files of an image come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// Kernel and initramfs built on localhost.
    Recipe {
        /// What to build.
        recipe: Recipe,
        /// Kernel command line.
        cmdline: String,
    },
    /// A published disk image.
    Download(Download),
    /// A kernel of the user's own, with or without a disk.
    Kernel(Box<KernelSource>),
}

impl ImageSource {
    /// Whether netlab builds it.
    pub fn is_recipe(&self) -> bool {
        matches!(self, Self::Recipe { .. })
    }

    /// Returns every file to fetch, by its name in the cache.
    pub fn downloads(&self) -> Vec<(FileName, &Download)> {
        match self {
            Self::Recipe { .. } => Vec::new(),
            Self::Download(download) => vec![(FileName::Disk, download)],
            Self::Kernel(source) => {
                let initrd = source.initrd.iter().map(|initrd| (FileName::Initrd, initrd));
                let disk = source.disk.iter().map(|disk| (FileName::Disk, disk));
                let kernel = [(FileName::Kernel, &source.kernel)];
                kernel.into_iter().chain(initrd).chain(disk).collect()
            }
        }
    }
}

/// What a fetched file of an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// The kernel.
    Kernel,
    /// The initial RAM file system.
    Initrd,
    /// The disk.
    Disk,
}

/// A kernel that is started without a boot loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSource {
    /// The kernel.
    pub kernel: Download,
    /// Its initial RAM file system.
    pub initrd: Option<Download>,
    /// Its command line.
    pub cmdline: String,
    /// The disk.
    pub disk: Option<Download>,
}

/// What netlab can build by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recipe {
    /// The distribution's kernel and busybox.
    Mini,
}

/// A disk image to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Where it is, in the order in which the places are tried; at least one.
    pub mirrors: Vec<Location>,
    /// Digest of the download.
    pub digest: Option<Digest>,
    /// The URL of the publisher's list of checksums, which has the digest where it is not written.
    pub checksums: Option<String>,
    /// How that is compressed.
    pub compression: Compression,
    /// Its format after decompression; always given, never probed.
    pub format: Format,
    /// Digest of the unpacked file.
    pub unpacked: Option<Digest>,
    /// Largest size of the unpacked file, in bytes.
    pub at_most: u64,
}

impl Download {
    /// Whether its content is that of files on localhost and nowhere else.
    pub fn is_local(&self) -> bool {
        self.mirrors.iter().all(|mirror| matches!(mirror, Location::File(_)))
    }

    /// Whether it has a digest, or a list that has one.
    pub fn is_pinned(&self) -> bool {
        self.digest.is_some() || self.unpacked.is_some() || self.checksums.is_some()
    }
}

/// A place that has an image. It is shown without its credentials.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// `https://…` or `http://…`.
    Url(String),
    /// A file on localhost.
    File(PathBuf),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(&masked::urls(url)),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.debug_tuple("Url").field(&masked::urls(url)).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// How a download is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// bzip2, several streams in a row allowed.
    Bzip2,
    /// gzip, several members in a row allowed.
    Gzip,
    /// xz, several streams in a row allowed.
    Xz,
    /// zstd, several frames in a row allowed.
    Zstd,
}

/// What a disk image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Sector after sector.
    Raw,
    /// QEMU's own.
    Qcow2,
    /// Sector after sector, of a CD.
    Cd,
    /// Sector after sector, of a further disk, which no firmware starts.
    Data,
}

impl Format {
    /// Returns libvirt's and QEMU's name of it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Raw | Self::Cd | Self::Data => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// A digest and its kind, written `sha256:<hex>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    kind: DigestKind,
    hex: String,
}

/// Which digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DigestKind {
    /// SHA-256.
    Sha256,
    /// SHA-512: Debian publishes this.
    Sha512,
    /// The id that git gives a file of this content: SHA-1 over `blob <length>`, a zero byte and the content.
    GitBlob,
}

impl DigestKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha512, Self::GitBlob];

    /// Its name as a key of an image's entry.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::GitBlob => "git_blob",
        }
    }

    /// Hex digits of such a digest.
    pub fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
            Self::GitBlob => 40,
        }
    }
}

impl Digest {
    /// Takes `hex` as a digest of `kind`; the error is the line a user reads.
    pub fn new(kind: DigestKind, hex: &str) -> Result<Self, String> {
        let hex = hex.to_ascii_lowercase();
        if hex.len() == kind.digits() && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self { kind, hex });
        }
        let (word, digits) = (kind.word(), kind.digits());
        Err(format!("a {word} is {digits} hex digits"))
    }

    /// Takes what a publisher writes: the hex digits alone, `sha256:HEX`, a line of SHA256SUMS (`HEX  FILE`, coreutils)
    /// or of the BSD tools (`SHA256 (FILE) = HEX`).
    pub fn written(kind: DigestKind, text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains("://") {
            return Err("this is a URL: that of a list of checksums is written as `checksums = \"...\"`".to_owned());
        }
        // openssl(1) writes no blank before the equals sign.
        let hex = match text.split_once('(').and_then(|_| text.rsplit_once('=')) {
            Some((_, hex)) => hex.trim(),
            None => text.split_whitespace().next().unwrap_or_default(),
        };
        let hex = match hex.split_once(':') {
            Some((word, hex)) if word.eq_ignore_ascii_case(kind.word()) => hex,
            Some((word, _)) => return Err(format!("this is a {word}, and the key is for a {}", kind.word())),
            None => hex,
        };
        let is_hex = !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        Self::new(kind, hex).map_err(|message| {
            let other = [DigestKind::Sha256, DigestKind::Sha512]
                .into_iter()
                .find(|other| other.digits() == hex.len());
            match other.filter(|_| is_hex) {
                Some(other) => format!("{message}; this is a {0}: write `{0} = \"...\"`", other.word()),
                None if is_hex => format!("{message}; these are {}", hex.len()),
                None => message,
            }
        })
    }

    /// Which digest it is.
    pub fn kind(&self) -> DigestKind {
        self.kind
    }

    /// Its hex digits, small letters.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.word(), self.hex)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Digest {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (word, hex) = text.split_once(':').unwrap_or(("sha256", text));
        let kind = DigestKind::ALL.into_iter().find(|kind| kind.word() == word);
        Self::new(kind.ok_or_else(|| format!("`{word}` is no digest"))?, hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_taken_as_publishers_write_it() {
        let hex = "ab".repeat(32);
        for text in [
            hex.clone(),
            hex.to_uppercase(),
            format!("sha256:{hex}"),
            format!("{hex}  debian.qcow2"),
            format!("{hex} *debian.qcow2\n"),
            format!("SHA256 (debian (1).qcow2) = {hex}"),
        ] {
            let digest = Digest::written(DigestKind::Sha256, &text).map(|digest| digest.to_string());
            assert_eq!(digest, Ok(format!("sha256:{hex}")), "{text}");
        }
        for text in ["", "sha512:ab", "file.qcow2", &hex[1..], "SHA256 (x) = "] {
            assert!(Digest::written(DigestKind::Sha256, text).is_err(), "{text}");
        }
    }
}
