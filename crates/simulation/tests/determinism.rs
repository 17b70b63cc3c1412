//! A seed replays to the same events: twice in this process, and in another one. The clock on which that rests goes on.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kafka2delta_simulation::run;
use kafka2delta_simulation::time::{Clock, Installed, all_wait, sleep, tick};

const LENGTH: Duration = Duration::from_secs(60 * 60);
const SEEDS: std::ops::Range<u64> = 1..7;

/// Number and hash of a seed's events.
fn events(seed: u64) -> String {
    let outcome = run(seed, LENGTH);
    format!("seed {seed}: {} events, {:016x}", outcome.events, outcome.hash)
}

#[test]
fn a_seed_replays_to_the_same_events() {
    for seed in SEEDS {
        assert_eq!(events(seed), events(seed));
    }
}

#[test]
fn other_seeds_have_other_events() {
    assert_ne!(run(1, LENGTH).hash, run(2, LENGTH).hash);
}

#[test]
fn a_seed_replays_to_the_same_events_in_another_process() {
    let here: Vec<String> = SEEDS.map(events).collect();
    if std::env::var_os("SIMULATION_CHILD").is_some() {
        here.iter().for_each(|events| println!("{events}"));
        return;
    }
    let args = ["--exact", "a_seed_replays_to_the_same_events_in_another_process", "--nocapture"];
    let child =
        Command::new(std::env::current_exe().unwrap()).args(args).env("SIMULATION_CHILD", "1").output().unwrap();
    let text = String::from_utf8(child.stdout).unwrap();
    let there: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("events, "))
        .map(|line| line.find("seed ").map_or(line, |at| &line[at..]))
        .collect();
    assert_eq!(there, here);
}

#[test]
fn a_timer_that_wakes_nobody_does_not_stop_the_clock() {
    let clock = Arc::<Clock>::default();
    let installed = Installed::new(clock.clone(), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().on_thread_park(all_wait).build().unwrap();
    runtime.block_on(async {
        tokio::spawn(tick());
        let ahead = futures::stream::iter(1..=3).map(|seconds| sleep(Duration::from_secs(seconds)));
        let mut ahead = ahead.buffered(3);
        ahead.next().await;
        // Those that are left wake the stream, which nobody asks for its next item.
        sleep(Duration::from_secs(10)).await;
        assert_eq!(clock.now(), Duration::from_secs(11));
        drop(ahead);
    });
    drop(runtime);
    drop(installed);
}
