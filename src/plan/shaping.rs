//! Limits of links. They are removed before anything else is changed and set after all that is: a link that is down is up
//! while the lab changes.

use crate::lab::{HostName, IfName, Shaping};
use crate::state::Shaped;

use super::Step;

/// What happens to a link in the same plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays as it is.
    Stays,
    /// It stays, and its limits are lost, or have to be set again.
    Reset,
    /// It is deleted and created again, without limits. Whether it can be changed before that.
    Recreated(bool),
    /// It is deleted, or is not there. Whether it can be changed before that.
    Absent(bool),
}

impl Fate {
    /// What becomes of limits while the link stays: something is done to it that a link which is down must not be.
    fn can_be_changed(self) -> bool {
        match self {
            Self::Stays | Self::Reset => true,
            Self::Recreated(now) | Self::Absent(now) => now,
        }
    }
}

/// Returns the steps from some limits to others; `fate` returns what happens to a link.
pub(super) fn changes(from: &Shaped, to: &Shaped, fate: impl Fn(&HostName, &IfName) -> Fate) -> Vec<Step> {
    let of = |shaped: &Shaped, machine: &HostName, link: &IfName| shaped.get(machine)?.get(link).copied();
    let mut steps = Vec::new();
    for (machine, link, was) in each(from) {
        let fate = fate(machine, link);
        let stays = matches!(fate, Fate::Stays | Fate::Reset);
        let remains = stays && of(to, machine, link) == Some(was);
        // With a link its limits are deleted; what is done to one that is down before that may need it up.
        if !remains && (stays || (was.down && fate.can_be_changed())) {
            steps.push(Step::Unshape(machine.clone(), link.clone(), was));
        }
    }
    for (machine, link, shaping) in each(to) {
        let set = match fate(machine, link) {
            Fate::Stays => of(from, machine, link) != Some(shaping),
            Fate::Reset | Fate::Recreated(_) => true,
            Fate::Absent(_) => false,
        };
        if set {
            steps.push(Step::Shape(machine.clone(), link.clone(), shaping));
        }
    }
    steps
}

fn each(shaped: &Shaped) -> impl Iterator<Item = (&HostName, &IfName, Shaping)> {
    shaped
        .iter()
        .flat_map(|(machine, links)| links.iter().map(move |(link, shaping)| (machine, link, *shaping)))
}
