//! The connectivity matrix: who must reach whom, and who does. Takes a topology, the answers of guests, hosts and
//! routers, and what they show besides; returns a cell per question, the faults, and causes. Never contacts a host, and
//! never guesses: no answer is "unknown".

mod changes;
mod checks;
pub mod diagnose;
pub mod expected;
pub mod faults;
pub mod matrix;
mod names;
mod nics;
mod parts;
pub mod report;
mod retry;
mod sample;
mod unheard;

pub use changes::{Change, Changes};
pub use checks::{CheckResult, ServiceReplies, Services, check_results, is_proved, service_questions};
pub use diagnose::{
    Counted, Evidence, Finding, Hop, at_hop, diagnose, first, full_packet, misdirected, path, unproved, untranslated,
    vanish,
};
pub use expected::{Expectation, apart_by, expected, kept_apart, number_of_cells};
pub use faults::{Concerns, Fault, FaultReport, Traces, faults};
pub use matrix::{Cell, Matrix, Replies, Verdict};
pub use names::addresses as addresses_of_name;
pub use nics::Nics;
pub use parts::arp_questions;
pub use report::{Page, Places, Shown, Style, html, junit, text};
pub use sample::sample;
pub use unheard::{unheard, unheard_faults};
