//! Rules of the repository itself, as tests: which module may import which (`layers`), the words that docs/STYLE.md
//! bans (`words`), blocks, links and paths of the documentation (`markdown`), faults and their tests (`faults`). They only
//! read files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test a panic is the report; helpers of tests are tests too"
)]

mod faults;
mod layers;
mod markdown;
mod words;
