//! A guest's screen and keyboard through libvirt.

use std::time::{Duration, Instant};

use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::stream::Stream;
use virt::sys;

use super::connection::limited;
use super::error::{LibvirtError, Operation, is};
use super::halted::Guest;
use super::{Libvirt, domains, peek};
use crate::guest::ConsoleError;
use crate::guest::vga::{Frame, MEMORY, Page, Screen, to_png};
use crate::state::DomainName;

/// The physical address of a VGA card's memory in text mode.
const TEXT: u64 = 0xb8000;
/// The CRT controller's ports: index and value.
const CRT: (u16, u16) = (0x3d4, 0x3d5);
/// The graphics controller's ports: index and value.
const GRAPHICS: (u16, u16) = (0x3ce, 0x3cf);
/// The graphics controller's register whose bit 0 is set in graphics mode.
const MISCELLANEOUS: u8 = 6;
/// How long a key is held down, in milliseconds: each press and each release takes as long.
const HOLD: u32 = 1;
/// How often a screen that changes while it is read is read again.
const STEADY: usize = 4;
/// How often the cursor is read where no text changes.
const CURSOR_EVERY: Duration = Duration::from_millis(80);
/// How often it is checked whether the card is in graphics mode.
const PICTURE_EVERY: Duration = Duration::from_millis(500);
/// How long libvirt may take to notice that a domain's QEMU has died.
const NOTICED_WITHIN: Duration = Duration::from_secs(1);
/// How long QEMU's monitor may take to answer. libvirt waits for it without a limit.
const MONITOR_WITHIN: Duration = Duration::from_secs(10);
/// Bytes; more than any screenshot has.
const PICTURE_LIMIT: usize = 64 << 20;

/// One domain's screen and keyboard.
pub(crate) struct DomainScreen {
    conn: Connect,
    domain: Domain,
    guest: Guest,
    picture: Option<(bool, Instant)>,
    last: Option<(Vec<u8>, Page, Instant)>,
}

impl Libvirt {
    /// Returns the screen and keyboard of a running or paused domain. libvirt does not keep several clients from typing
    /// at the same time: that is up to the caller.
    pub(crate) fn screen(&self, name: &DomainName) -> Result<DomainScreen, LibvirtError> {
        let operation = Operation::OpenScreen(name.clone());
        self.connection.with(&operation, |conn| {
            let domain = domains::own(conn, name, &operation)?;
            Ok(DomainScreen {
                conn: conn.clone(),
                guest: Guest::new(domain.clone(), name.clone(), self.processes.clone()),
                domain,
                picture: None,
                last: None,
            })
        })
    }
}

impl DomainScreen {
    fn memory(&self) -> Result<Vec<u8>, ConsoleError> {
        self.ask(|domain| peek::physical(domain, TEXT, MEMORY))
    }

