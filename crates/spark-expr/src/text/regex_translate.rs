//! Java's regular expressions written for the `regex` crate. What means something else there, or has no like, is refused.

use crate::fault::Res;

/// The name of the group that holds the line end which Java's `$` looks over.
pub(crate) const END: &str = "the_line_end_before_the_end";

struct Translation<'a> {
    pattern: &'a str,
    chars: Vec<char>,
    at: usize,
    out: String,
    fold: bool,
    ends: usize,
}

/// The pattern for the `regex` crate.
pub(crate) fn translate(pattern: &str) -> Res<String> {
    let mut t =
        Translation { pattern, chars: pattern.chars().collect(), at: 0, out: String::new(), fold: false, ends: 0 };
    if pattern.starts_with("(?i)") {
        t.fold = true;
        t.at = 4;
    }
    while t.at < t.chars.len() {
        t.step()?;
    }
    Ok(t.out)
}

impl Translation<'_> {
    fn refuse<T>(&self, what: &str) -> Res<T> {
        Err(format!("the regular expression '{}' has {what}, which is not supported", self.pattern).into())
    }

    fn peek(&self, by: usize) -> Option<char> {
        self.chars.get(self.at + by).copied()
    }

    fn literal(&mut self, c: char) {
        let other = if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        if self.fold && other != c {
            self.out.extend(['[', c, other, ']']);
        } else if c.is_alphanumeric() || c == '_' || !c.is_ascii() || c == ' ' {
            self.out.push(c);
        } else {
            self.out.push_str(&format!("\\x{{{:x}}}", c as u32));
        }
    }

    fn step(&mut self) -> Res<()> {
        let c = self.chars[self.at];
        self.at += 1;
        match c {
            '\\' => {
                let class = self.escape(false)?;
                if let Some(c) = class {
                    self.literal(c);
                }
            }
            '[' => self.class()?,
            '.' => self.out.push_str("[^\\n\\r\\x{85}\\x{2028}\\x{2029}]"),
            '^' => self.out.push('^'),
            '$' => {
                if !matches!(self.peek(0), None | Some(')' | '|')) {
                    return self.refuse("something behind $");
                }
                self.ends += 1;
                let n = self.ends;
                self.out.push_str(&format!("(?P<{END}{n}>\\r\\n|[\\n\\r\\x{{85}}\\x{{2028}}\\x{{2029}}])?\\z"));
            }
            '(' => {
                if self.peek(0) == Some('?') {
                    match self.peek(1) {
                        Some(':') => {
                            self.at += 2;
                            self.out.push_str("(?:");
                        }
                        _ => return self.refuse("(? other than (?: and a first (?i)"),
                    }
                } else {
                    self.out.push('(');
                }
            }
            '*' | '+' | '?' => {
                self.out.push(c);
                self.after_quantifier()?;
            }
            '{' => {
                let rest: String = self.chars[self.at..].iter().take_while(|c| **c != '}').collect();
                let valid = !rest.is_empty()
                    && rest.starts_with(|c: char| c.is_ascii_digit())
                    && rest.chars().all(|c| c.is_ascii_digit() || c == ',')
                    && rest.matches(',').count() <= 1;
                if !valid || self.peek(rest.chars().count()) != Some('}') {
                    return self.refuse("a { that is no number of times");
                }
                self.at += rest.len() + 1;
                self.out.push_str(&format!("{{{rest}}}"));
                self.after_quantifier()?;
            }
            ')' | '|' => self.out.push(c),
            c => self.literal(c),
        }
        Ok(())
    }

    fn after_quantifier(&mut self) -> Res<()> {
        match self.peek(0) {
            Some('+') => self.refuse("a possessive quantifier"),
            Some('?') => {
                self.at += 1;
                self.out.push('?');
                match self.peek(0) {
                    Some('+' | '*' | '?' | '{') => self.refuse("two quantifiers"),
                    _ => Ok(()),
                }
            }
            Some('*' | '{') => self.refuse("two quantifiers"),
            _ => Ok(()),
        }
    }

    /// What follows a backslash: a character, or a class that is written at once.
    fn escape(&mut self, in_class: bool) -> Res<Option<char>> {
        let Some(c) = self.peek(0) else { return self.refuse("a backslash at its end") };
        self.at += 1;
        let class = match c {
            'd' => "0-9",
            'w' => "a-zA-Z0-9_",
            's' => " \\t\\n\\x0B\\x0C\\r",
            'D' | 'W' | 'S' => {
                let class = match c {
                    'D' => "[^0-9]",
                    'W' => "[^a-zA-Z0-9_]",
                    _ => "[^ \\t\\n\\x0B\\x0C\\r]",
                };
                self.out.push_str(class);
                return Ok(None);
            }
            'p' | 'P' => {
                let rest: String = self.chars[self.at..].iter().take_while(|c| **c != '}').collect();
                let known = ["{L", "{Lu", "{Ll", "{N", "{Nd", "{P", "{S", "{Z", "{M", "{IsAlphabetic", "{IsLatin"];
                if self.fold || !known.contains(&rest.as_str()) {
                    return self.refuse("a \\p other than {L} {Lu} {Ll} {N} {Nd} {P} {S} {Z} {M}");
                }
                self.at += rest.len() + 1;
                let name = rest.replace("{IsAlphabetic", "{Alphabetic").replace("{IsLatin", "{Latin");
                self.out.push_str(&format!("\\{c}{name}}}"));
                return Ok(None);
            }
            'b' if !in_class => {
                self.out.push_str("\\b");
                return Ok(None);
            }
            'A' if !in_class => {
                self.out.push_str("\\A");
                return Ok(None);
            }
            'z' if !in_class => {
                self.out.push_str("\\z");
                return Ok(None);
            }
            'n' => return Ok(Some('\n')),
            't' => return Ok(Some('\t')),
            'r' => return Ok(Some('\r')),
            'f' => return Ok(Some('\u{c}')),
            'a' => return Ok(Some('\u{7}')),
            'e' => return Ok(Some('\u{1b}')),
            'x' | 'u' => {
                let length = if c == 'x' { 2 } else { 4 };
                let digits: String = self.chars[self.at..].iter().take(length).collect();
                let code =
                    u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == length).and_then(char::from_u32);
                let Some(code) = code else { return self.refuse("a wrong \\x or \\u") };
                self.at += length;
                return Ok(Some(code));
            }
            c if c.is_ascii_alphanumeric() => return self.refuse(&format!("\\{c}")),
            c => return Ok(Some(c)),
        };
        if in_class {
            self.out.push_str(class);
        } else {
            self.out.push_str(&format!("[{class}]"));
        }
        Ok(None)
    }

    fn class(&mut self) -> Res<()> {
        self.out.push('[');
        if self.peek(0) == Some('^') {
            self.at += 1;
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let Some(c) = self.peek(0) else { return self.refuse("an open [") };
            self.at += 1;
            let from = match c {
                ']' if !first => break,
                ']' | '[' => return self.refuse("[ or ] inside [ ] without a backslash"),
                '&' if self.peek(0) == Some('&') => return self.refuse("&&"),
                '\\' => match self.escape(true)? {
                    Some(c) => c,
                    None => {
                        first = false;
                        if self.peek(0) == Some('-') && self.peek(1) != Some(']') {
                            return self.refuse("a range from a class");
                        }
                        continue;
                    }
                },
                c => c,
            };
            first = false;
            if self.peek(0) == Some('-') && !matches!(self.peek(1), None | Some(']')) {
                self.at += 1;
                let Some(mut to) = self.peek(0) else { return self.refuse("an open [") };
                self.at += 1;
                if to == '[' {
                    return self.refuse("[ inside [ ] without a backslash");
                }
                if to == '\\' {
                    match self.escape(true)? {
                        Some(c) => to = c,
                        None => return self.refuse("a range to a class"),
                    }
                }
                self.range(from, to)?;
            } else {
                self.range(from, from)?;
            }
        }
        self.out.push(']');
        Ok(())
    }

    fn range(&mut self, from: char, to: char) -> Res<()> {
        let mut write = |from: char, to: char| {
            self.out.push_str(&format!("\\x{{{:x}}}", from as u32));
            if from != to {
                self.out.push_str(&format!("-\\x{{{:x}}}", to as u32));
            }
        };
        write(from, to);
        if self.fold {
            let lower = |c: char| c.is_ascii_lowercase();
            let upper = |c: char| c.is_ascii_uppercase();
            if lower(from) && lower(to) {
                write(from.to_ascii_uppercase(), to.to_ascii_uppercase());
            } else if upper(from) && upper(to) {
                write(from.to_ascii_lowercase(), to.to_ascii_lowercase());
            } else if from != to && (from..=to).any(|c| c.is_ascii_alphabetic()) {
                return self.refuse("a range of mixed letters under (?i)");
            }
        }
        Ok(())
    }
}
