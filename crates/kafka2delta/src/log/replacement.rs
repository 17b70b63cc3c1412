//! Commits that replace the table as a whole.

use super::actions::Commit;

/// A commit that replaced the table as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replacement {
    /// As a noun with its article.
    pub(crate) how: &'static str,
    /// Whether the table has the rows of an older version since.
    pub(crate) is_restore: bool,
    /// That version, where the commit tells: a RESTORE to a timestamp does not.
    pub(crate) restored: Option<u64>,
}

/// How a commit replaces the table as a whole, if it does.
pub(crate) fn replacement(commit: &Commit) -> Option<Replacement> {
    let parameters = commit.info.as_ref().and_then(|info| info.get("operationParameters")?.as_object());
    let parameter = |name: &str| {
        let value = parameters?.get(name)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some(text.trim_matches('"').to_ascii_lowercase())
    };
    let other = |how| Some(Replacement { how, is_restore: false, restored: None });
    match commit.info_str("operation")?.to_ascii_uppercase().as_str() {
        "RESTORE" => Some(Replacement {
            how: "a RESTORE",
            is_restore: true,
            restored: parameter("version").and_then(|version| version.parse().ok()),
        }),
        "WRITE"
            if parameter("mode").as_deref() == Some("overwrite")
                && parameter("predicate").is_none_or(|p| p == "[]" || p.is_empty()) =>
        {
            other("a full overwrite")
        }
        operation if operation.starts_with("CREATE OR REPLACE") || operation.starts_with("REPLACE TABLE") => {
            other("a replacement of the table")
        }
        _ => None,
    }
}
