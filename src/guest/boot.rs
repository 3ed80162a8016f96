//! From whatever a guest shows when its console is opened (nothing yet, a booting kernel, a login dialogue that
//! somebody left, an unfinished command) to a shell that waits for commands.

use std::time::{Duration, Instant};

use super::error::{SessionError, Trouble};
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
    session: &mut Session,
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
                Trouble::Silent(within)
            } else {
                Trouble::NoPrompt { prompt, within }
            }));
        }
        let asked = asked(watch.line(), image);
        if asked == Asked::Nothing && Instant::now() >= next_nudge && (silent || watch.quiet() >= NUDGE_QUIET) {
            session.type_line(NUDGE)?;
            next_nudge = Instant::now() + NUDGE_EVERY;
        }
        let text = session.listen(left.min(if asked == Asked::Nothing { LOOK } else { PROMPT_QUIET }))?;
        silent &= text.is_empty();
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
        _ if line == ">" => Asked::RestOfCommand,
        _ => Asked::Nothing,
    }
}

/// Answers a login program.
fn answer(session: &mut Session, login: &Login, so_far: &mut Dialogue, asked: Asked) -> Result<(), SessionError> {
    let user = login.user.clone();
    if asked == Asked::User {
        so_far.refusals += u32::from(so_far.password_typed);
        so_far.users += 1;
        if so_far.refusals >= REFUSALS || so_far.users > USER_ASKED {
            return Err(session.error(Trouble::LoginRefused { user }));
        }
        so_far.user_typed = true;
        so_far.password_typed = false;
        return session.type_line(&user);
    }
    match &login.password {
        // Somebody else's dialogue: an empty password ends it.
        _ if !so_far.user_typed => session.type_line(""),
        None => Err(session.error(Trouble::PasswordAsked { user })),
        Some(password) => {
            so_far.user_typed = false;
            so_far.password_typed = true;
            session.type_secret(password)
        }
    }
}
