//! A part of the key index on local disk: entries in the order of their keys' hashes, written once.
//!
//! Layout, little endian: magic, version (u32), bytes of an entry (u32), number of entries (u64), bytes of the note
//! (u64); the entries (key of 8 or 16 bytes, place of 8); the note; and the XXH3 hash of entries, note and header.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::slots::SlotKey;
use crate::error::{Error, ErrorCode, Result};
use crate::key::hasher::Fingerprint;

const MAGIC: &[u8; 8] = b"k2dindex";
const VERSION: u32 = 2;
const HEADER: u64 = 32;
/// Entries of a block: what a look-up reads at least.
const BLOCK: usize = 256;
/// Blocks between two wanted ones that are read with them rather than passed over.
const GAP: usize = 8;
/// Blocks of one read at most.
const WINDOW: usize = 256;

/// Hash, key and place.
pub type Entry = (u64, Fingerprint, u64);

/// How keys are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Eight bytes: the key itself.
    Exact,
    /// Sixteen bytes: its hash.
    Hashed,
}

impl Width {
    /// Of an entry, in a file as in memory.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Exact => 16,
            Self::Hashed => 24,
        }
    }

    fn parse(self, bytes: &[u8]) -> Entry {
        let word = |n: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[n * 8..n * 8 + 8]);
            u64::from_le_bytes(word)
        };
        match self {
            Self::Exact => (word(0).hash(), word(0).fingerprint(), word(1)),
            Self::Hashed => ([word(0), word(1)].hash(), [word(0), word(1)], word(2)),
        }
    }
}

fn failed(path: &Path, what: &str, error: std::io::Error) -> Error {
    Error::with_source(ErrorCode::Storage, format!("the key index {} cannot be {what}", path.display()), error)
}

/// Writes a run.
pub struct RunWriter {
    path: PathBuf,
    /// None once the file is complete: until then it is removed with this.
    out: Option<BufWriter<File>>,
    hash: Xxh3,
    width: Width,
    entries: u64,
    fences: Vec<u64>,
}

impl RunWriter {
    /// Creates the file, and its folder.
    pub fn create(path: PathBuf, width: Width) -> Result<Self> {
        let open = || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
            file.write_all(&[0; HEADER as usize])?;
            Ok(file)
        };
        let file = open().map_err(|e| failed(&path, "written", e))?;
        let out = Some(BufWriter::with_capacity(1 << 20, file));
        Ok(Self { path, out, hash: Xxh3::new(), width, entries: 0, fences: Vec::new() })
    }

    /// Appends an entry: they come in order.
    pub fn push(&mut self, (hash, key, place): Entry) -> Result<()> {
        if self.entries.is_multiple_of(BLOCK as u64) {
            self.fences.push(hash);
        }
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&key[0].to_le_bytes());
        let rest = match self.width {
            Width::Exact => 8,
            Width::Hashed => {
                bytes[8..16].copy_from_slice(&key[1].to_le_bytes());
                16
            }
        };
        bytes[rest..rest + 8].copy_from_slice(&place.to_le_bytes());
        let bytes = &bytes[..self.width.bytes()];
        self.hash.update(bytes);
        self.entries += 1;
        match &mut self.out {
            Some(out) => out.write_all(bytes).map_err(|e| failed(&self.path, "written", e)),
            None => Ok(()),
        }
    }

    /// Completes the file. It is on disk when this ends.
    pub fn finish(mut self, note: &[u8]) -> Result<Run> {
        let header = header(self.width, self.entries, note.len() as u64);
        self.hash.update(note);
        self.hash.update(&header);
        let sum = self.hash.digest().to_le_bytes();
        let write = |out: &mut BufWriter<File>| -> std::io::Result<File> {
            out.write_all(note)?;
            out.write_all(&sum)?;
            out.seek(SeekFrom::Start(0))?;
            out.write_all(&header)?;
            out.flush()?;
            out.get_ref().sync_all()?;
            out.get_ref().try_clone()
        };
        let file = self.out.as_mut().map_or_else(|| Err(std::io::ErrorKind::NotFound.into()), write);
        let file = file.map_err(|e| failed(&self.path, "written", e))?;
        self.out = None;
        let (path, fences) = (std::mem::take(&mut self.path), std::mem::take(&mut self.fences));
        Ok(Run { path, file, width: self.width, entries: self.entries, fences })
    }
}

