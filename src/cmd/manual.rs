//! Manual pages and completion scripts, generated from the command line's own description.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::error::CommandError;
use super::{Cli, print};
use crate::folders::Folders;

/// Prints the completion script for `shell`.
pub fn completions(shell: Shell) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "netlab", &mut script);
    print(&script)
}

/// Prints the main page, or writes the pages of all commands into `folder`.
pub fn pages(folder: Option<&Path>) -> Result<(), CommandError> {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .map_err(|source| CommandError::Process {
                doing: "generate the manual page",
                source,
            })?;
        return print(&page);
    };
    let failed = |source| CommandError::File {
        doing: "write manual pages to",
        path: folder.to_owned(),
        source,
    };
    Folders::make_open(folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_hidden_ones_have_none() {
        let folder = tempfile::tempdir().unwrap();
        pages(Some(folder.path())).unwrap();
        let page = |name: &str| folder.path().join(name);
        for command in Cli::command().get_subcommands() {
            let page = page(&format!("netlab-{}.1", command.get_name()));
            assert_eq!(page.is_file(), !command.is_hide_set(), "{}", page.display());
        }
        let up = std::fs::read_to_string(page("netlab-up.1")).unwrap();
        assert!(up.contains("confirm"), "{up}");
        assert!(page("netlab-image-pull.1").is_file() && page("netlab.1").is_file());
    }
}
