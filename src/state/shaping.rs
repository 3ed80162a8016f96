//! What the links of a lab are limited to: those of guests' taps, of cables and of hosts' NICs.

use std::collections::BTreeMap;

use crate::lab::{HostName, IfName, Shaping};

/// Limits by machine and link: on a host its own links, on [`localhost`](super::localhost) those of emulated machines.
pub type Shaped = BTreeMap<HostName, BTreeMap<IfName, Shaping>>;

/// Returns the limits of a link, in the form in which they are observed: of a link that is down nothing else.
pub fn observable(shaping: &Shaping) -> Shaping {
    if shaping.down { Shaping::link_down() } else { *shaping }
}
