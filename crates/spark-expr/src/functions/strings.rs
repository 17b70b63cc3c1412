//! Texts: their case, length and parts, by characters.

use arrow::datatypes::Int32Type;

use crate::fault::Res;
use crate::values::coerce::{self, arity};
use crate::values::node::{Arg, Node, binaries, bools, prims, texts};
use crate::values::spark_types::{T, name};

/// Compiles a function of texts.
pub(super) fn build(function: &str, args: &mut Vec<Node>) -> Res<Option<Node>> {
    let mut take = |min, max| -> Res<Vec<Node>> {
        arity(function, args, min, max)?;
        Ok(std::mem::take(args))
    };
    Ok(Some(match function {
        "upper" | "ucase" => map(function, take(1, 1)?, |text, out| {
            if text.is_ascii() {
                out.extend(text.chars().map(|c| c.to_ascii_uppercase()))
            } else {
                out.push_str(&text.to_uppercase())
            }
        })?,
        "lower" | "lcase" => map(function, take(1, 1)?, lower)?,
        "initcap" => map(function, take(1, 1)?, initcap)?,
        "reverse" => map(function, take(1, 1)?, |text, out| out.extend(text.chars().rev()))?,
        "trim" | "ltrim" | "rtrim" | "btrim" => trim(function, take(1, 2)?)?,
        "length" | "len" | "char_length" | "character_length" => {
            let args = take(1, 1)?;
            match args[0].data_type {
                T::Binary => Node::call(T::Int32, args, |args, rows| {
                    let v = args[0].bytes();
                    prims::<Int32Type>(&T::Int32, rows, |i| v.at(i).map(|v| v.len() as i32))
                })?,
                _ => number(function, args, |text| text.chars().count() as i32)?,
            }
        }
        "octet_length" | "bit_length" => {
            let arg = match take(1, 1)?.remove(0) {
                arg if arg.data_type == T::Binary => arg,
                arg => coerce::binary(function, coerce::text(function, arg)?)?,
            };
            let bits = if function == "bit_length" { 8 } else { 1 };
            Node::call(T::Int32, vec![arg], move |args, rows| {
                let v = args[0].bytes();
                prims::<Int32Type>(&T::Int32, rows, |i| v.at(i).map(|v| v.len() as i32 * bits))
            })?
        }
        "ascii" => number(function, take(1, 1)?, |text| text.chars().next().map_or(0, |c| c as i32))?,
        "concat" => concat(take(0, 1_000)?)?,
        "concat_ws" => concat_ws(take(1, 1_000)?)?,
        "substring" | "substr" => substring(function, take(2, 3)?)?,
        "left" | "right" => side(function, take(2, 2)?)?,
        "lpad" | "rpad" => pad(function, take(2, 3)?)?,
        "startswith" => test(function, take(2, 2)?, |text, part| text.starts_with(part))?,
        "endswith" => test(function, take(2, 2)?, |text, part| text.ends_with(part))?,
        "contains" => test(function, take(2, 2)?, |text, part| text.contains(part))?,
        _ => return Ok(None),
    }))
}

/// An argument of a function that Spark runs on bytes as well, which are refused.
fn only_text(function: &str, node: Node) -> Res<Node> {
    match node.data_type {
        T::Binary => Err(format!("{function} of binary is not supported: cast it to STRING").into()),
        _ => coerce::text(function, node),
    }
}

pub(crate) fn lower(text: &str, out: &mut String) {
    if text.is_ascii() {
        out.extend(text.chars().map(|c| c.to_ascii_lowercase()));
    } else {
        out.push_str(&text.to_lowercase());
    }
}

/// One character for one, as Java's `Character.toTitleCase`.
fn title(c: char) -> char {
    match c {
        '\u{1c4}'..='\u{1c6}' => '\u{1c5}',
        '\u{1c7}'..='\u{1c9}' => '\u{1c8}',
        '\u{1ca}'..='\u{1cc}' => '\u{1cb}',
        '\u{1f1}'..='\u{1f3}' => '\u{1f2}',
        '\u{10d0}'..='\u{10ff}' => c,
        _ => {
            let mut upper = c.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(one), None) => one,
                _ => c,
            }
        }
    }
}

