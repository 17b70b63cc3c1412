//! Errors of the border itself.

use kafka2delta::{Error, ErrorCode};

/// A call on a closed table.
pub fn closed() -> Error {
    Error::new(ErrorCode::Internal, "the table was closed")
}

/// An aborted call.
pub fn cancelled() -> Error {
    Error::new(ErrorCode::Cancelled, "the call was cancelled")
}

/// A value that is not of its type.
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::ConfigInvalid, message)
}
