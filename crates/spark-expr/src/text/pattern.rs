//! Patterns of dates and times as Spark 3 takes them (`yyyy-MM-dd HH:mm:ss`): compiled once, written in English and UTC.

use std::fmt::Write;

use crate::fault::Res;
use crate::values::calendar::{MICROS_PER_SECOND, civil_from_days, day_of_year, split_micros, weekday};

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(crate) const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Literal(String),
    /// A letter and how often it stands.
    Field(char, usize),
    /// `[…]`
    Optional(Vec<Item>),
}

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern(pub Vec<Item>);

impl Pattern {
    /// Compiles a pattern to write with, or to read with.
    pub fn compile(text: &str, reads: bool) -> Res<Self> {
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        let items = items(&chars, &mut at, 0, text)?;
        check(&items, reads, text)?;
        Ok(Self(items))
    }

    /// Writes a time in UTC.
    pub fn write(&self, micros: i64, out: &mut String) {
        let (days, of_day) = split_micros(micros);
        let (year, month, day) = civil_from_days(days);
        let moment =
            Moment { year, month, day, days, seconds: of_day / MICROS_PER_SECOND, micros: of_day % MICROS_PER_SECOND };
        write_items(&self.0, &moment, out);
    }
}

struct Moment {
    year: i64,
    month: u32,
    day: u32,
    days: i64,
    seconds: i64,
    micros: i64,
}

fn items(chars: &[char], at: &mut usize, depth: usize, text: &str) -> Res<Vec<Item>> {
    let mut found: Vec<Item> = Vec::new();
    let literal = |found: &mut Vec<Item>, c: char| match found.last_mut() {
        Some(Item::Literal(text)) => text.push(c),
        _ => found.push(Item::Literal(c.to_string())),
    };
    while let Some(&c) = chars.get(*at) {
        match c {
            '\'' => {
                *at += 1;
                if chars.get(*at) == Some(&'\'') {
                    *at += 1;
                    literal(&mut found, '\'');
                    continue;
                }
                loop {
                    match (chars.get(*at), chars.get(*at + 1)) {
                        (Some('\''), Some('\'')) => {
                            literal(&mut found, '\'');
                            *at += 2;
                        }
                        (Some('\''), _) => break,
                        (Some(c), _) => {
                            literal(&mut found, *c);
                            *at += 1;
                        }
                        (None, _) => return Err(format!("the pattern '{text}' has an open quote").into()),
                    }
                }
                *at += 1;
            }
            '[' => {
                *at += 1;
                found.push(Item::Optional(items(chars, at, depth + 1, text)?));
                if chars.get(*at) != Some(&']') {
                    return Err(format!("the pattern '{text}' has an open [").into());
                }
                *at += 1;
            }
            ']' if depth > 0 => return Ok(found),
            ']' | '{' | '}' | '#' => return Err(format!("the pattern '{text}' has a stray {c}").into()),
            _ if c.is_ascii_alphabetic() => {
                let count = chars[*at..].iter().take_while(|x| **x == c).count();
                *at += count;
                found.push(Item::Field(c, count));
            }
            _ => {
                literal(&mut found, c);
                *at += 1;
            }
        }
    }
    Ok(found)
}

fn check(items: &[Item], reads: bool, text: &str) -> Res<()> {
    for item in items {
        match item {
            Item::Literal(_) => {}
            Item::Optional(items) => check(items, reads, text)?,
            Item::Field(letter, count) => {
                let most = match (letter, reads) {
                    ('y', _) => 6,
                    ('M' | 'L', _) | ('E', false) => 4,
                    ('d' | 'H' | 'h' | 'K' | 'k' | 'm' | 's', _) => 2,
                    ('D', false) => 3,
                    ('a', _) => 1,
                    ('S', _) => 9,
                    ('Q' | 'q', false) => 4,
                    ('X' | 'x', _) => 3,
                    ('Z', false) => 5,
                    ('Z', true) => 3,
                    ('z', false) => 4,
                    ('O', false) => 4,
                    ('V', _) => 2,
                    _ => 0,
                };
                let odd = matches!((letter, count), ('V', 1) | ('O', 2 | 3));
                if *count > most || odd {
                    let field = letter.to_string().repeat(*count);
                    return Err(format!(
                        "the pattern '{text}' has {field}, which is not supported: use y M d D E a H h m s S Q X x Z z"
                    )
                    .into());
                }
            }
        }
    }
    Ok(())
}

fn write_items(items: &[Item], moment: &Moment, out: &mut String) {
    for item in items {
        match item {
            Item::Literal(text) => out.push_str(text),
            Item::Optional(items) => write_items(items, moment, out),
            Item::Field(letter, count) => write_field(*letter, *count, moment, out),
        }
    }
}

fn write_field(letter: char, count: usize, moment: &Moment, out: &mut String) {
    let hour = moment.seconds / 3600;
    let number = match letter {
        'y' => return write_year(moment.year, count, out),
        'M' | 'L' if count >= 3 => {
            let name = MONTHS[moment.month as usize - 1];
            return out.push_str(if count == 3 { &name[..3] } else { name });
        }
        'E' => {
            let name = DAYS[weekday(moment.days) as usize];
            return out.push_str(if count <= 3 { &name[..3] } else { name });
        }
        'a' => return out.push_str(if hour < 12 { "AM" } else { "PM" }),
        'S' => {
            let digits = format!("{:06}000", moment.micros);
            return out.push_str(&digits[..count]);
        }
        'X' | 'Z' if letter == 'X' || count == 5 => return out.push('Z'),
        'x' => return out.push_str(["+00", "+0000", "+00:00"][count - 1]),
        'Z' | 'O' => return out.push_str(if letter == 'Z' && count < 4 { "+0000" } else { "GMT" }),
        'z' => return out.push_str(if count < 4 { "UTC" } else { "Coordinated Universal Time" }),
        'V' => return out.push_str("UTC"),
        'Q' | 'q' => {
            let quarter = (moment.month as i64 + 2) / 3;
            match count {
                3 => return out.push_str(["Q1", "Q2", "Q3", "Q4"][quarter as usize - 1]),
                4 => {
                    return out
                        .push_str(["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"][quarter as usize - 1]);
                }
                _ => quarter,
            }
        }
        'M' | 'L' => i64::from(moment.month),
        'd' => i64::from(moment.day),
        'D' => day_of_year(moment.days),
        'H' => hour,
        'k' => {
            if hour == 0 {
                24
            } else {
                hour
            }
        }
        'K' => hour % 12,
        'h' => {
            if hour % 12 == 0 {
                12
            } else {
                hour % 12
            }
        }
        'm' => moment.seconds / 60 % 60,
        _ => moment.seconds % 60,
    };
    let _ = write!(out, "{number:0count$}");
}

fn write_year(year: i64, count: usize, out: &mut String) {
    let sign = match year {
        ..0 => "-",
        _ if count >= 4 && year >= 10i64.pow(count as u32) => "+",
        _ => "",
    };
    let _ = match count {
        2 => write!(out, "{:02}", year.unsigned_abs() % 100),
        _ => write!(out, "{sign}{:0count$}", year.unsigned_abs()),
    };
}
