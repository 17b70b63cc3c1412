//! Dates and times, in UTC.

use arrow::array::ArrayRef;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};

use crate::fault::Res;
use crate::functions::refused;
use crate::text::pattern::{DAYS, Pattern};
use crate::values::calendar::{
    self, MICROS_PER_DAY, MICROS_PER_SECOND, add_months, civil_from_days, day_of_year, iso_week, month_length, weekday,
};
use crate::values::cast::cast;
use crate::values::coerce::{self, arity};
use crate::values::node::{Node, prims, texts};
use crate::values::spark_types::timestamp_type;
use crate::values::spark_types::{T, is_integral, name};
use crate::values::zone::Zone;

type Part = fn(i64) -> i64;

/// Compiles a function of dates and times.
pub(super) fn build(function: &str, args: &mut Vec<Node>) -> Res<Option<Node>> {
    let count = args.len();
    let mut take = |min, max| -> Res<Vec<Node>> {
        arity(function, args, min, max)?;
        Ok(std::mem::take(args))
    };
    let date_part: Option<Part> = match function {
        "year" => Some(|d| civil_from_days(d).0),
        "quarter" => Some(|d| i64::from(civil_from_days(d).1 + 2) / 3),
        "month" => Some(|d| i64::from(civil_from_days(d).1)),
        "day" | "dayofmonth" => Some(|d| i64::from(civil_from_days(d).2)),
        "dayofyear" => Some(day_of_year),
        "dayofweek" => Some(|d| (weekday(d) + 1) % 7 + 1),
        "weekday" => Some(weekday),
        "weekofyear" => Some(|d| iso_week(d).1),
        "yearofweek" => Some(|d| iso_week(d).0),
        "dayofweek_iso" => Some(|d| weekday(d) + 1),
        "unix_date" => Some(|d| d),
        _ => None,
    };
    if let Some(part) = date_part {
        return of_date(coerce::date(function, take(1, 1)?.remove(0))?, part).map(Some);
    }
    let time_part: Option<Part> = match function {
        "hour" => Some(|m| m.rem_euclid(MICROS_PER_DAY) / (3600 * MICROS_PER_SECOND)),
        "minute" => Some(|m| m.rem_euclid(3600 * MICROS_PER_SECOND) / (60 * MICROS_PER_SECOND)),
        "second" => Some(|m| m.rem_euclid(60 * MICROS_PER_SECOND) / MICROS_PER_SECOND),
        _ => None,
    };
    if let Some(part) = time_part {
        let arg = coerce::timestamp(function, take(1, 1)?.remove(0))?;
        return Node::call(T::Int32, vec![arg], move |args, rows| {
            let v = args[0].prim::<TimestampMicrosecondType>();
            prims::<Int32Type>(&T::Int32, rows, |i| v.at(i).map(|v| part(v) as i32))
        })
        .map(Some);
    }
    Ok(Some(match function {
        "date_part" | "datepart" => part_by_name(take(2, 2)?)?,
        "to_date" if count == 2 => cast(parsed(function, take(2, 2)?)?, &T::Date32)?,
        "to_date" => cast(take(1, 1)?.remove(0), &T::Date32)?,
        "to_timestamp" if count == 2 => parsed(function, take(2, 2)?)?,
        "to_timestamp" => cast(take(1, 1)?.remove(0), &timestamp_type())?,
        "unix_timestamp" | "to_unix_timestamp" => unix_timestamp(function, take(1, 2)?)?,
        "from_unixtime" => {
            let mut args = take(1, 2)?;
            let seconds = coerce::number(function, args.remove(0), &T::Int64)?;
            let pattern = pattern(function, args.pop().unwrap_or_else(|| Node::text(DEFAULT_PATTERN)), false)?;
            let micros = Node::call(timestamp_type(), vec![seconds], |args, rows| {
                let v = args[0].prim::<Int64Type>();
                let t = timestamp_type();
                prims::<TimestampMicrosecondType>(&t, rows, |i| Some(v.at(i)?.wrapping_mul(MICROS_PER_SECOND)))
            })?;
            formatted(micros, pattern)?
        }
        "date_format" => {
            let mut args = take(2, 2)?;
            let pattern = pattern(function, args.remove(1), false)?;
            formatted(coerce::timestamp(function, args.remove(0))?, pattern)?
        }
        "unix_seconds" => of_timestamp(function, take(1, 1)?, |m| m.div_euclid(MICROS_PER_SECOND))?,
        "unix_millis" => of_timestamp(function, take(1, 1)?, |m| m.div_euclid(1_000))?,
        "unix_micros" => of_timestamp(function, take(1, 1)?, |m| m)?,
        "timestamp_seconds" => timestamp_seconds(take(1, 1)?.remove(0))?,
        "timestamp_millis" => timestamp_of(function, take(1, 1)?, 1_000)?,
        "timestamp_micros" => timestamp_of(function, take(1, 1)?, 1)?,
        "date_from_unix_date" => {
            let days = coerce::int(function, take(1, 1)?.remove(0))?;
            Node::call(T::Date32, vec![days], |args, rows| {
                let v = args[0].prim::<Int32Type>();
                prims::<Date32Type>(&T::Date32, rows, |i| v.at(i))
            })?
        }
        "date_add" | "dateadd" | "date_sub" => {
            let mut args = take(2, 2)?;
            let days = args.remove(1);
            if !matches!(days.data_type, T::Null | T::Int8 | T::Int16 | T::Int32) {
                return Err(format!("{function} takes INT days, not {}: cast them", name(&days.data_type)).into());
            }
            add_days(args.remove(0), days, if function == "date_sub" { -1 } else { 1 })?
        }
        "datediff" | "date_diff" => {
            let mut args = take(2, 2)?;
            let start = coerce::date(function, args.remove(1))?;
            let end = coerce::date(function, args.remove(0))?;
            Node::call(T::Int32, vec![end, start], |args, rows| {
                let (a, b) = (args[0].prim::<Date32Type>(), args[1].prim::<Date32Type>());
                prims::<Int32Type>(&T::Int32, rows, |i| Some(a.at(i)?.wrapping_sub(b.at(i)?)))
            })?
        }
        "add_months" => {
            let mut args = take(2, 2)?;
            let months = coerce::int(function, args.remove(1))?;
            let date = coerce::date(function, args.remove(0))?;
            Node::call(T::Date32, vec![date, months], |args, rows| {
                let (d, m) = (args[0].prim::<Date32Type>(), args[1].prim::<Int32Type>());
                prims::<Date32Type>(&T::Date32, rows, |i| add_months(d.at(i)?, i64::from(m.at(i)?)))
            })?
        }
        "months_between" => months_between(take(2, 3)?)?,
        "last_day" => {
            let date = coerce::date(function, take(1, 1)?.remove(0))?;
            of_date_to_date(date, |d| {
                let (year, month, day) = civil_from_days(d);
                d + i64::from(month_length(year, month) - day)
            })?
        }
        "next_day" => next_day(take(2, 2)?)?,
        "make_date" => {
            let args = take(3, 3)?.into_iter().map(|a| coerce::int(function, a)).collect::<Res<Vec<_>>>()?;
            Node::call(T::Date32, args, |args, rows| {
                let part = |k: usize| args[k].prim::<Int32Type>();
                let (y, m, d) = (part(0), part(1), part(2));
                prims::<Date32Type>(&T::Date32, rows, |i| {
                    calendar::date(i64::from(y.at(i)?), i64::from(m.at(i)?), i64::from(d.at(i)?))
                })
            })?
        }
        "make_timestamp" => make_timestamp(take(6, 6)?)?,
        "trunc" => truncate(function, take(2, 2)?)?,
        "date_trunc" => {
            let mut args = take(2, 2)?;
            args.swap(0, 1);
            truncate(function, args)?
        }
        "from_utc_timestamp" | "to_utc_timestamp" => shift_zone(function, take(2, 2)?)?,
        _ => return Ok(None),
    }))
}

