//! Files that guests boot from, brought to a host behind ssh through libvirt's storage API: once per host and
//! content. A file is named by its SHA-256 and by where it lies here, so that what is there says what it is; it has
//! that name only once it has arrived whole.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;
use virt::sys;

use super::{HostError, Libvirt, NO_POOL, NO_VOLUME, XmlError, code, failed, other, xml_failed};
use crate::libvirt::domain_xml::XmlWriter;
use crate::transport::cmd::{Cmd, Shell};

/// The pool that a host's copies lie in. It is there only while something is brought; the files stay, as in the
/// cache here, and can be deleted while no lab is up.
const POOL: &str = "netlab-images";
/// Where the pool is made.
const FOLDER: &str = "/var/lib/libvirt/images/netlab-images";
/// What is sent at a time: libvirt's limit for one message of a stream is 256 KiB (libvirt, rpc/virnetprotocol.x).
const CHUNK: usize = 128 * 1024;
/// Gives a file its name once it is whole: `$1` digest, `$2` where it is, `$3` where it is to be.
const SETTLE: &str = r#"echo "$1  $2" | sha256sum -c --status && { sync "$2" 2>/dev/null || sync; } && mv "$2" "$3""#;

impl Libvirt {
    /// Brings the file `local`, known there as `label`, and gives its path there. Nothing is sent where it is there
    /// already. `tell` is told how far it is, in percent.
    pub fn bring(&self, local: &Path, label: &str, tell: &dyn Fn(u64)) -> Result<PathBuf, HostError> {
        let doing = format!("bringing {} to the host", local.display());
        let digest = digest(local)?;
        let name = format!("{digest}.{}", escaped(label));
        let there = format!("{FOLDER}/{name}");
        // Having that name it is whole; a pool is not needed to see that.
        if self.shell.run(&Cmd::new(["test", "-f", &there]))?.status == 0 {
            return Ok(there.into());
        }
        let copy = Copy {
            shell: self.shell.as_ref(),
            local,
            name,
            digest,
            doing: &doing,
            tell,
        };
        let once = || self.line.with(|conn| copy.ensure(conn));
        match once() {
            // Another run on another lab has just put the pool away.
            Err(HostError::Libvirt { code, .. }) if code == NO_POOL => once(),
            done => done,
        }
    }
}

fn images(conn: &Connect, doing: &str) -> Result<StoragePool, HostError> {
    match conn.lookup_storage_pool_by_name(POOL) {
        Ok(pool) => {
            pool.refresh(0).map_err(failed(doing))?;
            Ok(pool)
        }
        Err(error) if code(&error) == NO_POOL => {
            let xml = pool_xml().map_err(xml_failed(doing))?;
            let flags = sys::VIR_STORAGE_POOL_CREATE_WITH_BUILD;
            conn.create_storage_pool_xml(&xml, flags).map_err(failed(doing))
        }
        Err(error) => Err(failed(doing)(error)),
    }
}

fn find(pool: &StoragePool, name: &str, doing: &str) -> Result<Option<StorageVol>, HostError> {
    match pool.lookup_storage_vol_by_name(name) {
        Ok(volume) => Ok(Some(volume)),
        Err(error) if code(&error) == NO_VOLUME => Ok(None),
        Err(error) => Err(failed(doing)(error)),
    }
}

/// A file and what it is to be there.
struct Copy<'a> {
    shell: &'a dyn Shell,
    local: &'a Path,
    digest: String,
    name: String,
    doing: &'a str,
    tell: &'a dyn Fn(u64),
}

impl Copy<'_> {
    fn ensure(&self, conn: &Connect) -> Result<PathBuf, HostError> {
        let doing = self.doing;
        let pool = images(conn, doing)?;
        let path = match find(&pool, &self.name, doing)? {
            Some(volume) => volume.path().map_err(failed(doing)),
            None => self.send(conn, &pool),
        };
        // The files stay; a pool would be something of ours that a user sees.
        let _ = pool.destroy();
        path.map(PathBuf::from)
    }

    /// Sends the file under another name and renames it when its digest has been checked there.
    fn send(&self, conn: &Connect, pool: &StoragePool) -> Result<String, HostError> {
        let doing = self.doing;
        let size = self.local.metadata().map_err(|error| other(doing, error))?.len();
        let available = pool.info().map_err(failed(doing))?.available;
        if available < size {
            let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
            let (size, available) = (mib(size), mib(available));
            return Err(other(
                doing,
                format!("it needs {size} MiB, and {FOLDER} there has {available} MiB free"),
            ));
        }
        let part = format!("{}.part", self.name);
        // Left by a run that was cut off: begun anew.
        if let Some(left) = find(pool, &part, doing)? {
            left.delete(0).map_err(failed(doing))?;
        }
        // QEMU runs as a user of its own, and writes to none of these.
        let xml = volume_xml(&part, size, "0644").map_err(xml_failed(doing))?;
        let volume = StorageVol::create_xml(pool, &xml, 0).map_err(failed(doing))?;
        let arrived = self.stream(conn, &volume, size).and_then(|()| self.settle(&volume));
        if let Err(error) = arrived {
            let _ = volume.delete(0);
            return Err(error);
        }
        pool.refresh(0).map_err(failed(doing))?;
        let volume = find(pool, &self.name, doing)?.ok_or_else(|| other(doing, "it has arrived and is gone again"))?;
        volume.path().map_err(failed(doing))
    }

    fn stream(&self, conn: &Connect, volume: &StorageVol, size: u64) -> Result<(), HostError> {
        let mut file = File::open(self.local).map_err(|error| other(self.doing, error))?;
        pour(conn, volume, size, &mut file, self.doing, self.tell)
    }

    fn settle(&self, volume: &StorageVol) -> Result<(), HostError> {
        let from = volume.path().map_err(failed(self.doing))?;
        let Some(to) = from.strip_suffix(".part") else {
            return Err(other(self.doing, format!("libvirt calls it {from}")));
        };
        let settle = Cmd::new(["sh", "-c", SETTLE, "sh", &self.digest, &from, to]);
        match self.shell.run(&settle)?.status {
            0 => Ok(()),
            _ => Err(other(self.doing, "what arrived is not what was sent")),
        }
    }
}

