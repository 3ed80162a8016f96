//! Describes a file that no entry describes yet.

use std::path::Path;

use super::detect::{self, Content, Layer, Mismatch, Wanted};
use super::fetch::FetchError;
use super::qcow2;
use super::{ImageError, at, decompress, digest};
use crate::lab::{
    Compression, ConsoleKind, Dialect, DigestKind, Download, Firmware, Format, ImageConsole, ImageEntry, ImageMachine,
    ImageName, ImageSource, Location, Video,
};

/// Largest size of the unpacked file in bytes that the entry allows: 64 GiB, the default of entries.
pub(super) const AT_MOST: u64 = 64 << 30;

/// Returns an entry for the file at `path`: compression and format as its bytes show them, its digest, and machine,
/// console and cloud-init of `like`. Without `like`, those are what most images have, which nothing proves.
pub fn describe(path: &Path, name: &ImageName, like: Option<&ImageEntry>) -> Result<ImageEntry, ImageError> {
    let path = std::path::absolute(path).map_err(at(path))?;
    let wrong = |error: FetchError| ImageError::NoMirror {
        name: name.to_string(),
        failed: vec![(Location::File(path.clone()), error)],
    };
    if !path.is_file() {
        return Err(wrong(match path.metadata() {
            Ok(found) => FetchError::not_a_file(&found),
            Err(error) => FetchError::NoFile(error),
        }));
    }
    let length = path.metadata().map_err(at(&path))?.len();
    let (compression, format) = recognize(&path, Format::Raw).map_err(at(&path))?.map_err(wrong)?;
    if compression == Compression::None && length > AT_MOST {
        return Err(wrong(decompress::UnpackError::TooBig { at_most: AT_MOST }.into()));
    }
    let sum = digest::of_file(DigestKind::Sha256, &path).map_err(at(&path))?;
    let download = Download {
        mirrors: vec![Location::File(path)],
        digest: Some(sum),
        checksums: None,
        compression,
        format,
        unpacked: None,
        at_most: AT_MOST,
    };
    let source = ImageSource::Download(download);
    Ok(match like {
        Some(like) => ImageEntry {
            description: String::new(),
            source,
            ..like.clone()
        },
        None => common(source),
    })
}

/// Returns how the disk image at `path` is compressed and its format, as its bytes show them, or why it is none. `raw`: the
/// format of what is no qcow2 image.
pub(super) fn recognize(path: &Path, raw: Format) -> std::io::Result<Result<(Compression, Format), FetchError>> {
    let wanted = Wanted::Disk(raw);
    let (compression, whole) = match detect::of_file(path)? {
        Content::Compressed(compression) => (compression, None),
        found => (Compression::None, Some(found)),
    };
    let head = match decompress::head(path, compression) {
        Ok(head) => head,
        Err(error) => return Ok(Err(decompress::UnpackError::Corrupt(error).into())),
    };
    // What a file shows at its end is known of the whole file only.
    Ok(match whole.unwrap_or_else(|| detect::detect(&head)) {
        Content::Qcow2 => match compression {
            Compression::None => qcow2::check_file(path)?.map_err(FetchError::from),
            // It is checked once it is unpacked.
            _ => Ok(()),
        }
        .map(|()| (compression, Format::Qcow2)),
        found if detect::fits(found, wanted) => Ok((compression, raw)),
        found => {
            let layer = Layer::Unpacked(compression);
            Err(Mismatch { found, wanted, layer }.into())
        }
    })
}

/// What most images have.
pub(super) fn common(source: ImageSource) -> ImageEntry {
    ImageEntry {
        description: String::new(),
        source,
        machine: ImageMachine {
            arch: "x86_64".to_owned(),
            machine: "pc".to_owned(),
            disk_bus: "virtio".to_owned(),
            nic_model: "virtio".to_owned(),
            memory_mib: 512,
            firmware: Firmware::default(),
            video: Video::default(),
        },
        console: ImageConsole {
            kind: ConsoleKind::Serial,
            prompt: "# ".to_owned(),
            login: None,
            dialect: Dialect::Ip,
            boot_seconds: 300,
        },
        cloud_init: false,
        warm: false,
    }
}
