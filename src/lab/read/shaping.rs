//! What limits the frames of a cable, a NIC or the guests of a network.

use toml::de::DeTable;

use super::{Reader, get};
use crate::lab::Shaping;
use crate::lab::schema::choices::LINK_STATES;

impl Reader {
    /// Returns the limits that a table has; none where it has none of their keys.
    pub(super) fn shaping(&mut self, table: &DeTable<'_>) -> Option<Shaping> {
        let up = self.choice(get(table, "link"), "link state", &LINK_STATES);
        let mut shaping = Shaping {
            down: up == Some(false),
            rate: self.parsed(get(table, "rate")).map(|at| at.value),
            delay: self.parsed(get(table, "delay")).map(|at| at.value),
            jitter: self.parsed(get(table, "jitter")).map(|at| at.value),
            loss: self.parsed(get(table, "loss")).map(|at| at.value),
        };
        if let Some(jitter) = get(table, "jitter")
            && get(table, "delay").is_none()
        {
            self.add(
                jitter.span(),
                "`jitter` without `delay`",
                "it varies a delay: write `delay`, too",
            );
            shaping.jitter = None;
        }
        (!shaping.is_none()).then_some(shaping)
    }
}
