//! Keys of links: what limits the frames that they carry. Cables, NICs and networks have them.

use super::choices::{LINK_STATES, names_of};
use super::kinds::key;
use super::{Key, Kind};

const TIME: Kind = Kind::Pattern("^[0-9]+([.][0-9]+)? *(us|ms|s)$", "50ms");

pub(super) const LINK_STATE: Key = key(
    "link",
    Kind::Choice(|| names_of(&LINK_STATES)),
    "Whether the link is up; default: up.",
);
pub(super) const RATE: Key = key(
    "rate",
    Kind::Pattern("^[0-9]+([.][0-9]+)? *([kKmMgG]bit)(/s)?$", "100mbit"),
    "Most bits that pass in a second, e.g. 100mbit; default: no limit.",
);
pub(super) const DELAY: Key = key(
    "delay",
    TIME,
    "How much later each frame arrives, e.g. 50ms; the kernel needs netem.",
);
pub(super) const JITTER: Key = key("jitter", TIME, "By how much the delay varies, e.g. 5ms.");
pub(super) const LOSS: Key = key(
    "loss",
    Kind::Pattern("^[0-9]+([.][0-9]+)? *%$", "1%"),
    "Share of the frames that is dropped, e.g. 1%; the kernel needs netem.",
);
