//! Watches a guest's output for lines after which it will not become ready: a panic, a failed boot, a reboot loop.

use std::time::{Duration, Instant};

use super::error::SessionFault;

/// Lines that end a boot without a shell: firmware (SeaBIOS), boot loader, initramfs, systemd.
const FAILED_BOOTS: [&str; 6] = [
    "No bootable device",
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

/// What was printed so far, and the signs of failure in it.
#[derive(Debug)]
pub(super) struct Watch {
    line: String,
    printed_at: Instant,
    panic: Option<(String, Instant)>,
    boots: [u32; BANNERS.len()],
    fatal: Option<SessionFault>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            line: String::new(),
            printed_at: Instant::now(),
            panic: None,
            boots: [0; BANNERS.len()],
            fatal: None,
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
        let panic = panic.filter(|(_, at)| at.elapsed() >= PANIC_LATEST || self.quiet() >= PANIC_QUIET);
        panic
            .map(|(line, _)| SessionFault::Panic(line.clone()))
            .or_else(|| self.fatal.clone())
    }

    /// Returns what ended a guest that had booted, if something did. A command may print such lines, too, e.g.
    /// `dmesg`: only silence after one counts.
    pub(super) fn fault(&self) -> Option<SessionFault> {
        let panic = self.panic.as_ref().filter(|_| self.quiet() >= PANIC_QUIET);
        panic.map(|(line, _)| SessionFault::Panic(line.clone()))
    }

    fn check(&mut self) {
        let line = self.line.trim_end();
        if self.panic.is_none() && PANICS.iter().any(|sign| line.contains(sign)) {
            self.panic = Some((line.to_owned(), Instant::now()));
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
