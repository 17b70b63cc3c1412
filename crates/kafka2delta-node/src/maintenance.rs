//! Maintenance across the border: compaction, checkpoints and vacuum.

use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::NativeTable;
use crate::error::closed;
use crate::json::{self, Json};
use crate::outcome::{Outcome, call, stoppable, token};

#[napi]
impl NativeTable {
    /// The table is locked while the step is planned and committed, not while it is written. Null where nothing is due.
    #[napi(ts_return_type = "Promise<string>", catch_unwind)]
    pub fn compact<'env>(
        &self,
        env: &'env Env,
        options: String,
        signal: Option<AbortSignal>,
    ) -> Result<PromiseRaw<'env, Outcome<Json>>> {
        let (table, compacting, cancel) = (self.table.clone(), self.compaction_turn(), token(signal));
        call(env, async move {
            let options = json::read(&options)?;
            let _one_at_a_time = compacting.await;
            let plan = table.lock().await.as_ref().ok_or_else(closed)?.plan_compaction(&options)?;
            let Some(plan) = plan else { return Json::of(&None::<()>) };
            let rewritten = plan.rewrite(&cancel).await?;
            let mut table = table.lock().await;
            let Some(table) = table.as_mut() else {
                rewritten.discard().await;
                return Err(closed());
            };
            Json::of(&table.commit_compaction(rewritten).await?)
        })
    }

    /// Beside the merges.
    #[napi(ts_return_type = "Promise<string>", catch_unwind)]
    pub fn checkpoint<'env>(
        &self,
        env: &'env Env,
        signal: Option<AbortSignal>,
    ) -> Result<PromiseRaw<'env, Outcome<Json>>> {
        let turn = self.turn();
        stoppable(env, signal, async move {
            let maintenance = turn.await.as_ref().ok_or_else(closed)?.maintenance();
            Json::of(&maintenance.checkpoint().await?)
        })
    }

    /// Beside the merges.
    #[napi(ts_return_type = "Promise<string>", catch_unwind)]
    pub fn vacuum<'env>(
        &self,
        env: &'env Env,
        options: String,
        signal: Option<AbortSignal>,
    ) -> Result<PromiseRaw<'env, Outcome<Json>>> {
        let turn = self.turn();
        stoppable(env, signal, async move {
            let options = json::read(&options)?;
            let maintenance = turn.await.as_ref().ok_or_else(closed)?.maintenance();
            Json::of(&maintenance.vacuum(&options).await?)
        })
    }
}
