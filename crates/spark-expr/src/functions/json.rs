//! `get_json_object`: a value of a JSON text by a path such as `$.a.b[0]`.

use crate::fault::Res;
use crate::values::coerce::{self, arity};
use crate::values::java_double::write_double;
use crate::values::node::{Node, texts};
use crate::values::spark_types::T;

enum Step {
    Key(String),
    Index(usize),
}

/// Compiles `get_json_object(text, path)`.
pub(super) fn build(function: &str, args: &mut Vec<Node>) -> Res<Option<Node>> {
    if function != "get_json_object" {
        return Ok(None);
    }
    arity(function, args, 2, 2)?;
    let path = match coerce::text(function, args.remove(1))?.const_text() {
        Some(Some(path)) => path,
        Some(None) => return Ok(Some(Node::null(&T::Utf8))),
        None => return Err("get_json_object: the path is to be a text, the same in each row".into()),
    };
    let steps = steps(&path).ok_or_else(|| {
        format!("get_json_object: the path '{path}' is not supported: write $, .key, ['key'] and [0]")
    })?;
    let text = coerce::text(function, args.remove(0))?;
    Node::call(T::Utf8, vec![text], move |args, rows| {
        let v = args[0].text();
        texts(rows, |i, out| {
            let text = v.at(i)?;
            let mut json = Json { bytes: text.as_bytes(), text, at: 0 };
            json.blank();
            if json.find(&steps, out, 0)? { Some(()) } else { None }
        })
    })
    .map(Some)
}

fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(key) = rest.strip_prefix("['") {
            let end = key.find("']")?;
            steps.push(Step::Key(key[..end].to_owned()));
            rest = &key[end + 2..];
        } else if let Some(index) = rest.strip_prefix('[') {
            let end = index.find(']')?;
            if !index[..end].bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            steps.push(Step::Index(index[..end].parse().ok()?));
            rest = &index[end + 1..];
        } else {
            let key = rest.strip_prefix('.')?;
            let end = key.find(['.', '[']).unwrap_or(key.len());
            if key[..end].is_empty() || key[..end].contains(['*', '?', ' ', '\'', '"', '@', '(']) {
                return None;
            }
            steps.push(Step::Key(key[..end].to_owned()));
            rest = &key[end..];
        }
        if matches!(steps.last(), Some(Step::Key(key)) if key == "*" || key.is_empty()) {
            return None;
        }
    }
    Some(steps)
}

const MAX_DEPTH: usize = 512;

