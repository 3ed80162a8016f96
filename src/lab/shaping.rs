//! What a link is made to do to the frames that it carries: a rate, a delay, losses, or nothing passes at all.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The limits of a link, in one direction. The default limits nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shaping {
    /// The link is down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub down: bool,
    /// Bits that pass in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How much later each frame arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// By how much the delay varies in either direction; never without a delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Delay>,
    /// How many frames are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
}

impl Shaping {
    /// Returns the shaping of a link that is down, whose other limits have no effect.
    pub fn link_down() -> Self {
        Self {
            down: true,
            ..Self::default()
        }
    }

    /// Nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Only the kernel's netem (tc-netem(8)) does it.
    pub fn needs_netem(&self) -> bool {
        !self.down && (self.delay.is_some() || self.jitter.is_some() || self.loss.is_some())
    }

    /// Returns the limits as the keys of a lab file.
    pub fn keys(&self) -> Vec<String> {
        let link = self.down.then(|| "link = \"down\"".to_owned());
        let key = |name: &str, value: Option<String>| value.map(|value| format!("{name} = \"{value}\""));
        let keys = [
            link,
            key("rate", self.rate.map(|rate| rate.to_string())),
            key("delay", self.delay.map(|delay| delay.to_string())),
            key("jitter", self.jitter.map(|jitter| jitter.to_string())),
            key("loss", self.loss.map(|loss| loss.to_string())),
        ];
        keys.into_iter().flatten().collect()
    }
}

/// E.g. `rate 1mbit, delay 50ms ± 5ms, loss 10%`, or `down`.
impl fmt::Display for Shaping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.down {
            return f.write_str("down");
        }
        let delay = self.delay.map(|delay| match self.jitter {
            Some(jitter) => format!("delay {delay} ± {jitter}"),
            None => format!("delay {delay}"),
        });
        let parts = [
            self.rate.map(|rate| format!("rate {rate}")),
            delay,
            self.loss.map(|loss| format!("loss {loss}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "no limit" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// Why a text is not a rate, a time or a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapingError {
    /// Not a rate.
    #[error("not a rate: write a number and kbit, mbit or gbit, from 8kbit to 32gbit, e.g. 10mbit")]
    Rate,
    /// Not a time.
    #[error("not a time: write a number and us, ms or s, from 1us to 60s, e.g. 50ms")]
    Delay,
    /// Not a share.
    #[error("not a share: write a number and %, from 0.01% to 100%, e.g. 10%")]
    Loss,
}

/// Bits a second, a multiple of 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Rate(u64);

impl Rate {
    /// The lowest rate in bits a second: one full frame takes 1.5 s.
    const LEAST: u64 = 8_000;
    /// The highest rate in bits a second: tc(8) has bytes a second in 32 bits where it prints no 64-bit number.
    const MOST: u64 = 32_000_000_000;

    /// Returns the rate of so many bits a second, if it can be one.
    pub fn from_bits(bits: u64) -> Option<Self> {
        ((Self::LEAST..=Self::MOST).contains(&bits) && bits.is_multiple_of(1000)).then_some(Self(bits))
    }

    /// Returns bits a second.
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// A time in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Delay(u32);

impl Delay {
    /// The longest in microseconds.
    const MOST: u32 = 60_000_000;

    /// Returns the time of so many microseconds, if it is from 1 us to 60 s.
    pub fn from_micros(micros: u32) -> Option<Self> {
        (1..=Self::MOST).contains(&micros).then_some(Self(micros))
    }

    /// Returns microseconds.
    pub fn micros(self) -> u32 {
        self.0
    }
}

/// A share of all frames, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Loss(u16);

impl Loss {
    /// All of them.
    const ALL: u16 = 10_000;

    /// Returns the share of so many hundredths of a percent, if it is one and not zero.
    pub fn from_hundredths(hundredths: u16) -> Option<Self> {
        (1..=Self::ALL).contains(&hundredths).then_some(Self(hundredths))
    }

    /// Returns hundredths of a percent.
    pub fn hundredths(self) -> u16 {
        self.0
    }
}

/// Parses a decimal number with a unit into so many of the smallest unit; `units` are by name.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 6 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let mut total = whole.checked_mul(*factor)?;
    if !fraction.is_empty() {
        let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
        let part = fraction.parse::<u64>().ok()?.checked_mul(*factor)?;
        // What is finer than the smallest unit is no number that can be set.
        if !part.is_multiple_of(scale) {
            return None;
        }
        total = total.checked_add(part / scale)?;
    }
    Some(total)
}

/// Writes a number in the largest unit in which it is whole.
fn write(f: &mut fmt::Formatter<'_>, number: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = |unit: &&(&str, u64)| number.is_multiple_of(unit.1);
    let (name, factor) = units.iter().rev().find(fits).copied().unwrap_or(("", 1));
    write!(f, "{}{name}", number / factor)
}

const RATES: [(&str, u64); 3] = [("kbit", 1000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)];
const TIMES: [(&str, u64); 3] = [("us", 1), ("ms", 1000), ("s", 1_000_000)];

impl FromStr for Rate {
    type Err = ShapingError;

    fn from_str(text: &str) -> Result<Self, ShapingError> {
        let text = text.trim();
        let text = text.strip_suffix("/s").unwrap_or(text);
        parse(text, &RATES).and_then(Self::from_bits).ok_or(ShapingError::Rate)
    }
}

impl FromStr for Delay {
    type Err = ShapingError;

    fn from_str(text: &str) -> Result<Self, ShapingError> {
        let micros = parse(text, &TIMES).and_then(|micros| u32::try_from(micros).ok());
        micros.and_then(Self::from_micros).ok_or(ShapingError::Delay)
    }
}

impl FromStr for Loss {
    type Err = ShapingError;

    fn from_str(text: &str) -> Result<Self, ShapingError> {
        let share = parse(text, &[("%", 100)]).and_then(|share| u16::try_from(share).ok());
        share.and_then(Self::from_hundredths).ok_or(ShapingError::Loss)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, &RATES)
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0.into(), &TIMES)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match (part, part % 10) {
            (0, _) => write!(f, "{whole}%"),
            (_, 0) => write!(f, "{whole}.{}%", part / 10),
            _ => write!(f, "{whole}.{part:02}%"),
        }
    }
}

