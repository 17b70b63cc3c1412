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

/// An aborted call that was dropped: the store did not answer.
pub fn abandoned() -> Error {
    let message = "the call was cancelled, and the store did not answer in the ten seconds after that: the table is closed, \
                   and its log tells whether there was a commit";
    Error::new(ErrorCode::Cancelled, message)
}

/// A value that is not of its type.
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::ConfigInvalid, message)
}
