//! Texts: finding, replacing, splitting.

use arrow::datatypes::{Int32Type, Int64Type};

use crate::fault::Res;
use crate::functions::strings::{byte_at, limit, lower};
use crate::values::cast::cast;
use crate::values::coerce::{self, arity};
use crate::values::node::{Arg, Node, bools, prims, texts};
use crate::values::spark_types::{T, name, timestamp_type};

/// Compiles a function of texts.
pub(super) fn build(function: &str, args: &mut Vec<Node>) -> Res<Option<Node>> {
    if let Some(to) = cast_of(function) {
        arity(function, args, 1, 1)?;
        return cast(args.remove(0), &to).map(Some);
    }
    let mut take = |min, max| -> Res<Vec<Node>> {
        arity(function, args, min, max)?;
        Ok(std::mem::take(args))
    };
    let all_text = |args: Vec<Node>| args.into_iter().map(|a| coerce::text(function, a)).collect::<Res<Vec<_>>>();
    Ok(Some(match function {
        "repeat" => {
            let mut args = take(2, 2)?;
            let count = args.remove(1);
            repeat(function, args.remove(0), count)?
        }
        "space" => repeat("repeat", Node::text(" "), take(1, 1)?.remove(0))?,
        "chr" | "char" => {
            let code = coerce::number(function, take(1, 1)?.remove(0), &T::Int64)?;
            Node::call(T::Utf8, vec![code], |args, rows| {
                let v = args[0].prim::<Int64Type>();
                texts(rows, |i, out| {
                    let code = v.at(i)?;
                    if code >= 0 {
                        out.push(char::from((code & 0xff) as u8));
                    }
                    Some(())
                })
            })?
        }
        "instr" => {
            let args = all_text(take(2, 2)?)?;
            Node::call(T::Int32, args, |args, rows| {
                let (v, part) = (args[0].text(), args[1].text());
                prims::<Int32Type>(&T::Int32, rows, |i| Some(find(v.at(i)?, part.at(i)?, 0)))
            })?
        }
        "locate" | "position" => locate(function, take(2, 3)?)?,
        "translate" => {
            let args = all_text(take(3, 3)?)?;
            Node::call(T::Utf8, args, |args, rows| {
                let (v, from, to) = (args[0].text(), args[1].text(), args[2].text());
                texts(rows, |i, out| {
                    let (text, from, to) = (v.at(i)?, from.at(i)?, to.at(i)?);
                    for c in text.chars() {
                        match from.chars().position(|f| f == c) {
                            None => out.push(c),
                            Some(at) => out.extend(to.chars().nth(at)),
                        }
                    }
                    Some(())
                })
            })?
        }
        "replace" => {
            let mut args = all_text(take(2, 3)?)?;
            if args.len() == 2 {
                args.push(Node::text(""));
            }
            Node::call(T::Utf8, args, |args, rows| {
                let (v, from, to) = (args[0].text(), args[1].text(), args[2].text());
                texts(rows, |i, out| {
                    let (text, from, to) = (v.at(i)?, from.at(i)?, to.at(i)?);
                    if from.is_empty() {
                        out.push_str(text);
                        return Some(());
                    }
                    let mut at = 0;
                    for (start, _) in text.match_indices(from) {
                        out.push_str(&text[at..start]);
                        out.push_str(to);
                        at = start + from.len();
                    }
                    out.push_str(&text[at..]);
                    Some(())
                })
            })?
        }
        "split_part" => split_part(take(3, 3)?)?,
        "substring_index" => {
            let mut args = take(3, 3)?;
            let count = coerce::int(function, args.remove(2))?;
            let mut args = all_text(args)?;
            args.push(count);
            Node::call(T::Utf8, args, |args, rows| {
                let (v, delimiter, count) = (args[0].text(), args[1].text(), args[2].prim::<Int32Type>());
                texts(rows, |i, out| {
                    out.push_str(up_to(v.at(i)?, delimiter.at(i)?, count.at(i)?));
                    Some(())
                })
            })?
        }
        "like" | "ilike" => like(function, take(2, 3)?)?,
        _ => return Ok(None),
    }))
}

