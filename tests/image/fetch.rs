//! A fetched image is the right file and complete, or absent.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use netlab::event::{Event, Events};
use netlab::folders::Folders;
use netlab::image::digest::of_file;
use netlab::image::fetch::Limits;
use netlab::image::{Built, ImageError, Options, built, folder, import, obtain};
use netlab::lab::{
    Compression, ConsoleKind, Dialect, Digest, DigestKind, Download, Firmware, Format, ImageConsole, ImageEntry,
    ImageMachine, ImageName, ImageSource, Location, Video,
};
use sha2::Digest as _;

use crate::support::server::{Act, Asked, Server};
use crate::support::skip;

/// A megabyte that compresses moderately.
pub fn content() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut state = 1_u32;
    while bytes.len() < 1 << 20 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.extend([
            (state >> 24).to_be_bytes()[3] & 0x3f,
            0,
            (state >> 16).to_be_bytes()[3] & 0x0f,
        ]);
    }
    bytes
}

fn has_end(name: &str, end: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == end)
}

pub fn sha256(bytes: &[u8]) -> Digest {
    let hex: String = sha2::Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .concat();
    Digest::new(DigestKind::Sha256, &hex).unwrap()
}

/// A cache of its own, an image and its entry.
pub struct Case {
    folder: tempfile::TempDir,
    pub folders: Folders,
    pub name: ImageName,
    pub download: Download,
    pub options: Options,
}

impl Case {
    pub fn new(servers: &[&Server], digest: Option<Digest>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut case = Self::at(folder.path(), servers, digest);
        case.folder = folder;
        case
    }

    fn at(path: &Path, servers: &[&Server], digest: Option<Digest>) -> Self {
        Self {
            folders: Folders {
                state: path.join("state"),
                cache: path.join("cache"),
            },
            folder: tempfile::tempdir().unwrap(),
            name: "mine".parse().unwrap(),
            download: Download {
                mirrors: servers.iter().map(|server| Location::Url(server.url())).collect(),
                digest,
                checksums: None,
                compression: Compression::None,
                format: Format::Raw,
                unpacked: None,
                at_most: 1 << 30,
            },
            options: Options {
                limits: Limits {
                    stall: Duration::from_secs(60),
                    attempts: 3,
                    requests: 20,
                    pause: Duration::from_millis(1),
                },
                ..Options::default()
            },
        }
    }

    pub fn entry(&self) -> ImageEntry {
        ImageEntry {
            description: String::new(),
            source: ImageSource::Download(self.download.clone()),
            machine: ImageMachine {
                arch: "x86_64".to_owned(),
                machine: "pc".to_owned(),
                disk_bus: "virtio".to_owned(),
                nic_model: "virtio".to_owned(),
                memory_mib: 128,
                firmware: Firmware::default(),
                video: Video::default(),
            },
            console: ImageConsole {
                kind: ConsoleKind::Serial,
                prompt: "# ".to_owned(),
                login: None,
                dialect: Dialect::Ip,
                boot_seconds: 60,
            },
            cloud_init: false,
            warm: false,
        }
    }

    pub fn obtain(&self) -> Result<Built, ImageError> {
        obtain(&self.name, &self.entry(), &self.folders, &self.options, &Events::none())
    }

    /// The error of an attempt, which leaves no image, with its help.
    pub fn refused(&self) -> String {
        let error = self.obtain().unwrap_err();
        let error = format!("{error}\nhelp: {}", error.help());
        assert_eq!(built(&self.name, &self.entry(), &self.folders), None);
        assert!(!folder(&self.name, &self.entry(), &self.folders).exists());
        error
    }

    pub fn disk(&self) -> Vec<u8> {
        std::fs::read(folder(&self.name, &self.entry(), &self.folders).join("disk")).unwrap()
    }

    /// The names in the cache's folder, except locks.
    fn left(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folders.images()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !has_end(name, "lock")).collect()
    }
}

#[test]
fn a_file_is_complete_and_fetched_once() {
    let file = content();
    let server = Server::start(&file, &[Act::Give]);
    let case = Case::new(&[&server], Some(sha256(&file)));
    let made = case.obtain().unwrap();
    assert_eq!(case.disk(), file);
    assert_eq!(made.sha256.as_deref(), Some(sha256(&file).hex()));
    assert_eq!(case.obtain().unwrap(), made);
    assert_eq!(server.asked().len(), 1);
    assert_eq!(case.left().len(), 1, "{:?}", case.left());
}

