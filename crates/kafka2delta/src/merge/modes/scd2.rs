//! History: each version of a row stays, with the time from which and to which it was the current one (a slowly changing
//! dimension of type 2).
//!
//! The key index knows the current versions alone. A change ends the current version of its key, which is written anew
//! with its end, and begins one. A change that changes no value begins none: so what a snapshot reads again leaves the
//! history as it is, and so does what a source sends again, as far as the history has it. Columns that tell of the change and
//! not of the row, which the batch names, make no version.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit, TimestampMicrosecondType};
use futures::TryStreamExt;
use hashbrown::{HashMap, HashSet};
use roaring::RoaringBitmap;

use crate::change::batch::{ChangeBatch, Op};
use crate::change::collapse::Collapsed;
use crate::change::left_out::fill;
use crate::datafile::order_columns;
use crate::datafile::pieces::with_views;
use crate::datafile::read::read_rows_of_files;
use crate::datafile::remove_rows::Deletions;
use crate::error::{Error, ErrorCode, Result};
use crate::key::hasher::{Fingerprint, NO_KEY};
use crate::log::files::FileId;
use crate::log::state::TableState;
use crate::machine::now_millis;
use crate::merge::prepared::Prepared;
use crate::merge::repeats::{Candidate, Changes, Sameness};
use crate::options::VersionColumns;
use crate::order::sequence::Order;
use crate::order::truncate::Truncate;
use crate::schema::conform_batch;
use crate::table::KeyedTable;

fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Columns that versions have beside the topic's.
pub(super) fn own_columns(columns: &VersionColumns) -> Vec<Field> {
    vec![
        Field::new(&columns.valid_from, time_type(), true),
        Field::new(&columns.valid_to, time_type(), true),
        Field::new(&columns.is_current, DataType::Boolean, true),
    ]
}

fn now_micros() -> i64 {
    now_millis().saturating_mul(1000)
}

/// When rows ended that a truncate took, in microseconds since 1970.
pub(super) fn truncated_at(truncates: &[Truncate]) -> i64 {
    truncates.iter().find_map(|truncate| truncate.time).unwrap_or_else(now_micros)
}

fn times(rows: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    let column = rows.column_by_name(name).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
    column.map_or_else(|| vec![None; rows.num_rows()], |column| column.iter().collect())
}

/// The rows as versions that ended at `end`, or when they began where that is later.
pub(super) fn closed(rows: &RecordBatch, columns: &VersionColumns, end: i64) -> Result<RecordBatch> {
    let begins = times(rows, &columns.valid_from);
    let ends = begins.iter().map(|begin| Some(begin.map_or(end, |begin| end.max(begin)))).collect();
    with_times(rows, columns, begins, ends)
}

fn with_times(
    rows: &RecordBatch,
    columns: &VersionColumns,
    begins: Vec<Option<i64>>,
    ends: Vec<Option<i64>>,
) -> Result<RecordBatch> {
    let schema = rows.schema();
    let mut arrays = rows.columns().to_vec();
    let current: BooleanArray = ends.iter().map(|end| Some(end.is_none())).collect();
    let time = |values: Vec<Option<i64>>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
    };
    arrays[schema.index_of(&columns.valid_from)?] = time(begins);
    arrays[schema.index_of(&columns.valid_to)?] = time(ends);
    arrays[schema.index_of(&columns.is_current)?] = Arc::new(current);
    Ok(RecordBatch::try_new(schema, arrays)?)
}

/// Where a row's values are: in the table's rows (0) or the batch's (1), and its number there.
type Source = (usize, usize);

#[derive(Debug, Clone, Copy)]
struct Version {
    source: Source,
    begin: i64,
    order: Order,
    /// The Kafka partition that it came through; none where that is not known.
    partition: Option<i32>,
    /// Whether it is to be written: it is not stored, or not so.
    is_new: bool,
}

impl Version {
    fn goes(&self, truncate: &Truncate) -> bool {
        truncate.removes(self.order, self.partition.unwrap_or(truncate.partition))
    }
}

/// A row to be written: a version, its end, and the key that it stands for.
struct Written {
    version: Version,
    end: Option<i64>,
    key: Fingerprint,
}

