//! How a guest's login becomes root, which configuring a NIC needs: not at all where it is root, else by sudo(8) or
//! doas(1) without a password, by sudo with that of the login, or by su(1) with that of root.

use std::time::Duration;

use super::embedded::quoted;
use super::error::{SessionError, SessionFault};
use super::session::Session;
use crate::lab::{Login, Password};

/// Deadline of each question: sudo may wait for a name server that does not exist yet (5 s per attempt and address,
/// resolv.conf(5)).
const LIMIT: Duration = Duration::from_secs(60);
/// Prints how the account becomes root, or nothing.
const ASK: &str = "if [ \"$(id -u)\" = 0 ]; then echo is-root; elif sudo -n true; then echo by-sudo; \
                   elif doas -n true; then echo by-doas; fi 2>/dev/null";
/// The same for a shell that has root's password. su may print its question on the same line.
const ASK_SU: &str = "printf '%s\\n' \"$netlab_su\" | su root -c 'echo by-su' 2>/dev/null";
/// Forgets that password.
pub(super) const FORGET: &str = "unset netlab_su";

/// A program that runs another one as root; none where the account is root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privilege {
    /// The account is root.
    Root,
    /// By `sudo -n`.
    Sudo,
    /// By `doas -n`.
    Doas,
    /// By `su`, with root's password in a variable of the session's shell.
    Su,
}

impl Privilege {
    /// Finds out how the guest's account becomes root.
    ///
    /// # Errors
    /// [`SessionFault::NotRoot`] where it cannot.
    pub fn of(session: &mut Session<'_>, login: Option<&Login>) -> Result<Self, SessionError> {
        if session.privilege == Some(Self::Su) {
            return Ok(Self::Su);
        }
        if let Some(privilege) = Self::ask(session, ASK)? {
            return Ok(privilege);
        }
        let mut tried = vec!["`sudo -n`", "`doas -n`"];
        if let Some(password) = typed(login.and_then(|login| login.password.as_ref())) {
            tried.push("`sudo` with its password");
            // sudo then remembers for a while that this terminal may (sudoers(5), timestamp_timeout).
            session.type_secret(&format!(
                "printf '%s\\n' {} | sudo -S -p '' true >/dev/null 2>&1",
                quoted(password)
            ))?;
            if let Some(privilege) = Self::ask(session, ASK)? {
                return Ok(privilege);
            }
        }
        if let Some(password) = typed(login.and_then(|login| login.root_password.as_ref())) {
            tried.push("`su` with `root_password`");
            // The blank keeps the line out of the history of many shells.
            session.type_secret(&format!(" netlab_su={}", quoted(password)))?;
            session.privilege = Some(Self::Su);
            if let Some(privilege) = Self::ask(session, ASK_SU)? {
                return Ok(privilege);
            }
            session.run_idempotent(FORGET, LIMIT)?;
            session.privilege = None;
        }
        let user = login.map_or_else(|| "of this console".to_owned(), |login| format!("`{}`", login.user));
        Err(session.error(SessionFault::NotRoot { user, tried }))
    }

    fn ask(session: &mut Session<'_>, question: &str) -> Result<Option<Self>, SessionError> {
        let output = session.run_idempotent(question, LIMIT)?;
        let by = [
            ("is-root", Self::Root),
            ("by-sudo", Self::Sudo),
            ("by-doas", Self::Doas),
            ("by-su", Self::Su),
        ];
        let answered = |line: &str| by.iter().find(|(answer, _)| line.trim().ends_with(answer));
        Ok(output.text.lines().find_map(answered).map(|(_, privilege)| *privilege))
    }

    /// Returns the script that runs `script` as root, by sh(1).
    pub fn run(self, script: &str) -> String {
        let runner = match self {
            Self::Root => return script.to_owned(),
            Self::Sudo => "sudo -n",
            Self::Doas => "doas -n",
            Self::Su => {
                // Output begins on a line of its own, after su's question. root's shell may be none that takes scripts.
                let script = quoted(&format!("echo; {script}"));
                let script = quoted(&format!("exec sh -c {script}"));
                return format!("printf '%s\\n' \"$netlab_su\" | su root -c {script}");
            }
        };
        format!("{runner} sh -c {}", quoted(script))
    }
}

/// Returns a password that a console can type.
fn typed(password: Option<&Password>) -> Option<&str> {
    password?.text().filter(|text| !text.contains(char::is_control))
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
        assert!(
            error
                .to_string()
                .contains("cannot become root: `sudo -n`, `doas -n` refused"),
            "{error}"
        );
    }

    #[test]
    fn a_script_is_one_argument_of_a_shell_that_root_runs() {
        assert_eq!(Privilege::Root.run("echo 'a'\necho b"), "echo 'a'\necho b");
        assert_eq!(
            Privilege::Sudo.run("echo 'a'\necho b"),
            "sudo -n sh -c 'echo '\\''a'\\''\necho b'"
        );
        let by_su = Privilege::Su.run("id -u").replace("su root -c", "sh -c");
        let output = std::process::Command::new("sh").args(["-c", &by_su]).output().unwrap();
        let id = rustix::process::getuid().as_raw();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("\n{id}\n"));
    }
}
