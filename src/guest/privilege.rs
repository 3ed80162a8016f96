//! How a guest's login becomes root, which configuring a NIC needs: not at all where it is root, else by sudo(8) or
//! doas(1) without a password, or by sudo with that of the login.

use std::time::Duration;

use super::error::{SessionError, SessionFault};
use super::session::Session;
use crate::lab::Login;

/// Deadline of each question: sudo may wait for a name server that does not exist yet (5 s per attempt and address,
/// resolv.conf(5)).
const LIMIT: Duration = Duration::from_secs(60);
/// Prints how the account becomes root, or nothing.
const ASK: &str = "if [ \"$(id -u)\" = 0 ]; then echo is-root; elif sudo -n true; then echo by-sudo; \
                   elif doas -n true; then echo by-doas; fi 2>/dev/null";

/// A program that runs another one as root; none where the account is root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privilege {
    /// The account is root.
    Root,
    /// By `sudo -n`.
    Sudo,
    /// By `doas -n`.
    Doas,
}

impl Privilege {
    /// Finds out how the guest's account becomes root.
    ///
    /// # Errors
    /// [`SessionFault::NotRoot`] where it cannot.
    pub fn of(session: &mut Session<'_>, login: Option<&Login>) -> Result<Self, SessionError> {
        if let Some(privilege) = Self::ask(session)? {
            return Ok(privilege);
        }
        let password = login.and_then(|login| login.password.as_ref()?.text());
        if let Some(password) = password.filter(|password| !password.contains(char::is_control)) {
            // sudo then remembers for a while that this terminal may (sudoers(5), timestamp_timeout).
            let quoted = password.replace('\'', r"'\''");
            session.type_secret(&format!(
                "printf '%s\\n' '{quoted}' | sudo -S -p '' true >/dev/null 2>&1"
            ))?;
            if let Some(privilege) = Self::ask(session)? {
                return Ok(privilege);
            }
        }
        let user = login.map_or_else(|| "of this console".to_owned(), |login| format!("`{}`", login.user));
        Err(session.error(SessionFault::NotRoot { user }))
    }

    fn ask(session: &mut Session<'_>) -> Result<Option<Self>, SessionError> {
        let output = session.run_idempotent(ASK, LIMIT)?;
        Ok(output.text.lines().find_map(|line| match line.trim() {
            "is-root" => Some(Self::Root),
            "by-sudo" => Some(Self::Sudo),
            "by-doas" => Some(Self::Doas),
            _ => None,
        }))
    }

    /// Returns the script that runs `script` as root, by sh(1).
    pub fn run(self, script: &str) -> String {
        let runner = match self {
            Self::Root => return script.to_owned(),
            Self::Sudo => "sudo -n",
            Self::Doas => "doas -n",
        };
        format!("{runner} sh -c '{}'", script.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::scripted::{Scripted, Shell, open};

    /// Asks a guest whose account becomes root as `answer` says.
    fn of(answer: &'static str) -> Result<Privilege, SessionError> {
        let shell = Shell::running(move |script| {
            let text = if script.contains("sudo -n true") { answer } else { "" };
            (text.to_owned(), 0)
        });
        Privilege::of(&mut open(Scripted::new(shell)), None)
    }

    #[test]
    fn an_account_is_root_or_becomes_root_by_sudo_or_doas() {
        assert_eq!(of("is-root\n").unwrap(), Privilege::Root);
        assert_eq!(of("by-sudo\n").unwrap(), Privilege::Sudo);
        assert_eq!(of("by-doas\n").unwrap(), Privilege::Doas);
        let error = of("").unwrap_err();
        assert!(error.to_string().contains("cannot become root"), "{error}");
    }

    #[test]
    fn a_script_is_one_argument_of_a_shell_that_root_runs() {
        assert_eq!(Privilege::Root.run("echo 'a'\necho b"), "echo 'a'\necho b");
        assert_eq!(
            Privilege::Sudo.run("echo 'a'\necho b"),
            "sudo -n sh -c 'echo '\\''a'\\''\necho b'"
        );
    }
}