fn repeat(function: &str, text: Node, count: Node) -> Res<Node> {
    let count = coerce::int(function, count)?;
    let text = coerce::text(function, text)?;
    Node::call(T::Utf8, vec![text, count], |args, rows| {
        let (v, count) = (args[0].text(), args[1].prim::<Int32Type>());
        limit(rows, |i| Some(v.at(i)?.len() as i64 * i64::from(count.at(i)?)))?;
        texts(rows, |i, out| {
            let text = v.at(i)?;
            for _ in 0..count.at(i)?.max(0) {
                out.push_str(text);
            }
            Some(())
        })
    })
}

/// Types whose name is a function, too.
fn cast_of(function: &str) -> Option<T> {
    Some(match function {
        "boolean" => T::Boolean,
        "tinyint" => T::Int8,
        "smallint" => T::Int16,
        "int" => T::Int32,
        "bigint" => T::Int64,
        "float" => T::Float32,
        "double" => T::Float64,
        "decimal" => T::Decimal128(10, 0),
        "string" => T::Utf8,
        "binary" => T::Binary,
        "date" => T::Date32,
        "timestamp" => timestamp_type(),
        _ => return None,
    })
}

/// The character, from 1, where a part stands at or behind a character counted from 0; 0 where it does not.
fn find(text: &str, part: &str, from: i64) -> i32 {
    if part.is_empty() {
        return 1;
    }
    let start = byte_at(text, from);
    match text[start..].find(part) {
        Some(at) => text[..start + at].chars().count() as i32 + 1,
        None => 0,
    }
}

fn locate(function: &str, mut args: Vec<Node>) -> Res<Node> {
    let start = match args.len() {
        3 => Some(coerce::int(function, args.remove(2))?),
        _ => None,
    };
    let mut args = args.into_iter().map(|a| coerce::text(function, a)).collect::<Res<Vec<_>>>()?;
    args.extend(start);
    Node::call(T::Int32, args, |args, rows| {
        let (part, v) = (args[0].text(), args[1].text());
        let start = args.get(2).map(Arg::prim::<Int32Type>);
        prims::<Int32Type>(&T::Int32, rows, |i| {
            let from = match &start {
                // Spark returns 0 when the start position is 0.
                Some(start) => match start.at(i) {
                    None => return Some(0),
                    Some(from) => from,
                },
                None => 1,
            };
            let (part, text) = (part.at(i)?, v.at(i)?);
            Some(if from < 1 { 0 } else { find(text, part, i64::from(from) - 1) })
        })
    })
}

fn split_part(mut args: Vec<Node>) -> Res<Node> {
    let number = coerce::int("split_part", args.remove(2))?;
    if number.const_int() == Some(Some(0)) {
        return Err("split_part counts from 1, or from the end below 0: 0 is no part".into());
    }
    let mut args = args.into_iter().map(|a| coerce::text("split_part", a)).collect::<Res<Vec<_>>>()?;
    args.push(number);
    Node::call(T::Utf8, args, |args, rows| {
        let (v, delimiter, number) = (args[0].text(), args[1].text(), args[2].prim::<Int32Type>());
        if (0..rows).any(|i| number.at(i) == Some(0) && v.at(i).is_some() && delimiter.at(i).is_some()) {
            return Err("split_part counts from 1, and a number is 0".into());
        }
        texts(rows, |i, out| {
            let (text, delimiter, number) = (v.at(i)?, delimiter.at(i)?, number.at(i)?);
            let index = number.unsigned_abs() as usize - 1;
            let found = match (delimiter.is_empty(), number > 0) {
                (true, _) => (index == 0).then_some(text),
                (_, true) => text.split(delimiter).nth(index),
                // From the end, yet split from the start, as where delimiters overlap it matters.
                (_, false) => {
                    let count = text.split(delimiter).count();
                    count.checked_sub(index + 1).and_then(|at| text.split(delimiter).nth(at))
                }
            };
            out.push_str(found.unwrap_or_default());
            Some(())
        })
    })
}

fn up_to<'a>(text: &'a str, delimiter: &str, count: i32) -> &'a str {
    if count == 0 || delimiter.is_empty() {
        return "";
    }
    let wanted = count.unsigned_abs() as usize;
    let mut at = if count > 0 { 0 } else { text.len() };
    for found in 1..=wanted {
        // Each search starts one character behind the last find, so finds may overlap.
        let next = if count > 0 {
            let from = if found == 1 { 0 } else { at + text[at..].chars().next().map_or(1, char::len_utf8) };
            text.get(from..).and_then(|rest| rest.find(delimiter)).map(|i| from + i)
        } else {
            let to = if found == 1 { text.len() } else { at + delimiter.len() - last_len(delimiter) };
            text.get(..to).and_then(|rest| rest.rfind(delimiter))
        };
        match next {
            Some(next) => at = next,
            None => return text,
        }
    }
    if count > 0 { &text[..at] } else { &text[at + delimiter.len()..] }
}

