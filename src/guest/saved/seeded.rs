//! Guests with cloud-init that are started from a saved state. The one that is saved boots with a seed disk that has nothing of
//! a lab but an account for netlab, which is removed; a shell of root waits at its console. In each that was restored
//! cloud-init does again what it does at the first boot, with the guest's own seed disk; then that shell ends.

use std::time::Duration;

use super::super::cloud_init;
use super::super::embedded::{code, quoted};
use super::super::error::{SessionError, SessionFault};
use super::super::frame::fresh_nonce;
use super::super::session::Session;
use super::super::upload;
use super::{IDENTITY, LIMIT, LOAD_DRIVERS, drivers_of};
use crate::lab::{Dialect, ImageConsole, Login, Password};

/// Runs cloud-init's stages.
const STAGES: &str = include_str!("stages.py");
const FORGET_ACCOUNT: &str = include_str!("forget-account.sh");
const START_STAGES: &str = include_str!("start-stages.sh");
const RENEW: &str = include_str!("renew.sh");

/// The account of a guest that is going to be saved.
pub const BLANK_ACCOUNT: &str = "netlab-seed";
/// Its prompt: that of sh(1).
const BLANK_PROMPT: &str = "$ ";
/// The prompt of root's shell; no image's ends alike.
const ROOT_PROMPT: &str = "netlab-restored: ";
/// How long a shell that waits may take to answer.
const ROOT_SECONDS: u64 = 60;
/// Deadline of reading cloud-init's modules, and of all that is removed, without KVM on a busy machine.
const PREPARED_WITHIN: Duration = Duration::from_secs(300);
/// Deadline of cloud-init's stages up to the last one: the network is waited for, for two minutes at most
/// (systemd-networkd-wait-online(8)).
pub(super) const RENEWED_WITHIN: Duration = Duration::from_secs(420);

/// Returns the text of everything that is done in guests before they are saved.
pub fn blank_scripts() -> String {
    [STAGES, FORGET_ACCOUNT, START_STAGES, LOAD_DRIVERS, IDENTITY].concat()
}

/// Returns the console of a guest that is going to be saved, of an image with the console `image`. Its password is a new one.
pub fn blank_console(image: &ImageConsole) -> ImageConsole {
    let prompt = image.login.as_ref().map(|login| login.prompt.clone());
    ImageConsole {
        prompt: BLANK_PROMPT.to_owned(),
        login: Some(Login {
            prompt: prompt.unwrap_or_else(|| "login: ".to_owned()),
            user: BLANK_ACCOUNT.to_owned(),
            password: Some(Password::Text([fresh_nonce(), fresh_nonce()].concat())),
            root_password: None,
        }),
        ..image.clone()
    }
}

/// Returns the console of a guest that was saved, as it is at first.
pub fn restored_console(image: &ImageConsole) -> ImageConsole {
    ImageConsole {
        kind: image.kind,
        prompt: ROOT_PROMPT.to_owned(),
        login: None,
        dialect: Dialect::Ip,
        boot_seconds: ROOT_SECONDS,
    }
}

/// Waits until cloud-init has ended in a guest that is going to be saved. `warn` is called with what failed.
pub fn await_cloud_init(session: &mut Session<'_>, warn: &mut dyn FnMut(&str)) -> Result<(), SessionError> {
    cloud_init::wait(session, warn)
}

/// Prepares a guest to be saved whose cloud-init has ended: like [`super::prepare`]; its account is removed, its console has a
/// shell of root's, and cloud-init is ready to begin again.
///
/// # Errors
/// [`SessionFault::CloudInit`] where cloud-init is none that can.
pub fn prepare_seeded(
    session: &mut Session<'_>,
    image: &ImageConsole,
    nic_models: &[String],
) -> Result<(), SessionError> {
    let become_root = format!(
        "exec sudo -n env -i HOME=/root PATH=\"$PATH\":/usr/sbin:/sbin PS1={} sh",
        quoted(ROOT_PROMPT)
    );
    session.change_shell(&become_root, &restored_console(image), &mut |_| ())?;
    session.run_idempotent(&blank_script(nic_models), PREPARED_WITHIN)?;
    let stages = upload(session, code(STAGES).as_bytes(), LIMIT)?;
    let script = format!(
        "( cd / && {}start_stages {stages} 2>/dev/null && sync )",
        code(START_STAGES)
    );
    let output = session.run(&script, PREPARED_WITHIN)?;
    done(session, output.status, &output.text)
}

fn blank_script(nic_models: &[String]) -> String {
    format!(
        "( {}{}{}cd /; {{ load_drivers {}; forget_account {BLANK_ACCOUNT}; forget_identity; }} >/dev/null 2>&1 )",
        code(LOAD_DRIVERS),
        code(FORGET_ACCOUNT),
        code(IDENTITY),
        drivers_of(nic_models),
    )
}

