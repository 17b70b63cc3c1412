//! Reading dates and times by a pattern, as strictly as Java does for Spark.

use crate::text::pattern::{Item, MONTHS, Pattern};
use crate::values::calendar::{self, MICROS_PER_DAY, MICROS_PER_SECOND};
use crate::values::zone::Zone;

#[derive(Default, Clone)]
struct Fields {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    hour: Option<i64>,
    half_hour: Option<i64>,
    afternoon: Option<bool>,
    minute: Option<i64>,
    second: Option<i64>,
    micros: Option<i64>,
    zone: Option<String>,
}

/// Sets a field; the same again is right, another value is not.
fn set<V: PartialEq>(field: &mut Option<V>, value: V) -> Option<()> {
    match field {
        Some(known) if *known != value => None,
        _ => {
            *field = Some(value);
            Some(())
        }
    }
}

impl Pattern {
    /// The time that a text tells; none where it does not follow the pattern, or there is no such time.
    pub fn read(&self, text: &str) -> Option<i64> {
        let mut fields = Fields::default();
        let end = read_items(&self.0, text, 0, &mut fields)?;
        if end != text.len() {
            return None;
        }
        fields.resolve()
    }
}

impl Fields {
    fn resolve(self) -> Option<i64> {
        let date = calendar::date(self.year.unwrap_or(1970), self.month.unwrap_or(1), self.day.unwrap_or(1))?;
        let half = match (self.half_hour, self.afternoon) {
            (Some(hour), afternoon) => Some(hour + if afternoon == Some(true) { 12 } else { 0 }),
            (None, Some(afternoon)) if self.hour.is_none() => Some(if afternoon { 12 } else { 0 }),
            _ => None,
        };
        if let (Some(hour), Some(afternoon)) = (self.hour, self.afternoon)
            && (hour >= 12) != afternoon
        {
            return None;
        }
        let hour = match (self.hour, half) {
            (Some(hour), Some(half)) if hour != half => return None,
            (hour, half) => hour.or(half).unwrap_or(0),
        };
        let seconds = (hour * 60 + self.minute.unwrap_or(0)) * 60 + self.second.unwrap_or(0);
        let of_day = seconds * MICROS_PER_SECOND + self.micros.unwrap_or(0);
        let local = i64::from(date).checked_mul(MICROS_PER_DAY)?.checked_add(of_day)?;
        match self.zone {
            Some(zone) => Zone::of(&zone)?.to_utc(local),
            None => Some(local),
        }
    }
}

/// How many digits a field has always.
fn fixed_width(item: &Item) -> Option<usize> {
    match item {
        Item::Field('y' | 'M' | 'L' | 'd' | 'H' | 'h' | 'K' | 'k' | 'm' | 's', 2) => Some(2),
        _ => None,
    }
}

fn read_items(items: &[Item], text: &str, mut at: usize, fields: &mut Fields) -> Option<usize> {
    for (i, item) in items.iter().enumerate() {
        at = match item {
            Item::Literal(literal) => {
                let found = text.get(at..at + literal.len())?;
                if !found.eq_ignore_ascii_case(literal) {
                    return None;
                }
                at + literal.len()
            }
            Item::Optional(inner) => {
                let mut tried = fields.clone();
                match read_items(inner, text, at, &mut tried) {
                    Some(end) => {
                        *fields = tried;
                        end
                    }
                    None => at,
                }
            }
            Item::Field(letter, count) => {
                // Numbers side by side: the first leaves the later ones their digits.
                let reserved = items[i + 1..].iter().map_while(fixed_width).sum();
                read_field(*letter, *count, text, at, reserved, fields)?
            }
        };
    }
    Some(at)
}

/// Reads one of `names`, or their first three letters; the index and the end.
fn name_at(names: &[&str], short: bool, text: &str, at: usize) -> Option<(usize, usize)> {
    names.iter().enumerate().find_map(|(i, name)| {
        let name = if short { &name[..3] } else { name };
        text.get(at..at + name.len()).filter(|t| t.eq_ignore_ascii_case(name)).map(|_| (i, at + name.len()))
    })
}

/// Digits from `least` to `most`, leaving `reserved` to later fields.
fn digits(text: &str, at: usize, least: usize, most: usize, reserved: usize) -> Option<(i64, usize)> {
    let run =
        text.as_bytes()[at..].iter().take(most.saturating_add(reserved)).take_while(|b| b.is_ascii_digit()).count();
    let length = if reserved > 0 { run.saturating_sub(reserved).max(least) } else { run }.min(most);
    if length < least || length > run || length > 18 {
        return None;
    }
    Some((text.get(at..at + length)?.parse().ok()?, at + length))
}

