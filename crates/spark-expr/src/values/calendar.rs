//! The proleptic Gregorian calendar, as Spark 3 and java.time have it.

pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(crate) const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Days since 1970-01-01 of a date that exists.
pub(crate) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let shifted = i64::from((month + 9) % 12);
    let day_of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of the days since 1970-01-01.
pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

pub(super) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub(crate) fn month_length(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01, where there is such a date and 32 bits hold it.
pub(crate) fn date(year: i64, month: i64, day: i64) -> Option<i32> {
    let month = u32::try_from(month).ok().filter(|m| (1..=12).contains(m))?;
    let day = u32::try_from(day).ok().filter(|d| (1..=month_length(year, month)).contains(d))?;
    i32::try_from(days_from_civil(year, month, day)).ok()
}

/// The date moved by months; its day is cut to the month's length.
pub(crate) fn add_months(days: i32, months: i64) -> Option<i32> {
    let (year, month, day) = civil_from_days(i64::from(days));
    let total = year * 12 + i64::from(month) - 1 + months;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) as u32 + 1);
    i32::try_from(days_from_civil(year, month, day.min(month_length(year, month)))).ok()
}

pub(crate) fn day_of_year(days: i64) -> i64 {
    days - days_from_civil(civil_from_days(days).0, 1, 1) + 1
}

/// 0 for Monday to 6 for Sunday.
pub(crate) fn weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7)
}

/// The ISO year and week.
pub(crate) fn iso_week(days: i64) -> (i64, i64) {
    let thursday = days - weekday(days) + 3;
    (civil_from_days(thursday).0, (day_of_year(thursday) - 1) / 7 + 1)
}

/// A time apart into its day and the microseconds of it.
pub(crate) fn split_micros(micros: i64) -> (i64, i64) {
    (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY))
}

/// The year as Spark writes it: four digits at least, with a sign where it has more.
pub(crate) fn write_year(year: i64, out: &mut String) {
    use std::fmt::Write;
    let _ = match year {
        0..=9999 => write!(out, "{year:04}"),
        10_000.. => write!(out, "+{year}"),
        _ => write!(out, "-{:04}", -year),
    };
}

/// `yyyy-MM-dd`.
pub(super) fn write_date(days: i64, out: &mut String) {
    use std::fmt::Write;
    let (year, month, day) = civil_from_days(days);
    write_year(year, out);
    let _ = write!(out, "-{month:02}-{day:02}");
}

/// `yyyy-MM-dd HH:mm:ss` and, where there is one, the fraction without trailing zeros.
pub(super) fn write_timestamp(micros: i64, out: &mut String) {
    use std::fmt::Write;
    let (days, of_day) = split_micros(micros);
    write_date(days, out);
    let seconds = of_day / MICROS_PER_SECOND;
    let _ = write!(out, " {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = of_day % MICROS_PER_SECOND;
    if fraction != 0 {
        let _ = write!(out, ".{fraction:06}");
        out.truncate(out.trim_end_matches('0').len());
    }
}