fn header(width: Width, entries: u64, note: u64) -> [u8; HEADER as usize] {
    let mut header = [0; HEADER as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&(width.bytes() as u32).to_le_bytes());
    header[16..24].copy_from_slice(&entries.to_le_bytes());
    header[24..32].copy_from_slice(&note.to_le_bytes());
    header
}

/// A complete run. The file stays open.
#[derive(Debug)]
pub struct Run {
    path: PathBuf,
    file: File,
    width: Width,
    entries: u64,
    /// The hash that each block begins with.
    fences: Vec<u64>,
}

/// The number of entries, the fences and the note of a file that is whole.
type Checked = (u64, Vec<u64>, Vec<u8>);

impl Run {
    /// Opens a file and checks all of it. None where there is none, or none that is whole and of this version.
    pub fn open(path: &Path, width: Width) -> Result<Option<(Self, Vec<u8>)>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(path, "read", error)),
        };
        let mut read = || -> std::io::Result<Option<Checked>> {
            let size = file.metadata()?.len();
            let mut head = [0; HEADER as usize];
            if size < HEADER + 8 {
                return Ok(None);
            }
            file.read_exact(&mut head)?;
            let number = |at: usize| {
                let mut word = [0; 8];
                word.copy_from_slice(&head[at..at + 8]);
                u64::from_le_bytes(word)
            };
            let (entries, note) = (number(16), number(24));
            let expected =
                entries.checked_mul(width.bytes() as u64).and_then(|n| n.checked_add(note)?.checked_add(HEADER + 8));
            if head != header(width, entries, note) || expected != Some(size) {
                return Ok(None);
            }
            let mut hash = Xxh3::new();
            let mut fences = Vec::new();
            let mut block = vec![0; BLOCK * width.bytes() * 16];
            let mut left = entries as usize;
            while left > 0 {
                let count = left.min(BLOCK * 16);
                let bytes = &mut block[..count * width.bytes()];
                file.read_exact(bytes)?;
                hash.update(bytes);
                fences.extend(bytes.chunks(BLOCK * width.bytes()).map(|first| width.parse(first).0));
                left -= count;
            }
            let mut text = vec![0; note as usize];
            file.read_exact(&mut text)?;
            hash.update(&text);
            hash.update(&head);
            let mut sum = [0; 8];
            file.read_exact(&mut sum)?;
            Ok((sum == hash.digest().to_le_bytes()).then_some((entries, fences, text)))
        };
        let found = read().map_err(|e| failed(path, "read", e))?;
        Ok(found.map(|(entries, fences, note)| (Self { path: path.to_owned(), file, width, entries, fences }, note)))
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Bytes of memory.
    pub fn allocated_bytes(&self) -> usize {
        self.fences.capacity() * 8
    }

    fn read(&self, first: usize, count: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let width = self.width.bytes();
        bytes.resize(count * width, 0);
        read_at(&self.file, bytes, HEADER + (first * width) as u64).map_err(|e| failed(&self.path, "read", e))
    }

    /// Looks keys up, which come in order. `each` is called with the position of a key that is found, and its place.
    pub fn get_all(&self, keys: &[(u64, Fingerprint)], mut each: impl FnMut(usize, u64)) -> Result<()> {
        let total = self.entries as usize;
        // Entries of one hash may begin in the block before the one that begins with it.
        let block_of = |hash: u64| self.fences.partition_point(|fence| *fence < hash).saturating_sub(1);
        let mut bytes = Vec::new();
        let mut next = 0;
        while next < keys.len() && total > 0 {
            let first = block_of(keys[next].0);
            let mut last = first;
            let mut end = next;
            while end < keys.len() {
                let (block, after) = (block_of(keys[end].0), block_of(keys[end].0.saturating_add(1)));
                if block > last + GAP || after >= first + WINDOW && end > next {
                    break;
                }
                last = last.max(after);
                end += 1;
            }
            let from = first * BLOCK;
            self.read(from, ((last + 1) * BLOCK).min(total) - from, &mut bytes)?;
            let mut entries = bytes.chunks_exact(self.width.bytes()).map(|b| self.width.parse(b)).peekable();
            for (n, (hash, key)) in keys[next..end].iter().enumerate() {
                while entries.next_if(|e| (e.0, e.1) < (*hash, *key)).is_some() {}
                if let Some(entry) = entries.peek().filter(|e| e.1 == *key) {
                    each(next + n, entry.2);
                }
            }
            next = end;
        }
        Ok(())
    }

    /// All entries, in order.
    pub fn iter(&self) -> RunIter<'_> {
        RunIter { run: self, next: 0, bytes: Vec::new(), at: 0 }
    }

    /// Gives the file another name, in place of what has it. It is removed where it cannot have that name.
    pub fn rename(&mut self, path: &Path) -> Result<()> {
        std::fs::rename(&self.path, path).map_err(|e| {
            self.unlink();
            failed(path, "written", e)
        })?;
        self.path = path.to_owned();
        Ok(())
    }

    /// Takes the file's name away where the system allows that of open files, so that nothing is left of it whatever
    /// becomes of this process.
    pub fn unlink(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        if self.out.take().is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match std::os::windows::fs::FileExt::seek_read(file, &mut bytes[done..], offset + done as u64)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => done += n,
        }
    }
    Ok(())
}

