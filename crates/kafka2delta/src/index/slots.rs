//! The key index's memory: an open-addressing hash table of exact or hashed keys.
//!
//! One probe is mostly one cache miss: key and place lie together, probing is linear. Look-ups of many keys fetch ahead,
//! so that misses overlap. The table is cut into shards by the hash's upper bits: one grows at a time, by a quarter, and
//! walking them in order gives the keys nearly in the order of their hashes, which is the order of [`super::run`].

use crate::key::hasher::{Fingerprint, mixed};

const SHARD_BITS: u32 = 8;
/// Parts that the table is cut into.
pub const SHARDS: usize = 1 << SHARD_BITS;
/// A free slot.
const FREE: u64 = u64::MAX;
/// The place of a key that is forgotten here, though a run on disk still has it.
pub const FORGOTTEN: u64 = u64::MAX - 1;
/// The place of a key that was entered just now and has none yet.
pub const VACANT: u64 = u64::MAX - 2;
/// Keys whose slots are fetched before the first of them is looked at.
const AHEAD: usize = 24;

/// The bits of a key that a slot keeps.
pub trait SlotKey: Copy + Eq + Default + Send + Sync + std::fmt::Debug + 'static {
    /// Of a fingerprint of the kind.
    fn of(key: &Fingerprint) -> Self;
    /// The fingerprint again.
    fn fingerprint(&self) -> Fingerprint;
    /// Spread over all bits.
    fn hash(&self) -> u64;
}

/// Keys of one integer: exact.
impl SlotKey for u64 {
    #[inline]
    fn of(key: &Fingerprint) -> Self {
        key[0]
    }

    #[inline]
    fn fingerprint(&self) -> Fingerprint {
        crate::key::hasher::exact_key(*self)
    }

    #[inline]
    fn hash(&self) -> u64 {
        mixed(*self)
    }
}

/// All other keys: 128 bits of a hash.
impl SlotKey for Fingerprint {
    #[inline]
    fn of(key: &Fingerprint) -> Self {
        *key
    }

    #[inline]
    fn fingerprint(&self) -> Fingerprint {
        *self
    }

    #[inline]
    fn hash(&self) -> u64 {
        mixed(self[0] ^ self[1].rotate_left(32))
    }
}

#[derive(Debug, Clone, Copy)]
struct Slot<K> {
    key: K,
    place: u64,
}

#[derive(Debug, Default)]
struct Shard<K> {
    slots: Vec<Slot<K>>,
    len: usize,
}

impl<K: SlotKey> Shard<K> {
    /// Where a key's search begins. Later hashes begin later.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash << SHARD_BITS >> 32) * self.slots.len() as u64) >> 32) as usize
    }

    #[inline]
    fn find(&self, hash: u64, key: &K) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(hash);
        loop {
            let slot = &self.slots[at];
            if slot.place == FREE {
                return None;
            }
            if slot.key == *key {
                return Some(at);
            }
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
    }

    /// Makes room for `len` keys in all.
    fn grow(&mut self, len: usize) {
        let free = Slot { key: K::default(), place: FREE };
        let capacity = (len + len / 3).max(8);
        if capacity <= self.slots.len() {
            return;
        }
        let old = std::mem::replace(&mut self.slots, vec![free; capacity]);
        for slot in old {
            if slot.place != FREE {
                let at = self.free_slot(slot.key.hash());
                self.slots[at] = slot;
            }
        }
    }

    fn free_slot(&self, hash: u64) -> usize {
        let mut at = self.home(hash);
        while self.slots[at].place != FREE {
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
        at
    }

    /// The place of a key, which is entered with `vacant` where it is new; and whether it is.
    #[inline]
    fn find_or_insert(&mut self, hash: u64, key: K, vacant: u64) -> (&mut u64, bool) {
        if let Some(at) = self.find(hash, &key) {
            return (&mut self.slots[at].place, false);
        }
        // At most five sixths full.
        if (self.len + 1) * 6 > self.slots.len() * 5 {
            self.grow((self.len + 1) * 9 / 8 + 4);
        }
        let at = self.free_slot(hash);
        self.slots[at] = Slot { key, place: vacant };
        self.len += 1;
        (&mut self.slots[at].place, true)
    }

    /// Removes a key, and closes the gap that it leaves in others' searches.
    fn remove(&mut self, hash: u64, key: &K) {
        let Some(mut gap) = self.find(hash, key) else { return };
        let capacity = self.slots.len();
        let mut at = gap;
        loop {
            at = (at + 1) % capacity;
            let slot = self.slots[at];
            if slot.place == FREE {
                break;
            }
            let home = self.home(slot.key.hash());
            let distance = |from: usize| (at + capacity - from) % capacity;
            if distance(home) >= distance(gap) {
                self.slots[gap] = slot;
                gap = at;
            }
        }
        self.slots[gap].place = FREE;
        self.len -= 1;
    }
}

