//! Writes the archive that the kernel unpacks as its initial root: format "newc" (cpio(5)), the same bytes for the same
//! content.

use std::collections::BTreeMap;

/// The entries of an archive by path, all owned by root, with time 0.
#[derive(Debug, Clone, Default)]
pub struct Archive(BTreeMap<String, Entry>);

#[derive(Debug, Clone)]
struct Entry {
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

impl Archive {
    /// Adds a folder, 0755.
    pub fn folder(&mut self, path: &str) {
        self.add(path, 0o040_755, (0, 0), Vec::new());
    }

    /// Adds a file, 0755 if it is a program, else 0644.
    pub fn file(&mut self, path: &str, program: bool, content: impl Into<Vec<u8>>) {
        self.add(
            path,
            if program { 0o100_755 } else { 0o100_644 },
            (0, 0),
            content.into(),
        );
    }

    /// Adds a character device, 0600.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.add(path, 0o020_600, (major, minor), Vec::new());
    }

    fn add(&mut self, path: &str, mode: u32, device: (u32, u32), content: Vec<u8>) {
        self.0.insert(path.to_owned(), Entry { mode, device, content });
    }

    /// Returns the archive. Paths are sorted, so a folder precedes its content. Fails on a file of 4 GiB or more.
    pub fn bytes(&self) -> Result<Vec<u8>, std::num::TryFromIntError> {
        let end = Entry {
            mode: 0,
            device: (0, 0),
            content: Vec::new(),
        };
        let mut bytes = Vec::new();
        let entries = self.0.iter().map(|(path, entry)| (path.as_str(), entry));
        for (inode, (path, entry)) in (1_u32..).zip(entries.chain([("TRAILER!!!", &end)])) {
            let size = u32::try_from(entry.content.len())?;
            let name = u32::try_from(path.len() + 1)?;
            let (major, minor) = entry.device;
            bytes.extend(b"070701");
            // inode, mode, uid, gid, links, mtime, size, device of the file (2), device it is (2), name, checksum
            for field in [inode, entry.mode, 0, 0, 1, 0, size, 0, 0, major, minor, name, 0] {
                bytes.extend(format!("{field:08X}").into_bytes());
            }
            bytes.extend(path.as_bytes());
            bytes.push(0);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(&entry.content);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        Ok(bytes)
    }
}
