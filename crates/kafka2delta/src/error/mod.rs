//! Errors of the engine: a code from the list that `src/errors.ts` closes, a message that says what to do, and the cause.

mod store;

use std::error::Error as StdError;
use std::fmt;

/// What went wrong, by the names that `src/errors.ts` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// The options are wrong.
    ConfigInvalid,
    /// The change of a column cannot be made without loss.
    SchemaIncompatible,
    /// A left-out value has no stored value.
    MissingValue,
    /// The table's path cannot be read or written; trying again may help.
    Storage,
    /// The path refuses us, or cannot be a table.
    StorageDenied,
    /// The table has what we cannot write to.
    TableUnsupported,
    /// Another writer replaced, restored or overwrote the table.
    TableReplaced,
    /// A file that the log names is missing or unreadable.
    TableCorrupt,
    /// The log does not have the version that is asked for.
    VersionMissing,
    /// Another worker has committed these offsets.
    Fenced,
    /// Other writers won every attempt to commit.
    CommitConflict,
    /// An additional column's expression is wrong.
    ExpressionInvalid,
    /// The change batch does not have the expected layout.
    BatchInvalid,
    /// The call was cancelled.
    Cancelled,
    /// A defect.
    Internal,
}

impl ErrorCode {
    /// The code's name in `src/errors.ts`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigInvalid => "CONFIG_INVALID",
            Self::SchemaIncompatible => "SCHEMA_INCOMPATIBLE",
            Self::MissingValue => "MISSING_VALUE",
            Self::Storage => "STORAGE",
            Self::StorageDenied => "STORAGE_DENIED",
            Self::TableUnsupported => "TABLE_UNSUPPORTED",
            Self::TableReplaced => "TABLE_REPLACED",
            Self::TableCorrupt => "TABLE_CORRUPT",
            Self::VersionMissing => "VERSION_MISSING",
            Self::Fenced => "FENCED",
            Self::CommitConflict => "COMMIT_CONFLICT",
            Self::ExpressionInvalid => "EXPRESSION_INVALID",
            Self::BatchInvalid => "BATCH_INVALID",
            Self::Cancelled => "CANCELLED",
            Self::Internal => "INTERNAL",
        }
    }
}

/// An error of the engine.
#[derive(Debug)]
pub struct Error {
    /// What went wrong.
    pub code: ErrorCode,
    /// What happened and what to do.
    pub message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without a cause.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), source: None }
    }

    /// An error that another one caused.
    pub fn with_source(
        code: ErrorCode,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { code, message: message.into(), source: Some(source.into()) }
    }

    /// An error while something of a table was read: the store's, or else of what it holds.
    fn of_reading(source: Box<dyn StdError + Send + Sync>, message: &str) -> Self {
        let source = match source.downcast::<std::io::Error>() {
            Ok(error) => return Self::of_io(*error, message),
            Err(source) => source,
        };
        match source.downcast::<object_store::Error>() {
            Ok(error) => (*error).into(),
            Err(source) => Self::with_source(ErrorCode::TableCorrupt, message, source),
        }
    }

    /// Of the disk, or of what writes to a store by way of `AsyncWrite` and wraps the store's error.
    fn of_io(error: std::io::Error, message: &str) -> Self {
        use std::io::ErrorKind as K;
        if matches!(error.kind(), K::InvalidData | K::UnexpectedEof) {
            return Self::with_source(ErrorCode::TableCorrupt, message, error);
        }
        let code = if is_denied(&error) { ErrorCode::StorageDenied } else { ErrorCode::Storage };
        match error.downcast::<object_store::Error>() {
            Ok(error) => error.into(),
            Err(error) => Self::with_source(code, "the storage failed", error),
        }
    }

    /// The same error with the name of the file that is damaged, where it is one and is not named.
    pub(crate) fn in_file(self, path: &impl fmt::Display) -> Self {
        let name = path.to_string();
        if self.code != ErrorCode::TableCorrupt || self.message.contains(&name) {
            return self;
        }
        Self { message: format!("{name} is damaged: {}", self.message), ..self }
    }

    /// The messages of this error and of all its causes, outermost first.
    pub fn chain(&self) -> Vec<String> {
        let mut messages = vec![self.message.clone()];
        let mut next = StdError::source(self);
        while let Some(error) = next {
            messages.push(store::without_body(&error.to_string()).to_owned());
            next = error.source();
        }
        messages
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error as E;
        let (code, message) = match &error {
            _ if store::is_without_place(&error) => {
                let said = store::said(&error).map_or(String::new(), |said| format!(": {said}"));
                (ErrorCode::StorageDenied, format!("the bucket or container of the table is not there{said}"))
            }
            _ if store::is_cut_short(&error) => {
                (ErrorCode::TableCorrupt, "it is shorter than the table's log says".to_owned())
            }
            E::NotFound { path, .. } => {
                (ErrorCode::TableCorrupt, format!("{path} is missing, although the table's log names it"))
            }
            E::PermissionDenied { path, .. } => (ErrorCode::StorageDenied, format!("no permission for {path}")),
            E::Unauthenticated { path, .. } => {
                (ErrorCode::StorageDenied, format!("the storage refuses our credentials for {path}"))
            }
            _ if is_denied(&error) => (
                ErrorCode::StorageDenied,
                "the table's path cannot be written: permission denied, a read-only file system, or not a folder"
                    .to_owned(),
            ),
            _ => {
                let said = store::said(&error).or_else(|| store::said_of_disk(&error));
                let said = said.map_or(String::new(), |said| format!(": {said}"));
                if store::is_refusal(&error) {
                    (ErrorCode::StorageDenied, format!("the storage refuses us{said}"))
                } else {
                    (ErrorCode::Storage, format!("the storage failed{said}"))
                }
            }
        };
        Self::with_source(code, message, error)
    }
}

