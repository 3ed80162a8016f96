//! The catalog: the entries in `images/*.toml`, compiled into the program.

use std::collections::BTreeMap;

use super::{ImageError, cache, key};
use crate::folders::Folders;
use crate::lab::{BaseDisk, Boot, Image, ImageEntry, ImageName, ImageSource, parse_image};

/// The entries by image name, which is the file's stem.
const ENTRIES: [(&str, &str); 12] = [
    ("alpine-3.24", include_str!("../../images/alpine-3.24.toml")),
    ("cirros", include_str!("../../images/cirros.toml")),
    ("debian-12", include_str!("../../images/debian-12.toml")),
    ("debian-13", include_str!("../../images/debian-13.toml")),
    ("fedora-44", include_str!("../../images/fedora-44.toml")),
    ("freebsd-15.1", include_str!("../../images/freebsd-15.1.toml")),
    ("linux-0.2", include_str!("../../images/linux-0.2.toml")),
    ("mini", include_str!("../../images/mini.toml")),
    ("mini-e1000", include_str!("../../images/mini-e1000.toml")),
    ("openwrt-25.12", include_str!("../../images/openwrt-25.12.toml")),
    ("rocky-8", include_str!("../../images/rocky-8.toml")),
    ("ubuntu-24.04", include_str!("../../images/ubuntu-24.04.toml")),
];

/// Returns every entry of the catalog.
pub fn entries() -> Result<BTreeMap<ImageName, ImageEntry>, ImageError> {
    ENTRIES
        .into_iter()
        .map(|(name, text)| {
            let invalid = |message: String| ImageError::Entry {
                name: name.to_owned(),
                message,
            };
            let entry = parse_image(name, text).map_err(|problems| {
                let all: Vec<_> = problems.problems.iter().map(ToString::to_string).collect();
                invalid(all.join("; "))
            })?;
            let name = ImageName::new(name).map_err(|error| invalid(error.to_string()))?;
            Ok((name, entry))
        })
        .collect()
}

/// Returns every image of the catalog, with paths in `folders`.
pub fn catalog(folders: &Folders) -> Result<BTreeMap<ImageName, Image>, ImageError> {
    Ok(resolve(&entries()?, folders))
}

/// Returns images with their paths in the cache of `folders`, whether the files exist or not.
pub fn resolve(entries: &BTreeMap<ImageName, ImageEntry>, folders: &Folders) -> BTreeMap<ImageName, Image> {
    let image = |(name, entry): (&ImageName, &ImageEntry)| {
        let folder = key::folder(name, entry, folders);
        let boot = match &entry.source {
            ImageSource::Recipe { cmdline, .. } => Boot::Kernel {
                kernel: folder.join(cache::KERNEL),
                initrd: Some(folder.join(cache::INITRD)),
                cmdline: cmdline.clone(),
                disk: None,
            },
            ImageSource::Kernel(source) => Boot::Kernel {
                kernel: folder.join(cache::KERNEL),
                initrd: source.initrd.as_ref().map(|_| folder.join(cache::INITRD)),
                cmdline: source.cmdline.clone(),
                disk: source.disk.as_ref().map(|disk| BaseDisk {
                    base: folder.join(cache::DISK),
                    format: disk.format.word().to_owned(),
                }),
            },
            ImageSource::Download(download) => Boot::Disk {
                base: folder.join(cache::DISK),
                format: download.format.word().to_owned(),
            },
        };
        let image = Image {
            name: name.clone(),
            description: entry.description.clone(),
            machine: entry.machine.clone(),
            boot,
            console: entry.console.clone(),
            cloud_init: entry.cloud_init,
            warm: entry.warm,
        };
        (name.clone(), image)
    };
    entries.iter().map(image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{ConsoleKind, Dialect};

    #[test]
    fn every_entry_is_valid_and_every_download_has_a_digest() {
        let entries = entries().unwrap();
        assert_eq!(entries.len(), ENTRIES.len());
        for (name, entry) in &entries {
            if let ImageSource::Download(download) = &entry.source {
                assert!(download.is_pinned(), "{name}");
            }
        }
    }

    #[test]
    fn linux_0_2_uses_its_screen_and_ifconfig() {
        let entries = entries().unwrap();
        let entry = &entries[&"linux-0.2".parse().unwrap()];
        assert_eq!(
            (entry.console.kind, entry.console.dialect),
            (ConsoleKind::Vga, Dialect::Ifconfig)
        );
        let ImageSource::Download(download) = &entry.source else {
            panic!("{entry:?}")
        };
        assert_eq!(
            download.unpacked.as_ref().unwrap().to_string(),
            "git_blob:e441fdf5a99ee25cd56720e37a6e334116dfdecb"
        );
    }
}
