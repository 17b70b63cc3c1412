//! `rlike`, `regexp_replace`, `regexp_extract` and `split`, by Java's rules. Patterns are the same in each row.

use std::sync::Arc;

use arrow::array::{Array, ListBuilder, StringBuilder};
use arrow::datatypes::Field;
use regex::{Captures, Regex, RegexBuilder};

use crate::fault::Res;
use crate::text::regex_translate::{END, translate};
use crate::values::coerce::{self, arity};
use crate::values::node::{Node, bools, texts};
use crate::values::spark_types::T;

/// Compiles a function of regular expressions.
pub(super) fn build(function: &str, args: &mut Vec<Node>) -> Res<Option<Node>> {
    let mut take = |min, max| -> Res<Vec<Node>> {
        arity(function, args, min, max)?;
        Ok(std::mem::take(args))
    };
    Ok(Some(match function {
        "rlike" | "regexp" | "regexp_like" => {
            let mut args = take(2, 2)?;
            let Some(pattern) = Pattern::of(function, args.remove(1))? else {
                return Ok(Some(Node::null(&T::Boolean)));
            };
            let text = coerce::text(function, args.remove(0))?;
            Node::call(T::Boolean, vec![text], move |args, rows| {
                let v = args[0].text();
                bools(rows, |i| Some(pattern.regex.is_match(v.at(i)?)))
            })?
        }
        "regexp_replace" => replace(take(3, 3)?)?,
        "regexp_extract" => extract(take(2, 3)?)?,
        "split" => split(take(2, 3)?)?,
        _ => return Ok(None),
    }))
}

struct Pattern {
    regex: Regex,
    /// Groups of Java's pattern, by the number of the group here.
    groups: Vec<usize>,
    ends: Vec<usize>,
}

impl Pattern {
    fn of(function: &str, node: Node) -> Res<Option<Self>> {
        let text = match coerce::text(function, node)?.const_text() {
            Some(Some(text)) => text,
            Some(None) => return Ok(None),
            None => return Err(format!("{function}: the pattern is to be a text, the same in each row").into()),
        };
        let regex = RegexBuilder::new(&translate(&text)?)
            .size_limit(8 << 20)
            .build()
            .map_err(|e| format!("the regular expression '{text}' is wrong or too large: {e}"))?;
        let (mut groups, mut ends) = (Vec::new(), Vec::new());
        for (i, name) in regex.capture_names().enumerate() {
            match name {
                Some(name) if name.starts_with(END) => ends.push(i),
                _ => groups.push(i),
            }
        }
        Ok(Some(Self { regex, groups, ends }))
    }

    /// Java finds nothing even between the halves of a character above U+FFFF, and breaks it there.
    fn refuse_empty(&self, function: &str) -> Res<()> {
        let middle = '\u{e000}'.len_utf8();
        match self.regex.find_at("\u{e000}\u{e000}", middle) {
            Some(found) if found.is_empty() && found.start() == middle => {
                Err(format!("{function}: the pattern matches empty text: write + in place of *, or more of it").into())
            }
            _ => Ok(()),
        }
    }

    /// Where the match starts and, for Java, ends: before a line end that only `$` saw.
    fn span(&self, captures: &Captures<'_>) -> (usize, usize) {
        let whole = captures.get(0).map_or((0, 0), |m| (m.start(), m.end()));
        let end = self.ends.iter().find_map(|i| captures.get(*i)).map_or(whole.1, |m| m.start());
        (whole.0, end)
    }

    fn group<'t>(&self, captures: &Captures<'t>, group: usize, text: &'t str) -> Option<&'t str> {
        let (start, end) = self.span(captures);
        if group == 0 {
            return Some(&text[start..end]);
        }
        let found = captures.get(*self.groups.get(group)?)?;
        // A group around $ does not have the line end either.
        Some(&text[found.start()..found.end().min(end.max(found.start()))])
    }

    /// Calls `each` for every match in turn.
    fn each<'t>(&self, text: &'t str, mut each: impl FnMut(&Captures<'t>, usize, usize)) {
        let mut at = 0;
        while at <= text.len() {
            let Some(captures) = self.regex.captures_at(text, at) else { return };
            let (start, end) = self.span(&captures);
            each(&captures, start, end);
            at = match end > start {
                true => end,
                // An empty match: go on behind the next character.
                false => end + text[end..].chars().next().map_or(1, char::len_utf8),
            };
        }
    }
}

/// A part of Java's replacement.
enum Part {
    Text(String),
    Group(usize),
}

fn replacement(text: &str, groups: usize) -> Res<Vec<Part>> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => literal.push(chars.next().ok_or("the replacement ends with a backslash")?),
            '$' => {
                let digit = chars.next().and_then(|c| c.to_digit(10)).ok_or_else(|| {
                    format!("the replacement '{text}' has a $ that is no group: write \\$ for the character")
                })?;
                let mut group = digit as usize;
                if group >= groups {
                    return Err(format!(
                        "the replacement '{text}' names group {group}, which the pattern does not have"
                    )
                    .into());
                }
                while let Some(next) = chars.peek().and_then(|c| c.to_digit(10)) {
                    let longer = group * 10 + next as usize;
                    if longer >= groups {
                        break;
                    }
                    group = longer;
                    chars.next();
                }
                parts.push(Part::Text(std::mem::take(&mut literal)));
                parts.push(Part::Group(group));
            }
            c => literal.push(c),
        }
    }
    parts.push(Part::Text(literal));
    Ok(parts)
}

