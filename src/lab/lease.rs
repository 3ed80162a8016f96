//! How long a DHCP lease lasts, written `120s`, `2m`, `1h` or `1d`.

/// The shortest lease in seconds: dnsmasq takes nothing shorter (dnsmasq(8), `--dhcp-range`).
pub const LEAST_LEASE: u32 = 120;
/// The longest lease in seconds: one year.
pub const MOST_LEASE: u32 = 365 * 86400;

/// Returns a lease's length in seconds; the error is the message for the user.
pub(super) fn parse_lease(text: &str) -> Result<u32, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err(format!("`{text}` is not a time: write a number and s, m, h or d")),
    };
    digits
        .parse::<u32>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|seconds| (LEAST_LEASE..=MOST_LEASE).contains(seconds))
        .ok_or_else(|| format!("`{text}` is out of range: a lease lasts 2m to 365d"))
}

#[cfg(test)]
mod tests {
    use super::parse_lease;

    #[test]
    fn leases_are_counted_in_seconds_and_kept_in_range() {
        assert_eq!(parse_lease("120s"), Ok(120));
        assert_eq!(parse_lease("2m"), Ok(120));
        assert_eq!(parse_lease("12h"), Ok(43_200));
        assert_eq!(parse_lease("365d"), Ok(31_536_000));
        for wrong in ["", "119s", "1m", "366d", "2", "2min", "-2m", "99999999999d"] {
            assert!(parse_lease(wrong).is_err(), "{wrong}");
        }
    }
}