/// FAULTS 24.
#[test]
fn an_interrupted_download_is_resumed_and_verified_as_a_whole() {
    let file = content();
    let server = Server::start(&file, &[Act::Cut(300_000), Act::Give]);
    let case = Case::new(&[&server], Some(sha256(&file)));
    case.obtain().unwrap();
    assert_eq!(case.disk(), file);
    let again = Asked {
        range: Some("bytes=300000-".to_owned()),
        if_range: Some("\"1\"".to_owned()),
    };
    assert_eq!(server.asked(), [Asked::default(), again]);
}

#[test]
fn the_partial_file_of_an_earlier_run_is_resumed() {
    let file = content();
    let server = Server::start(
        &file,
        &[
            Act::Cut(300_000),
            Act::Status(503),
            Act::Status(503),
            Act::Status(503),
            Act::Give,
        ],
    );
    let mut case = Case::new(&[&server], Some(sha256(&file)));
    case.options.limits.attempts = 2;
    let error = case.refused();
    assert!(error.contains("status 503"), "{error}");
    let part = case.left().into_iter().find(|name| has_end(name, "part")).unwrap();
    assert_eq!(case.folders.images().join(part).metadata().unwrap().len(), 300_000);
    case.options.limits.attempts = 3;
    case.obtain().unwrap();
    assert_eq!(case.disk(), file);
    assert_eq!(server.asked().last().unwrap().range.as_deref(), Some("bytes=300000-"));
    assert_eq!(case.left().len(), 1, "{:?}", case.left());
}

#[test]
fn a_file_that_changes_meanwhile_is_fetched_from_its_beginning() {
    let (old, new) = (content(), content().into_iter().rev().collect::<Vec<u8>>());
    let server = Server::start(&old, &[Act::Cut(300_000), Act::Change(new.clone())]);
    let case = Case::new(&[&server], Some(sha256(&new)));
    case.obtain().unwrap();
    assert_eq!(case.disk(), new);
    // The same where only the server's tag reveals the change.
    let server = Server::start(&old, &[Act::Cut(300_000), Act::Change(new.clone())]);
    let mut case = Case::new(&[&server], None);
    case.options.allow_unverified = true;
    case.obtain().unwrap();
    assert_eq!(case.disk(), new);
}

#[test]
fn a_server_without_ranges_starts_again() {
    let file = content();
    let server = Server::start(&file, &[Act::Cut(300_000), Act::GiveWhole]);
    let case = Case::new(&[&server], Some(sha256(&file)));
    case.obtain().unwrap();
    assert_eq!(case.disk(), file);
}

#[test]
fn a_partial_file_of_another_file_is_discarded() {
    let (file, other) = (content(), vec![7; 300_000]);
    let server = Server::start(&file, &[Act::Cut(300_000), Act::Status(404), Act::Give]);
    let case = Case::new(&[&server], Some(sha256(&file)));
    case.refused();
    let part = case.left().into_iter().find(|name| has_end(name, "part")).unwrap();
    std::fs::write(case.folders.images().join(part), &other).unwrap();
    case.obtain().unwrap();
    assert_eq!(case.disk(), file);
}

/// FAULTS 25.
#[test]
fn a_stalled_server_is_followed_by_the_next_mirror() {
    let file = content();
    let (bad, good) = (
        Server::start(&file, &[Act::Stall(1000)]),
        Server::start(&file, &[Act::Give]),
    );
    let mut case = Case::new(&[&bad, &good], Some(sha256(&file)));
    case.options.limits.stall = Duration::from_millis(400);
    case.obtain().unwrap();
    assert_eq!(case.disk(), file);
    assert_eq!(bad.asked().len(), 4, "one with progress and three without");
    let mut alone = Case::new(&[&bad], Some(sha256(&file)));
    alone.options.limits.stall = Duration::from_millis(400);
    let error = alone.refused();
    assert!(error.contains("no data was received for 0.4 seconds"), "{error}");
}

/// FAULTS 23.
#[test]
fn wrong_content_is_reported_with_both_digests_and_the_next_mirror_is_tried() {
    let (file, wrong) = (content(), b"something else".to_vec());
    let bad = Server::start(&file, &[Act::Instead(wrong.clone())]);
    let good = Server::start(&file, &[Act::Give]);
    let alone = Case::new(&[&bad], Some(sha256(&file)));
    let error = alone.refused();
    assert!(error.contains(sha256(&file).hex()), "{error}");
    assert!(error.contains(sha256(&wrong).hex()), "{error}");
    assert_eq!(alone.left(), Vec::<String>::new(), "wrong bytes are not kept");
    let both = Case::new(&[&bad, &good], Some(sha256(&file)));
    both.obtain().unwrap();
    assert_eq!(both.disk(), file);
}

