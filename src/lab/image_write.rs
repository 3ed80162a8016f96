//! Writes an image's entry as a lab file has it; reading it again gives the same entry.

use std::fmt::{Display, Write as _};

use super::image::{Compression, Digest, Download, ImageEntry, ImageSource, Recipe};
use super::{ConsoleKind, Dialect, ImageConsole, ImageMachine, ImageName, Login};

/// The table `[images.X]`.
pub(super) fn table(name: &ImageName, entry: &ImageEntry) -> String {
    let ImageEntry {
        description,
        source,
        machine,
        console,
        cloud_init,
    } = entry;
    // Writing to a `String` cannot fail; here and below.
    let mut out = format!("\n[images.{}]\n", text(name));
    let mut line = |key: &str, value: &dyn Display| {
        let _ = writeln!(out, "{key} = {value}");
    };
    if !description.is_empty() {
        line("description", &text(description));
    }
    match source {
        ImageSource::Recipe { recipe, cmdline } => {
            let word = match recipe {
                Recipe::Mini => "mini",
            };
            line("recipe", &text(word));
            line("cmdline", &text(cmdline));
        }
        ImageSource::Download(download) => from(download, &mut line),
    }
    if *cloud_init {
        line("cloud_init", &true);
    }
    let ImageMachine {
        arch,
        machine,
        disk_bus,
        nic_model,
        memory_mib,
    } = machine;
    let words = [
        ("arch", arch),
        ("machine", machine),
        ("disk_bus", disk_bus),
        ("nic_model", nic_model),
    ];
    let words: Vec<String> = words
        .iter()
        .map(|(key, word)| format!("{key} = {}", text(word)))
        .collect();
    let words = words.join(", ");
    line("machine", &format!("{{ {words}, memory = \"{memory_mib}MiB\" }}"));
    let ImageConsole {
        kind,
        prompt,
        login,
        dialect,
        boot_seconds,
    } = console;
    if *dialect == Dialect::Ifconfig {
        line("dialect", &"\"ifconfig\"");
    }
    let kind = match kind {
        ConsoleKind::Serial => "serial",
        ConsoleKind::Vga => "vga",
    };
    let login = login.as_ref().map(|Login { prompt, user, password }| {
        let password = password.iter().map(|word| format!(", password = {}", text(word)));
        let password: String = password.collect();
        format!(
            ", login = {{ prompt = {}, user = {}{password} }}",
            text(prompt),
            text(user)
        )
    });
    let (prompt, login) = (text(prompt), login.unwrap_or_default());
    line(
        "console",
        &format!("{{ kind = \"{kind}\", prompt = {prompt}, boot_seconds = {boot_seconds}{login} }}"),
    );
    out
}

fn from(download: &Download, line: &mut dyn FnMut(&str, &dyn Display)) {
    let Download {
        mirrors,
        digest,
        compression,
        format,
        unpacked,
        at_most,
    } = download;
    let mirrors: Vec<_> = mirrors.iter().map(text).collect();
    line("mirrors", &format!("[{}]", mirrors.join(", ")));
    let pair = |digest: &Digest| format!("{} = \"{}\"", digest.kind().word(), digest.hex());
    if let Some(digest) = digest {
        line(digest.kind().word(), &text(digest.hex()));
    }
    let compression = match compression {
        Compression::None => "none",
        Compression::Bzip2 => "bzip2",
        Compression::Gzip => "gzip",
        Compression::Xz => "xz",
        Compression::Zstd => "zstd",
    };
    line("compression", &text(compression));
    line("format", &text(format.word()));
    let digest = unpacked.iter().map(|digest| format!("{}, ", pair(digest)));
    let digest: String = digest.collect();
    line("unpacked", &format!("{{ {digest}at_most = \"{}MiB\" }}", at_most >> 20));
}

/// A TOML string, whatever is in it.
fn text(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}
