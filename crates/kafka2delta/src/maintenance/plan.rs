//! Which files a step of compaction rewrites: chosen from the table's state alone.
//!
//! Small files are sorted into classes by their size, each [`CLASS_FACTOR`] times the one below. As soon as a class of
//! one partition value and Kafka partition has `min_files` files, these become one with all that are smaller. A row thus
//! moves up a class at least every few times that it is rewritten, and is rewritten a logarithmic number of times.
//!
//! A file with deleted rows is rewritten where their share is large, or where its deletions have cost as many bytes of
//! vectors and log as the file has: then the rewrite has paid for itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use object_store::ObjectStore;
use roaring::RoaringBitmap;

use crate::datafile::stats::StatsColumns;
use crate::error::{Error, ErrorCode, Result};
use crate::key::columns::KeyColumns;
use crate::log::actions::{Add, StringMap};
use crate::log::files::{FileEntry, FileId};
use crate::log::state::TableState;
use crate::options::Compression;
use crate::table::KeyedTable;

/// Bytes of a file in one class against the class below.
const CLASS_FACTOR: u64 = 4;
/// Bytes up to which all files are of one class: below, a file's size is mostly its footer.
const LOWEST_CLASS: u64 = 16 << 10;
/// Bytes that deletions of one file must have cost at least before it is rewritten for them: a commit has its price.
const LEAST_COST: u64 = 256 << 10;
/// Files that a step reads: their footers are held.
const MAX_FILES: usize = 1000;
/// Rows that a step reads: their keys are held, 16 bytes each.
const MAX_ROWS: u64 = 32 << 20;

/// When files are rewritten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompactOptions {
    /// Small files of one size class, Kafka partition and partition value from which on they become one.
    pub min_files: usize,
    /// Bytes of the files that one step reads; it takes two small files, or one with deletions, in any case.
    pub max_bytes: u64,
    /// Share of deleted rows from which on a file is rewritten, 0 to 1.
    pub deleted_share: f64,
    /// Every file that is small or has deleted rows, whether it pays or not.
    pub full: bool,
}

/// A file to be rewritten, as it was when the step was planned.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) add: Add,
    /// Its deleted rows, where they are known already.
    pub(super) deleted: Option<Arc<RoaringBitmap>>,
}

/// Files whose rows come together: of one partition value and Kafka partition.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) partition_values: StringMap,
    pub(super) kafka_partition: Option<i32>,
    pub(super) sources: Vec<Source>,
}

/// One step of compaction, planned.
#[derive(Debug)]
pub struct CompactionPlan {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) schema: SchemaRef,
    pub(super) schema_string: String,
    pub(super) partition_columns: Vec<String>,
    /// Where the table's keys are indexed.
    pub(super) key: Option<KeyColumns>,
    pub(super) cluster_by: Vec<String>,
    pub(super) compression: Compression,
    pub(super) stats: StatsColumns,
    pub(super) target_file_size: u64,
    pub(super) groups: Vec<Group>,
}

impl CompactionPlan {
    /// Files that the step will read.
    pub fn num_files(&self) -> usize {
        self.groups.iter().map(|group| group.sources.len()).sum()
    }

    /// Bytes that the step will read.
    pub fn num_bytes(&self) -> u64 {
        self.groups.iter().flat_map(|group| &group.sources).map(|source| size(&source.add)).sum()
    }
}