/// Conversions for serde.
macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl From<$kind> for String {
            fn from(value: $kind) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $kind {
            type Error = ShapingError;

            fn try_from(text: String) -> Result<Self, ShapingError> {
                text.parse()
            }
        }
    )*};
}

as_text!(Rate, Delay, Loss);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_units_and_written_in_the_largest() {
        let rate = |text: &str| text.parse::<Rate>().map(|rate| (rate.bits(), rate.to_string()));
        assert_eq!(rate("1mbit"), Ok((1_000_000, "1mbit".to_owned())));
        assert_eq!(rate("1.5 Mbit/s"), Ok((1_500_000, "1500kbit".to_owned())));
        assert_eq!(rate("1000 kbit"), Ok((1_000_000, "1mbit".to_owned())));
        let delay = |text: &str| text.parse::<Delay>().map(|delay| (delay.micros(), delay.to_string()));
        assert_eq!(delay("50ms"), Ok((50_000, "50ms".to_owned())));
        assert_eq!(delay("0.5ms"), Ok((500, "500us".to_owned())));
        assert_eq!(delay("1s"), Ok((1_000_000, "1s".to_owned())));
        let loss = |text: &str| text.parse::<Loss>().map(|loss| (loss.hundredths(), loss.to_string()));
        assert_eq!(loss("10%"), Ok((1000, "10%".to_owned())));
        assert_eq!(loss("0.5%"), Ok((50, "0.5%".to_owned())));
        assert_eq!(loss("0.05%"), Ok((5, "0.05%".to_owned())));
    }

    #[test]
    fn what_is_no_value_or_out_of_range_is_refused() {
        for text in [
            "",
            "1",
            "mbit",
            "1kbit",
            "33gbit",
            "-1mbit",
            "1mb",
            "1;mbit",
            "1.0001kbit",
            ".5mbit",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(ShapingError::Rate), "{text}");
        }
        for text in ["", "5", "0ms", "61s", "0.5us", "5 m"] {
            assert_eq!(text.parse::<Delay>(), Err(ShapingError::Delay), "{text}");
        }
        for text in ["", "5", "0%", "101%", "0.001%"] {
            assert_eq!(text.parse::<Loss>(), Err(ShapingError::Loss), "{text}");
        }
    }

    #[test]
    fn the_text_of_a_shaping_names_each_limit() {
        let shaping = Shaping {
            rate: "1mbit".parse().ok(),
            delay: "50ms".parse().ok(),
            jitter: "5ms".parse().ok(),
            loss: "10%".parse().ok(),
            ..Shaping::default()
        };
        assert_eq!(shaping.to_string(), "rate 1mbit, delay 50ms ± 5ms, loss 10%");
        assert_eq!(Shaping::link_down().to_string(), "down");
        assert_eq!(Shaping::link_down().keys(), ["link = \"down\""]);
        let json = serde_json::to_string(&shaping).unwrap();
        assert_eq!(json, r#"{"rate":"1mbit","delay":"50ms","jitter":"5ms","loss":"10%"}"#);
        assert_eq!(serde_json::from_str::<Shaping>(&json).unwrap(), shaping);
    }
}
