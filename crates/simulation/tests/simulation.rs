//! Simulations of random seeds. `SEED=…` runs that seed alone, and `TRACE=1` with it prints all that happens; `SEEDS=…` runs so
//! many from a random one on, or from `SEED` on; `MINUTES=…` is the time that each simulates.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kafka2delta_simulation::{Outcome, run};
use rand::Rng;

/// Seeds of a run that says nothing else.
const SEEDS: u64 = 200;
/// Minutes that each simulates.
const MINUTES: u64 = 90;

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn length() -> Duration {
    Duration::from_secs(60 * env("MINUTES").unwrap_or(MINUTES))
}

#[test]
fn the_table_is_the_models_whatever_fails() {
    let first = env("SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000_000));
    let count = env("SEEDS").unwrap_or(if env("SEED").is_some() { 1 } else { SEEDS });
    println!("seeds {first} to {}", first + count - 1);
    let (next, stop) = (AtomicU64::new(first), AtomicBool::new(false));
    let outcomes = Mutex::new(Vec::<Outcome>::new());
    let began = Instant::now();
    let work = || {
        while !stop.load(Ordering::SeqCst) {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= first + count {
                return;
            }
            let outcome = run(seed, length());
            stop.fetch_or(outcome.violation.is_some(), Ordering::SeqCst);
            outcomes.lock().unwrap().push(outcome);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut outcomes = outcomes.into_inner().unwrap();
    // Of several that find a fault the first is told, whichever was done first.
    outcomes.sort_by_key(|outcome| outcome.seed);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    outcomes
        .iter()
        .flat_map(|outcome| &outcome.counts)
        .for_each(|(what, times)| *counts.entry(what).or_default() += times);
    let simulated: Duration = outcomes.iter().map(|outcome| outcome.simulated).sum();
    let events: u64 = outcomes.iter().map(|outcome| outcome.events).sum();
    let hours = simulated.as_secs_f64() / 3600.0;
    let took = began.elapsed().as_secs_f64();
    println!("{} seeds, {hours:.1} hours simulated in {took:.1} s, {events} events", outcomes.len());
    counts.iter().for_each(|(what, times)| println!("{times:>9} {what}"));
    for outcome in &outcomes {
        if let Some(violation) = &outcome.violation {
            let (seed, event, at) = (outcome.seed, violation.event, violation.at.as_secs_f64());
            panic!("seed {seed}, event {event}, after {at:.3} s: {}", violation.message);
        }
    }
}
