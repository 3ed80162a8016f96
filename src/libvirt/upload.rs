//! Copies the files that guests boot from to a host reached over ssh, through libvirt's storage API: once per host and
//! content. A copy is named after the file's SHA-256 and its path here, so that its name says what it is; it gets that
//! name only when it is complete.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use virt::connect::Connect;
use virt::enumutil::Enum;
use virt::error::ErrorNumber;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;
use virt::sys;

use super::Libvirt;
use super::error::{LibvirtError, Operation, failed, is, xml_failed};
use crate::libvirt::domain_xml::{XmlError, XmlWriter};
use crate::transport::cmd::{Cmd, Shell};

/// The pool that a host's copies are in. It exists only during a transfer; the files stay, as in the cache here, and
/// can be deleted while no lab is up.
const POOL: &str = "netlab-images";
/// The pool's folder on the host.
const FOLDER: &str = "/var/lib/libvirt/images/netlab-images";
/// Bytes sent at a time: libvirt's limit for one message of a stream is 256 KiB (libvirt, rpc/virnetprotocol.x).
const CHUNK: usize = 128 * 1024;
/// Prints the free KiB of the file system that the folder `$1` is in, or will be in.
const FREE: &str =
    "d=$1; while [ ! -d \"$d\" ]; do d=$(dirname \"$d\"); done; df -Pk \"$d\" | awk 'NR == 2 { print $4 }'";
/// Checks a copy's digest and renames it: `$1` digest, `$2` its path, `$3` its final path.
const FINISH: &str = include_str!("finish_copy.sh");

impl Libvirt {
    /// Copies the file `local` to the host under the name `label` and returns its path there. Nothing is sent where the
    /// copy exists. `progress` is called with the percentage sent.
    pub fn copy_file(&self, local: &Path, label: &str, progress: &dyn Fn(u64)) -> Result<PathBuf, LibvirtError> {
        let operation = Operation::CopyFile(local.to_owned());
        let digest = digest(local).map_err(file_failed(&operation))?;
        let name = format!("{digest}.{}", escaped(label));
        let remote = format!("{FOLDER}/{name}");
        // A file of that name is complete; no pool is needed to see that.
        if self.shell.run(&Cmd::new(["test", "-f", &remote]))?.status == 0 {
            return Ok(remote.into());
        }
        let copy = Copy {
            shell: self.shell.as_ref(),
            local,
            name,
            digest,
            operation: &operation,
            progress,
        };
        let once = || self.connection.with(&operation, |conn| copy.ensure(conn));
        match once() {
            // A run on another lab has just removed the pool.
            Err(LibvirtError::Call {
                code: Enum::Known(ErrorNumber::NoStoragePool),
                ..
            }) => once(),
            result => result,
        }
    }
}

impl Libvirt {
    /// Returns an error where the host has less space than the copies of `files` need that it does not have yet; each is
    /// a local path and the label of its copy.
    pub fn check_space(&self, files: &[(&Path, String)]) -> Result<(), LibvirtError> {
        let (mut count, mut needed) = (0_usize, 0_u64);
        for (local, label) in files {
            let operation = Operation::CopyFile((*local).to_owned());
            let name = format!("{}.{}", digest(local).map_err(file_failed(&operation))?, escaped(label));
            let there = Cmd::new(["test", "-f", &format!("{FOLDER}/{name}")]);
            if self.shell.run(&there)?.status != 0 {
                count += 1;
                needed += local.metadata().map_err(file_failed(&operation))?.len();
            }
        }
        if count == 0 {
            return Ok(());
        }
        let free = self.shell.run(&Cmd::new(["sh", "-c", FREE, "sh", FOLDER]))?;
        let free = String::from_utf8_lossy(&free.stdout).trim().parse::<u64>().ok();
        // Where df reports nothing, the copy itself finds out.
        let Some(available) = free.map(|kib| kib.saturating_mul(1024)).filter(|free| *free < needed) else {
            return Ok(());
        };
        Err(LibvirtError::NoSpaceForCopies {
            files: count,
            needed_mib: needed.div_ceil(1 << 20),
            available_mib: available >> 20,
            folder: FOLDER,
        })
    }
}

