//! From whatever a guest shows when its console is opened (nothing yet, a booting kernel, a login dialogue that
//! somebody left, an unfinished command) to a shell that waits for commands.

use std::time::{Duration, Instant};

use super::error::{SessionError, SessionFault};
use super::session::{LOOK, Session};
use super::watch::Watch;
use crate::lab::{ImageConsole, Login};

/// Ctrl-U takes away what somebody left on the line; Enter asks for a prompt.
const NUDGE: &str = "\x15";
/// Input that comes before the shell opened the terminal is lost: it is nudged again this often.
const NUDGE_EVERY: Duration = Duration::from_millis(500);
/// ... but not while it prints.
const NUDGE_QUIET: Duration = Duration::from_millis(250);
/// A login program that checks a password must not be given a line: it would take it for the next answer.
const LOGIN_PAUSE: Duration = Duration::from_secs(8);
/// Text that ends like a prompt is one if nothing follows it.
const PROMPT_QUIET: Duration = Duration::from_millis(30);
/// Unexpected in every place but a quotation: a syntax error makes a shell drop the command that it wants more of
/// without running any of it.
const WAYS_OUT: [&str; 3] = [")", "')", "\")"];
/// A first refusal may come from a line that was left in the dialogue.
const REFUSALS: u32 = 2;
/// A guest that asks for the user more often than this takes no answer.
const USER_ASKED: u32 = 8;

/// What the guest's unfinished line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Command,
    RestOfCommand,
    User,
    Password,
}

/// How far a login has come.
#[derive(Debug, Default)]
struct Dialogue {
    users: u32,
    user_typed: bool,
    password_typed: bool,
    refusals: u32,
}

/// Waits for the shell; see [`Session::open`].
pub(super) fn wait_for_shell(
    session: &mut Session<'_>,
    image: &ImageConsole,
    on_line: &mut dyn FnMut(&str),
) -> Result<(), SessionError> {
    let (began, within) = (Instant::now(), Duration::from_secs(image.boot_seconds));
    let (mut watch, mut dialogue) = (Watch::new(), Dialogue::default());
    let (mut silent, mut stuck) = (true, 0);
    let mut next_nudge = began;
    loop {
        if let Some(trouble) = watch.boot_trouble() {
            return Err(session.error(trouble));
        }
        let left = within.saturating_sub(began.elapsed());
        if left.is_zero() {
            let prompt = image.prompt.clone();
            return Err(session.error(if silent {
                SessionFault::Silent(within)
            } else {
                SessionFault::NoPrompt { prompt, within }
            }));
        }
        let asked = asked(watch.line(), image);
        if asked == Asked::Nothing && Instant::now() >= next_nudge && (silent || watch.quiet() >= NUDGE_QUIET) {
            session.type_line(NUDGE)?;
            next_nudge = Instant::now() + NUDGE_EVERY;
        }
        let text = session.listen(left.min(if asked == Asked::Nothing { LOOK } else { PROMPT_QUIET }))?;
        // A terminal that nobody reads from echoes the nudges.
        silent &= text.trim().is_empty();
        watch.hear(&text, &mut *on_line);
        if !text.is_empty() || asked == Asked::Nothing {
            continue;
        }
        match asked {
            Asked::Command => return Ok(()),
            Asked::RestOfCommand => {
                session.type_line(WAYS_OUT[stuck % WAYS_OUT.len()])?;
                stuck += 1;
            }
            Asked::User | Asked::Password => {
                if let Some(login) = &image.login {
                    answer(session, login, &mut dialogue, asked)?;
                    next_nudge = Instant::now() + LOGIN_PAUSE;
                }
            }
            Asked::Nothing => {}
        }
        watch.answered();
    }
}

/// What `line`, which the guest has not ended, asks for.
fn asked(line: &str, image: &ImageConsole) -> Asked {
    let line = line.trim();
    let ends_with = |prompt: &str| !prompt.trim().is_empty() && line.ends_with(prompt.trim());
    match &image.login {
        _ if ends_with(&image.prompt) => Asked::Command,
        Some(login) if ends_with(&login.prompt) => Asked::User,
        Some(_) if line.ends_with(':') && line.to_lowercase().contains("password") => Asked::Password,
        // Where the echo is off, several stand on one line.
        _ if line == ">" || line.ends_with(" >") => Asked::RestOfCommand,
        _ => Asked::Nothing,
    }
}