#[derive(Default)]
struct Chains {
    current: HashMap<Fingerprint, Option<Version>>,
    written: Vec<Written>,
    /// Changes that the history held already.
    repeats: u64,
}

impl Chains {
    /// Ends a key's current version, if it has one.
    fn end(&mut self, key: &Fingerprint, time: i64) {
        if let Some(version) = self.current.get_mut(key).and_then(Option::take) {
            self.written.push(Written { version, end: Some(time.max(version.begin)), key: NO_KEY });
        }
    }
}

/// The current rows that the table holds of some keys, with views of texts and bytes.
struct StoredRows {
    rows: RecordBatch,
    versions: HashMap<Fingerprint, Version>,
}

impl KeyedTable {
    /// The batch as versions: those that end and those that begin.
    pub(super) async fn versions(
        &self,
        batch: &ChangeBatch,
        keys: &[Fingerprint],
        mut prepared: Prepared,
        columns: &VersionColumns,
    ) -> Result<Prepared> {
        let collapsed = std::mem::take(&mut prepared.collapsed);
        let is_upsert = |row: &u32| batch.ops[*row as usize] == Op::Upsert;
        let upserts: Vec<u32> = collapsed.history.iter().copied().filter(is_upsert).collect();
        let (filled, missing) =
            fill(&prepared.base, &upserts, &prepared.left_out, &collapsed.previous, self.stored()).await?;
        // Views: many versions may share a text that is too large to be copied for each.
        let schema = with_views(&prepared.base_schema);
        let filled = conform_batch(&filled, &schema)?;
        let filled_row: HashMap<u32, usize> = upserts.iter().enumerate().map(|(n, row)| (*row, n)).collect();
        let touched = collapsed.history.iter().filter(|row| batch.ops[**row as usize] != Op::Truncate);
        let touched = touched.map(|row| keys[*row as usize]);
        let stored = self.current_rows(&schema, touched.collect(), columns).await?;
        let own = own_columns(columns);
        let own = own.iter().map(|column| column.name().as_str());
        let not_compared: Vec<&str> = own.chain(batch.names_of_the_change()).collect();
        let leaves_out = |number: usize, column: &str| {
            let mut masks = prepared.left_out.iter().filter(|(name, _)| name == column);
            masks.any(|(_, mask)| mask.value(upserts[number] as usize))
        };
        let changes = Changes { rows: &filled, not_compared: &not_compared, leaves_out: &leaves_out };
        let repeats = self.repeated_versions(batch, keys, &upserts, &stored, changes).await?;
        let same = Sameness::new(&stored.rows, changes)?;
        let chains = self.chains(batch, keys, &collapsed, &stored, &filled_row, (&same, &repeats))?;
        self.as_prepared(prepared, collapsed, chains, (&stored.rows, &filled), &filled_row, (missing, columns))
    }

    /// Of the upserts, the numbers of those that the history may hold already: older than what is known of their key.
    async fn repeated_versions(
        &self,
        batch: &ChangeBatch,
        keys: &[Fingerprint],
        upserts: &[u32],
        stored: &StoredRows,
        changes: Changes<'_>,
    ) -> Result<HashSet<usize>> {
        let mut candidates = Vec::new();
        for (number, row) in upserts.iter().enumerate() {
            let (at, key) = (*row as usize, &keys[*row as usize]);
            let Some(sequence) = batch.order(at).sequence else { continue };
            let current = stored.versions.get(key).map(|version| version.order);
            let last = current.or_else(|| self.keys.memory().get(key).map(|deleted| deleted.order));
            if last.and_then(|order| order.sequence).is_some_and(|last| sequence.goes_back_from(&last)) {
                candidates.push(Candidate { row: number, sequence, partition: batch.partition(at) });
            }
        }
        Ok(self.repeats(changes, &candidates).await?.into_keys().collect())
    }

