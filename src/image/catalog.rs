//! The catalog: entries written in `images/*.toml`, part of the program.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ImageError;
use crate::folders::Folders;
use crate::lab::{Boot, ConsoleKind, Dialect, Image, ImageConsole, ImageMachine, ImageName, Login};

/// The entries: a file's stem is the image's name.
const ENTRIES: [(&str, &str); 1] = [("mini", include_str!("../../images/mini.toml"))];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    description: String,
    machine: Machine,
    boot: Start,
    console: Console,
    #[serde(default)]
    cloud_init: bool,
}

#[allow(clippy::struct_field_names)] // libvirt's word for the machine type is `machine`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    arch: String,
    machine: String,
    disk_bus: String,
    nic_model: String,
    memory_mib: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Start {
    Kernel {
        kernel: String,
        initrd: String,
        cmdline: String,
    },
    Disk {
        base: String,
        format: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Console {
    #[serde(default)]
    kind: ConsoleKind,
    prompt: String,
    login: Option<Access>,
    dialect: Dialect,
    boot_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Access {
    prompt: String,
    user: String,
    password: Option<String>,
}

/// Every image, with paths in `folders`.
pub fn catalog(folders: &Folders) -> Result<BTreeMap<ImageName, Image>, ImageError> {
    ENTRIES
        .into_iter()
        .map(|(name, text)| {
            let wrong = |message: String| ImageError::Entry {
                name: name.to_owned(),
                message,
            };
            let name = ImageName::new(name).map_err(|error| wrong(error.to_string()))?;
            let entry: Entry = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
            Ok((name.clone(), entry.image(name, folders)))
        })
        .collect()
}

impl Entry {
    fn image(self, name: ImageName, folders: &Folders) -> Image {
        let folder = folders.image(&name);
        Image {
            name,
            description: self.description,
            machine: ImageMachine {
                arch: self.machine.arch,
                machine: self.machine.machine,
                disk_bus: self.machine.disk_bus,
                nic_model: self.machine.nic_model,
                memory_mib: self.machine.memory_mib,
            },
            boot: match self.boot {
                Start::Kernel {
                    kernel,
                    initrd,
                    cmdline,
                } => Boot::Kernel {
                    kernel: folder.join(kernel),
                    initrd: folder.join(initrd),
                    cmdline,
                },
                Start::Disk { base, format } => Boot::Disk {
                    base: folder.join(base),
                    format,
                },
            },
            console: ImageConsole {
                kind: self.console.kind,
                prompt: self.console.prompt,
                login: self.console.login.map(|login| Login {
                    prompt: login.prompt,
                    user: login.user,
                    password: login.password,
                }),
                dialect: self.console.dialect,
                boot_seconds: self.console.boot_seconds,
            },
            cloud_init: self.cloud_init,
        }
    }
}
