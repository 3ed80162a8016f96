//! Writes what a VM is given besides its NICs.

use super::{Out, list, quoted, table};
use crate::lab::{FileSource, GuestFile, NamedFile, Password, Setup};

impl Out {
    /// Writes the keys of a VM, or of the lab.
    pub(super) fn setup(&mut self, setup: &Setup) {
        let Setup {
            ssh_keys,
            user,
            password,
            user_data,
            packages,
            files,
            run,
        } = setup;
        self.maybe("ssh_keys", ssh_keys.as_ref().map(|keys| list(keys.iter().map(quoted))));
        self.maybe("user", user.as_ref().map(quoted));
        self.maybe("password", password.as_ref().and_then(Password::text).map(quoted));
        self.maybe("user_data", user_data.as_ref().map(path));
        self.maybe(
            "packages",
            packages.as_ref().map(|names| list(names.iter().map(quoted))),
        );
        self.maybe("files", files.as_ref().map(|files| list(files.iter().map(file))));
        self.maybe("run", run.as_ref().map(|run| list(run.iter().map(quoted))));
    }
}

fn path(file: &NamedFile) -> String {
    quoted(file.path.display())
}

fn file(file: &GuestFile) -> String {
    let GuestFile { path: to, source, mode } = file;
    let source = match source {
        FileSource::Text(text) => format!("content = {}", quoted(text)),
        FileSource::File(file) => format!("from = {}", path(file)),
    };
    let mode = (*mode != GuestFile::MODE).then(|| format!("mode = \"{mode:04o}\""));
    table([format!("path = {}", quoted(to)), source].into_iter().chain(mode))
}
