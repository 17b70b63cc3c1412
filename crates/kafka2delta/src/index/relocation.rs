//! Where the rows of files went that were rewritten. The index keeps their old places and translates them as it meets them:
//! so a rewrite is entered at once, however many rows it moved. Piece by piece the new places are then written into the index.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::slots::SHARDS;
use crate::log::files::{FileId, Place};

/// Rows of one word, and of one sum.
const WORD: u32 = 64;
const WORDS_A_SUM: usize = 8;
/// Bytes of a file beside what is known of its rows.
const FILE_BYTES: usize = 128;

/// A file's rows that were read: which number each had among those of its group.
#[derive(Debug)]
pub(crate) struct SourceRows {
    /// Number of its first live row.
    base: u64,
    /// One bit for each row that was deleted, as far as there are any.
    deleted: Vec<u64>,
    /// Deleted rows before each [`WORDS_A_SUM`] words.
    sums: Vec<u32>,
}

impl SourceRows {
    /// Of a file whose live rows are numbered from `base` on.
    pub(crate) fn new(base: u64, deleted: &RoaringBitmap) -> Self {
        let mut words = vec![0u64; deleted.max().map_or(0, |last| (last / WORD) as usize + 1)];
        for row in deleted {
            words[(row / WORD) as usize] |= 1 << (row % WORD);
        }
        let mut sum = 0;
        let sums = words.chunks(WORDS_A_SUM).map(|words| {
            let before = sum;
            sum += words.iter().map(|word| word.count_ones()).sum::<u32>();
            before
        });
        Self { base, sums: sums.chain([u32::try_from(deleted.len()).unwrap_or(u32::MAX)]).collect(), deleted: words }
    }

    /// The number of a row; none of one that was deleted.
    pub(crate) fn number(&self, row: u32) -> Option<u64> {
        let at = (row / WORD) as usize;
        let Some(word) = self.deleted.get(at) else {
            // Behind the last deleted one.
            return Some(self.base + u64::from(row) - u64::from(*self.sums.last()?));
        };
        let bit = 1u64 << (row % WORD);
        let first = at / WORDS_A_SUM * WORDS_A_SUM;
        let before = self.deleted[first..at].iter().map(|word| word.count_ones()).sum::<u32>();
        let before = self.sums[at / WORDS_A_SUM] + before + (word & (bit - 1)).count_ones();
        (word & bit == 0).then(|| self.base + u64::from(row) - u64::from(before))
    }

    fn allocated_bytes(&self) -> usize {
        self.deleted.capacity() * 8 + self.sums.capacity() * 4
    }
}

/// The new files of a group.
#[derive(Debug)]
pub(crate) struct GroupRows {
    /// Number of the first row of each, and their rows.
    outputs: Vec<(u64, u64)>,
    /// Of sorted rows: number among the sources' rows to number among the outputs'.
    permutation: Option<Vec<u32>>,
}

impl GroupRows {
    /// Of outputs by their first number and their rows.
    pub(crate) fn new(outputs: Vec<(u64, u64)>, permutation: Option<Vec<u32>>) -> Self {
        Self { outputs, permutation }
    }

    fn allocated_bytes(&self) -> usize {
        self.outputs.capacity() * 16 + self.permutation.as_ref().map_or(0, |numbers| numbers.capacity() * 4)
    }

    /// The output and the row in it that a row of a source became, by its number among the sources'.
    pub(crate) fn place(&self, number: u64) -> Option<(usize, u32)> {
        let number = match &self.permutation {
            Some(permutation) => u64::from(*permutation.get(usize::try_from(number).ok()?)?),
            None => number,
        };
        let output = self.outputs.partition_point(|(start, _)| *start <= number).checked_sub(1)?;
        let (start, rows) = self.outputs[output];
        let row = number - start;
        (row < rows).then_some(())?;
        Some((output, u32::try_from(row).ok()?))
    }
}

