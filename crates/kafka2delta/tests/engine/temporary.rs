//! Folders that last as long as what holds them. The crate `tempfile` switches features of other crates on, for which `npm
//! test` would compile Arrow, Parquet and delta-rs once for the addon and once more for the tests.

use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A folder that is deleted with all that is in it when this is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Makes an empty folder.
pub fn folder() -> Folder {
    let path = std::env::temp_dir().join(format!("kafka2delta-test-{}", Uuid::new_v4()));
    std::fs::create_dir(&path).unwrap();
    Folder(path)
}
