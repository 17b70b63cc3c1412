//! Checkpoints, clean-up of the log and vacuum, by a process that does nothing else.

use std::time::Duration;

use kafka2delta::maintenance::VacuumOptions;
use rand::Rng;

use super::Actor;

/// Keeps the table until it is dropped.
pub async fn run(mut actor: Actor) {
    loop {
        actor.rest(Duration::from_secs(400)).await;
        let table = actor.open().await;
        if table.info().version.is_none() {
            continue;
        }
        let maintenance = table.maintenance();
        let is_vacuum = actor.rng.random_bool(0.6);
        let ended = match is_vacuum {
            true => maintenance.vacuum(&VacuumOptions::default()).await.map(|done| done.num_files),
            false => maintenance.checkpoint().await.map(|done| done.log_files_removed),
        };
        match (ended, is_vacuum) {
            (Ok(0), true) => {}
            (Ok(_), true) => actor.world.count("vacuum that removed files"),
            (Ok(0), false) => actor.world.count("checkpoint"),
            (Ok(_), false) => actor.world.count("checkpoint with clean-up of the log"),
            (Err(error), _) => actor.met(&error),
        }
    }
}
