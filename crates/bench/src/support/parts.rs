//! Parts of a benchmark, each in a process of its own of the same program: each one's memory is its own. They are told
//! the files of batches, and answer each with one line of JSON.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::Result;

/// What the program starts itself with.
const PART: &str = "KAFKA2DELTA_BENCH_PART";
const TABLE: &str = "KAFKA2DELTA_BENCH_TABLE";

/// A part, seen from the program that started it.
pub struct Part {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Part {
    /// Starts it and waits for its first answer: it is ready.
    pub fn start(part: &str, table: &Path, env: Option<(&str, String)>) -> Result<(Self, Value)> {
        let mut process = Command::new(std::env::current_exe()?)
            .env(PART, part)
            .env(TABLE, table)
            .envs(env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take().ok_or("no pipe")?;
        let output = BufReader::new(process.stdout.take().ok_or("no pipe")?);
        let mut part = Self { process, input, output };
        let ready = part.answer()?;
        Ok((part, ready))
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(format!("a part ended: {}", self.process.wait()?).into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Has it apply the batch in this file.
    pub fn apply(&mut self, batch: &Path) -> Result<Value> {
        writeln!(self.input, "{}", batch.display())?;
        self.answer()
    }

    /// Ends it.
    pub fn end(mut self) -> Result<()> {
        drop(self.input);
        match self.process.wait()? {
            status if status.success() => Ok(()),
            status => Err(format!("a part ended: {status}").into()),
        }
    }
}

/// Which part this process is, and its table; none where it is the program itself.
pub fn this() -> Option<(String, PathBuf)> {
    Some((std::env::var(PART).ok()?, std::env::var_os(TABLE)?.into()))
}

/// Answers.
pub fn say(answer: Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}

/// Files of the batches, as they are told.
pub fn batches() -> impl Iterator<Item = std::io::Result<String>> {
    std::io::stdin().lock().lines()
}

/// The order of the parts in a batch: each is first in every other one.
pub fn turn(batch: usize, parts: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..parts).collect();
    if batch % 2 == 1 {
        order.reverse();
    }
    order
}
