//! Folders of tables.

use std::path::Path;

use super::Result;

/// Copies a table's folder. Data files, which are never changed in place, become hard links where that works.
pub fn copy_table(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    // Before the checkpoint that it names: one that is written meanwhile is not missed.
    let hint = "_last_checkpoint";
    if from.join(hint).exists() {
        std::fs::copy(from.join(hint), to.join(hint))?;
    }
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_name() == hint {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy_table(&entry.path(), &target)?;
            continue;
        }
        let immutable = Path::new(&entry.file_name()).extension().is_some_and(|e| e == "parquet" || e == "bin");
        if !immutable || std::fs::hard_link(entry.path(), &target).is_err() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Bytes of all files in a folder and those in it.
pub fn bytes_under(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|e| if e.path().is_dir() { bytes_under(&e.path()) } else { e.metadata().map_or(0, |m| m.len()) })
        .sum()
}
