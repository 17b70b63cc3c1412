//! Options and results cross the border as JSON text, by the names that the engine gives them: the engine's structs are
//! all that is to be said of them in Rust. Rows, and offsets of a merge, do not go this way.

use kafka2delta::{Error, ErrorCode, Result};
use napi::bindgen_prelude::ToNapiValue;
use napi::sys;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::invalid;

/// Reads options.
///
/// # Errors
/// `CONFIG_INVALID`, which names the option that is unknown, missing, or has a wrong value.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    let broken = |error: serde_json::Error| invalid(error.to_string());
    let options: serde_json::Value = serde_json::from_str(text).map_err(broken)?;
    // One option a line: the line of an error tells the option.
    let lines = serde_json::to_string_pretty(&options).map_err(broken)?;
    serde_json::from_str(&lines).map_err(|error| invalid(explain(&lines, &error)))
}

/// The message of an error, with the option whose value is wrong: of one that is unknown or missing it tells already.
fn explain(lines: &str, error: &serde_json::Error) -> String {
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let names =
        lines.lines().take(error.line()).filter_map(|line| line.trim_start().strip_prefix('"')?.split_once("\": "));
    match names.last() {
        Some((name, _)) if !message.contains(" field `") => format!("{name}: {message}"),
        _ => message.to_owned(),
    }
}

/// A result, written as JSON.
pub struct Json(String);

impl Json {
    /// # Errors
    /// `INTERNAL` for what JSON cannot hold.
    pub fn of(value: &impl Serialize) -> Result<Self> {
        let text = serde_json::to_string(value);
        text.map(Self).map_err(|error| Error::with_source(ErrorCode::Internal, "a result cannot be written", error))
    }
}

impl ToNapiValue for Json {
    unsafe fn to_napi_value(env: sys::napi_env, value: Self) -> napi::Result<sys::napi_value> {
        // SAFETY: env is the one that napi gave.
        unsafe { String::to_napi_value(env, value.0) }
    }
}
