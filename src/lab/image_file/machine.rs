//! What an image's virtual machine is, and how its console behaves.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use crate::lab::read::{Reader, Value, get};
use crate::lab::schema::choices;
use crate::lab::{ConsoleKind, Dialect, Firmware, ImageConsole, ImageMachine, Login, Password, size};

/// Memory of a guest where the entry has none, in MiB.
const MEMORY_MIB: u64 = 256;
/// Seconds until a guest's prompt where the entry has none.
const BOOT_SECONDS: u32 = 300;

impl Reader {
    pub(super) fn image_machine(&mut self, value: Option<&Value<'_>>) -> Option<ImageMachine> {
        let table = match value {
            Some(value) => Some(self.table(value)?),
            None => None,
        };
        let field = |key| table.and_then(|table| get(table, key));
        let arch = self.libvirt_name(field("arch"), "x86_64");
        let machine = self.libvirt_name(field("machine"), "pc");
        let disk_bus = self.one_of(field("disk_bus"), "disk bus", &choices::DISK_BUSES);
        let nic_model = self.one_of(field("nic_model"), "NIC model", &choices::NIC_MODELS);
        let memory_mib = self.mib(field("memory")).unwrap_or(MEMORY_MIB);
        let firmware = self.firmware(table, machine.as_deref());
        let video = self.choice(field("video"), "video card", &choices::VIDEOS);
        Some(ImageMachine {
            arch: arch?,
            machine: machine?,
            disk_bus: disk_bus?,
            nic_model: nic_model?,
            memory_mib,
            firmware: firmware?,
            video: video?,
        })
    }

    fn firmware(&mut self, table: Option<&DeTable<'_>>, machine: Option<&str>) -> Option<Firmware> {
        let field = |key| table.and_then(|table| get(table, key));
        let firmware = self.choice(field("firmware"), "firmware", &choices::FIRMWARES);
        let secure = field("secure_boot");
        if !self.boolean(secure) {
            return firmware;
        }
        let span = secure.map(Spanned::span).unwrap_or_default();
        if firmware == Some(Firmware::Bios) {
            self.add(span, "a BIOS has no Secure Boot", "write `firmware = \"efi\"`");
        } else if machine.is_some_and(|machine| !machine.contains("q35")) {
            self.add(span, "Secure Boot needs machine type q35", "write `machine = \"q35\"`");
        }
        firmware.map(|_| Firmware::SecureEfi)
    }

    pub(super) fn image_console(
        &mut self,
        value: Option<&Value<'_>>,
        dialect: Option<&Value<'_>>,
        span: &Range<usize>,
    ) -> Option<ImageConsole> {
        let dialect = dialect.map_or(Some(Dialect::Ip), |value| {
            self.choice(Some(value), "dialect", &choices::DIALECTS)
        });
        let help = "write `[images.X.console]` with the `prompt` that a waiting shell shows, e.g. `prompt = \"# \"`";
        let Some(value) = value else {
            self.add(span.clone(), "the image has no `console`", help);
            return None;
        };
        let table = self.table(value)?;
        let kind = get(table, "kind").map_or(Some(ConsoleKind::Serial), |value| {
            self.choice(Some(value), "console kind", &choices::CONSOLES)
        });
        let prompt = self.text(get(table, "prompt"));
        if get(table, "prompt").is_none() || prompt.as_deref() == Some("") {
            self.add(value.span(), "the console has no `prompt`", help);
        }
        let login = match get(table, "login") {
            Some(value) => Some(self.login(value)?),
            None => None,
        };
        let boot_seconds = get(table, "boot_seconds")
            .map_or(Some(BOOT_SECONDS), |value| {
                let read = self.ranged(Some(value), "boot_seconds", choices::MOST_SECONDS);
                read.map(|at| at.value)
            })
            .map(u64::from);
        Some(ImageConsole {
            kind: kind?,
            prompt: prompt?,
            login,
            dialect: dialect?,
            boot_seconds: boot_seconds?,
        })
    }

    pub(super) fn login(&mut self, value: &Value<'_>) -> Option<Login> {
        let table = self.table(value)?;
        let prompt = get(table, "prompt").map_or(Some("login: ".to_owned()), |value| self.typed(Some(value)));
        if get(table, "user").is_none() {
            self.add(value.span(), "a login needs a `user`", "");
        }
        let user = self.typed(get(table, "user"));
        let [password, root_password] = ["password", "root_password"].map(|key| {
            let password = self.typed(get(table, key));
            if let (Some(value), Some(text)) = (get(table, key), &password) {
                self.plain(value, text);
            }
            self.kept(table, key, password)
        });
        Some(Login {
            prompt: prompt?,
            user: user?,
            password: password.map(Password::Text),
            root_password: root_password.map(Password::Text),
        })
    }

    /// A text without control characters: a console would act on them as keys, and XML cannot represent them.
    pub(in crate::lab) fn typed(&mut self, value: Option<&Value<'_>>) -> Option<String> {
        let value = value?;
        let text = self.string(value)?;
        if text.contains(char::is_control) {
            self.add(
                value.span(),
                "this has a control character",
                "write one line of plain text",
            );
            return None;
        }
        Some(text.to_owned())
    }

    pub(super) fn text(&mut self, value: Option<&Value<'_>>) -> Option<String> {
        self.string(value?).map(str::to_owned)
    }

    /// A name of libvirt's: lower-case letters, digits, `_`, `-` and `.`.
    pub(super) fn libvirt_name(&mut self, value: Option<&Value<'_>>, default: &str) -> Option<String> {
        let Some(value) = value else {
            return Some(default.to_owned());
        };
        let text = self.string(value)?;
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
        if text.is_empty() || !text.chars().all(legal) {
            self.add(value.span(), format!("`{text}` is not a name of libvirt"), "");
            return None;
        }
        Some(text.to_owned())
    }

    /// One of `names`, of which the first is the default.
    pub(super) fn one_of(&mut self, value: Option<&Value<'_>>, what: &str, names: &[&str]) -> Option<String> {
        let Some(value) = value else {
            return names.first().map(|name| (*name).to_owned());
        };
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (*name, *name)).collect();
        self.choice(Some(value), what, &pairs).map(str::to_owned)
    }

    pub(in crate::lab) fn mib(&mut self, value: Option<&Value<'_>>) -> Option<u64> {
        let value = value?;
        let text = self.string(value)?;
        match size::parse_mib(text) {
            Ok(mib) => Some(mib),
            Err(message) => {
                self.add(value.span(), message, "write e.g. `128MiB` or `1GiB`");
                None
            }
        }
    }
}