/// Removes the pool of copies where a run that was killed left it; the files stay. Where another run is sending a file,
/// libvirt refuses, and that run removes it.
pub(super) fn remove_stale_pool(conn: &Connect, operation: &Operation) -> Result<(), LibvirtError> {
    match conn.lookup_storage_pool_by_name(POOL) {
        Ok(pool) => {
            drop(pool.destroy());
            Ok(())
        }
        Err(error) if is(&error, ErrorNumber::NoStoragePool) => Ok(()),
        Err(error) => Err(failed(operation)(error)),
    }
}

fn images(conn: &Connect, operation: &Operation) -> Result<StoragePool, LibvirtError> {
    match conn.lookup_storage_pool_by_name(POOL) {
        Ok(pool) => {
            pool.refresh(0).map_err(failed(operation))?;
            Ok(pool)
        }
        Err(error) if is(&error, ErrorNumber::NoStoragePool) => {
            let xml = pool_xml().map_err(xml_failed(operation))?;
            let flags = sys::VIR_STORAGE_POOL_CREATE_WITH_BUILD;
            conn.create_storage_pool_xml(&xml, flags).map_err(failed(operation))
        }
        Err(error) => Err(failed(operation)(error)),
    }
}

fn find(pool: &StoragePool, name: &str, operation: &Operation) -> Result<Option<StorageVol>, LibvirtError> {
    match pool.lookup_storage_vol_by_name(name) {
        Ok(volume) => Ok(Some(volume)),
        Err(error) if is(&error, ErrorNumber::NoStorageVolume) => Ok(None),
        Err(error) => Err(failed(operation)(error)),
    }
}

/// A file and what its copy on the host is called.
struct Copy<'a> {
    shell: &'a dyn Shell,
    local: &'a Path,
    digest: String,
    name: String,
    operation: &'a Operation,
    progress: &'a dyn Fn(u64),
}

impl Copy<'_> {
    fn ensure(&self, conn: &Connect) -> Result<PathBuf, LibvirtError> {
        let operation = self.operation;
        let pool = images(conn, operation)?;
        let path = match find(&pool, &self.name, operation)? {
            Some(volume) => volume.path().map_err(failed(operation)),
            None => self.send(conn, &pool),
        };
        // The files stay; a pool would be visible to users.
        let _ = pool.destroy();
        path.map(PathBuf::from)
    }

    /// Sends the file under a temporary name and renames it when its digest has been checked on the host.
    fn send(&self, conn: &Connect, pool: &StoragePool) -> Result<String, LibvirtError> {
        let operation = self.operation;
        let size = self.local.metadata().map_err(file_failed(operation))?.len();
        let available = pool.info().map_err(failed(operation))?.available;
        if available < size {
            let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
            return Err(LibvirtError::NoSpace {
                file: self.local.to_owned(),
                needed_mib: mib(size),
                available_mib: mib(available),
                folder: FOLDER,
            });
        }
        let part = format!("{}.part", self.name);
        // Left by an interrupted run.
        if let Some(left) = find(pool, &part, operation)? {
            left.delete(0).map_err(failed(operation))?;
        }
        // QEMU runs as a user of its own, and writes to none of these. A private one libvirt gives to that user.
        let is_private = self.local.metadata().map_err(file_failed(operation))?.mode() & 0o004 == 0;
        let mode = if is_private { "0600" } else { "0644" };
        let xml = volume_xml(&part, size, mode).map_err(xml_failed(operation))?;
        let volume = StorageVol::create_xml(pool, &xml, 0).map_err(failed(operation))?;
        let copied = self.stream(conn, &volume, size).and_then(|()| self.finish(&volume));
        if let Err(error) = copied {
            let _ = volume.delete(0);
            return Err(error);
        }
        pool.refresh(0).map_err(failed(operation))?;
        let volume = find(pool, &self.name, operation)?.ok_or_else(|| LibvirtError::LostCopy(self.local.to_owned()))?;
        volume.path().map_err(failed(operation))
    }

    fn stream(&self, conn: &Connect, volume: &StorageVol, size: u64) -> Result<(), LibvirtError> {
        let mut file = File::open(self.local).map_err(file_failed(self.operation))?;
        fill(conn, volume, size, &mut file, self.operation, self.progress)
    }

    fn finish(&self, volume: &StorageVol) -> Result<(), LibvirtError> {
        let from = volume.path().map_err(failed(self.operation))?;
        let to = from.strip_suffix(".part").unwrap_or(&self.name);
        let finish = Cmd::new(["sh", "-c", FINISH, "sh", &self.digest, &from, to]);
        match self.shell.run(&finish)?.status {
            0 => Ok(()),
            _ => Err(LibvirtError::CorruptCopy(self.local.to_owned())),
        }
    }
}