/// A reader of JSON; none is an error in the text.
struct Json<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl Json<'_> {
    fn blank(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Writes what the steps lead to; false where they lead to nothing or null.
    fn find(&mut self, steps: &[Step], out: &mut String, depth: usize) -> Option<bool> {
        let Some((step, rest)) = steps.split_first() else {
            if self.peek()? == b'"' {
                self.string(out)?;
                return Some(true);
            }
            let start = out.len();
            self.copy(out, depth)?;
            return Some(&out[start..] != "null");
        };
        let (open, close) = match step {
            Step::Key(_) => (b'{', b'}'),
            Step::Index(_) => (b'[', b']'),
        };
        if self.peek()? != open {
            self.skip(depth)?;
            return Some(false);
        }
        self.at += 1;
        let (mut index, mut found) = (0, false);
        self.blank();
        if self.eat(close).is_some() {
            return Some(false);
        }
        loop {
            self.blank();
            let here = match step {
                Step::Key(wanted) => {
                    let mut key = String::new();
                    self.string(&mut key)?;
                    self.blank();
                    self.eat(b':')?;
                    self.blank();
                    !found && key == *wanted
                }
                Step::Index(wanted) => index == *wanted,
            };
            if here {
                // Of a key that stands twice Spark takes the first that leads somewhere.
                let start = out.len();
                found = self.find(rest, out, depth + 1)?;
                if !found {
                    out.truncate(start);
                }
            } else {
                self.skip(depth + 1)?;
            }
            index += 1;
            self.blank();
            if self.eat(close).is_some() {
                return Some(found);
            }
            self.eat(b',')?;
        }
    }

    fn skip(&mut self, depth: usize) -> Option<()> {
        let mut ignored = String::new();
        self.copy(&mut ignored, depth)
    }

    /// Copies a value without blanks.
    fn copy(&mut self, out: &mut String, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            b'"' => {
                let mut text = String::new();
                self.string(&mut text)?;
                write_string(&text, out);
                Some(())
            }
            open @ (b'{' | b'[') => {
                let close = open + 2;
                self.at += 1;
                out.push(char::from(open));
                self.blank();
                if self.eat(close).is_some() {
                    out.push(char::from(close));
                    return Some(());
                }
                loop {
                    self.blank();
                    if open == b'{' {
                        let mut key = String::new();
                        self.string(&mut key)?;
                        write_string(&key, out);
                        self.blank();
                        self.eat(b':')?;
                        out.push(':');
                        self.blank();
                    }
                    self.copy(out, depth + 1)?;
                    self.blank();
                    if self.eat(close).is_some() {
                        out.push(char::from(close));
                        return Some(());
                    }
                    self.eat(b',')?;
                    out.push(',');
                }
            }
            _ => self.word(out),
        }
    }

    /// A number, or true, false or null.
    fn word(&mut self, out: &mut String) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')) {
            self.at += 1;
        }
        let word = self.text.get(start..self.at)?;
        if matches!(word, "true" | "false" | "null") {
            out.push_str(word);
            return Some(());
        }
        let digits = word.strip_prefix('-').unwrap_or(word);
        let whole = digits.bytes().take_while(u8::is_ascii_digit).count();
        if whole == 0 || (whole > 1 && digits.starts_with('0')) {
            return None;
        }
        if whole == digits.len() {
            out.push_str(if word == "-0" { "0" } else { word });
            return Some(());
        }
        let rest = &digits[whole..];
        let point = rest.strip_prefix('.').map(|r| r.bytes().take_while(u8::is_ascii_digit).count());
        if point == Some(0) {
            return None;
        }
        // Jackson reads a fraction as a double and writes it as Java does.
        let value: f64 = word.parse().ok()?;
        if value.is_infinite() {
            out.push_str(if value < 0.0 { "\"-Infinity\"" } else { "\"Infinity\"" });
            return Some(());
        }
        write_double(value, out);
        Some(())
    }

    fn string(&mut self, out: &mut String) -> Option<()> {
        self.eat(b'"')?;
        loop {
            let start = self.at;
            while self.peek().is_some_and(|b| b != b'"' && b != b'\\') {
                self.at += 1;
            }
            out.push_str(self.text.get(start..self.at)?);
            if self.peek()? == b'"' {
                self.at += 1;
                return Some(());
            }
            self.at += 1;
            let escaped = self.peek()?;
            self.at += 1;
            out.push(match escaped {
                b'"' | b'\\' | b'/' => char::from(escaped),
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => self.unicode()?,
                _ => return None,
            });
        }
    }

    fn unicode(&mut self) -> Option<char> {
        let mut unit = || {
            let digits = self.text.get(self.at..self.at + 4)?;
            self.at += 4;
            u32::from_str_radix(digits, 16).ok()
        };
        let high = unit()?;
        if !(0xd800..0xdc00).contains(&high) {
            return Some(char::from_u32(high).unwrap_or('?'));
        }
        if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
            return Some('?');
        }
        self.at += 2;
        let mut unit = || {
            let digits = self.text.get(self.at..self.at + 4)?;
            self.at += 4;
            u32::from_str_radix(digits, 16).ok()
        };
        let low = unit()?;
        Some(char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low.wrapping_sub(0xdc00) & 0x3ff)).unwrap_or('?'))
    }
}

/// A JSON text with the escapes that Jackson makes.
fn write_string(text: &str, out: &mut String) {
    use std::fmt::Write;
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