/// Returns the functions that have cloud-init configure a guest that was restored.
pub(super) fn definitions() -> String {
    format!("{}{}", code(IDENTITY), code(RENEW))
}

/// Returns an error with what a script said, where its status is not 0.
pub(super) fn done(session: &Session<'_>, status: i32, text: &str) -> Result<(), SessionError> {
    if status == 0 {
        return Ok(());
    }
    let said = text.lines().rev().find_map(|line| line.split_once("netlab-said "));
    let said = said.map_or_else(
        || format!("its script ended with status {status}"),
        |(_, said)| said.trim().to_owned(),
    );
    Err(session.error(SessionFault::CloudInit(said)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::guest::LINE_LIMIT;

    fn image() -> ImageConsole {
        ImageConsole {
            kind: crate::lab::ConsoleKind::Serial,
            prompt: "# ".to_owned(),
            login: Some(Login {
                prompt: "user: ".to_owned(),
                user: "alice".to_owned(),
                password: Some(Password::Text("secret".to_owned())),
                root_password: None,
            }),
            dialect: Dialect::Ip,
            boot_seconds: 10,
        }
    }

    #[test]
    fn a_guest_that_is_going_to_be_saved_has_an_account_of_its_own_with_another_password_each_time() {
        let consoles = [blank_console(&image()), blank_console(&image())].map(|console| console.login.unwrap());
        let [one, other] = &consoles;
        assert_eq!((one.user.as_str(), one.prompt.as_str()), (BLANK_ACCOUNT, "user: "));
        assert_ne!(one.password, other.password);
        assert_eq!(restored_console(&image()).login, None);
        // What is left of its prompt is not taken for that of the guest.
        let ends_alike = |prompt: &str| ROOT_PROMPT.trim().ends_with(prompt.trim());
        assert!(!["# ", "$ ", "> ", "% ", "login: "].into_iter().any(ends_alike));
    }

    #[test]
    fn every_line_of_the_scripts_can_be_typed_and_the_account_is_removed() {
        let script = blank_script(&["virtio".to_owned()]);
        assert!(
            script.contains("forget_account netlab-seed; forget_identity;"),
            "{script}"
        );
        let scripts = [script, definitions(), code(START_STAGES)].concat();
        assert!(scripts.lines().all(|line| line.len() <= LINE_LIMIT));
    }

    /// cloud-init's modules, of which one needs a library that is not there, and a stage that ends with its arguments' number.
    fn cloud_init(folder: &std::path::Path) {
        for package in ["cmd", "config", "distros", "handlers", "net", "sources"] {
            let package = folder.join("cloudinit").join(package);
            fs::create_dir_all(&package).unwrap();
            fs::write(package.join("__init__.py"), "").unwrap();
        }
        let write = |file: &str, text: &str| fs::write(folder.join("cloudinit").join(file), text).unwrap();
        write("__init__.py", "");
        write("config/cc_broken.py", "import no_such_library\n");
        write("sources/DataSourceNoCloud.py", "");
        let main = "import os\ndef main(argv):\n    with open(os.environ['LOG'], 'a') as log:\n        print(*argv, file=log)\n    \
                    return len(argv) - 2\n";
        write("cmd/main.py", main);
    }

    #[test]
    fn stages_run_one_after_another_each_in_a_process_that_has_its_modules_already() {
        if Command::new("python3").arg("--version").output().is_err() {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let (work, log) = (temp.path().join("work"), temp.path().join("log"));
        let script = temp.path().join("stages.py");
        fs::write(&script, code(STAGES)).unwrap();
        cloud_init(temp.path());
        let run = |text: &str| {
            fs::create_dir_all(&work).unwrap();
            let text = format!("mkfifo ask answer; python3 {} . & {text}", script.display());
            let mut shell = Command::new("timeout");
            shell
                .args(["60", "sh", "-ec", &text])
                .current_dir(&work)
                .env("LOG", &log);
            let output = shell.env("PYTHONPATH", temp.path()).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let said = run(
            "cat answer; echo init >ask; cat answer; echo init --local >ask; cat answer; echo last final >ask; \
                        while [ -e ../work ]; do sleep 0.1; done",
        );
        assert_eq!(said, "ready\n0\n256\n");
        assert_eq!(
            fs::read_to_string(&log).unwrap(),
            "cloud-init init\ncloud-init init --local\ncloud-init final\n"
        );
        fs::remove_dir_all(temp.path().join("cloudinit/cmd")).unwrap();
        let said = run("cat answer");
        assert!(said.contains("cloudinit.cmd"), "{said}");
    }
}
