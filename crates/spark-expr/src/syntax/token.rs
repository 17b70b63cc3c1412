//! The tokens of Spark's SQL.

use crate::fault::Res;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A name or keyword as written.
    Word(String),
    /// A name in backticks.
    Quoted(String),
    /// A number with its suffix.
    Number(String),
    /// A text, its escapes resolved.
    Text(String),
    Symbol(&'static str),
    End,
}

/// Longer ones first.
const SYMBOLS: [&str; 37] = [
    "<=>", ">>>", "!=", "!<", "!>", "<>", "<=", ">=", "==", "||", "::", "->", "=>", "<<", ">>", "(", ")", "[", "]",
    ",", ".", "+", "-", "*", "/", "%", "&", "|", "^", "~", "!", "=", "<", ">", ":", ";", "?",
];

/// Splits SQL into tokens, each with the position (1 for the first character) where it starts.
pub(super) fn tokens(sql: &str) -> Res<Vec<(Token, usize)>> {
    let chars: Vec<char> = sql.chars().collect();
    let mut at = 0;
    let mut found = Vec::new();
    while at < chars.len() {
        let start = at;
        let c = chars[at];
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        if chars[at..].starts_with(&['-', '-']) || chars[at..].starts_with(&['/', '*']) {
            return Err(format!("a comment at {}: leave it out", start + 1).into());
        }
        let token = match c {
            '\'' | '"' => text(&chars, &mut at, false)?,
            'r' | 'R' if matches!(chars.get(at + 1), Some('\'' | '"')) => {
                at += 1;
                text(&chars, &mut at, true)?
            }
            '`' => quoted(&chars, &mut at)?,
            _ if c.is_ascii_digit()
                || (c == '.' && chars.get(at + 1).is_some_and(char::is_ascii_digit) && !after_name(&found)) =>
            {
                number(&chars, &mut at)?
            }
            _ if c.is_ascii_alphabetic() || c == '_' => {
                while chars.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    at += 1;
                }
                Token::Word(chars[start..at].iter().collect())
            }
            _ => {
                let symbol = SYMBOLS.iter().find(|s| s.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c)));
                let Some(symbol) = symbol else {
                    let hint = if c.is_alphabetic() { ": write a name with such letters in `backticks`" } else { "" };
                    return Err(format!("there is a stray '{c}' at {}{hint}", start + 1).into());
                };
                at += symbol.len();
                Token::Symbol(symbol)
            }
        };
        found.push((token, start + 1));
    }
    found.push((Token::End, chars.len() + 1));
    Ok(found)
}

/// Whether a dot would ask for a field.
fn after_name(found: &[(Token, usize)]) -> bool {
    matches!(found.last(), Some((Token::Word(_) | Token::Quoted(_) | Token::Symbol(")" | "]"), _)))
}

fn quoted(chars: &[char], at: &mut usize) -> Res<Token> {
    let start = *at + 1;
    let mut name = String::new();
    *at += 1;
    loop {
        match (chars.get(*at), chars.get(*at + 1)) {
            (Some('`'), Some('`')) => {
                name.push('`');
                *at += 2;
            }
            (Some('`'), _) => {
                *at += 1;
                return Ok(Token::Quoted(name));
            }
            (Some(c), _) => {
                name.push(*c);
                *at += 1;
            }
            (None, _) => return Err(format!("the name that starts at {start} has no closing `").into()),
        }
    }
}

fn number(chars: &[char], at: &mut usize) -> Res<Token> {
    let start = *at;
    let digits = |at: &mut usize| {
        while chars.get(*at).is_some_and(char::is_ascii_digit) {
            *at += 1;
        }
    };
    digits(at);
    if chars.get(*at) == Some(&'.') {
        *at += 1;
        digits(at);
    }
    if matches!(chars.get(*at), Some('e' | 'E')) {
        let mut ahead = *at + 1;
        if matches!(chars.get(ahead), Some('+' | '-')) {
            ahead += 1;
        }
        if chars.get(ahead).is_some_and(char::is_ascii_digit) {
            *at = ahead;
            digits(at);
        }
    }
    while chars.get(*at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_') {
        *at += 1;
    }
    Ok(Token::Number(chars[start..*at].iter().collect()))
}

/// A text in single or double quotes with Spark's escapes.
fn text(chars: &[char], at: &mut usize, raw: bool) -> Res<Token> {
    let quote = chars[*at];
    let start = *at + 1;
    let open = || format!("the text that starts at {start} has no closing {quote}");
    *at += 1;
    let mut value = String::new();
    loop {
        let c = *chars.get(*at).ok_or_else(open)?;
        *at += 1;
        if c == quote {
            return Ok(Token::Text(value));
        }
        if c != '\\' || raw {
            value.push(c);
            continue;
        }
        let escaped = *chars.get(*at).ok_or_else(open)?;
        *at += 1;
        match escaped {
            'u' => match hex(chars, *at, 4) {
                Some(c) => {
                    value.push(c);
                    *at += 4;
                }
                None => value.push('u'),
            },
            'U' => match hex(chars, *at, 8) {
                Some(c) => {
                    value.push(c);
                    *at += 8;
                }
                None => value.push('U'),
            },
            '0'..='1' if octal(chars, *at).is_some() => {
                let rest = octal(chars, *at).unwrap_or_default();
                value.push(char::from((escaped as u8 - b'0') * 64 + rest));
                *at += 2;
            }
            '0' => value.push('\0'),
            'b' => value.push('\u{8}'),
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            'Z' => value.push('\u{1a}'),
            // LIKE's own escapes stay.
            '%' => value.push_str("\\%"),
            '_' => value.push_str("\\_"),
            other => value.push(other),
        }
    }
}

fn hex(chars: &[char], at: usize, length: usize) -> Option<char> {
    let digits = chars.get(at..at + length)?;
    let code = digits.iter().try_fold(0u32, |code, c| Some(code * 16 + c.to_digit(16)?))?;
    char::from_u32(code)
}

fn octal(chars: &[char], at: usize) -> Option<u8> {
    let (high, low) = (chars.get(at)?.to_digit(8)?, chars.get(at + 1)?.to_digit(8)?);
    Some((high * 8 + low) as u8)
}
