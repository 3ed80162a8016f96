//! Manual pages and completion scripts, generated from the command line's own description and from the schema of lab
//! files.

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_complete::env::{EnvCompleter, Shells};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::error::CommandError;
use super::{Cli, print};
use crate::folders::Folders;
use crate::lab::{SchemaKey, keys};

/// Environment variables and what they do.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "NETLAB_STATE_DIR",
        "The folder of labs: journals, transcripts, emulated hosts. Default: /var/lib/netlab.",
    ),
    (
        "NETLAB_CACHE_DIR",
        "The folder of images and of QEMU's capabilities. Default: /var/cache/netlab.",
    ),
    (
        "NETLAB_LOG",
        "`debug` records every command sent to a host and every libvirt call in the lab's folder, `trace` every round \
         trip, too.",
    ),
    ("NO_COLOR", "No colors, where it is set and not empty."),
    (
        "LC_ALL, LC_CTYPE, LANG",
        "The characters of the terminal: other than ASCII in a UTF-8 locale only.",
    ),
    ("TERM", "`dumb`: plain lines in ASCII."),
];

/// Files and folders and what is in them.
const FILES: &[(&str, &str)] = &[
    (
        "./lab.toml",
        "The lab of commands that are given none; see netlab.toml(5).",
    ),
    (
        "/var/lib/netlab/labs/LAB/",
        "What is recorded of a lab while it is up: journal, netlab.log, transcripts, hosts.",
    ),
    (
        "/var/lib/netlab/templates/domain.xml",
        "The template of domains, where it replaces the built-in one.",
    ),
    ("/var/cache/netlab/images/", "Guest images."),
    (
        "/var/log/libvirt/netlab.LAB/",
        "What guests print on their serial consoles, on each host.",
    ),
    (
        "/run/netlab/",
        "On each host: DHCP servers, old settings, and which state folder a lab belongs to.",
    ),
];

/// Prints the completion script for `shell`: it asks netlab itself at each key press, which knows the labs that are up.
pub fn completions(shell: Shell) -> Result<(), CommandError> {
    let mut script = Vec::new();
    let name = shell.to_string();
    let shells = Shells::builtins();
    let failed = |source| CommandError::Process {
        doing: "generate the completion script",
        source,
    };
    let Some(completer) = shells.completer(&name) else {
        return Err(failed(std::io::Error::other(format!("{name} is not known"))));
    };
    let completer: &dyn EnvCompleter = completer;
    completer
        .write_registration("COMPLETE", "netlab", "netlab", "netlab", &mut script)
        .map_err(failed)?;
    print(&script)
}

/// Prints the main page, or writes the pages of all commands and that of lab files into `folder`.
pub fn pages(folder: Option<&Path>) -> Result<(), CommandError> {
    let Some(folder) = folder else {
        let page = main_page().map_err(|source| CommandError::Process {
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
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    write_pages(&command, folder).map_err(failed)?;
    let main = main_page().map_err(failed)?;
    fs::write(folder.join("netlab.1"), main).map_err(failed)?;
    fs::write(folder.join("netlab.toml.5"), lab_file_page()).map_err(failed)
}

/// Writes the page of a command and those of the commands below it.
fn write_pages(command: &clap::Command, folder: &Path) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_pages(below, folder)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write(folder.join(format!("{name}.1")), page(command)?)
}

/// Returns the page of a command. `clap_mangen` calls what follows the options EXTRA and fills its lines; here it is a section
/// of examples, a line each.
fn page(command: &clap::Command) -> std::io::Result<String> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    let page = String::from_utf8_lossy(&page).into_owned();
    let Some((before, extra)) = page.split_once(".SH EXTRA\nExamples:\n") else {
        return Ok(page);
    };
    let section = extra.find("\n.SH").unwrap_or(extra.len());
    let (extra, sections) = extra.split_at(section);
    // Environment and files are sections of the main page.
    let examples = extra.split("\n\n").next().unwrap_or_default().trim_end();
    Ok(format!("{before}.SH EXAMPLES\n.EX\n{examples}\n.EE{sections}"))
}

/// Returns the page of the program itself, with its environment and files.
fn main_page() -> std::io::Result<Vec<u8>> {
    let mut page = page(&Cli::command())?.into_bytes();
    let mut more = Roff::new();
    for (title, entries) in [("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)] {
        more.control("SH", [title]);
        for (name, about) in entries {
            more.control("TP", []);
            more.text([bold(*name)]);
            more.text([roman(*about)]);
        }
    }
    more.control("SH", ["SEE ALSO"]);
    more.text([
        bold("netlab.toml"),
        roman("(5), "),
        bold("virsh"),
        roman("(1), "),
        bold("ip"),
        roman("(8)"),
    ]);
    more.to_writer(&mut page)?;
    Ok(page)
}

/// Returns the page netlab.toml(5).
fn lab_file_page() -> String {
    let mut page = Roff::new();
    page.control("TH", ["netlab.toml", "5", "", "netlab", ""]);
    page.control("SH", ["NAME"]);
    page.text([roman("netlab.toml - description of a lab of virtual machines")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([
        roman("A lab file is TOML. "),
        bold("netlab init"),
        roman(" writes one to start from. Below, "),
        italic("NAME"),
        roman(" is a name of your own, and [] an item of a list."),
    ]);
    let mut table = None;
    for SchemaKey {
        path,
        value,
        required,
        about,
    } in keys()
    {
        let at = path.rsplit_once('.').map_or("", |(at, _)| at).to_owned();
        if table.as_ref() != Some(&at) {
            let title = if at.is_empty() { "THE LAB" } else { &at };
            page.control("SH", [title]);
            table = Some(at);
        }
        page.control("TP", []);
        page.text([bold(path), roman("  "), italic(value)]);
        page.text([roman(format!("{about}{}", if required { " Required." } else { "" }))]);
    }
    page.control("SH", ["FILES"]);
    page.control("TP", []);
    page.text([bold("./lab.toml")]);
    page.text([roman("The lab of commands that are given none.")]);
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("netlab"),
        roman("(1), "),
        bold("netlab-init"),
        roman("(1), "),
        bold("netlab-plan"),
        roman("(1)"),
    ]);
    page.to_roff()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_lab_files_have_one() {
        let folder = tempfile::tempdir().unwrap();
        pages(Some(folder.path())).unwrap();
        let page = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        for command in Cli::command().get_subcommands() {
            assert!(
                !page(&format!("netlab-{}.1", command.get_name())).is_empty(),
                "{}",
                command.get_name()
            );
        }
        assert!(page("netlab-up.1").contains("confirm"));
        assert!(!page("netlab-image-pull.1").is_empty());
        let main = page("netlab.1");
        assert!(main.contains("ENVIRONMENT") && main.contains("FILES"), "{main}");
        let link = page("netlab-link.1");
        assert!(
            link.contains(".SH EXAMPLES\n.EX\n  netlab link ") && !link.contains("EXTRA"),
            "{link}"
        );
        assert!(
            main.matches("NETLAB_STATE_DIR").count() == 1 && main.contains("\n.EE\n.SH VERSION"),
            "{main}"
        );
        let file = page("netlab.toml.5");
        for key in keys() {
            // A hyphen is escaped in roff.
            assert!(file.contains(&key.path.replace('-', "\\-")), "{}", key.path);
        }
    }
}
