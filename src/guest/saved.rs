//! Guests that are started from the saved state of another one: what is done in the one before it is saved, and in each that
//! was restored.

pub(super) mod seeded;

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::embedded::code;
use super::error::{SessionError, SessionFault};
use super::frame::fresh_nonce;
use super::privilege::Privilege;
use super::session::Session;
use crate::lab::{Login, MacAddr};

const LOAD_DRIVERS: &str = include_str!("saved/load-drivers.sh");
const WAKE: &str = include_str!("saved/wake.sh");
const IDENTITY: &str = include_str!("saved/identity.sh");
/// Deadline of either script: the second waits five seconds for each NIC.
const LIMIT: Duration = Duration::from_secs(60);

/// What has to be made different in a guest that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// MAC addresses of its NICs, which were plugged in.
    pub macs: Vec<MacAddr>,
    /// Whether it has a disk: machine ID and host keys of its ssh server are there.
    pub has_disk: bool,
    /// Whether cloud-init is to configure it by its own seed disk; its console is [`restored_console`](seeded::restored_console).
    pub seeded: bool,
}

/// Prepares a guest that has booted to be saved: the drivers of the NICs that will be plugged in, by their models, are
/// loaded, and nothing is left to be written to disks; where it has one, nothing on it identifies the guest.
pub fn prepare(session: &mut Session<'_>, nic_models: &[String], has_disk: bool) -> Result<(), SessionError> {
    let script = prepare_script(nic_models, has_disk);
    session.run_idempotent(&script, LIMIT).map(drop)
}

fn prepare_script(nic_models: &[String], has_disk: bool) -> String {
    let forget = if has_disk {
        format!("{}forget_identity 2>/dev/null\n", code(IDENTITY))
    } else {
        String::new()
    };
    format!(
        "( {}load_drivers {} 2>/dev/null\n{forget}sync )",
        code(LOAD_DRIVERS),
        drivers_of(nic_models)
    )
}

/// Returns the drivers of these models as words of a shell.
fn drivers_of(nic_models: &[String]) -> String {
    let drivers: Vec<&str> = nic_models.iter().flat_map(|model| drivers(model)).copied().collect();
    drivers.join(" ")
}

/// Returns the Linux drivers of a NIC model of QEMU's.
fn drivers(model: &str) -> &'static [&'static str] {
    match model {
        "virtio" | "virtio-transitional" | "virtio-non-transitional" => &["virtio_pci", "virtio_net"],
        "e1000" => &["e1000"],
        "e1000e" => &["e1000e"],
        "rtl8139" => &["8139cp"],
        "ne2k_pci" => &["ne2k_pci"],
        "pcnet" => &["pcnet32"],
        "vmxnet3" => &["vmxnet3"],
        _ => &[],
    }
}

/// Makes a guest that was restored one of its own: sets its clock and its random numbers apart from those of its
/// like, and gives its disk an identity. Returns whether it sees its NICs, after five seconds at most. May be repeated, unless
/// cloud-init configures the guest.
///
/// # Errors
/// [`SessionFault::CloudInit`] where cloud-init does not read the guest's seed disk.
pub fn wake(session: &mut Session<'_>, restored: &Restored) -> Result<bool, SessionError> {
    #[expect(clippy::disallowed_methods, reason = "it is the time of day that the guest is given")]
    let now = SystemTime::now();
    let script = wake_script(restored, now);
    if !restored.seeded {
        return Ok(session.run_idempotent(&script, LIMIT)?.status == 0);
    }
    let output = session.run(&script, seeded::RENEWED_WITHIN)?;
    if output.text.contains("netlab-missing ") {
        return Ok(false);
    }
    seeded::done(session, output.status, &output.text).map(|()| true)
}

/// Sets the clock of a guest that was paused or restored, and adds to its random numbers, which a guest that is restored twice
/// would have twice.
///
/// # Errors
/// [`SessionFault::Clock`] where the guest refuses it.
pub fn set_clock(session: &mut Session<'_>, login: Option<&Login>) -> Result<(), SessionError> {
    let root = Privilege::of(session, login)?;
    #[expect(clippy::disallowed_methods, reason = "it is the time of day that the guest is given")]
    let now = SystemTime::now();
    let output = session.run_idempotent(&root.run(&clock_script(now)), LIMIT)?;
    if output.status == 0 {
        return Ok(());
    }
    Err(session.error(SessionFault::Clock(output.text.trim().to_owned())))
}

fn clock_script(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!(
        "( echo {} >/dev/urandom; date -s @{seconds} >/dev/null )",
        fresh_nonce()
    )
}

fn wake_script(restored: &Restored, now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let digits = [fresh_nonce(), fresh_nonce()].concat().replace('n', "");
    let mut script = format!("( {}", code(WAKE));
    if restored.seeded {
        script.push_str(&seeded::definitions());
    } else if restored.has_disk {
        script.push_str(&code(IDENTITY));
    }
    // Writing to a `String` cannot fail.
    let _ = write!(script, "wake {} {digits}", seconds.as_secs());
    for mac in &restored.macs {
        let _ = write!(script, " {mac}");
    }
    script.push_str(" 2>/dev/null");
    if restored.seeded {
        let _ = write!(script, " && new_machine_id {digits} && renew 2>/dev/null");
    } else if restored.has_disk {
        let _ = write!(script, " && new_identity {digits} 2>/dev/null");
    }
    script.push_str(" )");
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::LINE_LIMIT;

    #[test]
    fn scripts_load_the_drivers_of_the_models_and_name_every_nic() {
        let models = ["e1000".to_owned(), "virtio".to_owned()];
        let prepare = prepare_script(&models, false);
        assert!(prepare.contains("load_drivers e1000 virtio_pci virtio_net "));
        assert!(!prepare.contains("identity"));
        let macs = ["52:54:00:00:00:01", "52:54:00:00:00:02"].map(|mac| mac.parse().unwrap());
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mut restored = Restored {
            macs: macs.into(),
            has_disk: false,
            seeded: false,
        };
        let script = wake_script(&restored, now);
        assert!(!script.contains("identity"));
        assert!(script.contains("wake 1800000000 "), "{script}");
        assert!(script.contains(" 52:54:00:00:00:01 52:54:00:00:00:02 "), "{script}");
        restored.has_disk = true;
        for script in [wake_script(&restored, now), prepare_script(&models, true)] {
            assert!(script.contains("identity"));
            assert!(script.lines().all(|line| line.len() <= LINE_LIMIT));
        }
        restored.seeded = true;
        let script = wake_script(&restored, now);
        assert!(
            script.contains("&& renew ") && !script.contains("&& new_identity "),
            "{script}"
        );
        assert!(script.lines().all(|line| line.len() <= LINE_LIMIT));
    }

    #[test]
    fn two_guests_of_one_state_are_given_different_random_numbers() {
        let restored = Restored {
            macs: Vec::new(),
            has_disk: false,
            seeded: false,
        };
        let digits = || {
            let script = wake_script(&restored, UNIX_EPOCH);
            let (_, rest) = script.split_once("wake 0 ").unwrap();
            rest.split_whitespace().next().unwrap().to_owned()
        };
        let (one, other) = (digits(), digits());
        assert_ne!(one, other);
        let is_hex = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_hex(&one), "{one}");
    }
}
