//! Options of the command line: `--name value` and `--flag`.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use super::Result;

/// The options of a benchmark program.
pub struct Args {
    values: HashMap<String, String>,
    help: &'static str,
}

impl Args {
    /// Parses the process's arguments. `help` lists the options, one a line, as `  --name N  what` or `  --flag  what`;
    /// what it does not list is an error. None where help was asked for and printed.
    pub fn parse(help: &'static str) -> Result<Option<Self>> {
        let mut values = HashMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--help" {
                println!("{help}");
                return Ok(None);
            }
            let name = word.strip_prefix("--").ok_or_else(|| format!("unknown argument {word}\n{help}"))?;
            let (name, given) = name.split_once('=').map_or((name, None), |(n, v)| (n, Some(v.to_owned())));
            let line = help.lines().find(|l| l.split_whitespace().next() == Some(&format!("--{name}")));
            let line = line.ok_or_else(|| format!("unknown option {word}\n{help}"))?;
            // An option's value is named in capitals.
            let what = line.split_whitespace().nth(1).unwrap_or_default();
            let takes_value = what.chars().all(|c| c.is_ascii_uppercase()) && !what.is_empty();
            let value = match (takes_value, given) {
                (true, Some(value)) => value,
                (true, None) => words.next().ok_or_else(|| format!("{word} needs a value\n{help}"))?,
                (false, None) => "true".to_owned(),
                (false, Some(_)) => return Err(format!("--{name} takes no value\n{help}").into()),
            };
            values.insert(name.to_owned(), value);
        }
        Ok(Some(Self { values, help }))
    }

    /// An option's value, or what counts without it.
    pub fn get<T: FromStr<Err: Display>>(&self, name: &str, otherwise: T) -> Result<T> {
        match self.values.get(name) {
            None => Ok(otherwise),
            Some(value) => {
                value.parse().map_err(|e| format!("--{name} cannot be '{value}': {e}\n{}", self.help).into())
            }
        }
    }

    /// An option's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether a flag is there.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }
}
