//! What a file's rows take in memory, by its footer. Its size tells little: texts may be a twentieth of themselves there.

use parquet::basic::Type;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use super::pieces::{BATCH_BYTES, PIECE_BYTES, chunk_bytes};

/// Bytes of a page, and of a dictionary, unless a single value has more.
const PAGE: u64 = 1 << 20;

/// What reading a file holds, row group after row group, and what its rows are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Bytes of the footer; so are the others.
    pub(crate) footer: u64,
    /// A row group as it is stored: it is fetched as a whole.
    pub(crate) fetched: u64,
    /// Its pages that are decompressed at a time, and a batch of views.
    pub(crate) pages: u64,
    /// Rows without views that are handed on at a time.
    pub(crate) piece: u64,
    /// The largest row, by the average of its row group.
    pub(crate) row: u64,
    /// All rows as views, with what these point to.
    pub(crate) views: u64,
    /// All rows without views.
    pub(crate) plain: u64,
    /// Columns, parts of nested ones each by itself.
    pub(crate) leaves: u64,
}

impl Weight {
    pub(crate) fn of(metadata: &ParquetMetaData) -> Self {
        let mut weight = Self { footer: metadata.memory_size() as u64, ..Self::default() };
        for group in metadata.row_groups() {
            let (plain, views) = (sum(group, plain_bytes), sum(group, chunk_bytes));
            let rows = u64::try_from(group.num_rows()).unwrap_or(0).max(1);
            weight.fetched = weight.fetched.max(sum(group, |chunk| unsigned(chunk.compressed_size())));
            weight.pages = weight.pages.max(sum(group, page_bytes) + views.min(BATCH_BYTES));
            weight.row = weight.row.max(plain / rows);
            weight.views += views;
            weight.plain += plain;
            weight.leaves = weight.leaves.max(group.num_columns() as u64);
        }
        weight.piece = weight.plain.min(PIECE_BYTES as u64).max(weight.row);
        weight
    }
}

fn sum(group: &RowGroupMetaData, of: impl Fn(&ColumnChunkMetaData) -> u64) -> u64 {
    group.columns().iter().map(of).sum()
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Bytes of a column's values without views.
fn plain_bytes(chunk: &ColumnChunkMetaData) -> u64 {
    if chunk.column_type() != Type::BYTE_ARRAY {
        return chunk_bytes(chunk);
    }
    // Not every writer tells what they are without a dictionary.
    let texts = chunk.unencoded_byte_array_data_bytes().unwrap_or(0).max(chunk.uncompressed_size());
    unsigned(texts) + 4 * unsigned(chunk.num_values())
}

/// Bytes of a column's dictionary and of one page.
fn page_bytes(chunk: &ColumnChunkMetaData) -> u64 {
    let value = plain_bytes(chunk) / unsigned(chunk.num_values()).max(1);
    unsigned(chunk.uncompressed_size()).min(2 * PAGE.max(value))
}