/// Fills a volume with the `size` bytes of `source`; `tell` is told how far it is, in percent.
pub(super) fn pour(
    conn: &Connect,
    volume: &StorageVol,
    size: u64,
    source: &mut dyn Read,
    doing: &str,
    tell: &dyn Fn(u64),
) -> Result<(), HostError> {
    let stream = Stream::new(conn, 0).map_err(failed(doing))?;
    volume.upload(&stream, 0, size, 0).map_err(failed(doing))?;
    let (mut buffer, mut sent, mut told) = (vec![0; CHUNK], 0_u64, 0);
    loop {
        let got = source.read(&mut buffer).map_err(|error| other(doing, error))?;
        if got == 0 {
            break;
        }
        let mut rest = &buffer[..got];
        while !rest.is_empty() {
            let taken = stream.send(rest).map_err(failed(doing))?;
            rest = &rest[usize::try_from(taken).unwrap_or_default().min(rest.len())..];
        }
        sent += got as u64;
        let percent = sent * 100 / size.max(1);
        if percent >= told + 5 {
            told = percent;
            tell(percent);
        }
    }
    stream.finish().map_err(failed(doing))
}

/// What is sent, by the digest that names it there. Files are read once per run, however many hosts they go to.
fn digest(local: &Path) -> Result<String, HostError> {
    /// Device, inode, size, time of the last change.
    type Identity = (u64, u64, u64, i64, i64);
    static KNOWN: Mutex<BTreeMap<Identity, String>> = Mutex::new(BTreeMap::new());
    let failed = |error: std::io::Error| other(&format!("reading {}", local.display()), error);
    let mut file = File::open(local).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let identity = (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec());
    // Held while reading: the second host waits for the first one's answer.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(digest) = known.get(&identity) {
        return Ok(digest.clone());
    }
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => break,
            got => hasher.update(&buffer[..got]),
        }
    }
    let mut digest = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(digest, "{byte:02x}");
    }
    known.insert(identity, digest.clone());
    Ok(digest)
}

/// What a path there is called here: the label that [`Libvirt::bring`] was given. None where it was not brought.
pub fn label(there: &Path) -> Option<String> {
    let name = there.file_name()?.to_str()?;
    let (digest, label) = name.split_once('.')?;
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| label.replace("%2f", "/").replace("%25", "%"))
}

/// A label as part of a file's name.
fn escaped(label: &str) -> String {
    label.replace('%', "%25").replace('/', "%2f")
}

fn pool_xml() -> Result<String, XmlError> {
    let mut xml = XmlWriter::new();
    xml.open("pool", &[("type", "dir")])?;
    xml.text("name", &[], POOL)?;
    xml.open("target", &[])?;
    xml.text("path", &[], FOLDER)?;
    xml.open("permissions", &[])?;
    xml.text("mode", &[], "0711")?;
    xml.close("permissions")?;
    xml.close("target")?;
    xml.close("pool")?;
    xml.done()
}

/// A raw file of `size` bytes, to be filled by [`pour`].
pub(super) fn volume_xml(name: &str, size: u64, mode: &str) -> Result<String, XmlError> {
    let mut xml = XmlWriter::new();
    xml.open("volume", &[])?;
    xml.text("name", &[], name)?;
    xml.text("capacity", &[("unit", "bytes")], &size.to_string())?;
    // Sparse: the bytes take their place when they come.
    xml.text("allocation", &[], "0")?;
    xml.open("target", &[])?;
    xml.empty("format", &[("type", "raw")])?;
    xml.open("permissions", &[])?;
    xml.text("mode", &[], mode)?;
    xml.close("permissions")?;
    xml.close("target")?;
    xml.close("volume")?;
    xml.done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copys_name_says_what_it_is_a_copy_of() {
        let digest = "a".repeat(64);
        for text in ["mini/kernel", "/srv/100%/x.img", "%2f", "a.b/c.d"] {
            let there = PathBuf::from(format!("/any/folder/{digest}.{}", escaped(text)));
            assert_eq!(there.components().count(), 4);
            assert_eq!(label(&there).as_deref(), Some(text));
        }
        assert_eq!(label(Path::new("/var/lib/libvirt/images/debian.qcow2")), None);
    }

    #[test]
    fn a_changed_file_has_another_digest() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("base");
        std::fs::write(&file, "abc").unwrap();
        // FIPS 180-2, appendix B.1
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(&file).unwrap(), abc);
        std::fs::write(&file, "other").unwrap();
        assert_ne!(digest(&file).unwrap(), abc);
    }
}
