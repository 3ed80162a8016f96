//! `netlab console`: connects a person's terminal to a VM's console, or to a shell on a host, switch or router.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::error::CommandError;
use super::output::print_error;
use super::{Context, VmArgs, signals};
use crate::event::Cancel;
use crate::guest::vga::{COLUMNS, Chord, Frame, Page, ROWS, Screen, chord, named, with_alt};
use crate::guest::{Console, ConsoleError};
use crate::lab::ConsoleKind;
use crate::ops;

/// Ctrl-], as in telnet and virsh.
const LEAVE: u8 = 0x1d;
/// How long one read of either side lasts: less than a person notices.
const WAIT: Duration = Duration::from_millis(10);

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    vm: VmArgs,
    /// Use the screen and the keyboard, whatever the image's console is.
    #[arg(long, conflicts_with = "serial")]
    screen: bool,
    /// Use the serial port, whatever the image's console is.
    #[arg(long)]
    serial: bool,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    if let Some(login) = ops::login_command(&context.env, &args.vm.lab, &args.vm.vm)? {
        let mut words = login.iter();
        let mut shell = Command::new(words.next().map_or("sh", String::as_str));
        return Err(CommandError::Process {
            doing: "open a shell there",
            source: shell.args(words).exec(),
        });
    }
    let vm = args.vm.find(context)?;
    let kind = match (args.screen, args.serial) {
        (true, _) => ConsoleKind::Vga,
        (_, true) => ConsoleKind::Serial,
        _ => vm.console.as_ref().map(|console| console.kind).unwrap_or_default(),
    };
    let failed = |error: crate::host::HostError| CommandError::Ops(error.into());
    let terminal = |whole_screen| {
        Terminal::raw(whole_screen).map_err(|source| CommandError::Process {
            doing: "set the terminal to raw mode",
            source,
        })
    };
    let cancel = &context.env.cancel;
    signals::listen(cancel.clone(), None)?;
    let ended = match kind {
        ConsoleKind::Serial => {
            let console = vm.host.open_console(&vm.name, kind).map_err(failed)?;
            if !context.quiet {
                print_error(&format!(
                    "console of VM {}: Ctrl-] leaves, Enter shows a prompt",
                    vm.name.vm()
                ));
            }
            let _terminal = terminal(false)?;
            let ended = serial(console, cancel);
            // The guest's prompt ends without a newline.
            if ended.is_ok() && io::stdout().is_terminal() {
                let _ = print(b"\r\n");
            }
            ended
        }
        ConsoleKind::Vga => {
            let screen = vm.host.open_screen(&vm.name).map_err(failed)?;
            let _terminal = terminal(true)?;
            vga(screen, cancel)
        }
    };
    Ok(ended?)
}

/// The person's terminal in raw mode; restored when dropped.
struct Terminal {
    before: Option<Termios>,
    whole_screen: bool,
}

