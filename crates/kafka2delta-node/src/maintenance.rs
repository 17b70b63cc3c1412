//! Maintenance across the border: compaction, checkpoints and vacuum.

use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::error::{cancelled, closed};
use crate::json::{self, Json};
use crate::outcome::{Outcome, call, stoppable, token, unless_abandoned};
use crate::{NativeTable, heap, or_closed, unless_cancelled};

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
            let _one_at_a_time = unless_cancelled(compacting, &cancel).await?;
            let plan = loop {
                let open = unless_cancelled(table.lock(), &cancel).await?;
                let plan = open.as_ref().ok_or_else(closed)?.plan_compaction(&options)?;
                drop(open);
                let Some(mut plan) = plan else { return Json::of(&None::<()>) };
                if !plan.take_permit(&cancel).await? {
                    break plan;
                }
                let open = unless_cancelled(table.lock(), &cancel).await?;
                if open.as_ref().ok_or_else(closed)?.still_has(&plan) {
                    break plan;
                }
            };
            let rewritten = unless_abandoned(&cancel, plan.rewrite(&cancel)).await.ok_or_else(cancelled)??;
            let mut table = table.lock().await;
            let Some(open) = table.as_mut() else {
                rewritten.discard().await;
                return Err(closed());
            };
            let committed = unless_abandoned(&cancel, open.commit_compaction(rewritten)).await;
            heap::give_back();
            Json::of(&or_closed(&mut table, committed)?)
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