const DEFAULT_PATTERN: &str = "yyyy-MM-dd HH:mm:ss";

fn of_date(date: Node, part: Part) -> Res<Node> {
    Node::call(T::Int32, vec![date], move |args, rows| {
        let v = args[0].prim::<Date32Type>();
        prims::<Int32Type>(&T::Int32, rows, |i| v.at(i).map(|v| part(i64::from(v)) as i32))
    })
}

fn of_date_to_date(date: Node, part: Part) -> Res<Node> {
    Node::call(T::Date32, vec![date], move |args, rows| {
        let v = args[0].prim::<Date32Type>();
        prims::<Date32Type>(&T::Date32, rows, |i| v.at(i).map(|v| part(i64::from(v)) as i32))
    })
}

fn of_timestamp(function: &str, mut args: Vec<Node>, part: Part) -> Res<Node> {
    let arg = coerce::timestamp(function, args.remove(0))?;
    Node::call(T::Int64, vec![arg], move |args, rows| {
        let v = args[0].prim::<TimestampMicrosecondType>();
        prims::<Int64Type>(&T::Int64, rows, |i| v.at(i).map(part))
    })
}

/// A date moved by `sign` times the days.
pub(super) fn add_days(date: Node, days: Node, sign: i32) -> Res<Node> {
    let args = vec![coerce::date("date_add", date)?, cast(days, &T::Int32)?];
    Node::call(T::Date32, args, move |args, rows| {
        let (d, n) = (args[0].prim::<Date32Type>(), args[1].prim::<Int32Type>());
        prims::<Date32Type>(&T::Date32, rows, |i| Some(d.at(i)?.wrapping_add(n.at(i)?.wrapping_mul(sign))))
    })
}

