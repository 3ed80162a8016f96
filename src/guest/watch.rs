//! Listens to a guest's lines for the signs that nothing more will come of it.

use std::time::{Duration, Instant};

use super::error::SessionFault;

/// Lines after which a boot has ended without a shell: firmware (SeaBIOS), boot loader, initramfs, systemd.
const DEAD_ENDS: [&str; 6] = [
    "No bootable device",
    "grub rescue>",
    "error: no such partition",
    "(initramfs)",
    "You are in emergency mode",
    "end Kernel panic",
];
/// Lines that the kernel prints when it dies (kernel/panic.c, kernel/exit.c).
const PANICS: [&str; 3] = [
    "Kernel panic - not syncing",
    "Attempted to kill init",
    "Attempting to kill init",
];
/// Lines that begin a boot: SeaBIOS, the kernel.
const BANNERS: [&str; 2] = ["SeaBIOS (version", "Linux version "];

/// A banner seen this often within one boot means an endless reboot; a boot loader that chains may show it twice.
const TOO_MANY_BOOTS: u32 = 3;
/// A dead kernel is quiet. A guest that goes on printing was only quoting such a line.
const DEAD_QUIET: Duration = Duration::from_millis(300);
/// While booting nobody quotes: after this time the lines that follow a panic line have come too.
const DEAD_LATEST: Duration = Duration::from_millis(700);

/// What was heard so far, and since when it looks bad.
#[derive(Debug)]
pub(super) struct Watch {
    line: String,
    heard_at: Instant,
    panic: Option<(String, Instant)>,
    boots: [u32; BANNERS.len()],
    fatal: Option<SessionFault>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            line: String::new(),
            heard_at: Instant::now(),
            panic: None,
            boots: [0; BANNERS.len()],
            fatal: None,
        }
    }

    /// Takes what the guest printed; gives every line that is now complete to `on_line`.
    pub(super) fn hear(&mut self, text: &str, mut on_line: impl FnMut(&str)) {
        if text.is_empty() {
            return;
        }
        self.heard_at = Instant::now();
        for piece in text.split_inclusive('\n') {
            self.line.push_str(piece);
            self.judge();
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

    /// The line being printed, as far as it has come.
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// Forgets the line being printed: it was answered.
    pub(super) fn answered(&mut self) {
        self.line.clear();
    }

    /// How long the guest has been quiet.
    pub(super) fn quiet(&self) -> Duration {
        self.heard_at.elapsed()
    }

    /// What ended a boot, if something did.
    pub(super) fn boot_trouble(&self) -> Option<SessionFault> {
        let panic = self.panic.as_ref();
        let panic = panic.filter(|(_, at)| at.elapsed() >= DEAD_LATEST || self.quiet() >= DEAD_QUIET);
        panic
            .map(|(line, _)| SessionFault::Panic(line.clone()))
            .or_else(|| self.fatal.clone())
    }

    /// What ended a guest that was up, if something did. A command may print such lines without the guest being
    /// dead, e.g. `dmesg`: only quiet after one counts.
    pub(super) fn trouble(&self) -> Option<SessionFault> {
        let panic = self.panic.as_ref().filter(|_| self.quiet() >= DEAD_QUIET);
        panic.map(|(line, _)| SessionFault::Panic(line.clone()))
    }

    fn judge(&mut self) {
        let line = self.line.trim_end();
        if self.panic.is_none() && PANICS.iter().any(|sign| line.contains(sign)) {
            self.panic = Some((line.to_owned(), Instant::now()));
        } else if self.panic.is_none() && self.fatal.is_none() && DEAD_ENDS.iter().any(|sign| line.contains(sign)) {
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
