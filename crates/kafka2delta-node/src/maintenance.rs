//! Maintenance across the border: compaction, checkpoints and vacuum.

use std::time::Duration;

use kafka2delta::maintenance::{CheckpointResult, CompactOptions, CompactResult, VacuumOptions, VacuumResult};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::dto::{count, number};
use crate::error::{cancelled, closed, invalid};
use crate::outcome::{Outcome, call};
use crate::{NativeTable, token};

#[napi(object)]
pub struct NativeCompactOptions {
    pub min_files: f64,
    pub max_bytes: f64,
    pub deleted_share: f64,
    pub full: bool,
}

impl NativeCompactOptions {
    fn into_engine(self) -> kafka2delta::Result<CompactOptions> {
        if !(0.0..=1.0).contains(&self.deleted_share) {
            return Err(invalid(format!("deletedShare is {}; it must be from 0 to 1", self.deleted_share)));
        }
        Ok(CompactOptions {
            min_files: usize::try_from(count("minFiles", self.min_files)?)
                .map_err(|_| invalid("minFiles is too large for this machine"))?,
            max_bytes: count("maxBytes", self.max_bytes)?,
            deleted_share: self.deleted_share,
            full: self.full,
        })
    }
}

#[napi(object)]
pub struct NativeCompactResult {
    pub version: i64,
    pub files_removed: i64,
    pub files_added: i64,
    pub rows: i64,
    pub rows_carried_over: i64,
    pub bytes_read: i64,
    pub bytes_written: i64,
    pub duration: f64,
}

impl From<CompactResult> for NativeCompactResult {
    fn from(result: CompactResult) -> Self {
        Self {
            version: number(result.version),
            files_removed: number(result.files_removed),
            files_added: number(result.files_added),
            rows: number(result.rows),
            rows_carried_over: number(result.rows_carried_over),
            bytes_read: number(result.bytes_read),
            bytes_written: number(result.bytes_written),
            duration: result.duration,
        }
    }
}

#[napi(object)]
pub struct NativeCheckpointResult {
    pub version: i64,
    pub bytes: i64,
    pub log_files_removed: i64,
    pub duration: f64,
}

impl From<CheckpointResult> for NativeCheckpointResult {
    fn from(result: CheckpointResult) -> Self {
        Self {
            version: number(result.version),
            bytes: number(result.bytes),
            log_files_removed: number(result.log_files_removed),
            duration: result.duration,
        }
    }
}

#[napi(object)]
pub struct NativeVacuumOptions {
    pub retention: Option<f64>,
    pub dry_run: bool,
}

impl NativeVacuumOptions {
    fn into_engine(self) -> kafka2delta::Result<VacuumOptions> {
        let retention = self.retention.map(|millis| match (0.0..=9_007_199_254_740_991.0).contains(&millis) {
            true => Ok(Duration::from_millis(millis as u64)),
            false => Err(invalid(format!("retention is {millis}; it must be a number of milliseconds"))),
        });
        Ok(VacuumOptions { retention: retention.transpose()?, dry_run: self.dry_run })
    }
}

#[napi(object)]
pub struct NativeVacuumResult {
    pub files: Vec<String>,
    pub num_files: i64,
    pub bytes: i64,
}

impl From<VacuumResult> for NativeVacuumResult {
    fn from(result: VacuumResult) -> Self {
        Self { files: result.files, num_files: number(result.num_files), bytes: number(result.bytes) }
    }
}

#[napi]
impl NativeTable {
    /// The table is locked while the step is planned and committed, not while it is written.
    #[napi(ts_return_type = "Promise<NativeCompactResult | null>", catch_unwind)]
    pub fn compact<'env>(
        &self,
        env: &'env Env,
        options: NativeCompactOptions,
        signal: Option<AbortSignal>,
    ) -> Result<PromiseRaw<'env, Outcome<Option<NativeCompactResult>>>> {
        let (table, compacting, cancel) = (self.table.clone(), self.compaction_turn(), token(signal));
        call(env, async move {
            let options = options.into_engine()?;
            let _one_at_a_time = compacting.await;
            let plan = table.lock().await.as_ref().ok_or_else(closed)?.plan_compaction(&options)?;
            let Some(plan) = plan else { return Ok(None) };
            let rewritten = plan.rewrite(&cancel).await?;
            let mut table = table.lock().await;
            let Some(table) = table.as_mut() else {
                rewritten.discard().await;
                return Err(closed());
            };
            Ok(table.commit_compaction(rewritten).await?.map(Into::into))
        })
    }

    /// Beside the merges.
    #[napi(ts_return_type = "Promise<NativeCheckpointResult>", catch_unwind)]
    pub fn checkpoint<'env>(
        &self,
        env: &'env Env,
        signal: Option<AbortSignal>,
    ) -> Result<PromiseRaw<'env, Outcome<NativeCheckpointResult>>> {
        let (turn, cancel) = (self.turn(), token(signal));
        call(env, async move {
            let maintenance = turn.await.as_ref().ok_or_else(closed)?.maintenance();
            tokio::select! {
                result = maintenance.checkpoint() => Ok(result?.into()),
                () = cancel.cancelled() => Err(cancelled()),
            }
        })
    }

    /// Beside the merges.
    #[napi(ts_return_type = "Promise<NativeVacuumResult>", catch_unwind)]
    pub fn vacuum<'env>(
        &self,
        env: &'env Env,
        options: NativeVacuumOptions,
        signal: Option<AbortSignal>,
    ) -> Result<PromiseRaw<'env, Outcome<NativeVacuumResult>>> {
        let (turn, cancel) = (self.turn(), token(signal));
        call(env, async move {
            let options = options.into_engine()?;
            let maintenance = turn.await.as_ref().ok_or_else(closed)?.maintenance();
            tokio::select! {
                result = maintenance.vacuum(&options) => Ok(result?.into()),
                () = cancel.cancelled() => Err(cancelled()),
            }
        })
    }
}
