//! What VMs are given besides their NICs: templates are read, and files that the lab file names. Those are read here and not
//! later, so that a missing one is a problem with its place.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;

use super::Check;
use crate::lab::file::{At, GuestFileFile, LabFile, SetupFile};
use crate::lab::home;
use crate::lab::user_data;
use crate::lab::{Content, FileSource, GuestFile, NamedFile, Password, Setup, Template, Vm, VmName};
use crate::ssh_key;

/// Most bytes of a file that is written in a guest: over a console, this much takes minutes.
const MOST_FILE: u64 = 1 << 20;
/// Most bytes of any other file: cloud-init's data sources have such limits, too.
const MOST_TEXT: u64 = 64 << 10;

/// The names that templates can have.
struct Names<'a> {
    vars: &'a BTreeMap<String, String>,
    /// VMs with an address.
    addressed: Vec<&'a VmName>,
    /// Whether all VMs are known.
    complete: bool,
}

impl Check<'_> {
    /// Gives every VM its setup; returns that of the lab.
    pub(super) fn setups(&mut self, file: &LabFile, vms: &mut BTreeMap<VmName, Vm>) -> Setup {
        let made = std::mem::take(&mut self.made);
        let tables = || file.vms.iter().zip(&made);
        let addressed = tables().filter(|(vm, _)| !vm.nics.is_empty());
        let mut names = Names {
            vars: &file.vars,
            addressed: addressed.flat_map(|(_, made)| made).collect(),
            complete: !self.broken.contains("vms"),
        };
        names.addressed.sort();
        let everyones = self.setup(&file.setup, &names);
        for (vm, made) in tables() {
            let setup = self.setup(&vm.setup, &names);
            let own = (&vm.setup, &setup);
            for (written, setup) in [own, (&file.setup, &everyones)] {
                if vm.nics.is_empty() {
                    self.without_address(written, setup, own.1, &vm.name.value);
                }
            }
            for name in made {
                if let Some(vm) = vms.get_mut(name) {
                    vm.setup = setup.clone();
                }
            }
        }
        everyones
    }

    /// Reports texts that need the address of a VM that has none. `own`: what replaces those of the lab.
    fn without_address(&mut self, written: &SetupFile, setup: &Setup, own: &Setup, vm: &VmName) {
        let mut wrong = Vec::new();
        if own.run.is_none() || own.run == setup.run {
            let commands = written.run.iter().flatten().zip(setup.run.iter().flatten());
            wrong.extend(commands.filter(|(_, run)| run.needs_address()).map(|(at, _)| &at.span));
        }
        if own.files.is_none() || own.files == setup.files {
            let files = written.files.iter().flatten().zip(setup.files.iter().flatten());
            wrong.extend(files.filter_map(|(at, file)| match &file.source {
                FileSource::Text(text) if text.needs_address() => at.content.as_ref().map(|at| &at.span),
                _ => None,
            }));
        }
        for span in wrong {
            let message = format!("vm `{vm}` has no NIC, and so no address for `address`");
            self.add(span, message, "give it a NIC, or remove `{{ address }}`");
        }
    }

    fn setup(&mut self, file: &SetupFile, names: &Names<'_>) -> Setup {
        Setup {
            ssh_keys: file.ssh_keys.as_ref().map(|keys| self.ssh_keys(keys)),
            user: file.user.clone(),
            password: file.password.clone().map(Password::Text),
            user_data: file.user_data.as_ref().and_then(|path| self.user_data(path)),
            packages: file.packages.clone(),
            files: file.files.as_ref().map(|files| {
                let files = files.iter().filter_map(|file| self.guest_file(file, names));
                files.collect()
            }),
            run: file.run.as_ref().map(|run| {
                let run = run.iter().filter_map(|command| self.template(command, names));
                run.collect()
            }),
        }
    }

    fn template(&mut self, text: &At<String>, names: &Names<'_>) -> Option<Template> {
        let vms = names.complete.then_some(names.addressed.as_slice());
        match Template::parse(&text.value, names.vars, vms) {
            Ok(template) => Some(template),
            Err(error) => {
                self.add(&text.span, error.message, error.help);
                None
            }
        }
    }

    fn guest_file(&mut self, file: &GuestFileFile, names: &Names<'_>) -> Option<GuestFile> {
        let source = match (&file.content, &file.from) {
            (Some(content), _) => FileSource::Text(self.template(content, names)?),
            (None, Some(from)) => FileSource::File(self.named_file(from, MOST_FILE)?),
            (None, None) => return None,
        };
        Some(GuestFile {
            path: file.path.clone(),
            source,
            mode: file.mode,
        })
    }

    /// Public keys: each a key itself, or a file with one per line.
    fn ssh_keys(&mut self, written: &[At<String>]) -> Vec<String> {
        let mut keys = Vec::new();
        for at in written {
            if at.value.contains("PRIVATE KEY") {
                self.add(
                    &at.span,
                    "this is a private key",
                    "write the public one, e.g. of a file `.pub`",
                );
            } else if ssh_key::begins_like_one(&at.value) {
                match ssh_key::parse(&at.value) {
                    Some(key) => keys.push(key),
                    None => self.add(
                        &at.span,
                        "this is not a whole public key",
                        "copy the line of a file `.pub`",
                    ),
                }
            } else if let Some(file) = self.named_file(at, MOST_TEXT) {
                let found = file.content.text().map(ssh_key::of_lines).unwrap_or_default();
                if found.is_empty() {
                    let message = format!("`{}` has no public key", at.value);
                    self.add(&at.span, message, "name a file `.pub`");
                }
                keys.extend(found);
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        keys.retain(|key| seen.insert(key.clone()));
        keys
    }

    fn user_data(&mut self, path: &At<String>) -> Option<NamedFile> {
        let file = self.named_file(path, MOST_TEXT)?;
        match user_data::text(file.content.bytes().unwrap_or_default(), MOST_TEXT) {
            Ok(text) => Some(NamedFile {
                content: Content::from(text.as_str()),
                ..file
            }),
            Err((why, help)) => {
                self.add(&path.span, format!("`{}`: {why}", path.value), help);
                None
            }
        }
    }

    /// Reads a file that the lab file names, relative to its own folder.
    fn named_file(&mut self, path: &At<String>, most: u64) -> Option<NamedFile> {
        let whole = match home::path(&path.value, self.folder) {
            Ok(whole) => whole,
            Err(message) => {
                self.add(&path.span, message, "write the path of a file");
                return None;
            }
        };
        match read(&whole, most) {
            Ok(bytes) => Some(NamedFile {
                path: whole,
                content: Content::Bytes(bytes),
            }),
            Err(error) => {
                let message = format!("cannot read `{}`: {error}", path.value);
                self.add(&path.span, message, unreadable(&whole, most));
                None
            }
        }
    }
}

fn unreadable(path: &Path, most: u64) -> String {
    match path.metadata() {
        Ok(found) if found.is_file() && found.len() > most => {
            "copy it with `netlab cp` once the lab is up, or let the guest download it".to_owned()
        }
        _ => "paths are relative to the folder of the lab file".to_owned(),
    }
}

/// Reads a regular file of at most `most` bytes: nothing that never ends.
fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is larger than {} KiB", most >> 10)));
    }
    Ok(bytes)
}
