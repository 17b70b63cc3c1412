//! What the Delta log says of a table, read apart from the engine: live files, deleted rows, tombstones, checkpoints.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::Result;

/// Path and deletion vector: what identifies a file.
type LogicalId = (String, Option<String>);

/// A live file.
struct Live {
    bytes: u64,
    rows: u64,
    deleted: u64,
}

/// The state that the commits lead to, as far as a benchmark wants to know it.
#[derive(Default)]
pub struct LogReader {
    next: u64,
    live: HashMap<LogicalId, Live>,
    tombstones: HashSet<LogicalId>,
    /// Bytes of the commits read so far.
    pub bytes: u64,
    /// Commits read so far.
    pub commits: u64,
    /// Files that commits added or removed so far.
    pub actions: u64,
}

/// The table at one version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TableShape {
    /// Live files.
    pub files: u64,
    /// Of them, with a deletion vector.
    pub files_with_vectors: u64,
    /// Bytes of the live files.
    pub bytes: u64,
    /// Rows of the live files that are not deleted.
    pub rows: u64,
    /// Rows of the live files that are.
    pub deleted: u64,
    /// Removed files, with their vectors, that the log still names.
    pub tombstones: u64,
}

fn logical_id(action: &Value) -> LogicalId {
    let vector = action.get("deletionVector").filter(|v| !v.is_null()).map(|v| {
        format!(
            "{}{}@{}",
            v["storageType"].as_str().unwrap_or(""),
            v["pathOrInlineDv"].as_str().unwrap_or(""),
            v["offset"]
        )
    });
    (action["path"].as_str().unwrap_or("").to_owned(), vector)
}

impl LogReader {
    /// Reads the commits that are new. They must still be there: from the first one on.
    pub fn follow(&mut self, table: &Path) -> Result<()> {
        loop {
            let path = table.join("_delta_log").join(format!("{:020}.json", self.next));
            let Ok(text) = std::fs::read_to_string(&path) else { break };
            self.bytes += text.len() as u64;
            let actions: Vec<Value> = text.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?;
            for remove in actions.iter().filter_map(|a| a.get("remove")) {
                let id = logical_id(remove);
                self.live.remove(&id).ok_or_else(|| format!("{} removes {id:?}, which is not live", path.display()))?;
                self.tombstones.insert(id);
                self.actions += 1;
            }
            for add in actions.iter().filter_map(|a| a.get("add")) {
                let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap_or("null"))?;
                let rows = stats["numRecords"].as_u64().ok_or("an add without numRecords")?;
                let deleted = add["deletionVector"]["cardinality"].as_u64().unwrap_or(0);
                let file = Live { bytes: add["size"].as_u64().unwrap_or(0), rows, deleted };
                self.live.insert(logical_id(add), file);
                self.actions += 1;
            }
            self.next += 1;
            self.commits += 1;
        }
        if self.commits == 0 {
            return Err(format!("{} has no first commit", table.display()).into());
        }
        Ok(())
    }

    /// The newest version read.
    pub fn version(&self) -> u64 {
        self.next - 1
    }

    /// The table at that version.
    pub fn shape(&self) -> TableShape {
        let sum = |of: fn(&Live) -> u64| self.live.values().map(of).sum();
        TableShape {
            files: self.live.len() as u64,
            files_with_vectors: self.live.keys().filter(|(_, vector)| vector.is_some()).count() as u64,
            bytes: sum(|f| f.bytes),
            rows: sum(|f| f.rows - f.deleted),
            deleted: sum(|f| f.deleted),
            tombstones: self.tombstones.len() as u64,
        }
    }
}

/// The newest checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checkpoint {
    /// The table's version.
    pub version: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Live files in it.
    pub adds: u64,
    /// Tombstones in it.
    pub removes: u64,
}

/// Finds the newest checkpoint; none where there is none.
pub fn newest_checkpoint(table: &Path) -> Result<Option<Checkpoint>> {
    let mut by_version: HashMap<u64, Vec<PathBuf>> = HashMap::new();
    for entry in std::fs::read_dir(table.join("_delta_log"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains(".checkpoint.") && name.ends_with(".parquet") {
            let version = name.get(..20).and_then(|v| v.parse().ok()).ok_or("a checkpoint without a version")?;
            by_version.entry(version).or_default().push(entry.path());
        }
    }
    let Some((version, files)) = by_version.into_iter().max_by_key(|(version, _)| *version) else { return Ok(None) };
    let mut checkpoint = Checkpoint { version, ..Checkpoint::default() };
    for path in files {
        checkpoint.bytes += std::fs::metadata(&path)?.len();
        let reader = SerializedFileReader::new(File::open(&path)?)?;
        for group in reader.metadata().row_groups() {
            for column in group.columns() {
                let counted = match column.column_path().string().as_str() {
                    "add.path" => &mut checkpoint.adds,
                    "remove.path" => &mut checkpoint.removes,
                    _ => continue,
                };
                let nulls =
                    column.statistics().and_then(|s| s.null_count_opt()).ok_or("a checkpoint without counts")?;
                *counted += group.num_rows() as u64 - nulls;
            }
        }
    }
    Ok(Some(checkpoint))
}