    /// Makes a call for which libvirt waits for QEMU's monitor.
    fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Domain) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, ConsoleError> {
        let domain = self.domain.clone();
        match limited(MONITOR_WITHIN, move || call(&domain)) {
            Some(result) => result.map_err(|error| self.broken(&error)),
            None => Err(self.guest.halted().map_or_else(
                || {
                    let seconds = MONITOR_WITHIN.as_secs();
                    let text = format!("QEMU's monitor did not answer within {seconds} s");
                    ConsoleError::failed(std::io::Error::other(text))
                },
                ConsoleError::Halted,
            )),
        }
    }

    /// Runs a command of QEMU's human monitor. It reads and writes ports as the guest's kernel does.
    fn monitor(&self, command: &str) -> Result<String, ConsoleError> {
        let command = command.to_owned();
        self.ask(move |domain| domain.qemu_monitor_command(&command, sys::VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP))
    }

    /// Reads a port, e.g. from `portb[0x03d5] = 0x0e`.
    fn read_port(&self, port: u16) -> Result<u8, ConsoleError> {
        let output = self.monitor(&format!("i /bx {port:#x}"))?;
        let value = output
            .trim()
            .rsplit_once("0x")
            .map(|(_, digits)| u8::from_str_radix(digits, 16));
        match value {
            Some(Ok(value)) => Ok(value),
            _ => Err(ConsoleError::failed(std::io::Error::other(format!(
                "QEMU's monitor printed: {}",
                output.trim()
            )))),
        }
    }

    /// Reads registers behind an index port, and restores the index that the guest's kernel had set. Linux writes index
    /// and value in one go (vgacon.c, `write_vga`), so this does not interfere.
    fn registers<const N: usize>(&self, ports: (u16, u16), registers: [u8; N]) -> Result<[u8; N], ConsoleError> {
        let (index, value) = ports;
        let before = self.read_port(index)?;
        let mut values = [0; N];
        for (register, value_of_it) in registers.into_iter().zip(&mut values) {
            self.monitor(&format!("o /b {index:#x} {register}"))?;
            *value_of_it = self.read_port(value)?;
        }
        self.monitor(&format!("o /b {index:#x} {before}"))?;
        Ok(values)
    }

    /// Translates an error: the console of a domain that no longer runs is closed. libvirt notices only a moment later
    /// that QEMU died during a call.
    fn broken(&self, error: &Error) -> ConsoleError {
        let began = Instant::now();
        while began.elapsed() < NOTICED_WITHIN {
            let stopped = match self.domain.is_active() {
                Ok(active) => !active,
                Err(error) if is(&error, ErrorNumber::NoDomain) => true,
                Err(_) => break,
            };
            if stopped || is(error, ErrorNumber::OperationInvalid) {
                return ConsoleError::Closed;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        ConsoleError::failed(error.clone())
    }

    fn shows_picture(&mut self) -> Result<bool, ConsoleError> {
        if let Some((shows, at)) = self.picture
            && at.elapsed() < PICTURE_EVERY
        {
            return Ok(shows);
        }
        let [miscellaneous] = self.registers(GRAPHICS, [MISCELLANEOUS])?;
        let shows = miscellaneous & 1 == 1;
        self.picture = Some((shows, Instant::now()));
        Ok(shows)
    }
}

impl Screen for DomainScreen {
    fn frame(&mut self) -> Result<Frame, ConsoleError> {
        if self.shows_picture()? {
            return Ok(Frame::Picture);
        }
        let mut memory = self.memory()?;
        if let Some((seen, page, at)) = &self.last
            && *seen == memory
            && at.elapsed() < CURSOR_EVERY
        {
            return Ok(Frame::Text(page.clone()));
        }
        let mut left = STEADY;
        loop {
            // Start address and cursor, high byte first; the former's is read twice, because the guest may scroll meanwhile.
            let [start, start_low, cursor, cursor_low, start_again] = self.registers(CRT, [12, 13, 14, 15, 12])?;
            let again = self.memory()?;
            left -= 1;
            let torn = start != start_again;
            let start = u16::from_be_bytes([start, start_low]);
            // What did not change meanwhile is consistent.
            if (again == memory && !torn) || left == 0 {
                let cursor = u16::from_be_bytes([cursor, cursor_low]);
                let page = Page::new(&again, start, cursor);
                self.last = Some((again, page.clone(), Instant::now()));
                return Ok(Frame::Text(page));
            }
            memory = again;
        }
    }

    fn text_memory(&mut self) -> Result<Vec<u8>, ConsoleError> {
        self.memory()
    }

    fn press(&mut self, keys: &[u32]) -> Result<(), ConsoleError> {
        let mut keys = keys.to_vec();
        let count = i32::try_from(keys.len()).map_err(ConsoleError::failed)?;
        let codes = sys::VIR_KEYCODE_SET_LINUX;
        self.ask(move |domain| domain.send_key(codes, HOLD, keys.as_mut_ptr(), count, 0))
    }

    fn screenshot(&mut self) -> Result<Vec<u8>, ConsoleError> {
        let conn = self.conn.clone();
        let picture = self.ask(move |domain| {
            let stream = Stream::new(&conn, 0)?;
            domain.screenshot(&stream, 0, 0)?;
            let mut picture = Vec::new();
            let mut part = vec![0; 256 * 1024];
            loop {
                let got = usize::try_from(stream.recv(&mut part)?).unwrap_or(0);
                if got == 0 || picture.len() > PICTURE_LIMIT {
                    break;
                }
                picture.extend_from_slice(&part[..got]);
            }
            stream.finish()?;
            Ok(picture)
        })?;
        to_png(picture).map_err(ConsoleError::failed)
    }

    fn obstacle(&mut self) -> Option<String> {
        self.guest.halted()
    }
}
