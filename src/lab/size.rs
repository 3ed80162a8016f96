//! Sizes of memory and disks, written `128MiB` or `1GiB`.

/// Least memory of a guest, in MiB.
pub const LEAST_MIB: u64 = 16;
/// Most memory of a guest, in MiB: 16 TiB.
pub const MOST_MIB: u64 = 16 * 1024 * 1024;

/// Returns a size in MiB; the error is the message for the user.
pub(super) fn parse_mib(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor = match unit.trim() {
        "MiB" => 1,
        "GiB" => 1024,
        "TiB" => 1024 * 1024,
        _ => return Err(format!("`{text}` is not a size: write a number and MiB, GiB or TiB")),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|mib| (LEAST_MIB..=MOST_MIB).contains(mib))
        .ok_or_else(|| format!("`{text}` is out of range: a size is 16MiB to 16TiB"))
}

#[cfg(test)]
mod tests {
    use super::parse_mib;

    #[test]
    fn sizes_are_counted_in_mib_and_kept_in_range() {
        assert_eq!(parse_mib("128MiB"), Ok(128));
        assert_eq!(parse_mib("1GiB"), Ok(1024));
        assert_eq!(parse_mib("16TiB"), Ok(16 << 20));
        for wrong in ["", "15MiB", "17TiB", "128MB", "128", "-1MiB", "99999999999999999999GiB"] {
            assert!(parse_mib(wrong).is_err(), "{wrong}");
        }
    }
}
