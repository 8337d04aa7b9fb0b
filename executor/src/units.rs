//! Sizes and times as people write them on a command line.

use std::time::Duration;

/// A size: a number of bytes, or one with a unit (`4KiB`, `8GiB`, `2GB`). A letter alone (`256M`) is binary, as for QEMU.
///
/// # Errors
/// A text that says what is wrong.
pub fn bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("K", 1 << 10),
        ("M", 1 << 20),
        ("G", 1 << 30),
        ("T", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
        ("", 1),
    ];
    scaled(text, &units)
        .ok_or_else(|| format!("found {text:?}, expected bytes, for instance 4096, 64MiB or 8GiB"))
}

/// A time: a number with a unit (`500ms`, `2s`, `1min`, `1h`).
///
/// # Errors
/// A text that says what is wrong.
pub fn duration(text: &str) -> Result<Duration, String> {
    let units =
        [("us", 1), ("ms", 1_000), ("min", 60_000_000), ("s", 1_000_000), ("h", 3_600_000_000)];
    let micros = scaled(text, &units);
    micros.map(Duration::from_micros).ok_or_else(|| {
        format!("found {text:?}, expected a time, for instance 200us, 500ms, 2s or 1min")
    })
}

/// A time, or `never`.
///
/// # Errors
/// A text that says what is wrong.
pub fn bound(text: &str) -> Result<Bound, String> {
    if text == "never" { Ok(Bound(None)) } else { duration(text).map(|time| Bound(Some(time))) }
}

/// How long something may take; `None` for as long as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound(pub Option<Duration>);

/// A whole number and the first unit that it ends with.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim())?;
    digits.parse::<u64>().ok()?.checked_mul(*scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_with_their_units() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("8GiB"), Ok(8 << 30));
        assert_eq!(bytes("2 GB"), Ok(2_000_000_000));
        assert_eq!(bytes("256M"), Ok(256 << 20), "as QEMU writes it");
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(bound("never"), Ok(Bound(None)));
        assert_eq!(bound("3s"), Ok(Bound(Some(Duration::from_secs(3)))));
        assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
    }

    #[test]
    fn what_is_no_size_or_time_is_refused_with_an_example() {
        for text in ["", "8XB", "-1", "1.5GiB", "GiB", "99999999999TiB"] {
            assert!(bytes(text).unwrap_err().contains("8GiB"), "{text}");
        }
        for text in ["", "5", "5d", "ms", "99999999999999min"] {
            assert!(duration(text).unwrap_err().contains("500ms"), "{text}");
        }
    }
}
