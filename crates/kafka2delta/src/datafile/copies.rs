//! Files written anew without some of their rows, kept from one attempt to commit to the next: another writer's commit
//! makes void the copies of the files that it changed, and no others.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use hashbrown::HashSet;
use object_store::path::Path;
use roaring::RoaringBitmap;

use crate::key::hasher::Fingerprint;
use crate::log::actions::Add;

/// A stored file that takes the place of another one, or of a part of it.
#[derive(Debug, Clone)]
pub struct FileCopy {
    /// Path relative to the table.
    pub path: Path,
    /// Its action.
    pub add: Add,
    /// Of its rows, where the table's have keys.
    pub keys: Arc<Vec<Fingerprint>>,
}

/// Stored copies that no commit names yet, by the paths of the files that they stand for.
#[derive(Debug, Default)]
pub struct Copies {
    by_path: BTreeMap<String, StoredCopy>,
    /// The table's columns when they were written.
    schema: Option<SchemaRef>,
    /// Copies that stand for nothing any more.
    void: Vec<Path>,
}

#[derive(Debug)]
struct StoredCopy {
    /// Rows of the file that it lacks.
    without: RoaringBitmap,
    /// None where no row is left.
    copy: Option<FileCopy>,
}

impl Copies {
    /// Makes void what was written in other types. Columns that are new are null in the copies, as in other files.
    pub(super) fn begin(&mut self, schema: &SchemaRef) {
        if self.schema.as_ref().is_some_and(|before| !holds(schema, before)) {
            let copies = std::mem::take(&mut self.by_path);
            self.void.extend(copies.into_values().filter_map(|stored| Some(stored.copy?.path)));
        }
        if self.by_path.is_empty() {
            self.schema = Some(schema.clone());
        }
    }

    /// The copy of a file without these rows, if there is one; none in it where no row is left.
    pub(super) fn find(&self, path: &str, without: &RoaringBitmap) -> Option<Option<FileCopy>> {
        let stored = self.by_path.get(path).filter(|stored| stored.without == *without)?;
        Some(stored.copy.clone())
    }

    /// Keeps a copy, which makes an earlier one of the same file void.
    pub(super) fn keep(&mut self, path: String, without: RoaringBitmap, copy: Option<FileCopy>) {
        let before = self.by_path.insert(path, StoredCopy { without, copy });
        self.void.extend(before.and_then(|stored| Some(stored.copy?.path)));
    }

    /// Their paths.
    pub(crate) fn paths(&self) -> HashSet<&Path> {
        self.by_path.values().filter_map(|stored| Some(&stored.copy.as_ref()?.path)).collect()
    }

    /// All but those that a commit names.
    pub(crate) fn unused(self, committed: &[FileCopy]) -> Vec<Path> {
        let committed: HashSet<&Path> = committed.iter().map(|copy| &copy.path).collect();
        let copies = self.by_path.into_values().filter_map(|stored| Some(stored.copy?.path));
        copies.chain(self.void).filter(|path| !committed.contains(path)).collect()
    }
}

/// Whether a schema has all columns of another one, with the same types.
fn holds(schema: &Schema, other: &Schema) -> bool {
    let has = |name, data_type| schema.field_with_name(name).is_ok_and(|field| field.data_type() == data_type);
    other.fields().iter().all(|field| has(field.name(), field.data_type()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field};

    fn copy(path: &str) -> Option<FileCopy> {
        let add: Add =
            serde_json::from_str(r#"{"path":"","partitionValues":{},"size":1,"modificationTime":0,"dataChange":true}"#)
                .unwrap();
        Some(FileCopy { path: path.into(), add, keys: Arc::default() })
    }

    fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
        Arc::new(Schema::new(fields.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>()))
    }

    fn paths(copies: Copies, committed: &[FileCopy]) -> Vec<String> {
        let mut paths: Vec<String> = copies.unused(committed).iter().map(Path::to_string).collect();
        paths.sort();
        paths
    }

    #[test]
    fn a_copy_stands_for_a_file_without_the_same_rows() {
        let mut copies = Copies::default();
        let rows = |rows: &[u32]| rows.iter().copied().collect::<RoaringBitmap>();
        copies.keep("a".into(), rows(&[1]), copy("a1"));
        copies.keep("b".into(), rows(&[]), None);
        assert!(copies.find("a", &rows(&[1])).unwrap().is_some() && copies.find("b", &rows(&[])).unwrap().is_none());
        assert!(copies.find("a", &rows(&[1, 2])).is_none() && copies.find("c", &rows(&[])).is_none());
        copies.keep("a".into(), rows(&[1, 2]), copy("a2"));
        assert_eq!(copies.paths(), HashSet::from([&"a2".into()]));
        let committed = copies.find("a", &rows(&[1, 2])).unwrap();
        copies.keep("c".into(), rows(&[]), copy("c1"));
        assert_eq!(paths(copies, committed.as_slice()), ["a1", "c1"]);
    }

    #[test]
    fn new_columns_leave_copies_as_they_are_and_other_types_make_them_void() {
        let mut copies = Copies::default();
        copies.begin(&schema(&[("v", DataType::Int64)]));
        copies.keep("a".into(), RoaringBitmap::new(), copy("a1"));
        copies.begin(&schema(&[("new", DataType::Utf8), ("v", DataType::Int64)]));
        assert!(copies.find("a", &RoaringBitmap::new()).is_some());
        copies.begin(&schema(&[("v", DataType::Float64)]));
        assert!(copies.find("a", &RoaringBitmap::new()).is_none());
        assert_eq!(paths(copies, &[]), ["a1"]);
    }
}
