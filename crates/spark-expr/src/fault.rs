//! The one error of this crate, a sentence for the person who wrote the expression.

use arrow::error::ArrowError;

/// Why an expression cannot be compiled or run.
#[derive(Debug)]
pub struct Fault(String);

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// The result of compiling and of running.
pub(crate) type Res<T> = Result<T, Fault>;

impl From<ArrowError> for Fault {
    fn from(error: ArrowError) -> Self {
        Self(error.to_string())
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self(message)
    }
}

impl From<&str> for Fault {
    fn from(message: &str) -> Self {
        Self(message.to_owned())
    }
}