fn last_len(text: &str) -> usize {
    text.chars().next_back().map_or(1, char::len_utf8)
}

/// A part of a LIKE pattern.
#[derive(Clone, Copy, PartialEq)]
enum Wild {
    Any,
    One,
    Char(char),
}

fn wilds(pattern: &str, escape: char) -> Res<Vec<Wild>> {
    let mut found = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        found.push(match c {
            _ if c == escape => match chars.next() {
                Some(next) if next == escape || next == '%' || next == '_' => Wild::Char(next),
                _ => {
                    return Err(format!(
                        "the LIKE pattern '{pattern}' has a wrong escape: {escape} stands before %, _ or itself"
                    )
                    .into());
                }
            },
            '%' => Wild::Any,
            '_' => Wild::One,
            c => Wild::Char(c),
        });
    }
    Ok(found)
}

fn matches(wilds: &[Wild], text: &str) -> bool {
    let (mut at, mut wild) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    loop {
        let c = text[at..].chars().next();
        let step = match (wilds.get(wild), c) {
            (None, None) => return true,
            (Some(Wild::Any), _) => {
                again = Some((wild, at));
                wild += 1;
                continue;
            }
            (Some(Wild::One), Some(c)) => Some(c),
            (Some(Wild::Char(wanted)), Some(c)) if *wanted == c => Some(c),
            _ => None,
        };
        match (step, again) {
            (Some(c), _) => {
                at += c.len_utf8();
                wild += 1;
            }
            (None, Some((star, from))) => {
                let Some(c) = text[from..].chars().next() else { return false };
                at = from + c.len_utf8();
                again = Some((star, at));
                wild = star + 1;
            }
            (None, None) => return false,
        }
    }
}

fn like(function: &str, mut args: Vec<Node>) -> Res<Node> {
    let escape = match args.len() {
        3 => match args.remove(2).const_text() {
            Some(Some(text)) if text.chars().count() == 1 => text.chars().next().unwrap_or('\\'),
            _ => return Err("ESCAPE takes one character".into()),
        },
        _ => '\\',
    };
    for arg in &args {
        if !matches!(arg.data_type, T::Utf8 | T::Null) {
            return Err(format!("LIKE takes strings, not {}: cast it", name(&arg.data_type)).into());
        }
    }
    let fold = function == "ilike";
    if fold && (escape.is_alphabetic()) {
        return Err("ESCAPE of ILIKE takes no letter".into());
    }
    let mut args = args.into_iter().map(|a| coerce::text(function, a)).collect::<Res<Vec<_>>>()?;
    let lowered = |text: &str| {
        let mut out = String::new();
        if fold {
            lower(text, &mut out)
        } else {
            out.push_str(text)
        }
        out
    };
    if let Some(pattern) = args[1].const_text() {
        let Some(pattern) = pattern else { return Ok(Node::null(&T::Boolean)) };
        let wilds = wilds(&lowered(&pattern), escape)?;
        args.truncate(1);
        return Node::call(T::Boolean, args, move |args, rows| {
            let v = args[0].text();
            let mut buffer = String::new();
            bools(rows, |i| {
                let text = v.at(i)?;
                if !fold {
                    return Some(matches(&wilds, text));
                }
                buffer.clear();
                lower(text, &mut buffer);
                Some(matches(&wilds, &buffer))
            })
        });
    }
    Node::call(T::Boolean, args, move |args, rows| {
        let (v, patterns) = (args[0].text(), args[1].text());
        let lowered = |text: &str| {
            let mut out = String::new();
            if fold {
                lower(text, &mut out)
            } else {
                out.push_str(text)
            }
            out
        };
        let mut wrong = None;
        let found = bools(rows, |i| {
            let (text, pattern) = (v.at(i)?, patterns.at(i)?);
            match wilds(&lowered(pattern), escape) {
                Ok(wilds) => Some(matches(&wilds, &lowered(text))),
                Err(error) => {
                    wrong = Some(error);
                    None
                }
            }
        })?;
        wrong.map_or(Ok(found), Err)
    })
}
