//! Watches a guest's output for lines after which it will not become ready: a panic, a failed boot, a reboot loop.

use std::time::{Duration, Instant};

use super::error::SessionFault;

/// Lines that end a boot without a shell: firmware (SeaBIOS, EDK II), boot loader, initramfs, systemd.
const FAILED_BOOTS: [&str; 7] = [
    "No bootable device",
    "No bootable option or device was found",
    "grub rescue>",
    "error: no such partition",
    "(initramfs)",
    "You are in emergency mode",
    "end Kernel panic",
];
/// Lines that the kernel prints when it panics (kernel/panic.c, kernel/exit.c).
const PANICS: [&str; 3] = [
    "Kernel panic - not syncing",
    "Attempted to kill init",
    "Attempting to kill init",
];
/// Lines that begin a boot: SeaBIOS, the kernel.
const BANNERS: [&str; 2] = ["SeaBIOS (version", "Linux version "];

/// A banner that is printed this often means a reboot loop; a boot loader that chains may print it twice.
const TOO_MANY_BOOTS: u32 = 3;
/// A panicked kernel is quiet. A guest that goes on printing was only quoting such a line.
const PANIC_QUIET: Duration = Duration::from_millis(300);
/// While booting nothing quotes such a line: after this time the lines that follow it have arrived, too.
const PANIC_LATEST: Duration = Duration::from_millis(700);
/// The last line that a panicked kernel prints (kernel/panic.c).
const PANIC_END: &str = "end Kernel panic";
/// A command may print all lines of a panic, e.g. those of a log, and go on in silence: what a command prints counts as
/// a panic only if it is complete, and if nothing follows it for this long.
const QUOTED_QUIET: Duration = Duration::from_secs(10);
/// More of an unfinished line than any sign of failure has. A guest that prints without line ends is not kept.
const LINE_KEPT: usize = 16 * 1024;

/// Returns what a line of a booting guest's screen shows to have failed.
pub(super) fn fault_in(line: &str) -> Option<SessionFault> {
    let line = line.trim();
    if PANICS.iter().any(|sign| line.contains(sign)) {
        return Some(SessionFault::Panic(line.to_owned()));
    }
    let failed = FAILED_BOOTS.iter().any(|sign| line.contains(sign));
    failed.then(|| SessionFault::NotBootable(line.to_owned()))
}

/// What was printed so far, and the signs of failure in it.
#[derive(Debug)]
pub(super) struct Watch {
    line: String,
    printed_at: Instant,
    panic: Option<Panic>,
    /// The mark behind which a command's own output begins; empty: none is expected.
    begin: String,
    /// The command's own output has begun.
    begun: bool,
    /// The last line is the last one of a panic.
    complete: bool,
    boots: [u32; BANNERS.len()],
    fatal: Option<SessionFault>,
}

/// A line of a panic.
#[derive(Debug)]
struct Panic {
    line: String,
    at: Instant,
    /// It is part of a command's output.
    quoted: bool,
}

impl Watch {
    /// Watches a boot: all output is that of the guest's firmware, kernel and init.
    pub(super) fn new() -> Self {
        Self {
            line: String::new(),
            printed_at: Instant::now(),
            panic: None,
            begin: String::new(),
            begun: false,
            complete: false,
            boots: [0; BANNERS.len()],
            fatal: None,
        }
    }

    /// Watches a command whose own output begins behind the mark `begin`.
    pub(super) fn command(begin: &str) -> Self {
        Self {
            begin: begin.to_owned(),
            ..Self::new()
        }
    }

    /// Watches output that is all a command's own.
    pub(super) fn output() -> Self {
        Self {
            begun: true,
            ..Self::new()
        }
    }

