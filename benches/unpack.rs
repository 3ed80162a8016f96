//! The speed of unpacking, hashing and writing a bzip2 image, relative to `bzip2 -d` on the same file in the same run.
//! The target is at least 0.9.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and a panic is its report"
)]

use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlab::image::decompress::{Sink, unpack};
use netlab::image::digest::Sums;
use netlab::image::follow::{Follower, Growing};
use netlab::lab::Compression;

const ROUNDS: usize = 3;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, packed) = (folder.path().join("disk"), folder.path().join("disk.bz2"));
    // This program repeated: machine code, text and tables, like a disk.
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let content: Vec<u8> = program.iter().copied().cycle().take(64 << 20).collect();
    std::fs::write(&plain, &content).unwrap();
    assert!(Command::new("bzip2").arg(&plain).status().unwrap().success());
    let (mut theirs, mut ours) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let out = File::create(folder.path().join("theirs")).unwrap();
        let mut tool = Command::new("bzip2");
        let status = tool.arg("-dc").arg(&packed).stdout(Stdio::from(out)).status();
        assert!(status.unwrap().success());
        theirs = theirs.min(begun.elapsed());

        let begun = Instant::now();
        let growing = Arc::new(Growing::default());
        growing.grew(packed.metadata().unwrap().len());
        growing.complete();
        let follower = Follower::new(File::open(&packed).unwrap(), growing, Sums::new(None));
        let sink = Sink::new(&folder.path().join("ours"), true, Sums::new(None), 1 << 30).unwrap();
        assert_eq!(unpack(follower, Compression::Bzip2, sink).unwrap().size, 64 << 20);
        ours = ours.min(begun.elapsed());
    }
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!("bzip2 -d {theirs:.2?}, netlab {ours:.2?}: {ratio:.2} times its speed");
}
