//! What a VM is given besides its NICs, and the lab's own names.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::{Reader, Value, get};
use crate::lab::GuestFile;
use crate::lab::file::{At, GuestFileFile, SetupFile};

impl Reader {
    /// The keys of a VM, or of the lab.
    pub(super) fn setup(&mut self, table: &DeTable<'_>) -> SetupFile {
        SetupFile {
            ssh_keys: get(table, "ssh_keys").map(|value| self.texts(value)),
            user: get(table, "user").and_then(|value| self.user(value)),
            password: get(table, "password").and_then(|value| self.password(value)),
            user_data: get(table, "user_data").and_then(|value| self.at_string(value)),
            packages: get(table, "packages").map(|value| self.packages(value)),
            files: get(table, "files").map(|value| self.guest_files(value)),
            run: get(table, "run").map(|value| self.commands(value)),
        }
    }

    fn at_string(&mut self, value: &Value<'_>) -> Option<At<String>> {
        let text = self.string(value)?.to_owned();
        Some(At {
            value: text,
            span: value.span(),
        })
    }

    fn texts(&mut self, value: &Value<'_>) -> Vec<At<String>> {
        let list = self.one_or_more(Some(value));
        list.into_iter().filter_map(|value| self.at_string(value)).collect()
    }

    fn user(&mut self, value: &Value<'_>) -> Option<String> {
        let text = self.string(value)?;
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if begins && text.len() <= 32 && text.chars().all(legal) {
            return Some(text.to_owned());
        }
        self.add(
            value.span(),
            format!("`{text}` is not a name of an account"),
            "write lower-case letters, digits, `_` and `-`, at most 32",
        );
        None
    }

    fn password(&mut self, value: &Value<'_>) -> Option<String> {
        let text = self.typed(Some(value))?;
        if text.is_empty() {
            self.add(
                value.span(),
                "the password is empty",
                "remove the key for the image's own",
            );
            return None;
        }
        self.plain(value, &text);
        Some(text)
    }

    /// Reports a password that is a hash: netlab types the password itself on the console.
    pub(in crate::lab) fn plain(&mut self, value: &Value<'_>, text: &str) {
        if is_hash(text) {
            self.add(
                value.span(),
                "this is the hash of a password",
                "write the password itself: netlab logs in with it on the console, and the seed disk has its hash only",
            );
        }
    }

    fn packages(&mut self, value: &Value<'_>) -> Vec<String> {
        let mut packages = Vec::new();
        for value in self.one_or_more(Some(value)) {
            let Some(text) = self.string(value) else { continue };
            let legal = |c: char| c.is_ascii_alphanumeric() || "+-._:=~/*@".contains(c);
            if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(legal) {
                packages.push(text.to_owned());
            } else {
                self.add(value.span(), format!("`{text}` is not a name of a package"), "");
            }
        }
        packages
    }

    fn commands(&mut self, value: &Value<'_>) -> Vec<At<String>> {
        let mut commands = Vec::new();
        for command in self.texts(value) {
            if command.value.trim().is_empty() {
                self.add(command.span, "the command is empty", "remove it");
            } else if command.value.contains('\0') {
                self.add(command.span, "the command has a NUL character", "remove it");
            } else {
                commands.push(command);
            }
        }
        commands
    }

    fn guest_files(&mut self, value: &Value<'_>) -> Vec<GuestFileFile> {
        let mut files: Vec<GuestFileFile> = Vec::new();
        for value in self.list(Some(value)) {
            let Some(file) = self.guest_file(value) else { continue };
            if files.iter().any(|other| other.path == file.path) {
                let message = format!("the file `{}` is written twice", file.path);
                self.add(value.span(), message, "remove one of the two");
            }
            files.push(file);
        }
        files
    }

    fn guest_file(&mut self, value: &Value<'_>) -> Option<GuestFileFile> {
        let table = self.table(value)?;
        if get(table, "path").is_none() {
            self.add(
                value.span(),
                "a file needs a `path`",
                "write e.g. `path = \"/etc/motd\"`",
            );
        }
        let path = self.at_string(get(table, "path")?)?;
        let normal = path
            .value
            .split('/')
            .skip(1)
            .all(|part| !["", ".", ".."].contains(&part));
        if !path.value.starts_with('/') || !normal || path.value.contains(char::is_control) {
            let message = format!("`{}` is not an absolute path of a file", path.value);
            self.add(path.span.clone(), message, "write e.g. `/etc/motd`");
            return None;
        }
        let (content, from) = (get(table, "content"), get(table, "from"));
        if content.is_some() == from.is_some() {
            let message = format!("file `{}` needs either `content` or `from`", path.value);
            self.add(value.span(), message, "write one of the two");
            return None;
        }
        Some(GuestFileFile {
            path: path.value,
            content: content.and_then(|value| self.at_string(value)),
            from: from.and_then(|value| self.at_string(value)),
            mode: get(table, "mode").map_or(Some(GuestFile::MODE), |value| self.mode(value))?,
        })
    }

    fn mode(&mut self, value: &Value<'_>) -> Option<u16> {
        let text = self.string(value)?;
        let mode = u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
        if mode.is_none() || !(3..=5).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            self.add(
                value.span(),
                format!("`{text}` are not permissions"),
                "write octal digits, e.g. `0644`",
            );
            return None;
        }
        mode
    }

    /// The lab's own names for templates.
    pub(super) fn vars(&mut self, value: &Value<'_>) -> BTreeMap<String, String> {
        let mut vars = BTreeMap::new();
        let Some(table) = self.table(value) else {
            return vars;
        };
        for (name, value) in table {
            let text: &str = name.get_ref();
            let legal = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            if text.is_empty() || !text.chars().all(legal) {
                self.add(
                    name.span(),
                    format!("`{text}` is not a name of a variable"),
                    "write letters, digits, `_` and `-`",
                );
            }
            let content = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.as_str().to_owned(),
                DeValue::Boolean(yes) => yes.to_string(),
                _ => {
                    self.wrong_type(value, "a string");
                    continue;
                }
            };
            vars.insert(text.to_owned(), content);
        }
        vars
    }
}

/// Returns whether a password has the form of crypt(5): `$id$salt$hash`.
fn is_hash(text: &str) -> bool {
    let parts: Vec<&str> = text.split('$').collect();
    matches!(parts[..], ["", "1" | "2a" | "2b" | "2y" | "5" | "6" | "7" | "y" | "gy", _, .., last] if last.len() >= 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_no_password() {
        let sum = "x".repeat(43);
        assert!(is_hash(&format!("$6$salt${sum}")));
        assert!(is_hash(&format!("$5$rounds=5000$salt${sum}")));
        assert!(is_hash(&format!("$y$j9T$salt${sum}")));
        assert!(is_hash(&format!("$2y$10${sum}")));
        for password in ["$6$abc", "$6$a$b", "Pa$$word", "$9$salt$aaaaaaaaaaaaaaaaaaaaaaaa", ""] {
            assert!(!is_hash(password), "{password}");
        }
    }
}
