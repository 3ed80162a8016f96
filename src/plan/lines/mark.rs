//! The alias of a link that netlab creates, e.g. `netlab:quickstart:network service`: whose it is and what it is for.

use crate::lab::LabName;
use crate::state::{Link, LinkKind};

/// Longest alias in bytes: IFALIASZ - 1 (linux/if.h).
pub(crate) const ALIAS_LIMIT: usize = 255;

/// Follows the purpose of a bridge that has a MAC address of its own. The address itself does not show that: it may be
/// that of the uplink in either case.
pub(crate) const MAC_IS_SET: &str = " (address given)";

/// Follows the purpose of a link whose network states an MTU. Where none does, the kernel gives a bridge the smallest MTU
/// of its ports, and the number alone does not show which of the two it is.
pub(crate) const MTU_IS_SET: &str = " (MTU given)";

/// Before and after the forward delay of a bridge with spanning tree, in seconds, which follows its purpose. The kernel shows
/// the delay of the root bridge, which another one may be (net/bridge/br_stp.c, br_record_config_timeout_values).
const DELAY: (&str, &str) = (" (forward delay ", " s)");

/// Returns what follows the purpose of a link in its alias.
fn delay(link: &Link) -> String {
    match link.kind {
        LinkKind::Bridge { stp: Some(seconds), .. } => format!("{}{seconds}{}", DELAY.0, DELAY.1),
        _ => String::new(),
    }
}

/// Returns a purpose without a forward delay behind it, and that delay in seconds.
pub(crate) fn without_delay(purpose: &str) -> (&str, Option<u8>) {
    let parts = purpose.strip_suffix(DELAY.1).and_then(|rest| rest.rsplit_once(DELAY.0));
    match parts.map(|(purpose, seconds)| (purpose, seconds.parse())) {
        Some((purpose, Ok(seconds))) => (purpose, Some(seconds)),
        _ => (purpose, None),
    }
}

/// Returns the alias of a finished link as an argument for `ip -batch`; None where no alias can hold it.
pub(super) fn alias(lab: &LabName, link: &Link) -> Option<String> {
    let mac_is_set = matches!(link.kind, LinkKind::Bridge { mac: Some(_), .. });
    let suffix = if mac_is_set { MAC_IS_SET } else { "" };
    let mtu = if link.mtu.is_some() { MTU_IS_SET } else { "" };
    let alias = format!("netlab:{lab}:{}{}{mtu}{suffix}", link.purpose, delay(link));
    quoted(&alias).filter(|_| alias.len() <= ALIAS_LIMIT)
}

/// Returns `text` as one argument of an `ip -batch` line. None where that cannot be: batch lines have quotes but no
/// escapes, and `#` begins a comment even between quotes (iproute2 lib/utils.c, getcmdline and makeargs).
pub(crate) fn quoted(text: &str) -> Option<String> {
    if text.contains(['#', '\\', char::REPLACEMENT_CHARACTER]) || text.contains(char::is_control) {
        return None;
    }
    ['"', '\'']
        .into_iter()
        .find(|quote| !text.contains(*quote))
        .map(|quote| format!("{quote}{text}{quote}"))
}
