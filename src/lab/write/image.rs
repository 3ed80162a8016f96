//! Writes an image's entry as a lab file has it.

use super::{Out, list, quoted, table};
use crate::lab::image::{Digest, Download, ImageEntry, ImageSource, Location};
use crate::lab::schema::choices::{COMPRESSIONS, CONSOLES, DIALECTS, FORMATS, RECIPES, VIDEOS, name_of};
use crate::lab::{Dialect, Firmware, ImageConsole, ImageMachine, Password};

impl Out {
    /// Writes the keys of `[images.X]`.
    pub(super) fn image(&mut self, entry: &ImageEntry) {
        let ImageEntry {
            description,
            source,
            machine,
            console,
            cloud_init,
            warm,
        } = entry;
        if !description.is_empty() {
            self.entry("description", quoted(description));
        }
        match source {
            ImageSource::Recipe { recipe, cmdline } => {
                self.entry("recipe", quoted(name_of(&RECIPES, recipe)));
                self.entry("cmdline", quoted(cmdline));
            }
            ImageSource::Download(download) => self.download(download),
            ImageSource::Kernel(source) => {
                self.entry("kernel", boot_file(&source.kernel));
                self.maybe("initrd", source.initrd.as_ref().map(boot_file));
                self.entry("cmdline", quoted(&source.cmdline));
                if let Some(disk) = &source.disk {
                    self.download(disk);
                }
            }
        }
        if *cloud_init {
            self.entry("cloud_init", true);
        }
        if *warm != source.is_recipe() {
            self.entry("warm", *warm);
        }
        let ImageMachine {
            arch,
            machine,
            disk_bus,
            nic_model,
            memory_mib,
            firmware,
            video,
        } = machine;
        let names = [
            ("arch", arch),
            ("machine", machine),
            ("disk_bus", disk_bus),
            ("nic_model", nic_model),
        ];
        let names = names.map(|(key, name)| format!("{key} = {}", quoted(name)));
        let memory = format!("memory = \"{memory_mib}MiB\"");
        let firmware = match firmware {
            Firmware::Bios => None,
            Firmware::Efi => Some("firmware = \"efi\"".to_owned()),
            Firmware::SecureEfi => Some("firmware = \"efi\", secure_boot = true".to_owned()),
        };
        let video = (!video.is_default()).then(|| format!("video = {}", quoted(name_of(&VIDEOS, video))));
        let keys = names.into_iter().chain([memory]).chain(firmware).chain(video);
        self.entry("machine", table(keys));
        self.console(console);
    }

    fn console(&mut self, console: &ImageConsole) {
        let ImageConsole {
            kind,
            prompt,
            login,
            dialect,
            boot_seconds,
        } = console;
        if *dialect != Dialect::Ip {
            self.entry("dialect", quoted(name_of(&DIALECTS, dialect)));
        }
        let login = login.as_ref().map(|login| {
            let passwords = [("password", &login.password), ("root_password", &login.root_password)];
            let passwords = passwords.into_iter().filter_map(|(key, password)| {
                let text = password.as_ref().and_then(Password::text)?;
                Some(format!("{key} = {}", quoted(text)))
            });
            let prompt = format!("prompt = {}", quoted(&login.prompt));
            let user = format!("user = {}", quoted(&login.user));
            format!("login = {}", table([prompt, user].into_iter().chain(passwords)))
        });
        let kind = format!("kind = {}", quoted(name_of(&CONSOLES, kind)));
        let prompt = format!("prompt = {}", quoted(prompt));
        let seconds = format!("boot_seconds = {boot_seconds}");
        self.entry("console", table([kind, prompt, seconds].into_iter().chain(login)));
    }

    fn download(&mut self, download: &Download) {
        let Download {
            mirrors,
            digest,
            checksums,
            compression,
            format,
            unpacked,
            at_most,
        } = download;
        self.entry("mirrors", written(mirrors));
        if let Some(digest) = digest {
            self.entry(digest.kind().word(), quoted(digest.hex()));
        }
        self.maybe("checksums", checksums.as_ref().map(quoted));
        self.entry("compression", quoted(name_of(&COMPRESSIONS, compression)));
        self.entry("format", quoted(name_of(&FORMATS, format)));
        let digest = |digest: &Digest| format!("{} = {}", digest.kind().word(), quoted(digest.hex()));
        let at_most = format!("at_most = \"{}MiB\"", at_most >> 20);
        let unpacked = unpacked.iter().map(digest).chain([at_most]);
        self.entry("unpacked", table(unpacked));
    }
}

fn written(mirrors: &[Location]) -> String {
    list(mirrors.iter().map(|mirror| match mirror {
        // Whole: what is written is a lab file again.
        Location::Url(url) => quoted(url),
        Location::File(path) => quoted(path.display()),
    }))
}

fn boot_file(file: &Download) -> String {
    let digest = file.digest.as_ref();
    let digest = digest.map(|digest| format!("{} = {}", digest.kind().word(), quoted(digest.hex())));
    let checksums = file
        .checksums
        .as_ref()
        .map(|url| format!("checksums = {}", quoted(url)));
    table(
        [format!("mirrors = {}", written(&file.mirrors))]
            .into_iter()
            .chain(digest)
            .chain(checksums),
    )
}