/// Answers a login program.
fn answer(session: &mut Session<'_>, login: &Login, so_far: &mut Dialogue, asked: Asked) -> Result<(), SessionError> {
    let user = login.user.clone();
    if asked == Asked::User {
        so_far.refusals += u32::from(so_far.password_typed);
        so_far.users += 1;
        if so_far.refusals >= REFUSALS || so_far.users > USER_ASKED {
            return Err(session.error(SessionFault::LoginRefused { user }));
        }
        so_far.user_typed = true;
        so_far.password_typed = false;
        return session.type_line(&user);
    }
    match &login.password {
        // Somebody else's dialogue: an empty password ends it.
        _ if !so_far.user_typed => session.type_line(""),
        None => Err(session.error(SessionFault::PasswordAsked { user })),
        Some(password) => {
            so_far.user_typed = false;
            so_far.password_typed = true;
            session.type_secret(password)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::scripted::{self, Guest, PROMPT, Scripted, Shell};
    use crate::guest::{ConsoleError, Transcript};

    /// What came of opening a session, and the lines that were shown meanwhile.
    fn open(
        guest: impl Guest + 'static,
        image: &ImageConsole,
    ) -> (Result<Session<'static>, SessionError>, Vec<String>) {
        let mut lines = Vec::new();
        let mut on_line = |line: &str| lines.push(line.to_owned());
        let opened = Session::open(
            Box::new(Scripted::new(guest)),
            image,
            Transcript::unwritten(),
            &mut on_line,
        );
        (opened, lines)
    }

    fn trouble(guest: impl Guest + 'static, image: &ImageConsole) -> SessionFault {
        open(guest, image).0.map(|_| ()).unwrap_err().trouble
    }

    fn impatient() -> ImageConsole {
        ImageConsole {
            boot_seconds: 1,
            ..scripted::image()
        }
    }

    fn with_login(password: Option<&str>) -> ImageConsole {
        let login = Login {
            prompt: "login: ".into(),
            user: "root".into(),
            password: password.map(Into::into),
        };
        ImageConsole {
            login: Some(login),
            ..scripted::image()
        }
    }

    /// A guest that prints `text` by itself and then whatever its shell does.
    struct Booting(&'static str, Shell);
    impl Guest for Booting {
        fn begin(&mut self) -> String {
            self.0.into()
        }
        fn line(&mut self, line: &str) -> Option<String> {
            self.1.line(line)
        }
    }

    /// A guest that only prints.
    struct Mute(String);
    impl Guest for Mute {
        fn begin(&mut self) -> String {
            self.0.clone()
        }
        fn line(&mut self, _: &str) -> Option<String> {
            Some(String::new())
        }
    }

    /// A login program in front of a shell.
    struct Getty {
        password: Option<&'static str>,
        user: Option<String>,
        shell: Option<Shell>,
    }
    impl Getty {
        fn new(password: Option<&'static str>) -> Self {
            Self {
                password,
                user: None,
                shell: None,
            }
        }
        fn let_in(&mut self) -> String {
            self.shell = Some(Shell::simple());
            format!("\r\nWelcome\r\n{PROMPT}")
        }
    }
    impl Guest for Getty {
        fn begin(&mut self) -> String {
            format!(
                "Debian mini ttyS0\r\n\r\n{}",
                if self.user.is_some() {
                    "Password: "
                } else {
                    "mini login: "
                }
            )
        }
        fn line(&mut self, line: &str) -> Option<String> {
            if let Some(shell) = &mut self.shell {
                return shell.line(line);
            }
            Some(match self.user.take() {
                None if line.is_empty() => "\r\nmini login: ".into(),
                None if self.password.is_none() => self.let_in(),
                None => {
                    self.user = Some(line.to_owned());
                    format!("{line}\r\nPassword: ")
                }
                Some(user) if user == "root" && Some(line) == self.password => self.let_in(),
                Some(_) => "\r\n\r\nLogin incorrect\r\nmini login: ".into(),
            })
        }
    }

    #[test]
    fn every_line_of_a_booting_guest_is_shown() {
        let text = "\x1b[2J[    0.000000] Linux version 6.1\r\n[    1.5] \x1b[1mvirtio\x1b[0m\r\n\r\n~ # ";
        let (opened, lines) = open(Booting(text, Shell::simple()), &scripted::image());
        assert!(opened.is_ok());
        assert_eq!(lines[..2], ["[    0.000000] Linux version 6.1", "[    1.5] virtio"]);
    }

    #[test]
    fn a_prompt_that_a_kernel_message_hid_is_asked_for() {
        for boot in [
            "~ # [    2.1] random: crng init done\r\n",
            "~ # [    2.1] random: crng",
            "",
        ] {
            assert!(
                open(Booting(boot, Shell::simple()), &scripted::image()).0.is_ok(),
                "{boot}"
            );
        }
    }

    #[test]
    fn a_shell_that_loses_what_comes_too_early_is_nudged_again() {
        let (mut lost, mut shell) = (0, Shell::simple());
        let guest = move |line: &str| {
            lost += 1;
            if lost < 4 {
                Some(String::new())
            } else {
                shell.line(line)
            }
        };
        assert!(open(guest, &scripted::image()).0.is_ok());
    }

    #[test]
    fn a_shell_in_the_middle_of_a_command_is_brought_back() {
        let (mut unfinished, mut shell) = (true, Shell::simple());
        let guest = move |line: &str| {
            // An open quotation: only its end and something unexpected end it.
            unfinished &= line != "')";
            if unfinished {
                Some("> ".into())
            } else {
                shell.line(line)
            }
        };
        assert!(open(guest, &scripted::image()).0.is_ok());
    }

    #[test]
    fn a_login_with_and_without_password_succeeds() {
        assert!(open(Getty::new(Some("secret")), &with_login(Some("secret"))).0.is_ok());
        assert!(open(Getty::new(None), &with_login(None)).0.is_ok());
    }

    #[test]
    fn a_login_dialogue_that_somebody_left_is_begun_anew() {
        let left = Getty {
            user: Some("somebody".into()),
            ..Getty::new(Some("secret"))
        };
        assert!(open(left, &with_login(Some("secret"))).0.is_ok());
    }

    #[test]
    fn a_login_that_is_refused_says_for_whom() {
        let refused = SessionFault::LoginRefused { user: "root".into() };
        assert_eq!(trouble(Getty::new(Some("secret")), &with_login(Some("wrong"))), refused);
        let asked = SessionFault::PasswordAsked { user: "root".into() };
        assert_eq!(trouble(Getty::new(Some("secret")), &with_login(None)), asked);
        assert_eq!(
            trouble(|_: &str| Some("\r\nmini login: ".into()), &with_login(None)),
            refused
        );
    }

    #[test]
    fn a_password_is_not_in_the_transcript() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vm1.log");
        let console = Box::new(Scripted::new(Getty::new(Some("secret"))));
        let transcript = Transcript::append(&path).unwrap();
        let session = Session::open(console, &with_login(Some("secret")), transcript, &mut |_| ()).unwrap();
        drop(session);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("Password: ") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn a_panic_is_reported_long_before_the_deadline() {
        let line = "[    1.9] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)";
        let text =
            format!("{line}\r\n[    1.9] CPU: 0 PID: 1\r\n[    2.0] ---[ end Kernel panic - not syncing: VFS ]---\r\n");
        let patient = ImageConsole {
            boot_seconds: 100_000,
            ..scripted::image()
        };
        let error = open(Mute(text), &patient).0.map(|_| ()).unwrap_err();
        assert_eq!(error.trouble, SessionFault::Panic(line.into()));
        assert!(error.screen.iter().any(|line| line.contains("CPU: 0")), "{error}");
    }

    #[test]
    fn a_boot_that_ends_nowhere_is_reported_long_before_the_deadline() {
        let patient = ImageConsole {
            boot_seconds: 100_000,
            ..scripted::image()
        };
        for line in ["No bootable device.", "grub rescue>"] {
            let text = format!("SeaBIOS (version 1.16.2)\r\n{line} ");
            assert_eq!(trouble(Mute(text), &patient), SessionFault::NotBootable(line.into()));
        }
    }

    #[test]
    fn a_guest_that_starts_again_and_again_is_reported_long_before_the_deadline() {
        let patient = ImageConsole {
            boot_seconds: 100_000,
            ..scripted::image()
        };
        let once = "[    0.000000] Linux version 6.1\r\n[    0.1] triple fault ahead\r\n";
        let banner = "[    0.000000] Linux version 6.1".into();
        assert_eq!(
            trouble(Mute(once.repeat(3)), &patient),
            SessionFault::Reboots { banner, times: 3 }
        );
    }

    #[test]
    fn a_silent_guest_and_one_without_the_prompt_are_told_apart() {
        assert_eq!(
            trouble(Mute(String::new()), &impatient()),
            SessionFault::Silent(Duration::from_secs(1))
        );
        let other = open(|_: &str| Some("\r\nmini:/$ ".into()), &impatient())
            .0
            .map(|_| ())
            .unwrap_err();
        assert!(matches!(other.trouble, SessionFault::NoPrompt { .. }), "{other}");
        assert!(other.screen.contains(&"mini:/$".into()), "{other}");
    }

    #[test]
    fn a_guest_that_hangs_up_while_booting_is_reported() {
        assert_eq!(
            trouble(|_: &str| None, &scripted::image()),
            SessionFault::Console(ConsoleError::Closed)
        );
    }
}
