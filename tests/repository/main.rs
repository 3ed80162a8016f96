//! Rules of the repository itself, as tests: which module may import which (`layers`), the words that docs/STYLE.md
//! bans (`words`). They read files only, so they need neither root nor libvirt.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test a panic is the report; helpers of tests are tests too"
)]

mod layers;
mod sources;
mod words;
