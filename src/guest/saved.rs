//! Guests that are started from the saved state of another one: what is done in the one before it is saved, and in each that
//! was restored.

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
/// Deadline of either script: the second waits five seconds for each NIC.
const LIMIT: Duration = Duration::from_secs(60);

/// Prepares a guest that has booted to be saved: the drivers of the NICs that will be plugged in, by their models, are
/// loaded, and nothing is left to be written to disks.
pub fn prepare(session: &mut Session<'_>, nic_models: &[String]) -> Result<(), SessionError> {
    session.run_idempotent(&prepare_script(nic_models), LIMIT).map(drop)
}

fn prepare_script(nic_models: &[String]) -> String {
    let drivers: Vec<&str> = nic_models.iter().flat_map(|model| drivers(model)).copied().collect();
    format!(
        "( {}load_drivers {} 2>/dev/null\nsync )",
        code(LOAD_DRIVERS),
        drivers.join(" ")
    )
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
/// like. Returns whether it sees its NICs, after five seconds at most.
pub fn wake(session: &mut Session<'_>, macs: &[MacAddr]) -> Result<bool, SessionError> {
    #[expect(clippy::disallowed_methods, reason = "it is the time of day that the guest is given")]
    let now = SystemTime::now();
    let output = session.run_idempotent(&wake_script(macs, now), LIMIT)?;
    Ok(output.status == 0)
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

fn wake_script(macs: &[MacAddr], now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut script = format!("( {}", code(WAKE));
    // Writing to a `String` cannot fail.
    let _ = write!(script, "wake {} {}", seconds.as_secs(), fresh_nonce());
    for mac in macs {
        let _ = write!(script, " {mac}");
    }
    script.push_str(" 2>/dev/null )");
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::LINE_LIMIT;

    #[test]
    fn scripts_load_the_drivers_of_the_models_and_name_every_nic() {
        let models = ["e1000".to_owned(), "virtio".to_owned()];
        assert!(prepare_script(&models).contains("load_drivers e1000 virtio_pci virtio_net "));
        let macs = ["52:54:00:00:00:01", "52:54:00:00:00:02"].map(|mac| mac.parse().unwrap());
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let script = wake_script(&macs, now);
        assert!(script.contains("wake 1800000000 "), "{script}");
        assert!(script.contains(" 52:54:00:00:00:01 52:54:00:00:00:02 "), "{script}");
        assert!(script.lines().all(|line| line.len() <= LINE_LIMIT));
    }

    #[test]
    fn two_guests_of_one_state_are_given_different_random_numbers() {
        let now = UNIX_EPOCH;
        assert_ne!(wake_script(&[], now), wake_script(&[], now));
    }
}
