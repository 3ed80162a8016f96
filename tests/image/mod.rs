//! Images: built, fetched from a faulty server, and seed disks.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

mod command;
mod fetch;
mod mini;
mod published;
mod seed;