/// `EXTRACT(field FROM value)`.
fn part_by_name(mut args: Vec<Node>) -> Res<Node> {
    let value = args.remove(1);
    let Some(Some(field)) = args.remove(0).const_text() else { return Err("date_part takes a field's name".into()) };
    let function = match field.to_ascii_uppercase().as_str() {
        "YEAR" | "Y" | "YEARS" | "YR" | "YRS" => "year",
        "YEAROFWEEK" => "yearofweek",
        "QUARTER" | "QTR" => "quarter",
        "MONTH" | "MON" | "MONS" | "MONTHS" => "month",
        "WEEK" | "W" | "WEEKS" => "weekofyear",
        "DAY" | "D" | "DAYS" => "day",
        "DAYOFWEEK" | "DOW" => "dayofweek",
        "DAYOFWEEK_ISO" | "DOW_ISO" => "dayofweek_iso",
        "DOY" => "dayofyear",
        "HOUR" | "H" | "HOURS" | "HR" | "HRS" => "hour",
        "MINUTE" | "M" | "MIN" | "MINS" | "MINUTES" => "minute",
        "SECOND" | "S" | "SEC" | "SECONDS" | "SECS" => {
            let data_type = T::Decimal128(8, 6);
            let arg = coerce::timestamp("date_part", value)?;
            return Node::call(data_type.clone(), vec![arg], move |args, rows| {
                let v = args[0].prim::<TimestampMicrosecondType>();
                prims::<Decimal128Type>(&data_type, rows, |i| {
                    v.at(i).map(|v| i128::from(v.rem_euclid(60 * MICROS_PER_SECOND)))
                })
            });
        }
        _ => return Err(format!("there is no field '{field}' of a date").into()),
    };
    build(function, &mut vec![value])?.ok_or_else(|| refused::unknown(function))
}

fn pattern(function: &str, node: Node, reads: bool) -> Res<Option<Pattern>> {
    match coerce::text(function, node)?.const_text() {
        Some(Some(text)) => Pattern::compile(&text, reads).map(Some),
        Some(None) => Ok(None),
        None => Err(format!("{function}: the pattern is to be a text, the same in each row").into()),
    }
}

fn formatted(micros: Node, pattern: Option<Pattern>) -> Res<Node> {
    let Some(pattern) = pattern else { return Ok(Node::null(&T::Utf8)) };
    Node::call(T::Utf8, vec![micros], move |args, rows| {
        let v = args[0].prim::<TimestampMicrosecondType>();
        texts(rows, |i, out| v.at(i).map(|v| pattern.write(v, out)))
    })
}

/// A text read by a pattern; dates and timestamps stay what they are.
fn parsed(function: &str, mut args: Vec<Node>) -> Res<Node> {
    let pattern = pattern(function, args.remove(1), true)?;
    let value = args.remove(0);
    match &value.data_type {
        T::Date32 | T::Timestamp(..) => return cast(value, &timestamp_type()),
        T::Utf8 | T::Null => {}
        other => return Err(format!("{function} with a pattern takes a string, not {}", name(other)).into()),
    }
    let Some(pattern) = pattern else { return Ok(Node::null(&timestamp_type())) };
    Node::call(timestamp_type(), vec![cast(value, &T::Utf8)?], move |args, rows| {
        let v = args[0].text();
        prims::<TimestampMicrosecondType>(&timestamp_type(), rows, |i| pattern.read(v.at(i)?))
    })
}