/// A file that was rewritten.
#[derive(Debug, Clone)]
pub(crate) struct Relocated {
    pub(crate) source: Arc<SourceRows>,
    pub(crate) group: Arc<GroupRows>,
    /// The group's new files; none of one that has no row left.
    pub(crate) files: Arc<Vec<Option<FileId>>>,
}

impl Relocated {
    fn place(&self, row: u32) -> Option<Place> {
        let (output, row) = self.group.place(self.source.number(row)?)?;
        Some(Place { file: self.files[output]?, row })
    }
}

/// One rewrite.
#[derive(Debug)]
struct Rewrite {
    files: Vec<FileId>,
    bytes: usize,
    /// Parts of the index in memory that may still have old places.
    left: usize,
}

/// The files whose old places the index may still have.
#[derive(Debug, Clone, Default)]
pub(super) struct Translation(Arc<HashMap<FileId, Relocated>>);

impl Translation {
    /// Where a row is now that was at a place.
    pub(super) fn place(&self, mut place: Place) -> Place {
        // What was rewritten may have been rewritten once more.
        while let Some(next) = self.0.get(&place.file).and_then(|file| file.place(place.row)) {
            place = next;
        }
        place
    }

    /// The same of what an entry of the index has for a place.
    pub(super) fn bits(&self, bits: u64) -> u64 {
        match Place::of_bits(bits) {
            Some(place) if !self.0.is_empty() => self.place(place).to_bits(),
            _ => bits,
        }
    }
}

/// The rewrites that are not written into the index yet.
#[derive(Debug, Default)]
pub(super) struct Relocations {
    translation: Translation,
    /// The oldest first.
    rewrites: VecDeque<Rewrite>,
    /// The part of the index in memory that is looked through next.
    next_shard: usize,
}

impl Relocations {
    pub(super) fn add(&mut self, files: Vec<(FileId, Relocated)>) {
        // Files of a group stand side by side.
        let groups = files.chunk_by(|(_, one), (_, other)| Arc::ptr_eq(&one.group, &other.group));
        let bytes = groups.filter_map(|files| Some(files.first()?.1.group.allocated_bytes())).sum::<usize>()
            + files.iter().map(|(_, file)| FILE_BYTES + file.source.allocated_bytes()).sum::<usize>();
        self.rewrites.push_back(Rewrite { files: files.iter().map(|(id, _)| *id).collect(), bytes, left: SHARDS });
        Arc::make_mut(&mut self.translation.0).extend(files);
    }

    /// Forgets rewrites of which no row is in the table any more: their old places are as much out of date as the new ones.
    pub(super) fn forget_dead(&mut self, is_live: impl Fn(FileId) -> bool) {
        let files = Arc::make_mut(&mut self.translation.0);
        // The newest first: what a rewrite made may have been rewritten later.
        for rewrite in self.rewrites.iter_mut().rev() {
            rewrite.files.retain(|file| {
                let leads = |to: &FileId| is_live(*to) || files.contains_key(to);
                let stays = files.get(file).is_some_and(|moved| moved.files.iter().flatten().any(leads));
                if !stays {
                    files.remove(file);
                }
                stays
            });
        }
        self.rewrites.retain(|rewrite| !rewrite.files.is_empty());
    }

    pub(super) fn translation(&self) -> &Translation {
        &self.translation
    }

    pub(super) fn has(&self, file: FileId) -> bool {
        self.translation.0.contains_key(&file)
    }

    /// How many rewrites there are.
    pub(super) fn len(&self) -> usize {
        self.rewrites.len()
    }

    /// The part of the index in memory whose places are to be written anew; none where no old ones are left there.
    pub(super) fn next_shard(&self) -> Option<usize> {
        self.rewrites.back().filter(|rewrite| rewrite.left > 0).map(|_| self.next_shard)
    }