/// Keys and 64-bit places. No place is `u64::MAX`.
#[derive(Debug)]
pub struct Slots<K> {
    shards: Vec<Shard<K>>,
}

impl<K: SlotKey> Default for Slots<K> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard { slots: Vec::new(), len: 0 }).collect() }
    }
}

#[inline]
fn shard_of(hash: u64) -> usize {
    (hash >> (64 - SHARD_BITS)) as usize
}

impl<K: SlotKey> Slots<K> {
    /// A key's place.
    #[inline]
    pub fn get(&self, key: &K) -> Option<u64> {
        let hash = key.hash();
        let shard = &self.shards[shard_of(hash)];
        shard.find(hash, key).map(|at| shard.slots[at].place)
    }

    #[inline]
    fn fetch(&self, hash: u64) {
        let shard = &self.shards[shard_of(hash)];
        if let Some(slot) = shard.slots.get(shard.home(hash)) {
            prefetch(slot);
        }
    }

    /// Calls `each` with the number and the place of every key, in order.
    #[inline]
    pub fn get_all(&self, keys: &[Fingerprint], mut each: impl FnMut(usize, Option<u64>)) {
        let mut hashes = [0; AHEAD];
        for (chunk, keys) in keys.chunks(AHEAD).enumerate() {
            for (key, hash) in keys.iter().zip(&mut hashes) {
                *hash = K::of(key).hash();
                self.fetch(*hash);
            }
            for (n, (key, hash)) in keys.iter().zip(&hashes).enumerate() {
                let shard = &self.shards[shard_of(*hash)];
                each(chunk * AHEAD + n, shard.find(*hash, &K::of(key)).map(|at| shard.slots[at].place));
            }
        }
    }

    /// Calls `each` with the number of every key, its place, and whether it was entered just now: then the place is
    /// [`VACANT`], and `each` sets one.
    #[inline]
    pub fn upsert_all(&mut self, keys: &[Fingerprint], mut each: impl FnMut(usize, &mut u64, bool)) {
        let mut hashes = [0; AHEAD];
        for (chunk, keys) in keys.chunks(AHEAD).enumerate() {
            for (key, hash) in keys.iter().zip(&mut hashes) {
                *hash = K::of(key).hash();
                self.fetch(*hash);
            }
            for (n, (key, hash)) in keys.iter().zip(&hashes).enumerate() {
                let (place, new) = self.shards[shard_of(*hash)].find_or_insert(*hash, K::of(key), VACANT);
                each(chunk * AHEAD + n, place, new);
            }
        }
    }

    /// Sets the places of keys on two threads: `place` is given a key's number. Of a key that is there twice the last
    /// place stays, since each shard is of one thread.
    pub fn set_all(&mut self, keys: &[Fingerprint], place: impl Fn(usize) -> u64 + Sync)
    where
        K: Send + Sync,
    {
        let (low, high) = self.shards.split_at_mut(SHARDS / 2);
        std::thread::scope(|threads| {
            threads.spawn(|| set_in(high, SHARDS / 2, keys, &place));
            set_in(low, 0, keys, &place);
        });
    }

    /// Sets a key's place.
    pub fn insert(&mut self, key: K, place: u64) {
        let hash = key.hash();
        *self.shards[shard_of(hash)].find_or_insert(hash, key, place).0 = place;
    }

    /// Forgets a key.
    pub fn remove(&mut self, key: &K) {
        let hash = key.hash();
        self.shards[shard_of(hash)].remove(hash, key);
    }

    /// Makes room for so many more keys.
    pub fn reserve(&mut self, additional: usize) {
        for shard in &mut self.shards {
            // Shards differ in size by chance.
            let each = additional.div_ceil(SHARDS);
            let more = each + each.isqrt();
            if (shard.len + more) * 6 > shard.slots.len() * 5 {
                shard.grow(shard.len + more);
            }
        }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len).sum()
    }

    /// Bytes of memory.
    pub fn allocated_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.slots.capacity() * size_of::<Slot<K>>()).sum()
    }

    /// The hashes, keys and places of a shard, in no order. All keys of a shard come before those of the next one.
    pub fn entries(&self, shard: usize) -> Vec<(u64, Fingerprint, u64)> {
        let used = self.shards[shard].slots.iter().filter(|slot| slot.place != FREE);
        used.map(|slot| (slot.key.hash(), slot.key.fingerprint(), slot.place)).collect()
    }

    /// All keys and places, in the order of hashes and then keys; equal parts of the table at a time.
    pub fn sorted(&self) -> impl Iterator<Item = Vec<(u64, Fingerprint, u64)>> + '_ {
        (0..SHARDS).map(|shard| {
            let mut entries = self.entries(shard);
            entries.sort_unstable();
            entries
        })
    }

    /// Sets the places of a shard's keys anew, and gives their number.
    pub fn update(&mut self, shard: usize, place: impl Fn(u64) -> u64) -> usize {
        let shard = &mut self.shards[shard];
        for slot in shard.slots.iter_mut().filter(|slot| slot.place != FREE) {
            slot.place = place(slot.place);
        }
        shard.len
    }

    /// Forgets keys, and gives back the memory that they took.
    pub fn retain(&mut self, keep: impl Fn(&Fingerprint, u64) -> bool) {
        for shard in &mut self.shards {
            let mut slots = std::mem::take(&mut shard.slots);
            slots.retain(|slot| slot.place != FREE && keep(&slot.key.fingerprint(), slot.place));
            shard.len = slots.len();
            if slots.is_empty() {
                continue;
            }
            shard.grow(slots.len());
            for slot in slots {
                let at = shard.free_slot(slot.key.hash());
                shard.slots[at] = slot;
            }
        }
    }
}