fn unix_timestamp(function: &str, mut args: Vec<Node>) -> Res<Node> {
    if args.len() == 1 {
        args.push(Node::text(DEFAULT_PATTERN));
    }
    // Unlike unix_seconds, it cuts towards 1970.
    of_timestamp(function, vec![parsed(function, args)?], |m| m / MICROS_PER_SECOND)
}

fn timestamp_of(function: &str, mut args: Vec<Node>, factor: i64) -> Res<Node> {
    let arg = args.remove(0);
    if !is_integral(&arg.data_type) && !arg.is_null_literal() {
        return Err(format!("{function} takes an integer, not {}: cast it", name(&arg.data_type)).into());
    }
    Node::call(timestamp_type(), vec![cast(arg, &T::Int64)?], move |args, rows| {
        let v = args[0].prim::<Int64Type>();
        prims::<TimestampMicrosecondType>(&timestamp_type(), rows, |i| v.at(i)?.checked_mul(factor))
    })
}

fn timestamp_seconds(arg: Node) -> Res<Node> {
    match &arg.data_type {
        T::Decimal128(_, scale) if *scale > 6 => {
            Err("timestamp_seconds takes decimals of at most 6 digits: cast it".into())
        }
        T::Decimal128(..) | T::Float32 | T::Float64 => cast(arg, &timestamp_type()),
        _ => timestamp_of("timestamp_seconds", vec![arg], MICROS_PER_SECOND),
    }
}

fn months_between(mut args: Vec<Node>) -> Res<Node> {
    let round = match args.len() {
        3 => match args.remove(2).value() {
            Some(value) if value.data_type() == &T::Boolean => {
                !arrow::array::Array::is_null(value, 0) && arrow::array::AsArray::as_boolean(value).value(0)
            }
            _ => return Err("months_between: whether to round is to be true or false".into()),
        },
        _ => true,
    };
    let args = args.into_iter().map(|a| coerce::timestamp("months_between", a)).collect::<Res<Vec<_>>>()?;
    Node::call(T::Float64, args, move |args, rows| {
        let (a, b) = (args[0].prim::<TimestampMicrosecondType>(), args[1].prim::<TimestampMicrosecondType>());
        prims::<Float64Type>(&T::Float64, rows, |i| {
            let split = |micros: i64| {
                let (days, of_day) = calendar::split_micros(micros);
                let (year, month, day) = civil_from_days(days);
                let last = month_length(year, month) == day;
                (year * 12 + i64::from(month), i64::from(day), last, of_day / MICROS_PER_SECOND)
            };
            let (a, b) = (split(a.at(i)?), split(b.at(i)?));
            let months = (a.0 - b.0) as f64;
            if a.1 == b.1 || (a.2 && b.2) {
                return Some(months);
            }
            let seconds = (a.1 - b.1) * 86_400 + a.3 - b.3;
            let months = months + seconds as f64 / (31 * 86_400) as f64;
            Some(if round { (months * 1e8 + 0.5).floor() / 1e8 } else { months })
        })
    })
}

/// The weekday of a name, 0 for Monday.
fn day_of_name(text: &str) -> Option<i64> {
    let upper = text.to_ascii_uppercase();
    DAYS.iter()
        .position(|day| {
            let day = day.to_ascii_uppercase();
            upper == day || upper == day[..2] || upper == day[..3]
        })
        .map(|i| i as i64)
}

fn next_day(mut args: Vec<Node>) -> Res<Node> {
    let day = coerce::text("next_day", args.remove(1))?;
    let date = coerce::date("next_day", args.remove(0))?;
    Node::call(T::Date32, vec![date, day], |args, rows| {
        let (dates, names) = (args[0].prim::<Date32Type>(), args[1].text());
        prims::<Date32Type>(&T::Date32, rows, |i| {
            let date = i64::from(dates.at(i)?);
            let ahead = (day_of_name(names.at(i)?)? - weekday(date)).rem_euclid(7);
            Some((date + if ahead == 0 { 7 } else { ahead }) as i32)
        })
    })
}