fn initcap(text: &str, out: &mut String) {
    let mut lowered = String::with_capacity(text.len());
    lower(text, &mut lowered);
    let mut first = true;
    for c in lowered.chars() {
        out.push(if first { title(c) } else { c });
        first = c == ' ';
    }
}

fn map(function: &str, mut args: Vec<Node>, write: fn(&str, &mut String)) -> Res<Node> {
    let arg = coerce::text(function, args.remove(0))?;
    Node::call(T::Utf8, vec![arg], move |args, rows| {
        let v = args[0].text();
        texts(rows, |i, out| v.at(i).map(|v| write(v, out)))
    })
}

fn number(function: &str, mut args: Vec<Node>, of: fn(&str) -> i32) -> Res<Node> {
    let arg = coerce::text(function, args.remove(0))?;
    Node::call(T::Int32, vec![arg], move |args, rows| {
        let v = args[0].text();
        prims::<Int32Type>(&T::Int32, rows, |i| v.at(i).map(of))
    })
}

fn test(function: &str, args: Vec<Node>, of: fn(&str, &str) -> bool) -> Res<Node> {
    let args = args.into_iter().map(|a| only_text(function, a)).collect::<Res<Vec<_>>>()?;
    Node::call(T::Boolean, args, move |args, rows| {
        let (a, b) = (args[0].text(), args[1].text());
        bools(rows, |i| Some(of(a.at(i)?, b.at(i)?)))
    })
}

/// `trim(text)`, `trim(characters, text)`, `btrim(text, characters)`.
fn trim(function: &str, mut args: Vec<Node>) -> Res<Node> {
    if function != "btrim" && args.len() == 2 {
        args.swap(0, 1);
    }
    let args = args.into_iter().map(|a| coerce::text(function, a)).collect::<Res<Vec<_>>>()?;
    let (start, end) = (function != "rtrim", function != "ltrim");
    Node::call(T::Utf8, args, move |args, rows| {
        let v = args[0].text();
        let characters = args.get(1).map(Arg::text);
        texts(rows, |i, out| {
            let mut text = v.at(i)?;
            let characters = match &characters {
                Some(c) => c.at(i)?,
                None => " ",
            };
            if start {
                text = text.trim_start_matches(|c| characters.contains(c));
            }
            if end {
                text = text.trim_end_matches(|c| characters.contains(c));
            }
            out.push_str(text);
            Some(())
        })
    })
}

fn concat(args: Vec<Node>) -> Res<Node> {
    if args.is_empty() {
        return Ok(Node::text(""));
    }
    if args.iter().all(|a| a.data_type == T::Binary) {
        return Node::call(T::Binary, args, |args, rows| {
            let parts: Vec<_> = args.iter().map(Arg::bytes).collect();
            binaries(rows, |i, out| {
                for part in &parts {
                    out.extend_from_slice(part.at(i)?);
                }
                Some(())
            })
        });
    }
    let args = args.into_iter().map(|a| coerce::text("concat", a)).collect::<Res<Vec<_>>>()?;
    Node::call(T::Utf8, args, |args, rows| {
        let parts: Vec<_> = args.iter().map(Arg::text).collect();
        texts(rows, |i, out| {
            for part in &parts {
                out.push_str(part.at(i)?);
            }
            Some(())
        })
    })
}

/// Nulls are left out.
fn concat_ws(args: Vec<Node>) -> Res<Node> {
    if let Some(arg) = args.iter().find(|a| matches!(a.data_type, T::List(_))) {
        return Err(format!("concat_ws of {} is not supported: use array_join", name(&arg.data_type)).into());
    }
    let args = args.into_iter().map(|a| coerce::text("concat_ws", a)).collect::<Res<Vec<_>>>()?;
    Node::call(T::Utf8, args, |args, rows| {
        let separator = args[0].text();
        let parts: Vec<_> = args[1..].iter().map(Arg::text).collect();
        texts(rows, |i, out| {
            let separator = separator.at(i)?;
            let mut first = true;
            for text in parts.iter().filter_map(|p| p.at(i)) {
                if !first {
                    out.push_str(separator);
                }
                first = false;
                out.push_str(text);
            }
            Some(())
        })
    })
}

