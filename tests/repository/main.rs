//! Rules of the repository itself, as tests: which module may import which (`layers`), the words that docs/STYLE.md
//! bans (`words`), blocks, links and paths of the documentation (`markdown`). All of these only read files. `commands` runs
//! the commands of the documentation on a lab of emulated hosts and needs root and libvirt.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test a panic is the report; helpers of tests are tests too"
)]

mod commands;
mod layers;
mod markdown;
mod sources;
mod words;
