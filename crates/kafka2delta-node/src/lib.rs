//! The Node binding of the engine: data objects across the border, errors with codes, cancellation. No logic.
#![allow(missing_docs, reason = "documented in src/delta/native-api.ts and src/delta/table.ts")]

mod dto;
mod error;
mod maintenance;
mod outcome;
pub mod reads;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use kafka2delta::KeyedTable;
use napi::bindgen_prelude::*;
use napi_derive::napi;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use crate::dto::{NativeMergeResult, NativeOffset, NativeTableInfo, NativeTableOptions};
use crate::error::closed;
use crate::outcome::{Outcome, call};

/// One open table. Calls wait for each other, but for the long part of maintenance.
#[napi]
pub struct NativeTable {
    table: Arc<Mutex<Option<KeyedTable>>>,
    /// Held during a step of compaction.
    compacting: Arc<Mutex<()>>,
}

impl NativeTable {
    /// The table, in the order of the calls.
    fn turn(&self) -> impl Future<Output = OwnedMutexGuard<Option<KeyedTable>>> + Send + use<> {
        turn(self.table.clone())
    }

    /// The right to compact. It comes before the table's own lock: a step takes that twice, and lets merges in between.
    fn compaction_turn(&self) -> impl Future<Output = OwnedMutexGuard<()>> + Send + use<> {
        turn(self.compacting.clone())
    }
}

/// A lock in the order of the calls: a place among those who wait is taken before this returns.
fn turn<T: Send + 'static>(lock: Arc<Mutex<T>>) -> impl Future<Output = OwnedMutexGuard<T>> + Send {
    let mut turn = Box::pin(lock.lock_owned());
    let first = turn.as_mut().now_or_never();
    async move {
        match first {
            Some(guard) => guard,
            None => turn.await,
        }
    }
}

fn token(signal: Option<AbortSignal>) -> CancellationToken {
    let token = CancellationToken::new();
    if let Some(signal) = signal {
        let cancel = token.clone();
        signal.on_abort(move || cancel.cancel());
    }
    token
}

#[napi(ts_return_type = "Promise<NativeTable>", catch_unwind)]
pub fn open_table<'env>(
    env: &'env Env,
    options: NativeTableOptions,
    signal: Option<AbortSignal>,
) -> Result<PromiseRaw<'env, Outcome<NativeTable>>> {
    let cancel = token(signal);
    call(env, async move {
        let options = options.into_engine()?;
        tokio::select! {
            table = KeyedTable::open(options) => {
                Ok(NativeTable { table: Arc::new(Mutex::new(Some(table?))), compacting: Arc::default() })
            }
            () = cancel.cancelled() => Err(error::cancelled()),
        }
    })
}

#[napi(ts_return_type = "Promise<string[]>", catch_unwind)]
pub fn list_objects<'env>(
    env: &'env Env,
    uri: String,
    storage_options: HashMap<String, String>,
    folder: String,
) -> Result<PromiseRaw<'env, Outcome<Vec<String>>>> {
    call(env, async move { kafka2delta::objects::list(&uri, storage_options, &folder).await })
}

#[napi(ts_return_type = "Promise<Uint8Array>", catch_unwind)]
pub fn read_object<'env>(
    env: &'env Env,
    uri: String,
    storage_options: HashMap<String, String>,
    path: String,
) -> Result<PromiseRaw<'env, Outcome<Uint8Array>>> {
    call(env, async move {
        let bytes = kafka2delta::objects::read(&uri, storage_options, &path).await?;
        Ok(Uint8Array::from(bytes.to_vec()))
    })
}

#[napi(ts_return_type = "Promise<string[]>", catch_unwind)]
pub fn table_history<'env>(
    env: &'env Env,
    uri: String,
    storage_options: HashMap<String, String>,
    limit: f64,
) -> Result<PromiseRaw<'env, Outcome<Vec<String>>>> {
    call(env, async move {
        let limit = usize::try_from(dto::count("limit", limit)?).unwrap_or(usize::MAX);
        kafka2delta::log::history::history(&uri, storage_options, limit).await
    })
}

#[napi]
impl NativeTable {
    #[napi(ts_return_type = "Promise<NativeTableInfo>", catch_unwind)]
    pub fn info<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, Outcome<NativeTableInfo>>> {
        let turn = self.turn();
        call(env, async move {
            let table = turn.await;
            Ok(table.as_ref().ok_or_else(closed)?.info().into())
        })
    }

    #[napi(ts_return_type = "Promise<NativeTableInfo>", catch_unwind)]
    pub fn refresh<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, Outcome<NativeTableInfo>>> {
        let turn = self.turn();
        call(env, async move {
            let mut table = turn.await;
            let table = table.as_mut().ok_or_else(closed)?;
            table.follow().await?;
            Ok(table.info().into())
        })
    }

    /// The buffer is held until the promise settles: it is read, not copied.
    #[napi(ts_return_type = "Promise<NativeMergeResult>", catch_unwind)]
    pub fn merge<'env>(
        &self,
        env: &'env Env,
        ipc: Option<Uint8Array>,
        primary_key: Vec<String>,
        offsets: Vec<NativeOffset>,
        signal: Option<AbortSignal>,
    ) -> Result<PromiseRaw<'env, Outcome<NativeMergeResult>>> {
        let turn = self.turn();
        let cancel = token(signal);
        let batch = ipc.map(Bytes::from_owner);
        call(env, async move {
            let offsets =
                offsets.into_iter().map(NativeOffset::into_engine).collect::<kafka2delta::Result<Vec<_>>>()?;
            let mut table = turn.await;
            let table = table.as_mut().ok_or_else(closed)?;
            Ok(table.merge(batch, &primary_key, &offsets, &cancel).await?.into())
        })
    }

    /// Deletes the rows that meet a condition in Spark SQL.
    #[napi(ts_return_type = "Promise<NativeMergeResult>", catch_unwind)]
    pub fn delete_where<'env>(
        &self,
        env: &'env Env,
        condition: String,
        signal: Option<AbortSignal>,
    ) -> Result<PromiseRaw<'env, Outcome<NativeMergeResult>>> {
        let turn = self.turn();
        let cancel = token(signal);
        call(env, async move {
            let mut table = turn.await;
            let table = table.as_mut().ok_or_else(closed)?;
            Ok(table.delete_where(&condition, &cancel).await?.into())
        })
    }

    /// Waits for the calls before it, compaction too.
    #[napi(ts_return_type = "Promise<void>", catch_unwind)]
    pub fn close<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, Outcome<()>>> {
        let (compacting, table) = (self.compaction_turn(), self.table.clone());
        call(env, async move {
            let _no_compaction = compacting.await;
            let table = table.lock().await.take();
            if let Some(table) = table {
                table.close().await;
            }
            Ok(())
        })
    }
}