impl KeyedTable {
    /// Chooses the files of the next step; none where nothing is due. The state is as the last call left it: others'
    /// commits since are met when the step is committed.
    ///
    /// # Errors
    /// `CONFIG_INVALID` where a column to sort by does not exist or cannot be sorted; `TABLE_REPLACED` where the table is
    /// not to be written to any more.
    pub fn plan_compaction(&self, options: &CompactOptions) -> Result<Option<CompactionPlan>> {
        self.standing.check()?;
        let Some(state) = self.snapshot.state() else { return Ok(None) };
        // A column that is not there yet has no values to sort by; merges tell the user of it.
        let mut cluster_by = self.options.cluster_by.clone();
        cluster_by.retain(|name| self.snapshot.schema().field_with_name(name).is_ok());
        for name in &cluster_by {
            if self.snapshot.schema().field_with_name(name)?.data_type().is_nested() {
                return Err(Error::new(
                    ErrorCode::ConfigInvalid,
                    format!("clusterBy names '{name}', which is a nested column: rows cannot be sorted by it"),
                ));
            }
        }
        let groups = select(state, options, self.options.target_file_size);
        if groups.is_empty() {
            return Ok(None);
        }
        Ok(Some(CompactionPlan {
            store: self.storage.files().clone(),
            schema: self.snapshot.schema().clone(),
            schema_string: state.metadata.schema_string.clone(),
            partition_columns: state.metadata.partition_columns.clone(),
            key: self.keys.columns().cloned().filter(|_| self.keys.is_kept()),
            cluster_by,
            compression: self.options.compression,
            stats: self.stats_columns(),
            target_file_size: self.options.target_file_size,
            groups,
        }))
    }
}

/// A file with its number.
type Numbered<'a> = (FileId, &'a FileEntry);

fn size(add: &Add) -> u64 {
    u64::try_from(add.size).unwrap_or(0)
}

/// The number of the class that a size belongs to.
fn class(size: u64) -> u32 {
    match size <= LOWEST_CLASS {
        true => 0,
        false => (size / LOWEST_CLASS).ilog(CLASS_FACTOR) + 1,
    }
}

/// Whether a file's deleted rows are reason enough to rewrite it.
fn is_worn(file: &FileEntry, options: &CompactOptions) -> bool {
    let deleted = file.num_deleted();
    if deleted == 0 {
        return false;
    }
    let share = file.num_records.is_some_and(|rows| deleted as f64 >= options.deleted_share * rows as f64);
    options.full || share || file.deletion_bytes >= size(&file.add).max(LEAST_COST)
}