/// Returns a conversion of errors of local files into those of `operation`.
fn file_failed(operation: &Operation) -> impl Fn(io::Error) -> LibvirtError + '_ {
    move |source| LibvirtError::File {
        operation: operation.clone(),
        source,
    }
}

/// Fills a volume with the `size` bytes of `source`; `progress` is called with the percentage sent.
pub(super) fn fill(
    conn: &Connect,
    volume: &StorageVol,
    size: u64,
    source: &mut dyn Read,
    operation: &Operation,
    progress: &dyn Fn(u64),
) -> Result<(), LibvirtError> {
    let stream = Stream::new(conn, 0).map_err(failed(operation))?;
    volume.upload(&stream, 0, size, 0).map_err(failed(operation))?;
    let (mut buffer, mut sent, mut reported) = (vec![0; CHUNK], 0_u64, 0);
    loop {
        let got = source.read(&mut buffer).map_err(file_failed(operation))?;
        if got == 0 {
            break;
        }
        let mut rest = &buffer[..got];
        while !rest.is_empty() {
            let taken = stream.send(rest).map_err(failed(operation))?;
            rest = &rest[usize::try_from(taken).unwrap_or_default().min(rest.len())..];
        }
        sent += got as u64;
        let percent = sent * 100 / size.max(1);
        if percent >= reported + 5 {
            reported = percent;
            progress(percent);
        }
    }
    stream.finish().map_err(failed(operation))
}

/// Returns the SHA-256 of a file in hexadecimal. A file is read once per run, however many hosts it is copied to.
fn digest(local: &Path) -> io::Result<String> {
    /// Device, inode, size, time of the last change.
    type Identity = (u64, u64, u64, i64, i64);
    static KNOWN: Mutex<BTreeMap<Identity, String>> = Mutex::new(BTreeMap::new());
    let mut file = File::open(local)?;
    let meta = file.metadata()?;
    let identity = (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec());
    // Held while reading: the second host waits for the first one's digest.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(digest) = known.get(&identity) {
        return Ok(digest.clone());
    }
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer)? {
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

/// Returns the label that [`Libvirt::copy_file`] was given for a path on the host; none where it is not a copy.
pub fn label(remote: &Path) -> Option<String> {
    let name = remote.file_name()?.to_str()?;
    let (digest, label) = name.split_once('.')?;
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| label.replace("%2f", "/").replace("%25", "%"))
}

/// Escapes a label for use in a file's name.
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

/// Returns the XML of a raw volume of `size` bytes, to be filled by [`fill`].
pub(super) fn volume_xml(name: &str, size: u64, mode: &str) -> Result<String, XmlError> {
    let mut xml = XmlWriter::new();
    xml.open("volume", &[])?;
    xml.text("name", &[], name)?;
    xml.text("capacity", &[("unit", "bytes")], &size.to_string())?;
    // Sparse: space is allocated as the bytes are written.
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
    fn the_label_of_a_copy_is_read_back_from_its_name() {
        let digest = "a".repeat(64);
        for text in ["mini/kernel", "/srv/100%/x.img", "%2f", "a.b/c.d"] {
            let remote = PathBuf::from(format!("/any/folder/{digest}.{}", escaped(text)));
            assert_eq!(remote.components().count(), 4);
            assert_eq!(label(&remote).as_deref(), Some(text));
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
