use super::*;
use crate::guest::scripted::{self, Guest, PROMPT, Scripted, Shell};
use crate::guest::{ConsoleError, Transcript};

/// Opens a session; returns it and the lines that were printed meanwhile.
fn open(guest: impl Guest + 'static, image: &ImageConsole) -> (Result<Session<'static>, SessionError>, Vec<String>) {
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

fn fault(guest: impl Guest + 'static, image: &ImageConsole) -> SessionFault {
    open(guest, image).0.map(|_| ()).unwrap_err().fault
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
        password: password.map(|text| Password::Text(text.to_owned())),
        root_password: None,
    };
    ImageConsole {
        login: Some(login),
        ..scripted::image()
    }
}

/// A guest that prints a text by itself and then has a shell.
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
fn every_line_of_a_booting_guest_is_passed_on() {
    let text = "\x1b[2J[    0.000000] Linux version 6.1\r\n[    1.5] \x1b[1mvirtio\x1b[0m\r\n\r\n~ # ";
    let (opened, lines) = open(Booting(text, Shell::simple()), &scripted::image());
    assert!(opened.is_ok());
    assert_eq!(lines[..2], ["[    0.000000] Linux version 6.1", "[    1.5] virtio"]);
}

/// FAULTS 21.
#[test]
fn a_prompt_hidden_by_a_kernel_message_is_requested() {
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
fn a_shell_that_loses_early_input_is_nudged_again() {
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
fn a_shell_with_an_unfinished_command_returns_to_its_prompt() {
    let (mut unfinished, mut shell) = (true, Shell::simple());
    let guest = move |line: &str| {
        // An open quotation: only its end and a syntax error end it.
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
fn an_abandoned_login_dialogue_is_restarted() {
    let left = Getty {
        user: Some("somebody".into()),
        ..Getty::new(Some("secret"))
    };
    assert!(open(left, &with_login(Some("secret"))).0.is_ok());
}

#[test]
fn a_refused_login_names_the_user() {
    let refused = SessionFault::LoginRefused { user: "root".into() };
    assert_eq!(fault(Getty::new(Some("secret")), &with_login(Some("wrong"))), refused);
    let asked = SessionFault::PasswordAsked { user: "root".into() };
    assert_eq!(fault(Getty::new(Some("secret")), &with_login(None)), asked);
    assert_eq!(
        fault(|_: &str| Some("\r\nmini login: ".into()), &with_login(None)),
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
    assert_eq!(error.fault, SessionFault::Panic(line.into()));
    assert!(error.screen.iter().any(|line| line.contains("CPU: 0")), "{error}");
}

/// FAULTS 65.
#[test]
fn a_boot_without_a_bootable_device_is_reported_long_before_the_deadline() {
    let patient = ImageConsole {
        boot_seconds: 100_000,
        ..scripted::image()
    };
    for line in ["No bootable device.", "grub rescue>"] {
        let text = format!("SeaBIOS (version 1.16.2)\r\n{line} ");
        assert_eq!(fault(Mute(text), &patient), SessionFault::NotBootable(line.into()));
    }
}

#[test]
fn a_reboot_loop_is_reported_long_before_the_deadline() {
    let patient = ImageConsole {
        boot_seconds: 100_000,
        ..scripted::image()
    };
    let once = "[    0.000000] Linux version 6.1\r\n[    0.1] triple fault ahead\r\n";
    let banner = "[    0.000000] Linux version 6.1".into();
    assert_eq!(
        fault(Mute(once.repeat(3)), &patient),
        SessionFault::Reboots { banner, times: 3 }
    );
}

#[test]
fn a_silent_guest_and_one_without_a_prompt_fail_differently() {
    assert_eq!(
        fault(Mute(String::new()), &impatient()),
        SessionFault::Silent(Duration::from_secs(1))
    );
    let other = open(|_: &str| Some("\r\nmini:/$ ".into()), &impatient())
        .0
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(other.fault, SessionFault::NoPrompt { .. }), "{other}");
    assert!(other.screen.contains(&"mini:/$".into()), "{other}");
}

#[test]
fn a_guest_that_stops_while_booting_is_reported() {
    assert_eq!(
        fault(|_: &str| None, &scripted::image()),
        SessionFault::Console(ConsoleError::Closed)
    );
}

/// Waits for a guest that is silent on its serial port and has these rows on its screen.
fn beside(rows: &[&str], boot_seconds: u64) -> SessionError {
    let image = ImageConsole {
        boot_seconds,
        ..scripted::image()
    };
    let console = Scripted::new(Mute(String::new())).with_screen(rows);
    let opened = Session::open(Box::new(console), &image, Transcript::unwritten(), &mut |_| ());
    opened.map(|_| ()).unwrap_err()
}

#[test]
fn the_screen_shows_why_a_guest_is_silent_long_before_its_time_is_over() {
    let error = beside(&["SeaBIOS (version 1.16)", "", "No bootable device.", ""], 300);
    assert_eq!(error.fault, SessionFault::NotBootable("No bootable device.".to_owned()));
    assert_eq!(error.screen, ["SeaBIOS (version 1.16)", "No bootable device."]);
    let line = "[    9.1] Kernel panic - not syncing: VFS: Unable to mount root fs";
    assert_eq!(beside(&[line, ""], 300).fault, SessionFault::Panic(line.to_owned()));
}

#[test]
fn a_login_on_the_screen_alone_is_distinguished_from_a_guest_that_shows_nothing() {
    let error = beside(&["Debian GNU/Linux 12 vm1 tty1", "", "vm1 login: "], 2);
    assert_eq!(error.fault, SessionFault::NoGetty("vm1 login:".to_owned()));
    let error = beside(&["Starting services..."], 2);
    assert_eq!(error.fault, SessionFault::Silent(Duration::from_secs(2)));
    assert_eq!(error.screen, ["Starting services..."]);
}