fn read_year(count: usize, text: &str, at: usize, reserved: usize) -> Option<(i64, usize)> {
    if count == 2 {
        let (year, end) = digits(text, at, 2, 2, 0)?;
        return Some((2000 + year, end));
    }
    let sign = text.as_bytes().get(at).copied().filter(|b| matches!(b, b'-' | b'+'));
    let start = at + usize::from(sign.is_some());
    let (year, end) = digits(text, start, count, 19, reserved)?;
    let longer = end - start > count;
    match sign {
        Some(b'-') if year != 0 => Some((-year, end)),
        Some(b'+') if count >= 4 && longer => Some((year, end)),
        None if count < 4 || !longer || reserved > 0 => (count < 4 || !longer).then_some((year, end)),
        _ => None,
    }
}

fn read_field(
    letter: char,
    count: usize,
    text: &str,
    at: usize,
    reserved: usize,
    fields: &mut Fields,
) -> Option<usize> {
    match letter {
        'y' => {
            let (year, end) = read_year(count, text, at, reserved)?;
            set(&mut fields.year, year)?;
            return Some(end);
        }
        'M' | 'L' if count >= 3 => {
            let (month, end) = name_at(&MONTHS, count == 3, text, at)?;
            set(&mut fields.month, month as i64 + 1)?;
            return Some(end);
        }
        'a' => {
            let found = text.get(at..at + 2)?;
            let afternoon = found.eq_ignore_ascii_case("PM");
            if !afternoon && !found.eq_ignore_ascii_case("AM") {
                return None;
            }
            set(&mut fields.afternoon, afternoon)?;
            return Some(at + 2);
        }
        'S' => {
            let (value, end) = digits(text, at, 1, count, 0)?;
            let length = (end - at) as u32;
            let micros = if length <= 6 { value * 10i64.pow(6 - length) } else { value / 10i64.pow(length - 6) };
            set(&mut fields.micros, micros)?;
            return Some(end);
        }
        'X' | 'x' | 'Z' => return read_offset(letter, count, text, at, fields),
        'V' => {
            let rest = text.get(at..)?;
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "/_+-:".contains(c))).unwrap_or(rest.len());
            Zone::of(&rest[..end])?;
            set(&mut fields.zone, rest[..end].to_owned())?;
            return Some(at + end);
        }
        _ => {}
    }
    let (value, end) = match count {
        1 => digits(text, at, 1, 19, reserved)?,
        _ => digits(text, at, count, count, 0)?,
    };
    let within = |low: i64, high: i64| (low..=high).contains(&value).then_some(value);
    match letter {
        'M' | 'L' => set(&mut fields.month, within(1, 12)?)?,
        'd' => set(&mut fields.day, within(1, 31)?)?,
        'H' => set(&mut fields.hour, within(0, 23)?)?,
        'k' => set(&mut fields.hour, within(1, 24)? % 24)?,
        'K' => set(&mut fields.half_hour, within(0, 11)?)?,
        'h' => set(&mut fields.half_hour, within(1, 12)? % 12)?,
        'm' => set(&mut fields.minute, within(0, 59)?)?,
        _ => set(&mut fields.second, within(0, 59)?)?,
    }
    Some(end)
}

/// `+hh`, `+hhmm` or `+hh:mm`, and Z for none where the letter is X.
fn read_offset(letter: char, count: usize, text: &str, at: usize, fields: &mut Fields) -> Option<usize> {
    let bytes = text.as_bytes();
    if letter == 'X' && matches!(bytes.get(at), Some(b'Z' | b'z')) {
        set(&mut fields.zone, "Z".to_owned())?;
        return Some(at + 1);
    }
    if !matches!(bytes.get(at), Some(b'+' | b'-')) {
        return None;
    }
    let two = |at: usize| text.get(at..at + 2).filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    let hours = two(at + 1)?;
    let mut end = at + 3;
    let mut minutes = "00";
    let (colon, needed) = match (letter, count) {
        ('Z', _) | (_, 2) => (0, true),
        (_, 1) => (0, false),
        _ => (1, true),
    };
    if colon == 1 && bytes.get(end) != Some(&b':') {
        return None;
    }
    match two(end + colon) {
        Some(found) => {
            minutes = found;
            end += colon + 2;
        }
        None if needed => return None,
        None => {}
    }
    let sign = &text[at..=at];
    set(&mut fields.zone, format!("{sign}{hours}:{minutes}"))?;
    Some(end)
}
