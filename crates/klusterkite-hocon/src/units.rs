//! Durations, sizes and periods as HOCON writes them.

use std::time::Duration;

/// A calendar period, as far as HOCON can write one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Period {
    /// Whole years.
    pub years: i32,
    /// Whole months.
    pub months: i32,
    /// Whole days; weeks count as seven.
    pub days: i32,
}

/// Reads a duration such as `10s`, `1.5 minutes` or `250` (milliseconds).
///
/// Units are case-sensitive: `ns us ms s m h d` and their names, without weeks. Fractions of a
/// nanosecond are cut off; the most is 2^63 - 1 nanoseconds, some 292 years, as everywhere in HOCON.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let nanoseconds: u64 = match unit {
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1_000_000,
        "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1,
        "us" | "micro" | "micros" | "microsecond" | "microseconds" => 1_000,
        "s" | "second" | "seconds" => 1_000_000_000,
        "m" | "minute" | "minutes" => 60 * 1_000_000_000,
        "h" | "hour" | "hours" => 3_600 * 1_000_000_000,
        "d" | "day" | "days" => 86_400 * 1_000_000_000,
        _ => {
            return Err(format!(
                "has no duration unit `{unit}` (use ns, us, ms, s, m, h or d)"
            ));
        }
    };
    let total = scaled(number, u128::from(nanoseconds))?;
    match u64::try_from(total) {
        Ok(total) if i64::try_from(total).is_ok() => Ok(Duration::from_nanos(total)),
        _ => Err("is too long a duration".to_owned()),
    }
}

/// Reads a size in bytes such as `512`, `64K` or `1.5 GiB`.
///
/// Single letters and `i` forms are powers of 1024, `kB`, `MB`, … powers of 1000. Fractions of a byte are cut off.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let Some(bytes) = size_unit(unit) else {
        return Err(format!(
            "has no size unit `{unit}` (use B, kB, MB, GB, … or K, M, G, …)"
        ));
    };
    u64::try_from(scaled(number, bytes)?).map_err(|_| "is too large a size".to_owned())
}

/// Reads a period such as `3 weeks`, `6mo` or `10` (days).
pub fn parse_period(text: &str) -> Result<Period, String> {
    let (number, unit) = split_unit(text);
    let Ok(number) = number.parse::<i32>() else {
        return Err("is no whole number with a unit".to_owned());
    };
    let mut period = Period::default();
    match unit {
        "" | "d" | "day" | "days" => period.days = number,
        "w" | "week" | "weeks" => match number.checked_mul(7) {
            Some(days) => period.days = days,
            None => return Err("is too long a period".to_owned()),
        },
        "m" | "mo" | "month" | "months" => period.months = number,
        "y" | "year" | "years" => period.years = number,
        _ => return Err(format!("has no period unit `{unit}` (use d, w, mo or y)")),
    }
    Ok(period)
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let letters = |c: char| c.is_alphabetic();
    let number = text.trim_end_matches(letters);
    (number.trim_end(), &text[number.len()..])
}

fn size_unit(unit: &str) -> Option<u128> {
    let decimal = |power: u32| Some(1000_u128.pow(power));
    let binary = |power: u32| Some(1024_u128.pow(power));
    match unit {
        "" | "B" | "b" | "byte" | "bytes" => Some(1),
        "kB" | "kilobyte" | "kilobytes" => decimal(1),
        "MB" | "megabyte" | "megabytes" => decimal(2),
        "GB" | "gigabyte" | "gigabytes" => decimal(3),
        "TB" | "terabyte" | "terabytes" => decimal(4),
        "PB" | "petabyte" | "petabytes" => decimal(5),
        "EB" | "exabyte" | "exabytes" => decimal(6),
        "ZB" | "zettabyte" | "zettabytes" => decimal(7),
        "YB" | "yottabyte" | "yottabytes" => decimal(8),
        "K" | "k" | "Ki" | "KiB" | "kibibyte" | "kibibytes" => binary(1),
        "M" | "m" | "Mi" | "MiB" | "mebibyte" | "mebibytes" => binary(2),
        "G" | "g" | "Gi" | "GiB" | "gibibyte" | "gibibytes" => binary(3),
        "T" | "t" | "Ti" | "TiB" | "tebibyte" | "tebibytes" => binary(4),
        "P" | "p" | "Pi" | "PiB" | "pebibyte" | "pebibytes" => binary(5),
        "E" | "e" | "Ei" | "EiB" | "exbibyte" | "exbibytes" => binary(6),
        "Z" | "z" | "Zi" | "ZiB" | "zebibyte" | "zebibytes" => binary(7),
        "Y" | "y" | "Yi" | "YiB" | "yobibyte" | "yobibytes" => binary(8),
        _ => None,
    }
}

/// Multiplies a number with a unit, exactly where the number is whole; fractions of the result are cut off.
fn scaled(number: &str, unit: u128) -> Result<u128, String> {
    let unsigned = number.strip_prefix('+').unwrap_or(number);
    let plain = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    let is_plain = unsigned.bytes().all(plain) && !unsigned.starts_with('+');
    if let (true, Ok(whole)) = (is_plain, unsigned.parse::<u64>()) {
        // What saturates is beyond every limit of the callers.
        return Ok(u128::from(whole).saturating_mul(unit));
    }
    let Some(float) = unsigned.parse::<f64>().ok().filter(|_| is_plain) else {
        return Err("is no number with a unit".to_owned());
    };
    if float < 0.0 {
        return Err("must not be negative".to_owned());
    }
    Ok((float * unit as f64) as u128)
}
