//! Times as an operator writes and reads them: local with offset, or UTC.

use std::time::{Duration, SystemTime};

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

use crate::audit::micros;

/// Seconds in the units that spans of time are written in.
const UNITS: [(&str, u64); 5] = [
    ("s", 1),
    ("min", 60),
    ("h", 3600),
    ("d", 86_400),
    ("w", 604_800),
];

/// How times are written, and how those without an offset are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// As this machine has it (`TZ`, /etc/localtime).
    Local,
    /// In UTC.
    Utc,
}

impl Zone {
    /// Writes a time of the store, with milliseconds and offset.
    pub(super) fn show(self, micros: i64) -> String {
        let seconds = micros.div_euclid(1_000_000);
        let utc = OffsetDateTime::from_unix_timestamp(seconds);
        let utc = utc.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let offset = self.offset_at(utc);
        let at = utc.to_offset(offset);
        let millis = micros.rem_euclid(1_000_000) / 1000;
        let (date, time) = (at.date(), at.time());
        let zone = match (self, offset.as_hms()) {
            (Self::Utc, _) => "Z".to_owned(),
            (Self::Local, (hours, minutes, _)) => {
                let sign = if offset.is_negative() { '-' } else { '+' };
                format!("{sign}{:02}:{:02}", hours.abs(), minutes.abs())
            }
        };
        format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{millis:03}{zone}",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second(),
        )
    }

    /// Reads a time: a span before `now` (`30d`), a date, or a date and a time, with or without an
    /// offset. Gives microseconds since 1970.
    ///
    /// # Errors
    /// Says what can be written instead.
    pub(super) fn read(self, text: &str, now: SystemTime) -> Result<i64, String> {
        if let Ok(span) = span(text) {
            return Ok(micros(
                now.checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH),
            ));
        }
        let fault = || {
            format!(
                "`{text}` is no time; write 2h or 30d (before now), 2026-11-20, or 2026-11-20T15:12:44, \
                 with Z or +01:00 behind it where it is not {}",
                match self {
                    Self::Local => "local time",
                    Self::Utc => "UTC",
                }
            )
        };
        let (local, offset) = split(text).ok_or_else(fault)?;
        let offset = offset.unwrap_or_else(|| {
            // The offset at that time of day, not the one of today: clocks change in between.
            let near = self.offset_at(local.assume_utc());
            self.offset_at(local.assume_offset(near))
        });
        let nanos = local.assume_offset(offset).unix_timestamp_nanos() / 1000;
        i64::try_from(nanos).map_err(|_beyond| fault())
    }

    fn offset_at(self, at: OffsetDateTime) -> UtcOffset {
        match self {
            Self::Utc => UtcOffset::UTC,
            Self::Local => UtcOffset::local_offset_at(at).unwrap_or(UtcOffset::UTC),
        }
    }
}

/// Reads a span of time with its unit: `45s`, `15min`, `2h`, `30d`, `1w`.
///
/// # Errors
/// Says what can be written.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let unit = UNITS.iter().find(|(name, _)| *name == unit);
    let count = digits
        .parse::<u64>()
        .ok()
        .filter(|_| !digits.starts_with('+'));
    let seconds = count
        .zip(unit)
        .and_then(|(n, (_, unit))| n.checked_mul(*unit));
    let wrong = || {
        format!("`{text}` is no span of time; write a number and s, min, h, d or w, such as 30d")
    };
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

fn split(text: &str) -> Option<(PrimitiveDateTime, Option<UtcOffset>)> {
    let (date, rest) = match text.split_once(['T', ' ']) {
        Some((date, rest)) => (date, Some(rest)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 {
        return None;
    }
    let month = Month::try_from(number(month)?).ok()?;
    let date = Date::from_calendar_date(year.parse().ok()?, month, number(day)?).ok()?;
    let Some(rest) = rest else {
        return Some((date.with_hms(0, 0, 0).ok()?, None));
    };
    let (clock, offset) = match rest.find(['Z', '+', '-']) {
        Some(at) => {
            let (clock, offset) = rest.split_at(at);
            (clock, Some(read_offset(offset)?))
        }
        None => (rest, None),
    };
    let mut parts = clock.split(':');
    let (hour, minute) = (number(parts.next()?)?, number(parts.next()?)?);
    // Fractions of a second are read as the record writes them, and say nothing here.
    let second = parts.next().unwrap_or("0");
    let second = number(second.split('.').next()?)?;
    if parts.next().is_some() {
        return None;
    }
    let time = Time::from_hms(hour, minute, second).ok()?;
    Some((PrimitiveDateTime::new(date, time), offset))
}

fn read_offset(text: &str) -> Option<UtcOffset> {
    if text == "Z" {
        return Some(UtcOffset::UTC);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let digits: String = rest.chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = digits.split_at_checked(2)?;
    let hours: i8 = i8::try_from(number(hours)?).ok()?;
    let minutes = if minutes.is_empty() {
        0
    } else {
        number(minutes)?
    };
    UtcOffset::from_hms(sign * hours, sign * i8::try_from(minutes).ok()?, 0).ok()
}

fn number(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_187_564);
        Zone::Utc.read(text, now).map(|time| Zone::Utc.show(time))
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, shown) in [
            ("2026-11-20", "2026-11-20 00:00:00.000Z"),
            ("2026-11-20T15:12", "2026-11-20 15:12:00.000Z"),
            ("2026-11-20 15:12:44.123Z", "2026-11-20 15:12:44.000Z"),
            (
                "2026-11-20T15:12:44.123456+0000",
                "2026-11-20 15:12:44.000Z",
            ),
            ("2026-11-20 15:12:44+01:30", "2026-11-20 13:42:44.000Z"),
            ("2026-11-20 15:12:44-05", "2026-11-20 20:12:44.000Z"),
            ("2h", "2026-11-20 13:12:44.000Z"),
            ("1w", "2026-11-13 15:12:44.000Z"),
        ] {
            assert_eq!(read(text), Ok(shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_told() {
        for text in [
            "",
            "now",
            "2h30",
            "-2h",
            "+2h",
            "20-11-2026",
            "2026-13-01",
            "2026-11-31",
            "2026-11-20T25:00",
            "2026-11-20T15",
            "2026-11-20 15:12+",
            "2026-11-20 15:12+é1",
        ] {
            let fault = read(text).unwrap_err();
            assert!(fault.contains("write 2h or 30d"), "{fault}");
        }
    }
}
