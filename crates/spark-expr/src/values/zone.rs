//! Time zones by Java's names: offsets and regions.

use std::str::FromStr;

use arrow::array::timezone::Tz;
use chrono::{DateTime, LocalResult, Offset, TimeZone};

use crate::values::calendar::{
    MICROS_PER_DAY, MICROS_PER_SECOND, civil_from_days, days_from_civil, is_leap, split_micros, weekday,
};

/// A time zone.
#[derive(Debug)]
pub(crate) enum Zone {
    /// Seconds east of UTC.
    Fixed(i64),
    Region(Tz),
}

impl Zone {
    /// The zone of a name as `ZoneId.of` takes it; none where there is no such zone.
    pub fn of(name: &str) -> Option<Self> {
        if name == "Z" {
            return Some(Self::Fixed(0));
        }
        if name.starts_with(['+', '-']) {
            return offset(name).map(Self::Fixed);
        }
        for prefix in ["UTC", "GMT", "UT"] {
            if let Some(rest) = name.strip_prefix(prefix) {
                if rest.is_empty() {
                    return Some(Self::Fixed(0));
                }
                if rest.starts_with(['+', '-']) {
                    return offset(rest).map(Self::Fixed);
                }
            }
        }
        // Names that Java has as a short for another.
        let name = match name {
            "EST" => return Some(Self::Fixed(-5 * 3600)),
            "MST" => return Some(Self::Fixed(-7 * 3600)),
            "HST" => return Some(Self::Fixed(-10 * 3600)),
            "PST" => "America/Los_Angeles",
            "CST" => "America/Chicago",
            "IST" => "Asia/Kolkata",
            "JST" => "Asia/Tokyo",
            _ if name.contains('/') || name == "CET" || name == "MET" || name == "EET" || name == "WET" => name,
            _ => return None,
        };
        Tz::from_str(name).ok().map(Self::Region)
    }

    /// Microseconds in UTC of a local time; one that a change of clocks skips is moved on, of two the first is taken.
    pub fn to_utc(&self, local: i64) -> Option<i64> {
        let offset = match self {
            Self::Fixed(seconds) => *seconds,
            Self::Region(zone) => {
                let time = DateTime::from_timestamp_micros(known_year(local))?.naive_utc();
                match zone.offset_from_local_datetime(&time) {
                    LocalResult::Single(o) | LocalResult::Ambiguous(o, _) => i64::from(o.fix().local_minus_utc()),
                    // In a gap the offset before it holds.
                    LocalResult::None => self.offset_at(local - 86_400 * MICROS_PER_SECOND)?,
                }
            }
        };
        local.checked_sub(offset * MICROS_PER_SECOND)
    }

    /// Local microseconds of a time in UTC.
    pub fn to_local(&self, utc: i64) -> Option<i64> {
        utc.checked_add(self.offset_at(utc)? * MICROS_PER_SECOND)
    }

    fn offset_at(&self, utc: i64) -> Option<i64> {
        match self {
            Self::Fixed(seconds) => Some(*seconds),
            Self::Region(zone) => {
                let time = DateTime::from_timestamp_micros(known_year(utc))?.naive_utc();
                Some(i64::from(zone.offset_from_utc_datetime(&time).fix().local_minus_utc()))
            }
        }
    }
}

/// The time in a year that the tables of zones reach and that has the same weekdays: the rules recur for ever.
fn known_year(micros: i64) -> i64 {
    let (days, of_day) = split_micros(micros);
    let (year, month, day) = civil_from_days(days);
    if year < 2088 {
        return micros;
    }
    let first = |year: i64| weekday(days_from_civil(year, 1, 1));
    let like = (2060..2088).find(|y| is_leap(*y) == is_leap(year) && first(*y) == first(year));
    days_from_civil(like.unwrap_or(2087), month, day) * MICROS_PER_DAY + of_day
}

/// `+h`, `+hh`, `+hh:mm`, `+hhmm`, `+hh:mm:ss`, `+hhmmss`, and Spark's `+h:mm` and `+hh:m`: seconds.
fn offset(text: &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let rest = text.get(1..)?;
    let parts: Vec<&str> = if rest.contains(':') {
        rest.split(':').collect()
    } else {
        match rest.len() {
            1 | 2 => vec![rest],
            4 => vec![rest.get(..2)?, rest.get(2..)?],
            6 => vec![rest.get(..2)?, rest.get(2..4)?, rest.get(4..)?],
            _ => return None,
        }
    };
    if parts.len() > 3 || parts.iter().any(|p| p.is_empty() || p.len() > 2 || !p.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let value = |i: usize| parts.get(i).map_or(Some(0), |p| p.parse::<i64>().ok());
    let (hours, minutes, seconds) = (value(0)?, value(1)?, value(2)?);
    let total = hours * 3600 + minutes * 60 + seconds;
    (minutes < 60 && seconds < 60 && total <= 18 * 3600).then_some(sign * total)
}
