//! An option's value, and the types that it can have.

use std::fmt::Display;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Wrong;

/// An option's value after substitution, with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    /// The line, from 1; 0: a default that is not in the file.
    pub line: usize,
    pub option: String,
    pub text: String,
}

impl Value {
    pub(super) fn wrong(&self, message: impl Display) -> Wrong {
        Wrong {
            line: self.line,
            option: self.option.clone(),
            value: self.text.clone(),
            message: message.to_string(),
        }
    }

    pub(super) fn address(&self) -> Result<Ipv4Addr, Wrong> {
        let parsed = self.text.parse();
        parsed.map_err(|error: std::net::AddrParseError| self.wrong(error))
    }

    /// A subnet with a prefix length or, as nova accepts it, a mask.
    pub(super) fn subnet(&self) -> Result<Ipv4Net, Wrong> {
        let masked = || {
            let (address, mask) = self.text.split_once('/')?;
            Ipv4Net::with_netmask(address.trim().parse().ok()?, mask.trim().parse().ok()?).ok()
        };
        let parsed = self.text.parse().ok().or_else(masked);
        parsed.ok_or_else(|| self.wrong("not an address with a prefix length, as 10.0.0.0/24"))
    }

    /// A boolean as oslo.config, or gflags, accepts it.
    pub(super) fn flag(&self) -> Result<bool, Wrong> {
        match self.text.to_ascii_lowercase().as_str() {
            "false" | "f" | "0" | "no" | "n" | "off" => Ok(false),
            "true" | "t" | "1" | "yes" | "y" | "on" => Ok(true),
            _ => Err(self.wrong("neither true nor false")),
        }
    }

    pub(super) fn number(&self, least: u32, most: u32) -> Result<u32, Wrong> {
        let parsed = self.text.parse().ok();
        let inside = parsed.filter(|number| (least..=most).contains(number));
        inside.ok_or_else(|| self.wrong(format_args!("not a number from {least} to {most}")))
    }
}