fn replace(mut args: Vec<Node>) -> Res<Node> {
    const NAME: &str = "regexp_replace";
    let with = coerce::text(NAME, args.remove(2))?;
    let with = match with.const_text() {
        Some(Some(text)) => text,
        Some(None) => return Ok(Node::null(&T::Utf8)),
        None => return Err("regexp_replace: the replacement is to be a text, the same in each row".into()),
    };
    let Some(pattern) = Pattern::of(NAME, args.remove(1))? else { return Ok(Node::null(&T::Utf8)) };
    pattern.refuse_empty(NAME)?;
    let parts = replacement(&with, pattern.groups.len())?;
    let text = coerce::text(NAME, args.remove(0))?;
    Node::call(T::Utf8, vec![text], move |args, rows| {
        let v = args[0].text();
        texts(rows, |i, out| {
            let text = v.at(i)?;
            let mut copied = 0;
            pattern.each(text, |captures, start, end| {
                out.push_str(&text[copied..start]);
                for part in &parts {
                    match part {
                        Part::Text(text) => out.push_str(text),
                        Part::Group(group) => out.push_str(pattern.group(captures, *group, text).unwrap_or_default()),
                    }
                }
                copied = end;
            });
            out.push_str(&text[copied..]);
            Some(())
        })
    })
}

/// `regexp_extract(text, pattern[, group])`: empty where there is no match or the group is not in it.
fn extract(mut args: Vec<Node>) -> Res<Node> {
    const NAME: &str = "regexp_extract";
    let group = match args.len() {
        3 => match coerce::int(NAME, args.remove(2))?.const_int() {
            Some(Some(group)) if group >= 0 => group as usize,
            _ => return Err("regexp_extract: the group is to be a number from 0, the same in each row".into()),
        },
        _ => 1,
    };
    let Some(pattern) = Pattern::of(NAME, args.remove(1))? else { return Ok(Node::null(&T::Utf8)) };
    if group >= pattern.groups.len() {
        return Err(format!(
            "regexp_extract: the pattern has {} groups, and {group} is asked for",
            pattern.groups.len() - 1
        )
        .into());
    }
    let text = coerce::text(NAME, args.remove(0))?;
    Node::call(T::Utf8, vec![text], move |args, rows| {
        let v = args[0].text();
        texts(rows, |i, out| {
            let text = v.at(i)?;
            if let Some(captures) = pattern.regex.captures(text) {
                out.push_str(pattern.group(&captures, group, text).unwrap_or_default());
            }
            Some(())
        })
    })
}

/// `split(text, pattern[, limit])` by Java's `String.split`.
fn split(mut args: Vec<Node>) -> Res<Node> {
    const NAME: &str = "split";
    let limit = match args.len() {
        3 => match coerce::int(NAME, args.remove(2))?.const_int() {
            Some(Some(limit)) => limit,
            _ => return Err("split: the limit is to be a number, the same in each row".into()),
        },
        _ => -1,
    };
    let data_type = T::List(Arc::new(Field::new("element", T::Utf8, false)));
    let pattern = args.remove(1);
    // An empty pattern gives the characters.
    let characters = pattern.const_text() == Some(Some(String::new()));
    let Some(pattern) = Pattern::of(NAME, pattern)? else { return Ok(Node::null(&data_type)) };
    if !characters {
        pattern.refuse_empty(NAME)?;
    }
    let text = coerce::text(NAME, args.remove(0))?;
    let field = Arc::new(Field::new("element", T::Utf8, false));
    Node::call(data_type, vec![text], move |args, rows| {
        let v = args[0].text();
        let mut builder = ListBuilder::new(StringBuilder::new()).with_field(field.clone());
        for i in 0..rows {
            let Some(text) = v.at(i) else {
                builder.append(false);
                continue;
            };
            if characters && !text.is_empty() {
                let most = if limit <= 0 { usize::MAX } else { limit as usize };
                for (at, c) in text.char_indices().take(most) {
                    builder.values().append_value(&text[at..at + c.len_utf8()]);
                }
                builder.append(true);
                continue;
            }
            let (mut from, mut count) = (0, 0);
            pattern.each(text, |_, start, end| {
                // An empty match at the start makes no empty first part.
                if (limit <= 0 || count + 1 < limit) && !(start == 0 && end == 0) && (!text.is_empty()) {
                    builder.values().append_value(&text[from..start]);
                    from = end;
                    count += 1;
                }
            });
            builder.values().append_value(&text[from..]);
            builder.append(true);
        }
        let list = builder.finish();
        debug_assert_eq!(list.len(), rows);
        Ok(Arc::new(list))
    })
}
