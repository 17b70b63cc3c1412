//! Commits that replace the table as a whole.

use super::actions::Commit;

/// How a commit replaces the table as a whole, if it does.
pub(crate) fn replacement(commit: &Commit) -> Option<&'static str> {
    let parameter = |name: &str| {
        let parameters = commit.info.as_ref()?.get("operationParameters")?.as_object()?;
        parameters.get(name)?.as_str().map(|v| v.trim_matches('"').to_ascii_lowercase())
    };
    match commit.info_str("operation")?.to_ascii_uppercase().as_str() {
        "RESTORE" => Some("RESTORE"),
        "WRITE"
            if parameter("mode").as_deref() == Some("overwrite")
                && parameter("predicate").is_none_or(|p| p == "[]" || p.is_empty()) =>
        {
            Some("full overwrite")
        }
        operation if operation.starts_with("CREATE OR REPLACE") || operation.starts_with("REPLACE TABLE") => {
            Some("replacement of the table")
        }
        _ => None,
    }
}
