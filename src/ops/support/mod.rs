//! Writes an archive for a bug report: versions, lab file, plan, journal, logs, transcripts and the findings of
//! [`doctor`](super::doctor()), with passwords masked.

mod mask;

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::doctor::Finding;
use super::{Env, Loaded, OpsError, plan};
use crate::causes::chain;
use crate::image;
use crate::transport::{Cmd, LocalShell, Shell as _};
use mask::Mask;

/// Most bytes of one file in the archive: its end.
const AT_MOST: u64 = 8 << 20;
/// The commands whose output says which versions of which programs are installed on this machine.
const VERSIONS: [&[&str]; 8] = [
    &["uname", "-a"],
    &["libvirtd", "--version"],
    &["virtqemud", "--version"],
    &["qemu-system-x86_64", "--version"],
    &["ip", "-V"],
    &["nft", "--version"],
    &["dnsmasq", "--version"],
    &["ssh", "-V"],
];

/// An archive that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SupportReport {
    /// The archive.
    pub file: PathBuf,
    /// The paths in it.
    pub entries: Vec<String>,
}

/// Writes the archive `file` (gzip-compressed tar, readable by its owner only) about a lab.
///
/// Every value of a key `password` in the lab's file, and credentials in URLs, are replaced by `***`; in the other files
/// every password of the lab's file but those that the catalog of images publishes.
pub fn support_report(
    env: &Env,
    loaded: &Loaded,
    findings: &[Finding],
    file: &Path,
) -> Result<SupportReport, OpsError> {
    let at = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| OpsError::File { doing, path, source }
    };
    let lab_file = std::fs::read_to_string(&loaded.file).map_err(at("read", &loaded.file))?;
    let mask = Mask::of(&lab_file, &image::entries()?);
    let planned = match plan(env, loaded) {
        Ok(planned) => planned.lines().join("\n"),
        Err(error) => describe(&error),
    };
    let mut texts = vec![
        ("versions.txt".to_owned(), versions()),
        ("lab.toml".to_owned(), mask.lab_file(&lab_file)),
        ("plan.txt".to_owned(), planned),
        (
            "doctor.json".to_owned(),
            serde_json::to_string_pretty(findings).unwrap_or_else(|error| error.to_string()),
        ),
    ];
    let folder = env.folders.lab(&loaded.topology.lab);
    for (path, name) in logs(&folder) {
        texts.push((name, end_of(&path).map_err(at("read", &path))?));
    }

    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let archive = options.open(file).map_err(at("create", file))?;
    let mut archive = tar::Builder::new(GzEncoder::new(archive, Compression::default()));
    let mut entries = Vec::new();
    for (name, text) in texts {
        let name = format!("netlab-report-{}/{name}", loaded.topology.lab);
        append(&mut archive, &name, &mask.text(&text)).map_err(at("write", file))?;
        entries.push(name);
    }
    archive
        .into_inner()
        .and_then(GzEncoder::finish)
        .and_then(|mut file| file.flush())
        .map_err(at("write", file))?;
    Ok(SupportReport {
        file: file.to_owned(),
        entries,
    })
}

fn append(archive: &mut tar::Builder<impl io::Write>, name: &str, text: &str) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o600);
    archive.append_data(&mut header, name, text.as_bytes())
}

/// The journal, netlab's own log, the transcripts of the guests and the logs of the emulated hosts: each with its
/// name in the archive.
fn logs(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found: Vec<(PathBuf, String)> = ["journal", "netlab.log", "images.toml"]
        .iter()
        .map(|name| (folder.join(name), (*name).to_owned()))
        .collect();
    for entry in files(&folder.join("transcripts")) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if entry.extension().is_some_and(|extension| extension == "log") {
            found.push((entry, format!("transcripts/{name}")));
        }
    }
    for host in files(&folder.join("hosts")) {
        let name = host.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.push((host.join("init.log"), format!("hosts/{name}.log")));
    }
    found.retain(|(path, _)| path.is_file());
    found
}

/// The entries of a folder, sorted; none where there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn end_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(AT_MOST)))?;
    let mut bytes = Vec::new();
    file.take(AT_MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn versions() -> String {
    let mut text = format!("netlab {}\n", env!("CARGO_PKG_VERSION"));
    for argv in VERSIONS {
        // Writing to a `String` cannot fail.
        let _ = match LocalShell.run(&Cmd::new(argv.iter().copied())) {
            Ok(output) => {
                let (out, error) = (
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr),
                );
                writeln!(text, "$ {}\n{}{}", argv.join(" "), out.trim_end(), error.trim_end())
            }
            Err(error) => writeln!(text, "$ {}\n{}", argv.join(" "), chain(&error)),
        };
    }
    text
}

/// The error with its causes and helps, as plain text.
fn describe(error: &OpsError) -> String {
    let mut text = format!("{}\n", chain(error));
    for detail in error.details() {
        let _ = writeln!(text, "{}: {}", detail.host, detail.message);
        if let Some(help) = detail.help {
            let _ = writeln!(text, "  help: {help}");
        }
    }
    text
}
