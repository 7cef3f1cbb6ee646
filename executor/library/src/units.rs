//! Durations (`5s`, `100ms`, `1m`) and sizes (`256MiB`) as people write them, on a command line or in a file.
//!
//! Invariant: what is accepted fits its type, and nothing is rounded or guessed.

use std::time::Duration;

/// Splits `text` into its leading number and the unit after it.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

/// A positive duration: a whole number and one of `us`, `ms`, `s`, `m`, `h`, `d`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parse = || {
        let (number, unit) = split(text)?;
        let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
        match unit {
            "us" => Some(Duration::from_micros(number)),
            "ms" => Some(Duration::from_millis(number)),
            "s" => seconds(1),
            "m" => seconds(60),
            "h" => seconds(3600),
            "d" => seconds(86_400),
            _ => None,
        }
    };
    parse()
        .filter(|d| !d.is_zero())
        .ok_or_else(|| "expected a duration such as 100ms, 5s, 1m".to_owned())
}

/// A size in bytes: a whole number and nothing, `B`, `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn size(text: &str) -> Result<u64, String> {
    let parse = || {
        let (number, unit) = split(text)?;
        let each: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(each)
    };
    parse().ok_or_else(|| "expected a size such as 65536, 64KiB, 256MiB, 4GiB".to_owned())
}

/// A size as messages show it, with the largest unit that leaves at least one whole.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// Seconds since the epoch as a date and time of day in UTC.
#[must_use]
pub fn show_time(unix_seconds: u64) -> String {
    let days = unix_seconds / 86_400;
    let (hour, minute) = (unix_seconds / 3600 % 24, unix_seconds / 60 % 60);
    // The proleptic Gregorian calendar, counted in eras of 400 years from 1 March of year 0.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_are_positive() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        for bad in [
            "",
            "5",
            "s",
            "0s",
            "-1s",
            "1.5s",
            "5 s",
            "99999999999999999999s",
            "9999999999999999999m",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_binary_and_never_overflow() {
        assert_eq!(size("65536"), Ok(65536));
        assert_eq!(size("256MiB"), Ok(256 << 20));
        assert_eq!(size("4GiB"), Ok(4 << 30));
        for bad in ["", "MiB", "1MB", "1.5GiB", "-1", "99999999999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_times_are_shown_for_people() {
        assert_eq!(show_size(1023), "1023 B");
        assert_eq!(show_size(1 << 20), "1.0 MiB");
        assert_eq!(show_time(0), "1970-01-01 00:00");
        assert_eq!(show_time(951_827_696), "2000-02-29 12:34");
        assert_eq!(show_time(1_767_225_599), "2025-12-31 23:59");
    }
}
