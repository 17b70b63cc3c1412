//! Which files a step of compaction rewrites: of what is due in the groups, what fits into a step. It is chosen from the
//! table's state and the time alone.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::due::{CompactOptions, Numbered, Work, due, size};
use crate::datafile::read::FileReader;
use crate::datafile::weight::Weight;
use crate::log::actions::{Add, StringMap};
use crate::log::files::{FileEntry, FileId};
use crate::log::state::TableState;

/// Files that a step reads: their footers are held.
const MAX_FILES: usize = 1000;
/// Rows that a step reads: of sorted ones the new numbers are held.
const MAX_ROWS: u64 = 32 << 20;

/// A file to be rewritten, as it was when the step was planned.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) add: Add,
    /// Its deleted rows, where they are known already.
    pub(super) deleted: Option<Arc<RoaringBitmap>>,
    /// What its footer tells, once it was read.
    pub(super) footer: Option<Footer>,
}

/// What the footer of a file tells.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) weight: Weight,
    pub(super) rows: u64,
    /// Whether its rows have sequences.
    pub(super) is_ordered: bool,
    /// The open file, where its footer was kept.
    pub(super) reader: Option<FileReader>,
}

/// Files whose rows come together: of one partition value and Kafka partition.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) partition_values: StringMap,
    pub(super) kafka_partition: Option<i32>,
    /// They become one file, whatever its size.
    pub(super) one_file: bool,
    pub(super) sources: Vec<Source>,
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

    /// The files that fit, the oldest first: as far as rows are written once and in the order of keys, neighbours stay
    /// neighbours. `first`: nothing was taken yet, and something must be.
    fn take_all(&mut self, state: &TableState, mut work: Work, first: bool) -> Vec<FileId> {
        work.files.sort_by_key(|id| (state.files[*id as usize].add.modification_time, *id));
        let before = (self.bytes, self.rows, self.files);
        self.free = if first { work.least } else { 0 };
        let mut files = work.files.into_iter();
        let taken: Vec<FileId> = match work.least {
            1 => files.filter(|id| self.take(&state.files[*id as usize])).collect(),
            _ => files.by_ref().take_while(|id| self.take(&state.files[*id as usize])).collect(),
        };
        self.free = 0;
        if taken.len() < work.least {
            (self.bytes, self.rows, self.files) = before;
            return Vec::new();
        }
        taken
    }
}