    /// That part has new places. `everywhere`: no old ones are elsewhere than in memory.
    pub(super) fn renewed(&mut self, everywhere: bool) {
        self.next_shard = (self.next_shard + 1) % SHARDS;
        self.rewrites.iter_mut().for_each(|rewrite| rewrite.left = rewrite.left.saturating_sub(1));
        while everywhere && let Some(rewrite) = self.rewrites.pop_front_if(|rewrite| rewrite.left == 0) {
            let files = Arc::make_mut(&mut self.translation.0);
            rewrite.files.iter().for_each(|file| drop(files.remove(file)));
        }
    }

    /// Bytes of memory.
    pub(super) fn allocated_bytes(&self) -> usize {
        self.rewrites.iter().map(|rewrite| rewrite.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    #[test]
    fn live_rows_are_numbered() {
        let mut rng = StdRng::seed_from_u64(3);
        for (rows, share) in
            [(1u32, 0.0), (1, 1.0), (63, 0.5), (64, 0.5), (65, 0.9), (5000, 0.01), (5000, 0.5), (512, 1.0)]
        {
            let deleted: RoaringBitmap = (0..rows).filter(|_| rng.random_bool(share)).collect();
            let source = SourceRows::new(7, &deleted);
            let mut next = 7;
            for row in 0..rows {
                let expected = (!deleted.contains(row)).then_some(next);
                next += u64::from(expected.is_some());
                assert_eq!(source.number(row), expected, "{row} of {rows}, {share}");
            }
        }
    }

    #[test]
    fn a_place_is_followed_through_several_rewrites() {
        let rewritten = |deleted: &[u32],
                         outputs: &[(u64, u64)],
                         permutation: Option<Vec<u32>>,
                         files: &[Option<FileId>]| Relocated {
            source: Arc::new(SourceRows::new(0, &deleted.iter().copied().collect())),
            group: Arc::new(GroupRows::new(outputs.to_vec(), permutation)),
            files: Arc::new(files.to_vec()),
        };
        let mut relocations = Relocations::default();
        // Row 1 was deleted; 0, 2 and 3 went to two files, of which the second was not added.
        relocations.add(vec![(1, rewritten(&[1], &[(0, 2), (2, 1)], None, &[Some(5), None]))]);
        relocations.add(vec![(5, rewritten(&[], &[(0, 2)], Some(vec![1, 0]), &[Some(6)]))]);
        let place = |file, row| Place { file, row };
        let at = |relocations: &Relocations, row| relocations.translation().place(place(1, row));
        assert_eq!([0, 1, 2, 3].map(|row| at(&relocations, row)), [place(6, 1), place(1, 1), place(6, 0), place(1, 3)]);
        assert_eq!(relocations.translation().place(place(2, 0)), place(2, 0));
        for shard in 0..SHARDS {
            assert_eq!(relocations.next_shard(), Some(shard));
            relocations.renewed(shard % 2 == 0);
        }
        // The last part was renewed while others had old places.
        assert_eq!((relocations.next_shard(), relocations.len(), relocations.has(1)), (None, 2, true));
        relocations.renewed(true);
        assert_eq!((relocations.len(), relocations.has(1)), (0, false));
    }

    #[test]
    fn rewrites_of_which_nothing_is_left_are_forgotten() {
        let rewritten = |to: FileId| Relocated {
            source: Arc::new(SourceRows::new(0, &RoaringBitmap::new())),
            group: Arc::new(GroupRows::new(vec![(0, 1)], None)),
            files: Arc::new(vec![Some(to)]),
        };
        let mut relocations = Relocations::default();
        relocations.add(vec![(1, rewritten(3)), (2, rewritten(4))]);
        relocations.add(vec![(3, rewritten(5))]);
        relocations.forget_dead(|file| file == 5);
        assert_eq!([1, 2, 3].map(|file| relocations.has(file)), [true, false, true]);
        relocations.forget_dead(|_| false);
        assert_eq!((relocations.len(), relocations.allocated_bytes(), relocations.next_shard()), (0, 0, None));
    }
}