#[test]
fn a_wrong_length_a_page_and_a_redirect_loop_are_refused() {
    let file = content();
    let long = Server::start(&file, &[Act::Overstate(10)]);
    let short = Server::start(&file, &[Act::Understate(1000)]);
    let page = Server::start(&file, &[Act::Page]);
    let circle = Server::start(&file, &[Act::Loop]);
    let missing = Server::start(&file, &[Act::Status(404)]);
    let case = Case::new(&[&long, &short, &page, &circle, &missing], Some(sha256(&file)));
    let error = case.refused();
    for wanted in [
        "the download was interrupted after 1048578 bytes of 1048588",
        "should be sha256:",
        "a web page",
        "too many redirects",
        "status 404",
    ] {
        assert!(error.contains(wanted), "{wanted} not in {error}");
    }
    assert_eq!(
        (page.asked().len(), missing.asked().len()),
        (1, 1),
        "final errors are not retried"
    );
    let unverified = Case::new(&[&page], None);
    let error = Case {
        options: Options {
            allow_unverified: true,
            ..unverified.options.clone()
        },
        ..unverified
    }
    .refused();
    assert!(error.contains("a web page"), "{error}");
}

#[test]
fn a_redirect_is_followed() {
    let file = content();
    let target = Server::start(&file, &[Act::Give]);
    let server = Server::start(&file, &[Act::Redirect(target.url())]);
    let case = Case::new(&[&server], Some(sha256(&file)));
    case.obtain().unwrap();
    assert_eq!(case.disk(), file);
}

#[test]
fn without_a_checksum_an_option_is_required_and_the_digest_is_printed() {
    let file = content();
    let server = Server::start(&file, &[Act::Give]);
    let mut case = Case::new(&[&server], None);
    let error = case.refused();
    assert!(error.contains("--allow-unverified"), "{error}");
    assert!(server.asked().is_empty());
    case.options.allow_unverified = true;
    let (sender, events) = mpsc::channel();
    obtain(
        &case.name,
        &case.entry(),
        &case.folders,
        &case.options,
        &Events::to(sender),
    )
    .unwrap();
    let pinned = events.try_iter().any(
        |event| matches!(event, Event::Warning(text) if text.contains(&format!("sha256 = \"{}\"", sha256(&file).hex()))),
    );
    assert!(pinned);
}

#[test]
fn progress_is_reported_in_bytes() {
    let file = content().repeat(3);
    let server = Server::start(&file, &[Act::Give]);
    let case = Case::new(&[&server], Some(sha256(&file)));
    let (sender, events) = mpsc::channel();
    obtain(
        &case.name,
        &case.entry(),
        &case.folders,
        &case.options,
        &Events::to(sender),
    )
    .unwrap();
    let bytes = events.try_iter().filter_map(|event| match event {
        Event::Bytes { done, total, .. } => Some((done, total)),
        _ => None,
    });
    let bytes: Vec<_> = bytes.collect();
    let all = file.len() as u64;
    assert!(bytes.len() > 2, "{bytes:?}");
    assert!(bytes.is_sorted(), "{bytes:?}");
    assert_eq!(bytes.last(), Some(&(all, Some(all))));
}

/// Compresses `bytes` by a program.
fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = std::process::Command::new(program)
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

const PACKERS: [(&str, Compression); 4] = [
    ("bzip2", Compression::Bzip2),
    ("gzip", Compression::Gzip),
    ("xz", Compression::Xz),
    ("zstd", Compression::Zstd),
];

#[test]
fn every_compression_is_unpacked_while_it_is_received_and_truncated_files_are_refused() {
    // Two consecutive streams, as parallel compressors write them; zeros become holes and are read as zeros.
    let (first, second) = (content(), vec![0; 3 << 20]);
    let whole = [first.clone(), second.clone(), first.clone()].concat();
    for (program, compression) in PACKERS {
        let file = [
            packed(program, &first),
            packed(program, &[second.clone(), first.clone()].concat()),
        ]
        .concat();
        let server = Server::start(&file, &[Act::Cut(file.len() / 2), Act::Give]);
        let mut case = Case::new(&[&server], Some(sha256(&file)));
        case.download.compression = compression;
        case.download.unpacked = Some(sha256(&whole));
        case.obtain().unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(case.disk() == whole, "{program}");

        let short = &file[..file.len() - 50];
        let server = Server::start(short, &[Act::GiveWhole]);
        let mut case = Case::new(&[&server], Some(sha256(short)));
        case.download.compression = compression;
        let error = case.refused();
        assert!(error.contains("cannot be unpacked"), "{program}: {error}");

        let long = [&file[..], b"and more"].concat();
        let server = Server::start(&long, &[Act::GiveWhole]);
        let mut case = Case::new(&[&server], Some(sha256(&long)));
        case.download.compression = compression;
        if compression == Compression::Gzip {
            // OpenWrt signs its images behind their end; gzip(1) ignores that, too.
            case.obtain().unwrap();
            assert!(case.disk() == whole);
        } else {
            case.refused();
        }
    }
}