/// Sets the places of those keys that are of these shards, of which the first has the number `first`.
fn set_in<K: SlotKey>(shards: &mut [Shard<K>], first: usize, keys: &[Fingerprint], place: &impl Fn(usize) -> u64) {
    let mine = first..first + shards.len();
    let mut chosen = [(0, 0); AHEAD];
    let mut count = 0;
    for (n, key) in keys.iter().enumerate() {
        let hash = K::of(key).hash();
        if mine.contains(&shard_of(hash)) {
            let shard = &shards[shard_of(hash) - first];
            if let Some(slot) = shard.slots.get(shard.home(hash)) {
                prefetch(slot);
            }
            chosen[count] = (n, hash);
            count += 1;
        }
        if count == AHEAD || n + 1 == keys.len() {
            for (n, hash) in &chosen[..count] {
                let shard = &mut shards[shard_of(*hash) - first];
                *shard.find_or_insert(*hash, K::of(&keys[*n]), FREE - 2).0 = place(*n);
            }
            count = 0;
        }
    }
}

/// Asks for a cache line that is needed soon.
#[inline]
fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; it reads nothing that the program sees, and the address is of a live value.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(value).cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) std::ptr::from_ref(value), options(nostack, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = value;
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use std::collections::HashMap;

    fn like_a_map<K: SlotKey>(key: impl Fn(u64) -> Fingerprint) {
        let mut rng = StdRng::seed_from_u64(7);
        let (mut slots, mut map) = (Slots::<K>::default(), HashMap::new());
        for round in 0..60_000u64 {
            let key = key(rng.random_range(0..9_000));
            match rng.random_range(0..4) {
                0 => {
                    slots.remove(&K::of(&key));
                    map.remove(&key);
                }
                1 => slots.upsert_all(&[key], |_, place, new| {
                    assert_eq!(new, !map.contains_key(&key));
                    *place = round;
                    map.insert(key, round);
                }),
                _ => {
                    slots.insert(K::of(&key), round);
                    map.insert(key, round);
                }
            }
            assert_eq!(slots.len(), map.len());
            if round % 20_000 == 0 {
                slots.retain(|_, place| place % 3 != 0);
                map.retain(|_, place| *place % 3 != 0);
            }
        }
        let keys: Vec<Fingerprint> = (0..9_500).map(&key).collect();
        slots.get_all(&keys, |n, place| assert_eq!(place, map.get(&keys[n]).copied()));
        let sorted: Vec<_> = slots.sorted().flatten().collect();
        assert!(sorted.is_sorted());
        assert_eq!(sorted.into_iter().map(|(_, key, place)| (key, place)).collect::<HashMap<_, _>>(), map);
    }

    #[test]
    fn slots_are_like_a_map() {
        like_a_map::<u64>(crate::key::hasher::exact_key);
        like_a_map::<Fingerprint>(|n| [n.wrapping_mul(0x1234_5678_9ABC_DEF1), n % 3]);
    }

    #[test]
    fn a_slot_is_filled_by_three_quarters() {
        let mut slots = Slots::<u64>::default();
        for n in 0..1_000_000 {
            slots.insert(n, n);
        }
        assert!(slots.allocated_bytes() < 24 << 20, "{}", slots.allocated_bytes());
        let mut reserved = Slots::<u64>::default();
        reserved.reserve(1_000_000);
        let before = reserved.allocated_bytes();
        for n in 0..1_000_000 {
            reserved.insert(n, n);
        }
        assert_eq!(before, reserved.allocated_bytes());
        reserved.retain(|_, place| place < 1000);
        assert!(reserved.allocated_bytes() < 100_000 && reserved.len() == 1000, "{}", reserved.allocated_bytes());
    }
}
