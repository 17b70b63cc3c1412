//! Changes of the orders: 80 % updates, 15 % inserts, 5 % deletes, each key once in a batch.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::index::sample;
use rand::{Rng, SeedableRng};

use super::Result;
use super::orders;

/// A batch of changes: its rows, and which of them are deletes.
pub struct Changes {
    /// The rows; of a delete only the key counts.
    pub rows: RecordBatch,
    /// One for each row.
    pub deleted: Vec<bool>,
}

impl Changes {
    /// The change batch that a caller would hand over.
    pub fn ipc(&self) -> Result<Bytes> {
        let ops: ArrayRef = Arc::new(UInt8Array::from_iter_values(self.deleted.iter().map(|d| u8::from(*d))));
        let batch = with_column(&self.rows, Field::new("_op", DataType::UInt8, false), ops)?;
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
        writer.write(&batch)?;
        writer.finish()?;
        Ok(writer.into_inner()?.into())
    }

    /// The changes out of [`Self::ipc`].
    pub fn from_ipc(bytes: &[u8]) -> Result<Self> {
        let mut reader = arrow::ipc::reader::StreamReader::try_new(bytes, None)?;
        let batch = reader.next().ok_or("an empty batch of changes")??;
        let ops = batch.num_columns() - 1;
        let deleted = batch.column(ops).as_primitive::<arrow::datatypes::UInt8Type>();
        let deleted = deleted.values().iter().map(|op| *op == 1).collect();
        Ok(Self { rows: batch.project(&(0..ops).collect::<Vec<_>>())?, deleted })
    }

    /// The rows that are written.
    pub fn upserts(&self) -> Result<RecordBatch> {
        let kept: BooleanArray = self.deleted.iter().map(|d| Some(!d)).collect();
        Ok(arrow::compute::filter_record_batch(&self.rows, &kept)?)
    }

    /// The rows with the column `__deleted`, as a MERGE takes them.
    pub fn with_deleted(&self) -> Result<RecordBatch> {
        let deleted: ArrayRef = Arc::new(BooleanArray::from(self.deleted.clone()));
        with_column(&self.rows, Field::new("__deleted", DataType::Boolean, false), deleted)
    }
}

fn with_column(rows: &RecordBatch, field: Field, column: ArrayRef) -> Result<RecordBatch> {
    let mut fields: Vec<Arc<Field>> = rows.schema().fields().to_vec();
    fields.push(Arc::new(field));
    let mut columns = rows.columns().to_vec();
    columns.push(column);
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Which keys are updated and deleted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Any key, each as likely.
    Uniform,
    /// One of the newest hundredth.
    Recent,
}

impl std::str::FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "uniform" => Ok(Self::Uniform),
            "recent" => Ok(Self::Recent),
            other => Err(format!("it is uniform or recent, not {other}")),
        }
    }
}

impl std::fmt::Display for Distribution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Uniform => "uniform",
            Self::Recent => "recent",
        })
    }
}

/// Makes batch after batch; what was deleted is not changed again.
pub struct Generator {
    rng: StdRng,
    rows: usize,
    distribution: Distribution,
    /// Live ids; with recent keys in the order of their insert.
    live: Vec<i64>,
    next: i64,
    batches: i64,
}

impl Generator {
    /// Changes of a table of `rows` rows.
    pub fn new(rows: usize, distribution: Distribution, seed: u64) -> Self {
        let live = (1..=rows as i64).collect();
        Self { rng: StdRng::seed_from_u64(seed), rows, distribution, live, next: rows as i64 + 1, batches: 0 }
    }

    /// Ids that the table has after the batches so far.
    pub fn live(&self) -> &[i64] {
        &self.live
    }

    /// The highest id so far.
    pub fn last_id(&self) -> i64 {
        self.next - 1
    }

    /// The next batch.
    pub fn batch(&mut self, changes: usize) -> Result<Changes> {
        let (updates, inserts) = (changes * 80 / 100, changes * 15 / 100);
        let deletes = changes - updates - inserts;
        let pool = match self.distribution {
            Distribution::Uniform => self.live.len(),
            Distribution::Recent => (updates + deletes).max(self.live.len() / 100),
        };
        if updates + deletes > pool || pool > self.live.len() {
            return Err(format!("the table has too few rows for {changes} changes").into());
        }
        let base = self.live.len() - pool;
        let picked: Vec<usize> = sample(&mut self.rng, pool, updates + deletes).into_iter().map(|i| base + i).collect();
        let mut changed: Vec<(i64, bool)> =
            picked.iter().enumerate().map(|(n, i)| (self.live[*i], n >= updates)).collect();
        let mut gone: Vec<usize> = picked[updates..].to_vec();
        gone.sort_unstable();
        match self.distribution {
            Distribution::Uniform => {
                for place in gone.into_iter().rev() {
                    self.live.swap_remove(place);
                }
            }
            Distribution::Recent => {
                let mut place = base;
                let tail = self.live.split_off(base);
                self.live.extend(tail.into_iter().filter(|_| {
                    place += 1;
                    gone.binary_search(&(place - 1)).is_err()
                }));
            }
        }
        for _ in 0..inserts {
            changed.push((self.next, false));
            self.live.push(self.next);
            self.next += 1;
        }
        // The order in the log is not that of the keys.
        for i in (1..changed.len()).rev() {
            changed.swap(i, self.rng.random_range(0..=i));
        }
        self.batches += 1;
        let ids: Vec<i64> = changed.iter().map(|c| c.0).collect();
        let lsn = self.rows as i64 * 10 + 1_000_000_000 * self.batches;
        let rows = orders::rows(&ids, self.rows, &mut self.rng, lsn)?;
        Ok(Changes { rows, deleted: changed.iter().map(|c| c.1).collect() })
    }
}