#[test]
fn the_unpacked_file_is_verified_by_its_git_id() {
    let whole = content();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("disk"), &whole).unwrap();
    let id = of_file(DigestKind::GitBlob, &folder.path().join("disk")).unwrap();
    let file = packed("bzip2", &whole);
    let server = Server::start(&file, &[Act::Give]);
    let mut case = Case::new(&[&server], None);
    case.download.compression = Compression::Bzip2;
    case.download.unpacked = Some(id);
    case.obtain().unwrap();
    case.download.unpacked = Some(Digest::new(DigestKind::GitBlob, &"0".repeat(40)).unwrap());
    let error = case.refused();
    assert!(error.contains("the unpacked file should be git_blob:0000"), "{error}");
}

/// FAULTS 26.
#[test]
fn a_decompression_bomb_stops_at_the_limit() {
    let file = packed("bzip2", &vec![0; 64 << 20]);
    let server = Server::start(&file, &[Act::Give]);
    let mut case = Case::new(&[&server], Some(sha256(&file)));
    case.download.compression = Compression::Bzip2;
    case.download.at_most = 1 << 20;
    let error = case.refused();
    assert!(error.contains("more than 1048576 bytes"), "{error}");
    assert_eq!(case.left(), Vec::<String>::new());
}

/// FAULTS 28.
#[test]
fn a_qcow2_that_names_other_files_is_refused_also_as_a_raw_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evil");
    let made = std::process::Command::new("qemu-img")
        .args(["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/hostname"])
        .arg(&path)
        .arg("1M")
        .status();
    assert!(made.unwrap().success());
    let file = std::fs::read(&path).unwrap();
    let server = Server::start(&file, &[Act::Give]);
    let mut case = Case::new(&[&server], Some(sha256(&file)));
    case.download.format = Format::Qcow2;
    let error = case.refused();
    assert!(error.contains("backing file (`/etc/hostname`)"), "{error}");
    case.download.format = Format::Raw;
    let error = case.refused();
    assert!(
        error.contains("this is a qcow2 image") && error.contains("write `format = \"qcow2\"`"),
        "{error}"
    );
    assert_eq!(case.left(), Vec::<String>::new(), "nothing of it is kept");
}

#[test]
fn a_file_that_is_not_what_its_entry_states_is_reported_with_what_it_is() {
    let mut vmdk = content();
    vmdk[..4].copy_from_slice(b"KDMV");
    let zipped = packed("gzip", &content());
    for (file, compression, format, wanted) in [
        (vmdk, Compression::None, Format::Raw, "this is a VMDK image"),
        (
            zipped.clone(),
            Compression::None,
            Format::Raw,
            "write `compression = \"gzip\"`",
        ),
        (
            zipped.clone(),
            Compression::Xz,
            Format::Raw,
            "write `compression = \"gzip\"`",
        ),
        (zipped, Compression::None, Format::Qcow2, "this is compressed by gzip"),
        (content(), Compression::None, Format::Qcow2, "check `format`"),
        (packed("gzip", b""), Compression::Gzip, Format::Raw, "the file is empty"),
    ] {
        let server = Server::start(&file, &[Act::Give]);
        let mut case = Case::new(&[&server], Some(sha256(&file)));
        (case.download.compression, case.download.format) = (compression, format);
        let error = case.refused();
        assert!(error.contains(wanted), "{wanted} not in {error}");
    }
}

#[test]
fn a_digest_of_the_unpacked_file_is_reported_as_such() {
    let (file, zipped) = (content(), packed("gzip", &content()));
    let server = Server::start(&zipped, &[Act::Give]);
    let mut case = Case::new(&[&server], Some(sha256(&file)));
    case.download.compression = Compression::Gzip;
    let error = case.refused();
    assert!(
        error.contains("digest of the unpacked file") && error.contains("unpacked = {"),
        "{error}"
    );
    // A server that compresses what it was asked not to compress.
    let server = Server::start(&zipped, &[Act::Give]);
    let error = Case::new(&[&server], Some(sha256(&file))).refused();
    assert!(error.contains("this is compressed by gzip"), "{error}");
}

