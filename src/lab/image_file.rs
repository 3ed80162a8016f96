//! Reads an image's entry, which has the same keys in the catalog and in a lab's `[images.X]`.

mod machine;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::At;
use super::home;
use super::image::{
    Compression, Digest, DigestKind, Download, FileName, Format, ImageEntry, ImageSource, KernelSource, Location,
};
use super::read::{Reader, Value, get};
use super::schema::choices;
use super::schema::images;
use super::{ConsoleKind, Firmware, ImageConsole, ImageName, Problems, Video, masked, syntax};

/// Largest size of an unpacked image in bytes, where the entry has none: 64 GiB.
const AT_MOST: u64 = 64 << 30;

/// The entry in `text`, a file of the catalog; `name` is the file's name in messages.
#[allow(clippy::result_large_err)] // once per entry
pub fn parse_image(name: &str, text: &str) -> Result<ImageEntry, Problems> {
    let (mut root, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader::default();
    reader.conform(root.get_mut(), &images::IMAGE, false);
    reader.problems.extend(syntax::problems(text, root.get_ref(), &errors));
    let entry = reader.image(root.get_ref(), &(0..0), Path::new("/"));
    match entry {
        Some(entry) if reader.problems.is_empty() => Ok(entry),
        _ => Err(Problems::new(name, text, reader.problems)),
    }
}

/// The names of a lab's images, also of those that are wrong: one mistake is reported once.
pub(super) fn names(root: &DeTable<'_>) -> Vec<ImageName> {
    match get(root, "images").map(Spanned::get_ref) {
        Some(DeValue::Table(table)) => table.keys().filter_map(|key| key.get_ref().parse().ok()).collect(),
        _ => Vec::new(),
    }
}

impl Reader {
    /// Returns every `[images.X]` of a lab file in `folder`; `catalog` has the names that are in use already.
    pub(super) fn images(
        &mut self,
        root: &DeTable<'_>,
        catalog: &BTreeSet<ImageName>,
        folder: &Path,
    ) -> BTreeMap<ImageName, ImageEntry> {
        let mut entries = BTreeMap::new();
        for (At { value: name, span }, table) in self.named::<ImageName>(root, "images") {
            if catalog.contains(&name) {
                self.add(
                    span.clone(),
                    format!("the catalog has an image `{name}` already"),
                    "choose another name",
                );
            }
            if let Some(entry) = self.image(table, &span, folder) {
                entries.insert(name, entry);
            }
        }
        entries
    }

    /// Reads one entry; `span` is its place, `folder` the base of relative paths.
    fn image(&mut self, table: &DeTable<'_>, span: &Range<usize>, folder: &Path) -> Option<ImageEntry> {
        let source = self.image_source(table, span, folder);
        let machine = self.image_machine(get(table, "machine"));
        let console = self.image_console(get(table, "console"), get(table, "dialect"), span);
        if let (Some(machine), Some(console)) = (&machine, &console)
            && (machine.video, console.kind) == (Video::None, ConsoleKind::Vga)
        {
            let help = "write `video = \"vga\"`, or `kind = \"serial\"` in `console`";
            self.add(
                span.clone(),
                "the console is a screen, and the machine has no video card",
                help,
            );
        }
        if let (Some(ImageSource::Recipe { .. }), Some(machine)) = (&source, &machine)
            && machine.firmware != Firmware::Bios
        {
            let message = "the kernel of a `recipe` does not start with UEFI";
            self.add(span.clone(), message, "remove `firmware` from its `machine`");
        }
        let cloud_init = self.boolean(get(table, "cloud_init"));
        if cloud_init && let Some(key) = get(table, "cloud_init").map(Spanned::span) {
            self.seedable(key, source.as_ref(), console.as_ref());
        }
        let warm = match get(table, "warm") {
            None => {
                let types_nothing =
                    |console: &ImageConsole| console.kind == ConsoleKind::Serial && console.login.is_none();
                source.as_ref().is_some_and(ImageSource::is_recipe) && console.as_ref().is_some_and(types_nothing)
            }
            value => self.boolean(value),
        };
        if warm && let Some(key) = get(table, "warm").map(Spanned::span) {
            self.restorable(key, console.as_ref(), cloud_init);
        }
        Some(ImageEntry {
            description: self.text(get(table, "description")).unwrap_or_default(),
            source: source?,
            machine: machine?,
            console: console?,
            cloud_init,
            warm,
        })
    }

    /// What a guest has in its memory when it is saved is every guest's: no password. cloud-init makes the account of a login
    /// later.
    fn restorable(&mut self, span: Range<usize>, console: Option<&ImageConsole>, cloud_init: bool) {
        let wrong = if console.is_some_and(|console| console.kind == ConsoleKind::Vga) {
            "a guest whose console is a screen is not started from a saved state"
        } else if !cloud_init && console.is_some_and(|console| console.login.is_some()) {
            "a guest without cloud-init whose console asks for a login is not started from a saved state"
        } else {
            return;
        };
        self.add(span, wrong, "remove `warm`");
    }

    /// An image with cloud-init boots from a disk and has an account for netlab.
    fn seedable(&mut self, span: Range<usize>, source: Option<&ImageSource>, console: Option<&ImageConsole>) {
        let diskless = |source: &ImageSource| !source.downloads().iter().any(|(name, _)| *name == FileName::Disk);
        if matches!(source, Some(ImageSource::Recipe { .. })) {
            let message = "an image with a `recipe` has no cloud-init";
            self.add(span, message, "remove `cloud_init`");
        } else if source.is_some_and(diskless) {
            self.add(span, "an image without a disk has no cloud-init", "remove `cloud_init`");
        } else if console.is_some_and(|console| console.login.as_ref().is_none_or(|login| login.password.is_none()))
            && !self.broken.contains("password")
        {
            self.add(
                span,
                "cloud-init creates an account, but the console has no `login` with a `password`",
                "write e.g. `login = { user = \"netlab\", password = \"netlab\" }` in `console`",
            );
        }
    }

    fn image_source(&mut self, table: &DeTable<'_>, span: &Range<usize>, folder: &Path) -> Option<ImageSource> {
        if let Some(value) = get(table, "recipe") {
            let recipe = self.choice(Some(value), "recipe", &choices::RECIPES);
            let others = [
                "mirrors",
                "sha256",
                "sha512",
                "git_blob",
                "checksums",
                "compression",
                "format",
                "unpacked",
                "kernel",
                "initrd",
            ];
            for (key, _) in table.iter().filter(|(key, _)| others.contains(&key.get_ref().as_ref())) {
                let message = format!("an image with a `recipe` has no `{}`", key.get_ref());
                self.add(key.span(), message, "remove one of them");
            }
            let cmdline = self.typed(get(table, "cmdline")).unwrap_or_default();
            return Some(ImageSource::Recipe {
                recipe: recipe?,
                cmdline,
            });
        }
        if get(table, "kernel").is_some() {
            return self.kernel_source(table, span, folder);
        }
        let key = |name: &str| table.iter().find(|(key, _)| key.get_ref() == name);
        for (name, needed) in [("cmdline", "a `recipe` or a `kernel`"), ("initrd", "a `kernel`")] {
            if let Some((key, _)) = key(name) {
                self.add(
                    key.span(),
                    format!("`{name}` needs {needed}"),
                    "a disk image has its own boot loader",
                );
            }
        }
        Some(ImageSource::Download(self.disk(table, span, folder)?))
    }

    /// Reads a kernel of the user's own, and the disk where there are `mirrors`.
    fn kernel_source(&mut self, table: &DeTable<'_>, span: &Range<usize>, folder: &Path) -> Option<ImageSource> {
        let kernel = get(table, "kernel").map(|value| self.boot_file(value, folder));
        let initrd = get(table, "initrd").map(|value| self.boot_file(value, folder));
        let cmdline = match get(table, "cmdline") {
            Some(value) => self.typed(Some(value)),
            None => Some(String::new()),
        };
        let disk = if get(table, "mirrors").is_some() {
            Some(self.disk(table, span, folder))
        } else {
            let of_disk = [
                "sha256",
                "sha512",
                "git_blob",
                "checksums",
                "compression",
                "format",
                "unpacked",
            ];
            for (key, _) in table
                .iter()
                .filter(|(key, _)| of_disk.contains(&key.get_ref().as_ref()))
            {
                let message = format!("`{}` is about a disk, and the image has no `mirrors`", key.get_ref());
                let help = "for the kernel's own write `kernel = { mirrors = [\"...\"], sha256 = \"...\" }`";
                self.add(key.span(), message, help);
            }
            None
        };
        Some(ImageSource::Kernel(Box::new(KernelSource {
            kernel: kernel??,
            initrd: match initrd {
                Some(initrd) => Some(initrd?),
                None => None,
            },
            cmdline: cmdline?,
            disk: match disk {
                Some(disk) => Some(disk?),
                None => None,
            },
        })))
    }

    /// Reads a file that the kernel loader takes: a path or URL, or a table with mirrors and a digest.
    fn boot_file(&mut self, value: &Value<'_>, folder: &Path) -> Option<Download> {
        let (mirrors, digest, checksums) = match value.get_ref() {
            DeValue::Table(table) => (
                self.mirrors(get(table, "mirrors"), &value.span(), folder),
                self.digest(table),
                self.checksums(get(table, "checksums")),
            ),
            _ => (self.location(value, folder).map(|location| vec![location]), None, None),
        };
        Some(Download {
            mirrors: mirrors?,
            digest,
            checksums,
            compression: Compression::None,
            format: Format::Raw,
            unpacked: None,
            at_most: AT_MOST,
        })
    }

    /// Reads the disk's keys.
    fn disk(&mut self, table: &DeTable<'_>, span: &Range<usize>, folder: &Path) -> Option<Download> {
        let mirrors = self.mirrors(get(table, "mirrors"), span, folder);
        let compression = self.choice(get(table, "compression"), "compression", &choices::COMPRESSIONS);
        let format = get(table, "format");
        if format.is_none() {
            let help = "write `format = \"raw\"` or `\"qcow2\"`: it is never guessed from the content";
            self.add(span.clone(), "the image has no `format`", help);
        }
        let format = self.format(format);
        let digest = self.digest(table);
        let checksums = self.checksums(get(table, "checksums"));
        let (unpacked, at_most) = self.unpacked(get(table, "unpacked"));
        Some(Download {
            mirrors: mirrors?,
            digest,
            checksums,
            compression: compression?,
            format: format?,
            unpacked,
            at_most,
        })
    }

    /// Returns a disk's format. That of another program's disk image is converted by the user.
    fn format(&mut self, value: Option<&Value<'_>>) -> Option<Format> {
        let foreign = ["vmdk", "vdi", "vhdx", "vhd", "vpc", "qed", "qcow", "parallels"];
        let value = value?;
        let text = self.string(value)?.to_owned();
        if foreign.contains(&text.to_lowercase().as_str()) {
            let help = "convert the file: qemu-img convert -O qcow2 FILE FILE.qcow2; then write `format = \"qcow2\"`";
            self.add(
                value.span(),
                format!("netlab does not run `{text}` images as they are"),
                help,
            );
            return None;
        }
        self.choice(Some(value), "format", &choices::FORMATS)
    }

    fn mirrors(&mut self, value: Option<&Value<'_>>, span: &Range<usize>, folder: &Path) -> Option<Vec<Location>> {
        let list = self.one_or_more(value);
        if list.is_empty() {
            let place = value.map_or(span.clone(), Spanned::span);
            let help = "write `mirrors = [\"https://...\"]`; or a path or `file:///...`";
            self.add(place, "the image has no `mirrors`", help);
            return None;
        }
        let read: Vec<_> = list.iter().map(|value| self.location(value, folder)).collect();
        read.into_iter().collect()
    }

    fn location(&mut self, value: &Value<'_>, folder: &Path) -> Option<Location> {
        let text = self.string(value)?;
        if text.is_empty() || text.chars().any(char::is_control) {
            self.add(value.span(), "this is neither a URL nor a path", "");
            return None;
        }
        if let Some(path) = text.strip_prefix("file://") {
            let path = path
                .strip_prefix("localhost")
                .filter(|rest| rest.starts_with('/'))
                .unwrap_or(path);
            if path.starts_with('/') {
                return Some(Location::File(unescaped(path)));
            }
            self.add(
                value.span(),
                "a `file://` URL has an absolute path",
                "write `file:///path`",
            );
            return None;
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Some(Location::File(self.path(value, folder)?));
        };
        if !["https", "http"].contains(&scheme) {
            let help = "use https, http, file or a plain path";
            self.add(value.span(), format!("unsupported URL scheme `{scheme}`"), help);
            return None;
        }
        if rest.is_empty() || rest.starts_with('/') || text.contains(char::is_whitespace) {
            self.add(value.span(), format!("`{}` is not a URL", masked::urls(text)), "");
            return None;
        }
        Some(Location::Url(text.to_owned()))
    }

    /// Reads a path: relative to the lab file's folder, or to a home folder (`~/...`, `~user/...`).
    pub(super) fn path(&mut self, value: &Value<'_>, folder: &Path) -> Option<PathBuf> {
        let text = self.string(value)?;
        if text.is_empty() || text.chars().any(char::is_control) {
            self.add(value.span(), "this is not a path", "");
            return None;
        }
        match home::path(text, folder) {
            Ok(path) => Some(path),
            Err(message) => {
                self.add(value.span(), message, "write the path of a file");
                None
            }
        }
    }

    /// Returns the digest in `table`, at most one.
    fn digest(&mut self, table: &DeTable<'_>) -> Option<Digest> {
        let mut found = None;
        for kind in DigestKind::ALL {
            let Some(value) = get(table, kind.word()) else {
                continue;
            };
            if found.is_some() {
                self.add(value.span(), "an image has at most one digest", "remove one of them");
                continue;
            }
            match self.string(value).map(|hex| Digest::written(kind, hex)) {
                Some(Ok(digest)) => found = Some(digest),
                Some(Err(message)) => self.add(value.span(), message, ""),
                None => {}
            }
        }
        found
    }

    /// Returns the URL of a list of checksums.
    fn checksums(&mut self, value: Option<&Value<'_>>) -> Option<String> {
        let value = value?;
        match self.location(value, Path::new("/"))? {
            Location::Url(url) => Some(url),
            Location::File(_) => {
                let help = "write the URL of the publisher's list, or the digest itself: `sha256 = \"...\"`";
                self.add(value.span(), "a list of checksums is fetched from a URL", help);
                None
            }
        }
    }

    fn unpacked(&mut self, value: Option<&Value<'_>>) -> (Option<Digest>, u64) {
        let Some(table) = value.and_then(|value| self.table(value)) else {
            return (None, AT_MOST);
        };
        let digest = self.digest(table);
        let at_most = self.mib(get(table, "at_most")).map_or(AT_MOST, |mib| mib << 20);
        (digest, at_most)
    }
}

/// Returns the path of a `file://` URL, whose `%20` and the like are bytes (RFC 8089). A percent sign without two hex digits
/// is one.
fn unescaped(path: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), path.as_bytes());
    while let [first, after @ ..] = rest {
        let digits = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        if let Some(byte) = byte.filter(|byte| *byte != 0) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests;