/// Refuses texts that would fill the memory.
pub(crate) fn limit(rows: usize, length: impl FnMut(usize) -> Option<i64>) -> Res<()> {
    const MAX_LENGTH: i64 = 64 << 20;
    match (0..rows).filter_map(length).any(|length| length > MAX_LENGTH) {
        true => Err("it makes a text longer than 64 MiB".into()),
        false => Ok(()),
    }
}

/// The byte where a character stands, or the end.
pub(super) fn byte_at(text: &str, character: i64) -> usize {
    if character <= 0 {
        return 0;
    }
    if text.is_ascii() {
        return (character as usize).min(text.len());
    }
    text.char_indices().nth(character as usize).map_or(text.len(), |(i, _)| i)
}

/// Spark's `substringSQL`: counts from 1, or from the end below 0.
pub(crate) fn part(text: &str, position: i32, length: i32) -> &str {
    let position = i64::from(position);
    let start = match position {
        1.. => position - 1,
        0 => 0,
        _ => text.chars().count() as i64 + position,
    };
    let end = (start + i64::from(length)).min(i64::from(i32::MAX));
    if end <= start {
        return "";
    }
    let (from, to) = (byte_at(text, start), byte_at(text, end));
    text.get(from..to).unwrap_or_default()
}

fn substring(function: &str, args: Vec<Node>) -> Res<Node> {
    let mut args = args.into_iter();
    let mut nodes = Vec::new();
    if let Some(text) = args.next() {
        nodes.push(only_text(function, text)?);
    }
    for arg in args {
        nodes.push(coerce::int(function, arg)?);
    }
    Node::call(T::Utf8, nodes, |args, rows| {
        let (v, position) = (args[0].text(), args[1].prim::<Int32Type>());
        let length = args.get(2).map(Arg::prim::<Int32Type>);
        texts(rows, |i, out| {
            let length = match &length {
                Some(length) => length.at(i)?,
                None => i32::MAX,
            };
            out.push_str(part(v.at(i)?, position.at(i)?, length));
            Some(())
        })
    })
}

fn side(function: &str, mut args: Vec<Node>) -> Res<Node> {
    let length = coerce::int(function, args.remove(1))?;
    let text = only_text(function, args.remove(0))?;
    let right = function == "right";
    Node::call(T::Utf8, vec![text, length], move |args, rows| {
        let (v, length) = (args[0].text(), args[1].prim::<Int32Type>());
        texts(rows, |i, out| {
            let text = v.at(i)?;
            let found = match length.at(i) {
                Some(n) if right && n <= 0 => "",
                Some(n) if right => part(text, n.wrapping_neg(), i32::MAX),
                Some(n) => part(text, 1, n),
                None => return None,
            };
            out.push_str(found);
            Some(())
        })
    })
}

fn pad(function: &str, args: Vec<Node>) -> Res<Node> {
    let mut args = args.into_iter();
    let mut nodes = Vec::new();
    if let (Some(text), Some(length)) = (args.next(), args.next()) {
        nodes.push(only_text(function, text)?);
        nodes.push(coerce::int(function, length)?);
    }
    nodes.push(match args.next() {
        Some(pad) => only_text(function, pad)?,
        None => Node::text(" "),
    });
    let left = function == "lpad";
    Node::call(T::Utf8, nodes, move |args, rows| {
        let (v, length, pad) = (args[0].text(), args[1].prim::<Int32Type>(), args[2].text());
        limit(rows, |i| length.at(i).map(i64::from))?;
        texts(rows, |i, out| {
            let (text, length, pad) = (v.at(i)?, i64::from(length.at(i)?), pad.at(i)?);
            let missing = length - text.chars().count() as i64;
            if missing <= 0 || pad.is_empty() {
                out.push_str(&text[..byte_at(text, length)]);
                return Some(());
            }
            if !left {
                out.push_str(text);
            }
            out.extend(pad.chars().cycle().take(missing as usize));
            if left {
                out.push_str(text);
            }
            Some(())
        })
    })
}