#[test]
fn a_right_checksum_counts_more_than_the_type_that_a_server_states() {
    let file = content();
    let server = Server::start(&file, &[Act::GiveAsPage]);
    let case = Case::new(&[&server], Some(sha256(&file)));
    case.obtain().unwrap();
    assert_eq!(case.disk(), file);
}

#[test]
fn an_image_that_is_not_fetched_is_not_reported_as_done() {
    let server = Server::start(&content(), &[Act::Status(404)]);
    let case = Case::new(&[&server], Some(sha256(&content())));
    let (sender, events) = mpsc::channel();
    let events_to = Events::to(sender);
    obtain(&case.name, &case.entry(), &case.folders, &case.options, &events_to).unwrap_err();
    let ends: Vec<_> = events
        .try_iter()
        .filter(|event| matches!(event, Event::Done { .. } | Event::Failed { .. }))
        .collect();
    assert!(matches!(&ends[..], [Event::Failed { .. }]), "{ends:?}");
}

#[test]
fn concurrent_runs_fetch_once() {
    let file = content();
    let server = Server::start(&file, &[Act::Give]);
    let case = Case::new(&[&server], Some(sha256(&file)));
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| case.obtain().unwrap())).collect();
        for run in runs {
            run.join().unwrap();
        }
    });
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_file_of_this_machine_is_a_mirror_and_can_be_imported() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, path) = (content(), folder.path().join("image.bz2"));
    let file = packed("bzip2", &whole);
    std::fs::write(&path, &file).unwrap();
    let mut case = Case::new(&[], Some(sha256(&file)));
    case.download.compression = Compression::Bzip2;
    case.download.mirrors = vec![Location::File(folder.path().join("none")), Location::File(path.clone())];
    case.obtain().unwrap();
    assert_eq!(case.disk(), whole);
    assert!(path.exists());

    // Imported: compressed, or unpacked if its digest is known; anything else is refused.
    for (file, known) in [(&file, true), (&whole, true), (&b"x".to_vec(), false)] {
        let mut case = Case::new(&[], Some(sha256(&packed("bzip2", &whole))));
        case.download.compression = Compression::Bzip2;
        case.download.unpacked = Some(sha256(&whole));
        std::fs::write(&path, file).unwrap();
        let done = import(
            &path,
            &case.name,
            &case.entry(),
            &case.folders,
            &case.options,
            &Events::none(),
        );
        assert_eq!(done.is_ok(), known, "{done:?}");
        assert!(!known || case.disk() == whole);
    }
}

/// FAULTS 27.
#[test]
fn a_full_disk_leaves_no_partial_file() {
    let Some(disk) = SmallDisk::mount() else { return };
    // Small enough to begin with, and without zeros, which would become holes.
    let mut whole: Vec<u8> = content().repeat(24).iter().map(|byte| byte & 0x11 | 2).collect();
    whole.truncate(24 << 20);
    let file = packed("gzip", &whole);
    assert!(file.len() < 9 << 20, "{}", file.len());
    let server = Server::start(&file, &[Act::Give]);
    let other = Server::start(&file, &[Act::Give]);
    let mut case = Case::at(disk.0.path(), &[&server, &other], Some(sha256(&file)));
    case.download.compression = Compression::Gzip;
    let error = case.refused();
    assert!(error.contains("no space left"), "{error}");
    assert_eq!(case.left(), Vec::<String>::new());
    assert_eq!(other.asked().len(), 0, "no other mirror is tried");

    let server = Server::start(&whole, &[Act::Give]);
    let case = Case::at(disk.0.path(), &[&server], Some(sha256(&whole)));
    let error = case.refused();
    let images = disk.0.path().join("cache/images");
    let needed = format!("not enough space in {}: at least 24 MiB are needed, ", images.display());
    assert!(error.contains(&needed), "{error}");
    assert_eq!(case.left(), Vec::<String>::new());

    // The download fits, and so much that is unpacked of it does not.
    let server = Server::start(&whole[..12 << 20], &[Act::Give]);
    let mut case = Case::at(disk.0.path(), &[&server], None);
    case.options.allow_unverified = true;
    case.download.compression = Compression::Gzip;
    let error = case.refused();
    assert!(error.contains("at least 24 MiB are needed"), "{error}");

    // A file of this machine is copied.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &whole).unwrap();
    let mut case = Case::at(disk.0.path(), &[], None);
    case.download.mirrors = vec![Location::File(file.path().to_owned())];
    let error = case.refused();
    assert!(error.contains(&needed), "{error}");
}

/// A file system of 20 MB.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=20m", "tmpfs"])
            .arg(folder.path())
            .output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        skip("a_full_disk_leaves_no_partial_file", "a tmpfs cannot be mounted here");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}