/// Chooses the files of a step, group by group.
pub(super) fn select(state: &TableState, options: &CompactOptions, target: u64, now: i64) -> Vec<Group> {
    let mut groups: BTreeMap<(&StringMap, Option<i32>), Vec<Numbered<'_>>> = BTreeMap::new();
    for (id, file) in state.live_files() {
        groups.entry((&file.add.partition_values, file.partition)).or_default().push((id, file));
    }
    let mut all: Vec<_> = Vec::new();
    for (group, files) in groups {
        all.extend(due(&files, options, target, now).into_iter().map(|work| (group, work)));
    }
    // Where most files go first: their number is what readers feel.
    all.sort_by_key(|(_, work)| Reverse(work.files.len()));
    let mut budget = Budget { bytes: options.max_bytes, rows: MAX_ROWS, files: MAX_FILES, free: 0 };
    let mut chosen = Vec::new();
    for ((partition_values, kafka_partition), work) in all {
        let one_file = work.one_file;
        let taken = budget.take_all(state, work, chosen.is_empty());
        if taken.is_empty() {
            continue;
        }
        let source = |id: FileId| {
            let file = &state.files[id as usize];
            Source { add: file.add.clone(), deleted: file.deleted.clone(), footer: None }
        };
        chosen.push(Group {
            partition_values: partition_values.clone(),
            kafka_partition,
            one_file,
            sources: taken.into_iter().map(source).collect(),
        });
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::actions::{Commit, DeletionVectorDescriptor, Metadata};
    use crate::maintenance::due::{LOWEST_CLASS, QUIET};

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
        let groups = select(state, &options, TARGET, 0);
        groups.into_iter().map(|g| g.sources.into_iter().map(|s| s.add.path).collect()).collect()
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
            for group in select(&state(adds), &OPTIONS, TARGET, 0) {
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

    /// A file of the model: its group, size, time, and how often its rows were rewritten.
    #[derive(Debug, Clone)]
    struct File {
        group: (u8, i32),
        size: i64,
        time: i64,
        times: u32,
    }

    /// A table whose steps are done as they are chosen.
    struct Model {
        files: Vec<File>,
        /// In terms of the lowest class at least.
        arrived: u64,
        written: u64,
        now: i64,
    }

    fn counted(size: i64) -> u64 {
        (size as u64).max(LOWEST_CLASS)
    }

    impl Model {
        fn new() -> Self {
            Self { files: Vec::new(), arrived: 0, written: 0, now: 1 }
        }

        fn arrive(&mut self, group: (u8, i32), size: i64) {
            self.arrived += counted(size);
            self.files.push(File { group, size, time: self.now, times: 0 });
        }

        /// Does all that is due.
        fn steps(&mut self, options: CompactOptions) {
            loop {
                let adds = self.files.iter().enumerate().map(|(n, file)| {
                    let mut add = add(&n.to_string(), file.size, file.group.1, 0);
                    add.partition_values = [("p".to_owned(), Some(file.group.0.to_string()))].into();
                    add.modification_time = file.time;
                    add
                });
                let groups = select(&state(adds.collect()), &options, TARGET, self.now);
                if groups.is_empty() {
                    return;
                }
                let mut taken = vec![false; self.files.len()];
                let mut new = Vec::new();
                for group in groups {
                    let sources: Vec<usize> = group.sources.iter().map(|s| s.add.path.parse().unwrap()).collect();
                    let key = self.files[sources[0]].group;
                    assert!(
                        sources.iter().all(|n| self.files[*n].group == key && !std::mem::replace(&mut taken[*n], true))
                    );
                    let mut size: i64 = sources.iter().map(|n| self.files[*n].size).sum();
                    self.written += sources.iter().map(|n| counted(self.files[*n].size)).sum::<u64>();
                    let times = sources.iter().map(|n| self.files[*n].times).max().unwrap() + 1;
                    while size > 0 {
                        let part = if group.one_file { size } else { size.min(TARGET as i64) };
                        new.push(File { group: key, size: part, time: self.now, times });
                        size -= part;
                    }
                }
                let mut taken = taken.into_iter();
                self.files.retain(|_| !taken.next().unwrap());
                self.files.extend(new);
            }
        }

        fn by_group(&self) -> BTreeMap<(u8, i32), Vec<i64>> {
            let mut groups: BTreeMap<_, Vec<i64>> = BTreeMap::new();
            self.files.iter().for_each(|file| groups.entry(file.group).or_default().push(file.size));
            groups
        }
    }

    /// Numbers that look random, below a bound.
    fn random(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        }
    }

    #[test]
    fn quiet_groups_keep_few_files_and_rows_are_rewritten_a_logarithmic_number_of_times() {
        for seed in 0..12 {
            let (mut model, mut random) = (Model::new(), random(seed));
            for _ in 0..400 {
                // Some groups get many files, some few.
                let group = (random(4).min(random(4)) as u8, random(3) as i32);
                model.arrive(group, 1 << (8 + random(14)));
                model.now += [1000, 60_000, QUIET][random(3) as usize] * (1 + random(3) as i64);
                model.steps(OPTIONS);
            }
            model.now += QUIET;
            model.steps(OPTIONS);
            for (group, sizes) in model.by_group() {
                let small = sizes.iter().filter(|size| (**size as u64) < TARGET / 2).count();
                assert!(small <= 9, "seed {seed}: {group:?} keeps {sizes:?}");
            }
            let times = model.files.iter().map(|file| file.times).max().unwrap();
            let amplification = model.written as f64 / model.arrived as f64;
            assert!(times <= 23 && amplification < 8.0, "seed {seed}: {times} times, {amplification}");
        }
    }

    #[test]
    fn a_file_now_and_then_does_not_have_its_group_rewritten_each_time() {
        let mut model = Model::new();
        for _ in 0..3000 {
            model.arrive((0, 0), 20_000);
            model.now += QUIET;
            model.steps(OPTIONS);
        }
        let amplification = model.written as f64 / model.arrived as f64;
        assert!(model.files.len() <= 9 && amplification < 10.0, "{} files, {amplification}", model.files.len());
    }

    #[test]
    fn a_full_compaction_leaves_no_two_files_that_fit_into_one() {
        for seed in 0..12 {
            let (mut model, mut random) = (Model::new(), random(seed));
            for _ in 0..600 {
                model.now += 1;
                model.arrive((random(6) as u8, random(3) as i32), 1 + (1 << random(27)) * (1 + random(9) as i64) / 10);
            }
            let before = model.by_group();
            model.steps(CompactOptions { full: true, ..OPTIONS });
            assert!(model.written <= 2 * model.arrived, "seed {seed}: {} of {}", model.written, model.arrived);
            for (group, mut sizes) in model.by_group() {
                sizes.sort_unstable();
                assert_eq!(sizes.iter().sum::<i64>(), before[&group].iter().sum::<i64>());
                if let [one, other, ..] = sizes[..] {
                    assert!((one + other) as u64 > TARGET, "seed {seed}: {group:?} keeps {sizes:?}");
                }
            }
        }
    }
}
