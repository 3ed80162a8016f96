//! Wrong usage: clap's message, the command that users of other programs mean, and all of it as JSON with `--json`.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::error::json_error;
use super::output::{print_error, set_json};
use super::print;

/// Commands of programs for the same purpose (containerlab, Vagrant, Terraform, virsh, docker compose, ipspace's netlab),
/// and what does the same here.
const PEERS: &[(&str, &str)] = &[
    ("apply", "up"),
    ("attach", "console"),
    ("build", "image build"),
    ("check", "plan --offline"),
    ("clean", "down"),
    ("collect", "doctor --report FILE.tar.gz"),
    ("config", "plan --expand"),
    ("connect", "console"),
    ("convert", "import"),
    ("create", "up"),
    ("define", "up"),
    ("delete", "down"),
    ("deploy", "up"),
    ("destroy", "down"),
    ("diff", "plan"),
    ("dumpxml", "script"),
    ("generate", "init"),
    ("halt", "stop"),
    ("images", "image list"),
    ("info", "status"),
    ("inspect", "status"),
    ("list", "status"),
    ("log", "status"),
    ("logs", "status"),
    ("ls", "status"),
    ("netem", "link"),
    ("new", "init"),
    ("ping", "diagnose"),
    ("poweroff", "stop"),
    ("provision", "up"),
    ("ps", "status"),
    ("pull", "image pull"),
    ("reboot", "restart"),
    ("redeploy", "up"),
    ("reload", "restart"),
    ("remove", "down"),
    ("report", "verify --html FILE"),
    ("revert", "restore"),
    ("rm", "down"),
    ("rollback", "restore"),
    ("rsync", "ssh-config"),
    ("run", "up"),
    ("scp", "cp"),
    ("shell", "console"),
    ("show", "status"),
    ("shutdown", "stop"),
    ("snapshot", "save"),
    ("sniff", "capture"),
    ("stats", "status"),
    ("suspend", "pause"),
    ("tc", "link"),
    ("tcpdump", "capture"),
    ("test", "verify"),
    ("trace", "diagnose"),
    ("traceroute", "diagnose"),
    ("undefine", "down"),
    ("validate", "plan --offline"),
    ("vnc", "screenshot"),
];

/// Prints an error of clap, or the help or version that was asked for; returns the exit status.
pub fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render();
    if !error.use_stderr() {
        // A reader that closed its end of a pipe has what it wanted.
        return match print(text.to_string().as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let meant = meant(error);
    if std::env::args_os().any(|word| word == "--json") {
        set_json(true);
        let text = text.to_string();
        let text = text.trim().strip_prefix("error: ").unwrap_or(&text);
        let (message, rest) = text.split_once("\n\n").unwrap_or((text, ""));
        let help = meant.map_or_else(|| rest.trim().to_owned(), |command| format!("netlab {command}"));
        print_error(&json_error(message, Some(&help), 2));
        return ExitCode::from(2);
    }
    match meant {
        Some(command) => {
            let wrong = wrong_command(error).unwrap_or_default();
            print_error(&format!(
                "error: there is no command `{wrong}`\nhelp: `netlab {command}` does that here; `netlab --help` lists the \
                 commands"
            ));
        }
        None => _ = error.print(),
    }
    ExitCode::from(2)
}

/// Returns the command that is not known.
fn wrong_command(error: &clap::Error) -> Option<&str> {
    match (error.kind(), error.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) => Some(word),
        _ => None,
    }
}

/// Returns the command that is meant by one of another program.
fn meant(error: &clap::Error) -> Option<&'static str> {
    let wrong = wrong_command(error)?;
    PEERS.iter().find(|(peer, _)| *peer == wrong).map(|(_, own)| *own)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::super::Cli;
    use super::*;

    #[test]
    fn every_hint_is_a_command_and_no_command_has_a_hint() {
        let cli = Cli::command();
        let names: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
        for (peer, own) in PEERS {
            assert!(names.contains(&own.split(' ').next().unwrap()), "{own}");
            assert!(!names.contains(peer), "{peer}");
        }
    }

    #[test]
    fn a_command_of_another_program_leads_to_the_own_one() {
        let meant = |word| meant(&Cli::try_parse_from(["netlab", word]).err().unwrap());
        assert_eq!(meant("deploy"), Some("up"));
        assert_eq!(meant("destroy"), Some("down"));
        assert_eq!(meant("nonsense"), None);
    }
}
