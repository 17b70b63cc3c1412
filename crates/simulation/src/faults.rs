//! What the store does with requests: how long they take, and which fail, by rates that the seed chooses.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Longest that a slow request takes.
const SLOW: Duration = Duration::from_secs(20);

/// Longest that a write comes after its answer, or a listing after its write.
pub const LATE: Duration = Duration::from_secs(60);

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was done.
    FailedBefore,
    /// The store is busy: 503.
    Busy,
    /// It was done, and the answer is lost.
    AnswerLost,
    /// The answer is an error, and it is done later.
    DoneLate(Duration),
}

/// A request's way.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// Until it is done.
    pub before: Duration,
    /// From there to the answer.
    pub after: Duration,
    /// None where it is answered.
    pub fault: Option<Fault>,
    /// Whether it is a slow one.
    pub is_slow: bool,
    /// How much later than other requests a listing shows it; of a file that is deleted, how much longer.
    pub listed_after: Duration,
    /// A number for other decisions about it.
    pub dice: u64,
}

/// How often what happens, of a million requests.
#[derive(Debug, Clone)]
pub struct Rates {
    failed_before: u32,
    busy: u32,
    answer_lost: u32,
    done_late: u32,
    slow: u32,
    listed_late: u32,
}

impl Rates {
    /// A store that never fails.
    pub fn none() -> Self {
        Self { failed_before: 0, busy: 0, answer_lost: 0, done_late: 0, slow: 0, listed_late: 0 }
    }

    /// Those of a seed.
    pub fn random(rng: &mut StdRng) -> Self {
        let mut rate = |rates: &[u32]| *rates.choose(rng).unwrap();
        Self {
            // The client of a store has tried several times before a request fails, so that few of them do. Opening a table
            // takes as many requests as the log has entries, none of which may fail.
            failed_before: rate(&[0, 3_000, 10_000]),
            busy: rate(&[0, 2_000, 8_000]),
            answer_lost: rate(&[0, 20_000, 60_000]),
            done_late: rate(&[0, 10_000, 30_000]),
            slow: rate(&[0, 10_000, 50_000]),
            listed_late: rate(&[0, 300_000]),
        }
    }

    /// The course of a request: the same for the same request, whatever else is asked at the same time.
    pub fn course(&self, seed: u64, request: &str, is_write: bool) -> Course {
        let mut rng = StdRng::seed_from_u64(xxh3_64_with_seed(request.as_bytes(), seed));
        let mut happens = |rate: u32| rng.random_range(0..1_000_000) < rate;
        let fault = [
            (happens(self.failed_before), Fault::FailedBefore),
            (happens(self.busy), Fault::Busy),
            (happens(self.answer_lost) && is_write, Fault::AnswerLost),
            (happens(self.done_late) && is_write, Fault::DoneLate(Duration::ZERO)),
        ];
        let (is_slow, is_listed_late) = (happens(self.slow), happens(self.listed_late));
        let fault = fault.into_iter().find(|(happens, _)| *happens).map(|(_, fault)| fault);
        let most = if is_slow { SLOW } else { Duration::from_millis(60) };
        let mut up_to = |most: Duration| Duration::from_millis(rng.random_range(1..=most.as_millis() as u64));
        let (before, after, late) = (up_to(most), up_to(most), up_to(LATE));
        let fault =
            fault.map(|fault| if fault == Fault::DoneLate(Duration::ZERO) { Fault::DoneLate(late) } else { fault });
        let listed_after = if is_listed_late { up_to(LATE) } else { Duration::ZERO };
        Course { before, after, fault, is_slow, listed_after, dice: rng.random() }
    }
}