/// Whether an I/O error in the chain says that asking again is of no use.
fn is_denied(error: &(dyn StdError + 'static)) -> bool {
    use std::io::ErrorKind as K;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return matches!(
                io.kind(),
                K::PermissionDenied | K::ReadOnlyFilesystem | K::NotADirectory | K::IsADirectory | K::InvalidFilename
            );
        }
        next = error.source();
    }
    false
}

impl From<deltalake::DeltaTableError> for Error {
    fn from(error: deltalake::DeltaTableError) -> Self {
        match error {
            deltalake::DeltaTableError::ObjectStore { source } => source.into(),
            error if is_denied(&error) => {
                Self::with_source(ErrorCode::StorageDenied, "the table's path cannot be used: permission denied", error)
            }
            error => Self::with_source(ErrorCode::Storage, "delta-rs failed", error),
        }
    }
}

impl From<delta_kernel::Error> for Error {
    fn from(error: delta_kernel::Error) -> Self {
        use delta_kernel::Error as E;
        const MESSAGE: &str = "the table's log cannot be read";
        match error {
            E::Backtraced { source, .. } => (*source).into(),
            E::Unsupported(ref what) => {
                let message = format!("the table has what is not known here: {what}");
                Self::with_source(ErrorCode::TableUnsupported, message, error)
            }
            // What the store could not do is no damage of the table.
            E::ObjectStore(source) => source.into(),
            E::Parquet(source) => source.into(),
            E::Arrow(arrow::error::ArrowError::ExternalError(source)) => Self::of_reading(source, MESSAGE),
            E::IOError(source) => Self::of_io(source, MESSAGE),
            E::Reqwest(_) => Self::with_source(ErrorCode::Storage, "the storage failed", error),
            E::GenericError { source } => Self::of_reading(source, MESSAGE),
            error => Self::with_source(ErrorCode::TableCorrupt, MESSAGE, error),
        }
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::with_source(ErrorCode::Internal, "an Arrow operation failed", error)
    }
}

impl From<parquet::errors::ParquetError> for Error {
    fn from(error: parquet::errors::ParquetError) -> Self {
        const MESSAGE: &str = "it cannot be read or written as Parquet";
        match error {
            parquet::errors::ParquetError::External(source) => Self::of_reading(source, MESSAGE),
            error => Self::with_source(ErrorCode::TableCorrupt, MESSAGE, error),
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::with_source(ErrorCode::TableCorrupt, "JSON of the table's log cannot be read or written", error)
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::with_source(ErrorCode::Internal, "a task of the engine panicked or was cancelled", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: "503 SlowDown".into() }
    }

    #[test]
    fn what_the_store_could_not_do_is_no_damage_of_the_table() {
        use delta_kernel::Error as E;
        let external = || Box::new(busy());
        let written = std::io::Error::other(busy());
        let errors: [E; 6] = [
            E::ObjectStore(busy()),
            E::generic_err(busy()),
            E::Parquet(parquet::errors::ParquetError::External(external())),
            E::Arrow(arrow::error::ArrowError::ExternalError(external())),
            E::Parquet(parquet::errors::ParquetError::External(Box::new(written))),
            E::IOError(std::io::Error::from_raw_os_error(5)),
        ];
        for error in errors {
            assert_eq!(Error::from(error).code, ErrorCode::Storage);
        }
        let short = E::IOError(std::io::ErrorKind::UnexpectedEof.into());
        assert_eq!(Error::from(short).code, ErrorCode::TableCorrupt);
        assert_eq!(Error::from(E::generic("no version 3")).code, ErrorCode::TableCorrupt);
        assert_eq!(Error::from(E::file_not_found("3.json")).code, ErrorCode::TableCorrupt);
    }
}