/// See [`Run::iter`].
#[derive(Debug)]
pub struct RunIter<'a> {
    run: &'a Run,
    next: usize,
    bytes: Vec<u8>,
    at: usize,
}

impl Iterator for RunIter<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let width = self.run.width.bytes();
        if self.at == self.bytes.len() {
            let count = (BLOCK * 64).min(self.run.entries as usize - self.next);
            if count == 0 {
                return None;
            }
            if let Err(error) = self.run.read(self.next, count, &mut self.bytes) {
                return Some(Err(error));
            }
            self.next += count;
            self.at = 0;
        }
        let entry = self.run.width.parse(&self.bytes[self.at..self.at + width]);
        self.at += width;
        Some(Ok(entry))
    }
}

/// Joins sorted parts, the newest first. Of a key's places the newest stays; `met` is told it, and each older one.
pub fn merge<'a>(
    parts: Vec<Box<dyn Iterator<Item = Result<Entry>> + 'a>>,
    mut met: impl FnMut(u64, u64),
    mut each: impl FnMut(Entry) -> Result<()>,
) -> Result<()> {
    let mut parts = parts;
    let mut heads: Vec<Option<Entry>> = Vec::with_capacity(parts.len());
    for part in &mut parts {
        heads.push(part.next().transpose()?);
    }
    loop {
        let least = heads.iter().flatten().map(|(hash, key, _)| (*hash, *key)).min();
        let Some((hash, key)) = least else { return Ok(()) };
        let mut newest = None;
        for (head, part) in heads.iter_mut().zip(&mut parts) {
            if let Some((h, k, place)) = *head
                && (h, k) == (hash, key)
            {
                match newest {
                    Some(newest) => met(newest, place),
                    None => newest = Some(place),
                }
                *head = part.next().transpose()?;
            }
        }
        if let Some(place) = newest {
            each((hash, key, place))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporary;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use std::collections::BTreeMap;

    fn write(path: &Path, width: Width, entries: &BTreeMap<(u64, Fingerprint), u64>, note: &[u8]) -> Run {
        let mut writer = RunWriter::create(path.to_owned(), width).unwrap();
        for ((hash, key), place) in entries {
            writer.push((*hash, *key, *place)).unwrap();
        }
        writer.finish(note).unwrap()
    }

    fn entries(width: Width, count: u64) -> BTreeMap<(u64, Fingerprint), u64> {
        let mut rng = StdRng::seed_from_u64(count);
        (0..count)
            .map(|n| match width {
                Width::Exact => ((n * 3).hash(), (n * 3).fingerprint()),
                Width::Hashed => {
                    let key = [rng.random::<u64>(), n];
                    (key.hash(), key)
                }
            })
            .map(|key| (key, key.0 ^ 0x5555))
            .collect()
    }

    #[test]
    fn keys_are_found() {
        let folder = temporary::folder();
        let mut rng = StdRng::seed_from_u64(1);
        for (width, count) in [(Width::Exact, 100_000), (Width::Hashed, 70_001), (Width::Exact, 1), (Width::Exact, 0)] {
            let all = entries(width, count);
            let path = folder.path().join(format!("{width:?}{count}"));
            let written = write(&path, width, &all, b"note");
            let (opened, note) = Run::open(&path, width).unwrap().unwrap();
            assert_eq!(note, b"note");
            assert_eq!(opened.fences, written.fences);
            assert_eq!(opened.iter().map(|e| e.unwrap()).collect::<Vec<_>>().len(), all.len());
            for share in [1.0, 0.01, 0.0001] {
                let mut keys: Vec<(u64, Fingerprint)> =
                    all.keys().copied().filter(|_| rng.random_bool(share)).collect();
                keys.extend((0..50).map(|n| 1_000_000_000u64 + n).map(|n| match width {
                    Width::Exact => (n.hash(), n.fingerprint()),
                    Width::Hashed => ([n, n].hash(), [n, n]),
                }));
                keys.sort_unstable();
                let mut found = BTreeMap::new();
                opened.get_all(&keys, |n, place| assert!(found.insert(keys[n], place).is_none())).unwrap();
                let expected: BTreeMap<_, _> = keys.iter().filter_map(|k| Some((*k, *all.get(k)?))).collect();
                assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn a_damaged_file_is_no_index() {
        let folder = temporary::folder();
        let path = folder.path().join("run");
        write(&path, Width::Exact, &entries(Width::Exact, 300), b"some note");
        let whole = std::fs::read(&path).unwrap();
        assert!(Run::open(&path, Width::Hashed).unwrap().is_none());
        for at in (0..whole.len()).step_by(7) {
            let mut broken = whole.clone();
            broken[at] ^= 0x10;
            std::fs::write(&path, &broken).unwrap();
            assert!(Run::open(&path, Width::Exact).unwrap().is_none(), "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(Run::open(&path, Width::Exact).unwrap().is_none(), "cut at {at}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(Run::open(&path, Width::Exact).unwrap().is_some());
    }

    #[test]
    fn the_newest_place_stays() {
        let part = |places: &[(u64, u64)]| -> Box<dyn Iterator<Item = Result<Entry>>> {
            let mut entries: Vec<Entry> = places.iter().map(|(k, p)| (k.hash(), k.fingerprint(), *p)).collect();
            entries.sort_unstable();
            Box::new(entries.into_iter().map(Ok))
        };
        let (mut out, mut met) = (BTreeMap::new(), Vec::new());
        let parts = vec![part(&[(1, 10), (4, 40)]), part(&[(1, 9), (2, 20)]), part(&[(1, 8), (3, 30), (4, 39)])];
        merge(
            parts,
            |newer, older| met.push((newer, older)),
            |(_, key, place)| {
                out.insert(key[0], place);
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(out, BTreeMap::from([(1, 10), (2, 20), (3, 30), (4, 40)]));
        met.sort_unstable();
        assert_eq!(met, [(10, 8), (10, 9), (40, 39)]);
    }
}