impl Terminal {
    /// `whole_screen`: use the terminal's alternate screen, which leaves nothing behind.
    fn raw(whole_screen: bool) -> io::Result<Self> {
        let whole_screen = whole_screen && io::stdout().is_terminal();
        let mut before = None;
        if io::stdin().is_terminal() {
            let now = tcgetattr(io::stdin())?;
            let mut raw = now.clone();
            raw.make_raw();
            tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
            before = Some(now);
        }
        let terminal = Self { before, whole_screen };
        if whole_screen {
            print(b"\x1b[?1049h\x1b[2J")?;
        }
        Ok(terminal)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.whole_screen {
            let _ = print(b"\x1b[?1049l");
        }
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// What the person typed within `wait`; `None` to leave: Ctrl-], the end of the input, or a signal.
fn typed(wait: Duration, cancel: &Cancel) -> Result<Option<Vec<u8>>, ConsoleError> {
    if cancel.is_requested() {
        return Ok(None);
    }
    let stdin = io::stdin();
    let failed = |error: io::Error| ConsoleError::failed(error);
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let wait = Timespec {
        tv_sec: 0,
        tv_nsec: wait.subsec_nanos().into(),
    };
    match poll(&mut fds, Some(&wait)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Some(Vec::new())),
        Ok(_) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    let mut bytes = vec![0; 4096];
    let length = stdin.lock().read(&mut bytes).map_err(failed)?;
    bytes.truncate(length);
    if length == 0 || bytes.contains(&LEAVE) {
        return Ok(None);
    }
    Ok(Some(bytes))
}

fn serial(mut console: Box<dyn Console>, cancel: &Cancel) -> Result<(), ConsoleError> {
    while let Some(bytes) = typed(WAIT, cancel)? {
        if !bytes.is_empty() {
            console.send(&bytes)?;
        }
        let shown = console.read(WAIT)?;
        print(&shown).map_err(ConsoleError::failed)?;
    }
    Ok(())
}

fn vga(mut screen: Box<dyn Screen>, cancel: &Cancel) -> Result<(), ConsoleError> {
    let mut drawn = None;
    while let Some(bytes) = typed(WAIT, cancel)? {
        for keys in keys(&bytes) {
            screen.press(&keys)?;
            // A guest fetches no more than 16 of the keyboard's bytes later than they come.
            std::thread::sleep(WAIT);
        }
        let frame = screen.frame()?;
        if drawn.as_ref() != Some(&frame) {
            print(draw(&frame).as_bytes()).map_err(ConsoleError::failed)?;
            drawn = Some(frame);
        }
    }
    Ok(())
}

/// The keys behind what a terminal sent.
fn keys(bytes: &[u8]) -> Vec<Vec<u32>> {
    let text = String::from_utf8_lossy(bytes);
    let (mut keys, mut rest) = (Vec::new(), text.as_ref());
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        let sequence = rest.strip_prefix(['[', 'O']).filter(|_| first == '\x1b');
        if let Some(sequence) = sequence
            && let Some(end) = sequence.find(|one: char| ('@'..='~').contains(&one))
        {
            keys.extend(named(&sequence[..=end]).map(|key| vec![key]));
            rest = &sequence[end + 1..];
        } else if first == '\x1b'
            && let Some(next) = rest.chars().next()
        {
            keys.extend(chord(next).map(with_alt));
            rest = &rest[next.len_utf8()..];
        } else {
            keys.extend(chord(first).map(Chord::codes));
        }
    }
    keys
}

/// The screen as control sequences of a terminal (ECMA-48).
fn draw(frame: &Frame) -> String {
    let (rows, cursor) = match frame {
        Frame::Text(page) => (page.rows(), Page::cursor(page)),
        Frame::Picture => (
            vec!["The guest shows a picture. `netlab screenshot` saves it; Ctrl-] leaves.".to_owned()],
            None,
        ),
    };
    let mut text = "\x1b[?25l\x1b[H".to_owned();
    for row in 0..ROWS {
        let row = rows.get(row).map_or("", String::as_str);
        text.push_str(row);
        text.push_str("\x1b[K\r\n");
    }
    let room = tcgetwinsize(io::stdout()).is_ok_and(|size| usize::from(size.ws_row) > ROWS);
    if room {
        let help = "Ctrl-] leaves";
        // Writing to a `String` cannot fail.
        let _ = write!(text, "\x1b[7m{help:COLUMNS$}\x1b[0m");
    }
    if let Some((row, column)) = cursor {
        let _ = write!(text, "\x1b[{};{}H\x1b[?25h", row + 1, column + 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_sends_becomes_keys() {
        assert_eq!(keys(b"aA\r"), [vec![30], vec![42, 30], vec![28]]);
        assert_eq!(
            keys(b"\x1b[A\x1b[3~\x1bOP\x03"),
            [vec![103], vec![111], vec![59], vec![29, 46]]
        );
        assert_eq!(keys(b"\x1bb\x1b"), [vec![56, 48], vec![1]]);
    }

    #[test]
    fn a_screen_is_drawn_whole_with_its_cursor() {
        let text = draw(&Frame::Text(Page::new(b"h\x07i\x07", 0, 2)));
        assert!(
            text.contains("\x1b[Hhi\x1b[K\r\n") && text.ends_with("\x1b[1;3H\x1b[?25h"),
            "{text:?}"
        );
    }
}