/// The files of a group that are due, small ones that come together first.
fn due(files: &[Numbered<'_>], options: &CompactOptions, target: u64) -> (Vec<FileId>, Vec<FileId>) {
    let small: Vec<_> = files.iter().filter(|(_, file)| size(&file.add) < target / 2).collect();
    let mut by_class: BTreeMap<u32, usize> = BTreeMap::new();
    for (_, file) in &small {
        *by_class.entry(class(size(&file.add))).or_default() += 1;
    }
    let enough = if options.full { 2 } else { options.min_files.max(2) };
    let highest = match options.full {
        true => by_class.last_key_value().map(|(class, _)| *class).filter(|_| small.len() >= enough),
        false => by_class.iter().rev().find(|(_, files)| **files >= enough).map(|(class, _)| *class),
    };
    let joins = |file: &FileEntry| {
        size(&file.add) < target / 2 && highest.is_some_and(|highest| class(size(&file.add)) <= highest)
    };
    let joined = files.iter().filter(|(_, file)| joins(file)).map(|(id, _)| *id).collect();
    let worn = files.iter().filter(|(_, file)| !joins(file) && is_worn(file, options)).map(|(id, _)| *id).collect();
    (joined, worn)
}

/// What a step may still take.
struct Budget {
    bytes: u64,
    rows: u64,
    files: usize,
    /// Files that it takes whatever they cost.
    free: usize,
}

impl Budget {
    fn take(&mut self, file: &FileEntry) -> bool {
        let (bytes, rows) = (size(&file.add), file.num_records.unwrap_or(0));
        let fits = bytes <= self.bytes && rows <= self.rows && self.files > 0;
        if !fits && self.free == 0 {
            return false;
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        self.rows = self.rows.saturating_sub(rows);
        self.files = self.files.saturating_sub(1);
        self.free = self.free.saturating_sub(1);
        true
    }
}

/// Chooses the files of a step, group by group.
fn select(state: &TableState, options: &CompactOptions, target: u64) -> Vec<Group> {
    let mut groups: BTreeMap<(&StringMap, Option<i32>), Vec<Numbered<'_>>> = BTreeMap::new();
    for (id, file) in state.live_files() {
        groups.entry((&file.add.partition_values, file.partition)).or_default().push((id, file));
    }
    // Where most files go first: their number is what readers feel.
    let mut work: Vec<_> = groups
        .into_iter()
        .map(|(group, files)| (group, due(&files, options, target)))
        .filter(|(_, (joined, worn))| !joined.is_empty() || !worn.is_empty())
        .collect();
    work.sort_by_key(|(_, (joined, worn))| std::cmp::Reverse(joined.len() + worn.len()));
    let mut budget = Budget { bytes: options.max_bytes, rows: MAX_ROWS, files: MAX_FILES, free: 0 };
    let mut chosen = Vec::new();
    for ((partition_values, kafka_partition), (mut joined, worn)) in work {
        // The oldest first; as far as rows are written once and in the order of keys, neighbours stay neighbours.
        joined.sort_by_key(|id| (state.files[*id as usize].add.modification_time, *id));
        let mut taken: Vec<FileId> = Vec::new();
        if joined.len() >= 2 {
            budget.free = if chosen.is_empty() { 2 } else { 0 };
            let before = (budget.bytes, budget.rows, budget.files);
            taken = joined.into_iter().take_while(|id| budget.take(&state.files[*id as usize])).collect();
            if taken.len() < 2 {
                taken.clear();
                (budget.bytes, budget.rows, budget.files) = before;
            }
        }
        budget.free = usize::from(chosen.is_empty() && taken.is_empty());
        taken.extend(worn.into_iter().filter(|id| budget.take(&state.files[*id as usize])));
        budget.free = 0;
        if taken.is_empty() {
            continue;
        }
        taken.sort_by_key(|id| (state.files[*id as usize].add.modification_time, *id));
        let source = |id: FileId| {
            let file = &state.files[id as usize];
            Source { add: file.add.clone(), deleted: file.deleted.clone() }
        };
        chosen.push(Group {
            partition_values: partition_values.clone(),
            kafka_partition,
            sources: taken.into_iter().map(source).collect(),
        });
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::actions::{Commit, DeletionVectorDescriptor, Metadata};

    const OPTIONS: CompactOptions =
        CompactOptions { min_files: 4, max_bytes: 1 << 30, deleted_share: 0.3, full: false };
    const TARGET: u64 = 64 << 20;

    fn add(path: &str, size: i64, tag: i32, deleted: i64) -> Add {
        let mut add: Add = serde_json::from_str(
            r#"{"path":"","partitionValues":{},"size":1,"modificationTime":0,"dataChange":true,"stats":"{\"numRecords\":100}"}"#,
        )
        .unwrap();
        (add.path, add.size) = (path.to_owned(), size);
        add.tags = Some([(crate::log::tags::PARTITION_TAG.to_owned(), Some(tag.to_string()))].into());
        add.deletion_vector = (deleted > 0).then(|| DeletionVectorDescriptor {
            storage_type: "u".into(),
            path_or_inline_dv: path.to_owned(),
            offset: Some(1),
            size_in_bytes: 40,
            cardinality: deleted,
        });
        add
    }

    fn state(adds: Vec<Add>) -> TableState {
        let metadata: Metadata = serde_json::from_str(
            r#"{"id":"1","format":{"provider":"parquet"},"schemaString":"","partitionColumns":[]}"#,
        )
        .unwrap();
        let mut state =
            TableState::new(0, metadata, crate::log::features::new_protocol(true, false, &Default::default()));
        state.apply(1, &Commit { adds, ..Commit::default() }).unwrap();
        state
    }

    fn chosen(state: &TableState, options: CompactOptions) -> Vec<Vec<String>> {
        let groups = select(state, &options, TARGET);
        groups.into_iter().map(|g| g.sources.into_iter().map(|s| s.add.path).collect()).collect()
    }

    #[test]
    fn classes_grow_by_the_factor() {
        assert_eq!([0, 1, 16 << 10, (16 << 10) + 1, 64 << 10, 256 << 10].map(class), [0, 0, 0, 1, 2, 3]);
    }

    #[test]
    fn small_files_of_one_class_and_tag_come_together() {
        let small = |n: usize, tag| (0..n).map(move |i| add(&format!("{tag}-{i}"), 1000, tag, 0));
        assert!(chosen(&state(small(3, 0).chain(small(3, 1)).collect()), OPTIONS).is_empty());
        let found = chosen(&state(small(3, 0).chain(small(5, 1)).collect()), OPTIONS);
        assert_eq!(found, [["1-0", "1-1", "1-2", "1-3", "1-4"]]);
        // Four of a higher class take the lower ones with them, and leave what is higher.
        let mut adds: Vec<Add> = (0..4).map(|i| add(&format!("m{i}"), 1 << 20, 0, 0)).collect();
        adds.extend([add("s", 10, 0, 0), add("l", 20 << 20, 0, 0), add("full", 60 << 20, 0, 0)]);
        assert_eq!(chosen(&state(adds), OPTIONS), [["m0", "m1", "m2", "m3", "s"]]);
    }

    #[test]
    fn rows_are_rewritten_a_logarithmic_number_of_times() {
        // Files of 20 KB come one by one; each holds the number of times that it was rewritten.
        let (mut files, mut written, count): (Vec<(i64, u64)>, i64, i64) = (Vec::new(), 0, 4000);
        for _ in 0..count {
            files.push((20_000, 0));
            let adds = files.iter().enumerate().map(|(i, f)| add(&i.to_string(), f.0, 0, 0)).collect();
            for group in select(&state(adds), &OPTIONS, TARGET) {
                let taken: Vec<usize> = group.sources.iter().map(|s| s.add.path.parse().unwrap()).collect();
                let size: i64 = taken.iter().map(|i| files[*i].0).sum();
                let times = taken.iter().map(|i| files[*i].1).max().unwrap() + 1;
                written += size;
                files = files.into_iter().enumerate().filter(|(i, _)| !taken.contains(i)).map(|(_, f)| f).collect();
                files.push((size, times));
            }
        }
        let times = files.iter().map(|f| f.1).max().unwrap();
        let amplification = written as f64 / (20_000 * count) as f64;
        assert!(files.len() < 30 && times < 14 && amplification < 8.0, "{} {times} {amplification}", files.len());
    }

    #[test]
    fn worn_files_are_rewritten() {
        let big = |path: &str, deleted| add(path, 60 << 20, 0, deleted);
        let table = state(vec![big("a", 29), big("b", 30), big("c", 0)]);
        assert_eq!(chosen(&table, OPTIONS), [["b"]]);
        assert_eq!(chosen(&table, CompactOptions { full: true, ..OPTIONS }), [["a", "b"]]);
        // What its deletions cost in all decides too.
        let mut table = state(vec![add("a", 300 << 10, 0, 1)]);
        assert!(chosen(&table, OPTIONS).is_empty());
        for version in 2..1000 {
            let mut next = add("a", 300 << 10, 0, 2);
            next.deletion_vector.as_mut().unwrap().offset = Some(version);
            let removes = vec![table.files[0].add.to_remove(0)];
            table.apply(version as u64, &Commit { adds: vec![next], removes, ..Commit::default() }).unwrap();
        }
        assert_eq!(chosen(&table, OPTIONS), [["a"]]);
    }

    #[test]
    fn a_step_is_bounded_and_never_empty_handed() {
        let adds: Vec<Add> = (0..10).map(|i| add(&i.to_string(), 1 << 20, 0, 0)).collect();
        let table = state(adds);
        assert_eq!(chosen(&table, CompactOptions { max_bytes: 5 << 20, ..OPTIONS })[0].len(), 5);
        assert_eq!(chosen(&table, CompactOptions { max_bytes: 1, ..OPTIONS })[0].len(), 2);
        let table = state(vec![add("a", 60 << 20, 0, 50), add("b", 60 << 20, 0, 50)]);
        assert_eq!(chosen(&table, CompactOptions { max_bytes: 1, ..OPTIONS }), [["a"]]);
        // A lone small file is as good as it gets.
        assert!(chosen(&state(vec![add("a", 10, 0, 0)]), CompactOptions { full: true, ..OPTIONS }).is_empty());
    }
}