    /// Takes what the guest printed; calls `on_line` with every line that is now complete.
    pub(super) fn feed(&mut self, text: &str, mut on_line: impl FnMut(&str)) {
        if text.is_empty() {
            return;
        }
        self.printed_at = Instant::now();
        for piece in text.split_inclusive('\n') {
            self.line.push_str(piece);
            self.check();
            if self.line.len() > LINE_KEPT {
                let mut cut = self.line.len() - LINE_KEPT / 2;
                while !self.line.is_char_boundary(cut) {
                    cut += 1;
                }
                self.line.drain(..cut);
            }
            if piece.ends_with('\n') {
                let line = std::mem::take(&mut self.line);
                let line = line.trim_end();
                if let Some(which) = BANNERS.iter().position(|banner| line.contains(banner)) {
                    self.count_boot(which, line);
                }
                if !line.is_empty() {
                    on_line(line);
                }
            }
        }
    }

    /// Returns the unfinished line.
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// Forgets the unfinished line: it was answered.
    pub(super) fn answered(&mut self) {
        self.line.clear();
    }

    /// Returns how long the guest has been quiet.
    pub(super) fn quiet(&self) -> Duration {
        self.printed_at.elapsed()
    }

    /// Returns what ended a boot, if something did.
    pub(super) fn boot_fault(&self) -> Option<SessionFault> {
        let panic = self.panic.as_ref();
        let panic = panic.filter(|panic| panic.at.elapsed() >= PANIC_LATEST || self.quiet() >= PANIC_QUIET);
        panic
            .map(|panic| SessionFault::Panic(panic.line.clone()))
            .or_else(|| self.fatal.clone())
    }

    /// Returns what ended a guest that had booted, if something did. A command may print such lines, too, e.g.
    /// `dmesg`: only silence after one counts.
    pub(super) fn fault(&self) -> Option<SessionFault> {
        let panic = self.panic.as_ref().filter(|panic| {
            if panic.quoted {
                self.complete && self.quiet() >= QUOTED_QUIET
            } else {
                self.quiet() >= PANIC_QUIET
            }
        });
        panic.map(|panic| SessionFault::Panic(panic.line.clone()))
    }

    fn check(&mut self) {
        let line = self.line.trim_end();
        self.begun |= !self.begin.is_empty() && line.contains(&self.begin);
        if !line.is_empty() {
            self.complete = line.contains(PANIC_END);
        }
        if self.panic.is_none() && PANICS.iter().any(|sign| line.contains(sign)) {
            self.panic = Some(Panic {
                line: line.to_owned(),
                at: Instant::now(),
                quoted: self.begun,
            });
        } else if self.panic.is_none() && self.fatal.is_none() && FAILED_BOOTS.iter().any(|sign| line.contains(sign)) {
            self.fatal = Some(SessionFault::NotBootable(line.to_owned()));
        }
    }

    fn count_boot(&mut self, which: usize, line: &str) {
        self.boots[which] += 1;
        if self.boots[which] >= TOO_MANY_BOOTS && self.fatal.is_none() {
            self.fatal = Some(SessionFault::Reboots {
                banner: line.to_owned(),
                times: self.boots[which],
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANIC: &str = "[    9.1] Kernel panic - not syncing: x\n";
    const END: &str = "[    9.2] ---[ end Kernel panic - not syncing: x ]---\n";

    /// Returns whether a guest that printed `text` and then nothing for `seconds` has panicked.
    fn panicked(text: &str, seconds: u64) -> bool {
        let mut watch = Watch::command("n1B");
        watch.feed(text, |_| ());
        watch.printed_at = Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        watch.fault().is_some()
    }

    #[test]
    fn what_a_command_prints_is_a_panic_only_if_it_is_complete_and_silence_follows() {
        assert!(panicked(PANIC, 1), "before the command's own output");
        assert!(!panicked(&format!("n1B\n{PANIC}"), 60), "a quotation");
        assert!(!panicked(&format!("n1B\n{PANIC}{END}"), 5), "it goes on");
        assert!(!panicked(&format!("n1B\n{PANIC}{END}more\n"), 60), "it went on");
        assert!(panicked(&format!("n1B\n{PANIC}{END}"), 11), "nothing follows");
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_for_ever() {
        let mut watch = Watch::new();
        for _ in 0..1000 {
            watch.feed(&"y".repeat(1000), |_| ());
        }
        assert!(watch.line().len() <= LINE_KEPT);
    }
}