fn make_timestamp(args: Vec<Node>) -> Res<Node> {
    let seconds_type = T::Decimal128(16, 6);
    let mut nodes = Vec::with_capacity(6);
    for (i, arg) in args.into_iter().enumerate() {
        nodes.push(match i {
            5 => coerce::number("make_timestamp", arg, &seconds_type)?,
            _ => coerce::int("make_timestamp", arg)?,
        });
    }
    Node::call(timestamp_type(), nodes, |args, rows| {
        let part = |k: usize, i: usize| args[k].prim::<Int32Type>().at(i).map(i64::from);
        let seconds = args[5].prim::<Decimal128Type>();
        prims::<TimestampMicrosecondType>(&timestamp_type(), rows, |i| {
            let date = calendar::date(part(0, i)?, part(1, i)?, part(2, i)?)?;
            let (hour, minute, micros) = (part(3, i)?, part(4, i)?, seconds.at(i)? as i64);
            if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60 * MICROS_PER_SECOND).contains(&micros)
            {
                return None;
            }
            let of_day = (hour * 60 + minute) * 60 * MICROS_PER_SECOND + micros;
            i64::from(date).checked_mul(MICROS_PER_DAY)?.checked_add(of_day)
        })
    })
}

/// The start of the span around a time, in microseconds; none for a span that is not known.
fn start_of(level: &str, micros: i64, date_only: bool) -> Option<i64> {
    let days = micros.div_euclid(MICROS_PER_DAY);
    let floor = |unit: i64| micros - micros.rem_euclid(unit);
    let (year, month, _) = civil_from_days(days);
    let day = match level {
        "WEEK" => days - weekday(days),
        "MONTH" | "MON" | "MM" => calendar::days_from_civil(year, month, 1),
        "QUARTER" => calendar::days_from_civil(year, (month - 1) / 3 * 3 + 1, 1),
        "YEAR" | "YYYY" | "YY" => calendar::days_from_civil(year, 1, 1),
        _ if date_only => return None,
        "DAY" | "DD" => days,
        "HOUR" => return Some(floor(3600 * MICROS_PER_SECOND)),
        "MINUTE" => return Some(floor(60 * MICROS_PER_SECOND)),
        "SECOND" => return Some(floor(MICROS_PER_SECOND)),
        "MILLISECOND" => return Some(floor(1_000)),
        "MICROSECOND" => return Some(micros),
        _ => return None,
    };
    day.checked_mul(MICROS_PER_DAY)
}

/// `trunc(date, level)` and `date_trunc` with the arguments turned.
fn truncate(function: &str, mut args: Vec<Node>) -> Res<Node> {
    let level = coerce::text(function, args.remove(1))?;
    let date_only = function == "trunc";
    let (data_type, value) = match date_only {
        true => (T::Date32, coerce::date(function, args.remove(0))?),
        false => (timestamp_type(), coerce::timestamp(function, args.remove(0))?),
    };
    Node::call(data_type, vec![value, level], move |args, rows| -> Res<ArrayRef> {
        let levels = args[1].text();
        // Nearly always one level for all rows.
        let fixed = args[1].scalar.then(|| levels.at(0).map(str::to_ascii_uppercase));
        let level = |i: usize| match &fixed {
            Some(level) => level.clone(),
            None => levels.at(i).map(str::to_ascii_uppercase),
        };
        if date_only {
            let v = args[0].prim::<Date32Type>();
            return prims::<Date32Type>(&T::Date32, rows, |i| {
                let micros = i64::from(v.at(i)?).checked_mul(MICROS_PER_DAY)?;
                start_of(&level(i)?, micros, true).map(|m| m.div_euclid(MICROS_PER_DAY) as i32)
            });
        }
        let v = args[0].prim::<TimestampMicrosecondType>();
        prims::<TimestampMicrosecondType>(&timestamp_type(), rows, |i| start_of(&level(i)?, v.at(i)?, false))
    })
}

fn shift_zone(function: &str, mut args: Vec<Node>) -> Res<Node> {
    let zone = coerce::text(function, args.remove(1))?;
    let value = coerce::timestamp(function, args.remove(0))?;
    let zone = match zone.const_text() {
        Some(Some(name)) => Zone::of(&name).ok_or_else(|| format!("there is no time zone '{name}'"))?,
        Some(None) => return Ok(Node::null(&timestamp_type())),
        None => return Err(format!("{function}: the zone is to be a text, the same in each row").into()),
    };
    let local = function == "from_utc_timestamp";
    let data_type: DataType = timestamp_type();
    Node::call(data_type, vec![value], move |args, rows| {
        let v = args[0].prim::<TimestampMicrosecondType>();
        prims::<TimestampMicrosecondType>(&timestamp_type(), rows, |i| {
            let micros = v.at(i)?;
            if local { zone.to_local(micros) } else { zone.to_utc(micros) }
        })
    })
}