    /// What becomes of each key, change by change.
    fn chains(
        &self,
        batch: &ChangeBatch,
        keys: &[Fingerprint],
        collapsed: &Collapsed,
        stored: &StoredRows,
        filled_row: &HashMap<u32, usize>,
        (same, repeats): (&Sameness<'_>, &HashSet<usize>),
    ) -> Result<Chains> {
        let mut chains = Chains::default();
        // Versions that began, or were current, in this batch.
        let mut seen: HashMap<Fingerprint, Vec<Version>> = HashMap::new();
        let mut truncates = collapsed.truncates.iter();
        let mut gone: Vec<(&Truncate, i64)> = Vec::new();
        let now = now_micros();
        let orders_count = self.meets_other_partitions(batch);
        for row in &collapsed.history {
            let at = *row as usize;
            let time = batch.times.as_ref().and_then(|times| times[at]).unwrap_or(now);
            if batch.ops[at] == Op::Truncate {
                let Some(truncate) = truncates.next() else { continue };
                let goes = |(_, version): &(_, &Option<Version>)| version.is_some_and(|v| v.goes(truncate));
                let ended: Vec<Fingerprint> = chains.current.iter().filter(goes).map(|(key, _)| *key).collect();
                ended.iter().for_each(|key| chains.end(key, time));
                gone.push((truncate, time));
                continue;
            }
            let key = keys[at];
            if !chains.current.contains_key(&key) {
                let before = stored.versions.get(&key).copied();
                chains.current.insert(key, before);
                seen.entry(key).or_default().extend(before);
                let truncated = gone.iter().find(|(truncate, _)| before.is_some_and(|v| v.goes(truncate)));
                if let Some((_, time)) = truncated {
                    chains.end(&key, *time);
                }
            }
            if batch.ops[at] != Op::Upsert {
                chains.end(&key, time);
                continue;
            }
            let number = filled_row
                .get(row)
                .ok_or_else(|| Error::new(ErrorCode::Internal, "a change of the history was not filled"))?;
            let source = (1, *number);
            let order = batch.order(at);
            let current = chains.current.get_mut(&key).and_then(Option::as_mut);
            let current_order = current.as_ref().map(|version| version.order);
            if let Some(version) = current
                && same.same(version.source, *number)
            {
                // No new version. Its order goes on, for truncates of other partitions.
                if orders_count && order != version.order {
                    (version.order, version.is_new) = (order, true);
                }
                continue;
            }
            let last = current_order.or_else(|| self.keys.memory().get(&key).map(|deleted| deleted.order));
            let goes_back = order.sequence.zip(last.and_then(|last| last.sequence));
            if goes_back.is_some_and(|(new, last)| new.goes_back_from(&last)) {
                let is_it = |version: &Version| {
                    version.order.sequence == order.sequence && same.has_given_values(version.source, *number)
                };
                if repeats.contains(number) || seen.get(&key).is_some_and(|versions| versions.iter().any(is_it)) {
                    chains.repeats += 1;
                    continue;
                }
            }
            let begin = chains.current.get(&key).copied().flatten().map_or(time, |before| time.max(before.begin));
            chains.end(&key, begin);
            let partition = Some(batch.partition(at));
            let version = Version { source, begin, order, partition, is_new: true };
            seen.entry(key).or_default().push(version);
            chains.current.insert(key, Some(version));
        }
        Ok(chains)
    }

    /// The versions to be written, as a batch whose rows all count.
    fn as_prepared(
        &self,
        mut prepared: Prepared,
        collapsed: Collapsed,
        chains: Chains,
        sources: (&RecordBatch, &RecordBatch),
        filled_row: &HashMap<u32, usize>,
        (missing, columns): (u64, &VersionColumns),
    ) -> Result<Prepared> {
        let Chains { current, mut written, repeats } = chains;
        let mut deletes = Vec::new();
        for (key, version) in current {
            match version {
                Some(version) if version.is_new => written.push(Written { version, end: None, key }),
                Some(_) => {}
                None => deletes.push(key),
            }
        }
        let count = written.len();
        // Rows of keys that were updated before they were stored come behind.
        let moved: Vec<(usize, Fingerprint)> =
            collapsed.moved.iter().filter_map(|(row, key)| Some((*filled_row.get(row)?, *key))).collect();
        let indices: Vec<Source> =
            written.iter().map(|w| w.version.source).chain(moved.iter().map(|(row, _)| (1, *row))).collect();
        let schema = sources.1.schema();
        let arrays: Result<Vec<ArrayRef>> = (0..schema.fields().len())
            .map(|column| Ok(interleave(&[sources.0.column(column), sources.1.column(column)], &indices)?))
            .collect();
        let mut begins: Vec<Option<i64>> = written.iter().map(|w| Some(w.version.begin)).collect();
        let mut ends: Vec<Option<i64>> = written.iter().map(|w| w.end).collect();
        begins.resize(indices.len(), None);
        ends.resize(indices.len(), None);
        prepared.base = with_times(&RecordBatch::try_new(schema, arrays?)?, columns, begins, ends)?;
        let mut partitions: Vec<i32> = written.iter().map(|w| w.version.partition.unwrap_or(0)).collect();
        partitions.resize(indices.len(), 0);
        prepared.partitions = Some(partitions);
        prepared.left_out = Vec::new();
        prepared.missing = missing;
        let orders: Vec<Order> = written.iter().map(|w| w.version.order).collect();
        prepared.collapsed = Collapsed {
            upserts: (0..count as u32).collect(),
            upsert_keys: written.iter().map(|w| w.key).collect(),
            deletes,
            moved: moved.iter().enumerate().map(|(n, (_, key))| ((count + n) as u32, *key)).collect(),
            upsert_orders: orders,
            previous: Vec::new(),
            flagged: Vec::new(),
            history: Vec::new(),
            dropped_stale: collapsed.dropped_stale + repeats,
            ..collapsed
        };
        Ok(prepared)
    }

    async fn current_rows(
        &self,
        base: &SchemaRef,
        keys: Vec<Fingerprint>,
        columns: &VersionColumns,
    ) -> Result<StoredRows> {
        let mut places: BTreeMap<FileId, Vec<(u32, Fingerprint)>> = BTreeMap::new();
        for key in keys {
            if let Some(place) = self.keys.live_place(self.snapshot.state(), &key) {
                places.entry(place.file).or_default().push((place.row, key));
            }
        }
        let read = order_columns::with_columns(base);
        let names: Vec<String> = read.fields().iter().map(|f| f.name().clone()).collect();
        let own: Vec<usize> = (0..base.fields().len()).collect();
        let files = places.into_iter().filter_map(|(file, mut rows)| {
            rows.sort_unstable();
            rows.dedup();
            let entry = &self.snapshot.state()?.files[file as usize];
            let numbers = rows.iter().map(|(row, _)| *row).collect();
            Some(((entry.partition, rows), entry.add.clone(), numbers))
        });
        let mut reads = read_rows_of_files(self.storage.files(), &read, &names, files);
        let mut batches = Vec::new();
        let mut versions = HashMap::new();
        let mut count = 0;
        while let Some(((partition, rows), found)) = reads.try_next().await? {
            let (orders, begins) = (order_columns::orders_of(&found), times(&found, &columns.valid_from));
            for (n, (_, key)) in rows.iter().enumerate() {
                let version = Version {
                    source: (0, count + n),
                    begin: begins[n].unwrap_or(i64::MIN),
                    order: orders[n],
                    partition,
                    is_new: false,
                };
                versions.insert(*key, version);
            }
            count += found.num_rows();
            batches.push(found.project(&own)?);
        }
        Ok(StoredRows { rows: arrow::compute::concat_batches(base, &batches)?, versions })
    }

    /// Of rows that a truncate takes, those that are current: the others have ended already.
    pub(super) async fn retain_current(
        &self,
        state: &TableState,
        truncated: &mut Deletions,
        columns: &VersionColumns,
    ) -> Result<()> {
        let names = [columns.is_current.clone()];
        let files = std::mem::take(truncated).into_iter().map(|(file, rows)| {
            let numbers: Vec<u32> = rows.iter().collect();
            ((file, numbers.clone()), state.files[file as usize].add.clone(), numbers)
        });
        let mut reads = read_rows_of_files(self.storage.files(), self.snapshot.schema(), &names, files);
        while let Some(((file, numbers), found)) = reads.try_next().await? {
            let current = found.column(0).as_boolean_opt();
            let is_current = |n: usize| current.is_none_or(|c| c.is_null(n) || c.value(n));
            let numbers = numbers.into_iter().enumerate().filter(|(n, _)| is_current(*n));
            let rows: RoaringBitmap = numbers.map(|(_, row)| row).collect();
            if !rows.is_empty() {
                truncated.insert(file, rows);
            }
        }
        Ok(())
    }
}
