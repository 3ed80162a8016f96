//! Brings a guest from any state of its console (nothing yet, a booting kernel, an abandoned login dialogue, an
//! unfinished command) to a shell that is ready for commands.

mod screen;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use screen::ScreenWatch;

use super::error::{SessionError, SessionFault};
use super::session::{POLL, Session};
use super::watch::Watch;
use crate::lab::{ImageConsole, Login, Password};

/// Ctrl-U erases what somebody left on the line; Enter requests a prompt.
const NUDGE: &str = "\x15";
/// Input from before the shell opened the terminal is lost: it is nudged again at this interval.
const NUDGE_EVERY: Duration = Duration::from_millis(500);
/// Time without output before a nudge.
const NUDGE_QUIET: Duration = Duration::from_millis(250);
/// On a screen nothing is pressed before the screen has text and has not changed for this part of the time that the guest
/// may take to boot: keys pressed while a kernel probes its keyboard controller can leave the keyboard dead, and what shows
/// a prompt by itself needs no nudge.
const SCREEN_QUIET: u32 = 10;
/// Time without a nudge after a login: a login program would take the line for its next answer.
const LOGIN_PAUSE: Duration = Duration::from_secs(8);
/// Text that ends like a prompt is one if nothing follows it for this long.
const PROMPT_QUIET: Duration = Duration::from_millis(30);
/// Syntax errors everywhere but inside quotes: they make a shell discard an unfinished command without running any of
/// it.
const SYNTAX_ERRORS: [&str; 3] = [")", "')", "\")"];
/// Refused logins that are final. The first one may come from a line that was left in the dialogue.
const REFUSALS: u32 = 2;
/// How often a guest may ask for the user before the login counts as refused.
const USER_ASKED: u32 = 8;

/// What the guest's unfinished line prompts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Command,
    RestOfCommand,
    User,
    Password,
}

/// The progress of a login.
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
    let mut screen = ScreenWatch::default();
    let (mut silent, mut stuck) = (true, 0);
    let mut next_nudge = began;
    loop {
        if let Some(fault) = watch.boot_fault() {
            return Err(session.error(fault));
        }
        let left = session.left(began, within);
        if left.is_zero() {
            let prompt = image.prompt.clone();
            if silent {
                return Err(session.error(screen.silent(within)).showing(screen.last_rows()));
            }
            return Err(session.error(SessionFault::NoPrompt { prompt, within }));
        }
        if !session.console.is_screen()
            && let Some(fault) = screen.check(session.console.as_mut(), watch.quiet())
        {
            return Err(session.error(fault).showing(screen.last_rows()));
        }
        let asked = asked(watch.line(), image);
        let may_nudge = if session.console.is_screen() {
            !silent && watch.quiet() >= within / SCREEN_QUIET
        } else {
            silent || watch.quiet() >= NUDGE_QUIET
        };
        if asked == Asked::Nothing && Instant::now() >= next_nudge && may_nudge {
            session.type_line(NUDGE)?;
            next_nudge = Instant::now() + NUDGE_EVERY;
        }
        let text = session.receive(left.min(if asked == Asked::Nothing { POLL } else { PROMPT_QUIET }))?;
        // A terminal without a reader still echoes the nudges.
        silent &= text.trim().is_empty();
        watch.feed(&text, &mut *on_line);
        if !text.is_empty() || asked == Asked::Nothing {
            continue;
        }
        match asked {
            Asked::Command => return Ok(()),
            Asked::RestOfCommand => {
                session.type_line(SYNTAX_ERRORS[stuck % SYNTAX_ERRORS.len()])?;
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

/// Returns what the unfinished `line` prompts for.
fn asked(line: &str, image: &ImageConsole) -> Asked {
    let line = line.trim();
    let ends_with = |prompt: &str| !prompt.trim().is_empty() && line.ends_with(prompt.trim());
    match &image.login {
        _ if ends_with(&image.prompt) => Asked::Command,
        Some(login) if ends_with(&login.prompt) => Asked::User,
        Some(_) if line.ends_with(':') && line.to_lowercase().contains("password") => Asked::Password,
        // Where the echo is off, one line has several.
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
    match login.password.as_ref().and_then(Password::text) {
        // A dialogue that another user began: an empty password ends it.
        _ if !so_far.user_typed => session.type_line(""),
        None => Err(session.error(SessionFault::PasswordAsked { user })),
        Some(password) => {
            so_far.user_typed = false;
            so_far.password_typed = true;
            session.type_secret(password)
        }
    }
}
