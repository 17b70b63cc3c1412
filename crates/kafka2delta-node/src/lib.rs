//! The Node binding of the engine: options and results across the border, errors with codes, cancellation. No logic.
#![allow(missing_docs, reason = "documented in src/delta/table.ts")]

mod error;
mod heap;
mod json;
mod maintenance;
mod offset;
mod outcome;
pub mod reads;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use bytes::Bytes;
use futures::FutureExt;
use kafka2delta::log::store::OpenStore;
use kafka2delta::memory::Asked;
use kafka2delta::{KeyedTable, SharedMemory};
use napi::bindgen_prelude::*;
use napi_derive::napi;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use crate::error::{abandoned, cancelled, closed};
use crate::json::Json;
use crate::offset::NativeOffset;
use crate::outcome::{Outcome, call, stoppable, token, unless_abandoned};

/// What all tables of the process share.
static MEMORY: LazyLock<SharedMemory> = LazyLock::new(SharedMemory::default);

/// One open table. Calls wait for each other, but for the long part of maintenance.
#[napi]
pub struct NativeTable {
    table: Arc<Mutex<Option<KeyedTable>>>,
    /// Held during a step of compaction.
    compacting: Arc<Mutex<()>>,
    store: OpenStore,
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

/// A turn, unless the call is cancelled while it waits for it.
async fn unless_cancelled<T>(turn: impl Future<Output = T>, cancel: &CancellationToken) -> kafka2delta::Result<T> {
    tokio::select! {
        guard = turn => Ok(guard),
        () = cancel.cancelled() => Err(cancelled()),
    }
}

/// What a call on the table came to. A table whose call was dropped is closed: nobody knows how far it came.
fn or_closed<T>(table: &mut Option<KeyedTable>, result: Option<kafka2delta::Result<T>>) -> kafka2delta::Result<T> {
    result.unwrap_or_else(|| {
        *table = None;
        Err(abandoned())
    })
}

#[napi(ts_return_type = "Promise<NativeTable>", catch_unwind)]
pub fn open_table<'env>(
    env: &'env Env,
    options: String,
    signal: Option<AbortSignal>,
) -> Result<PromiseRaw<'env, Outcome<NativeTable>>> {
    stoppable(env, signal, async move {
        let table = KeyedTable::open_within(json::read(&options)?, &MEMORY).await?;
        let asked = table.asked_for_memory();
        let store = table.store();
        let table = Arc::new(Mutex::new(Some(table)));
        tokio::spawn(yield_memory(Arc::downgrade(&table), asked));
        Ok(NativeTable { table, compacting: Arc::default(), store })
    })
}

/// Has the table give other tables the memory of its index whenever they ask for it, as long as it is open.
async fn yield_memory(table: Weak<Mutex<Option<KeyedTable>>>, mut asked: Asked) {
    while asked.next().await
        && let Some(table) = table.upgrade()
    {
        if let Some(open) = table.lock().await.as_mut() {
            open.yield_memory().await;
        }
    }
}

/// Bounds what all tables of the process share: bytes of key indexes, and of steps of compaction.
#[napi(catch_unwind)]
pub fn limit_memory(indexes: f64, compaction: f64) {
    // Beyond what a number holds there is no limit.
    MEMORY.indexes.limit(indexes as u64);
    MEMORY.steps.limit(compaction as u64);
}

/// What is held of it, as JSON.
#[napi(ts_return_type = "string", catch_unwind)]
pub fn held_memory() -> Result<String> {
    serde_json::to_string(&MEMORY.held()).map_err(|error| Error::from_reason(error.to_string()))
}

#[napi(ts_return_type = "Promise<string[]>", catch_unwind)]
pub fn list_objects<'env>(
    env: &'env Env,
    uri: String,
    storage_options: HashMap<String, String>,
    folder: String,
    signal: Option<AbortSignal>,
) -> Result<PromiseRaw<'env, Outcome<Vec<String>>>> {
    stoppable(env, signal, async move { kafka2delta::objects::list(&uri, storage_options, &folder).await })
}

#[napi(ts_return_type = "Promise<Uint8Array>", catch_unwind)]
pub fn read_object<'env>(
    env: &'env Env,
    uri: String,
    storage_options: HashMap<String, String>,
    path: String,
    signal: Option<AbortSignal>,
) -> Result<PromiseRaw<'env, Outcome<Uint8Array>>> {
    stoppable(env, signal, async move {
        let bytes = kafka2delta::objects::read(&uri, storage_options, &path).await?;
        Ok(Uint8Array::from(bytes.to_vec()))
    })
}

/// The commits' notes, each as JSON.
#[napi(ts_return_type = "Promise<string[]>", catch_unwind)]
pub fn table_history<'env>(
    env: &'env Env,
    uri: String,
    storage_options: HashMap<String, String>,
    limit: f64,
    signal: Option<AbortSignal>,
) -> Result<PromiseRaw<'env, Outcome<Vec<String>>>> {
    stoppable(env, signal, async move {
        let limit = usize::try_from(reads::whole("limit", limit)?).unwrap_or(usize::MAX);
        kafka2delta::log::history::history(&uri, storage_options, limit).await
    })
}

#[napi]
impl NativeTable {
    #[napi(ts_return_type = "Promise<string>", catch_unwind)]
    pub fn info<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, Outcome<Json>>> {
        let turn = self.turn();
        call(env, async move { Json::of(&turn.await.as_ref().ok_or_else(closed)?.info()) })
    }

    #[napi(ts_return_type = "Promise<string>", catch_unwind)]
    pub fn refresh<'env>(
        &self,
        env: &'env Env,
        signal: Option<AbortSignal>,
    ) -> Result<PromiseRaw<'env, Outcome<Json>>> {
        let (turn, cancel) = (self.turn(), token(signal));
        call(env, async move {
            let mut table = unless_cancelled(turn, &cancel).await?;
            let table = table.as_mut().ok_or_else(closed)?;
            table.refresh(&cancel).await?;
            Json::of(&table.info())
        })
    }

    /// Has all requests from now on go by other options of the store, also those of calls that are under way: it waits for none.
    #[napi(ts_return_type = "Promise<void>", catch_unwind)]
    pub fn renew_store<'env>(
        &self,
        env: &'env Env,
        storage_options: HashMap<String, String>,
    ) -> Result<PromiseRaw<'env, Outcome<()>>> {
        let store = self.store.clone();
        call(env, async move { store.renew(&storage_options) })
    }

    /// The buffer is held until the promise settles: it is read, not copied.
    #[napi(ts_return_type = "Promise<string>", catch_unwind)]
    pub fn merge<'env>(
        &self,
        env: &'env Env,
        ipc: Option<Uint8Array>,
        primary_key: Vec<String>,
        offsets: Vec<NativeOffset>,
        signal: Option<AbortSignal>,
    ) -> Result<PromiseRaw<'env, Outcome<Json>>> {
        let turn = self.turn();
        let cancel = token(signal);
        let batch = ipc.map(Bytes::from_owner);
        call(env, async move {
            let offsets =
                offsets.into_iter().map(NativeOffset::into_engine).collect::<kafka2delta::Result<Vec<_>>>()?;
            let mut table = unless_cancelled(turn, &cancel).await?;
            let open = table.as_mut().ok_or_else(closed)?;
            let merged = unless_abandoned(&cancel, open.merge(batch, &primary_key, &offsets, &cancel)).await;
            let result = or_closed(&mut table, merged)?;
            heap::freed(result.peak_bytes);
            Json::of(&result)
        })
    }

    /// Deletes the rows that meet a condition in Spark SQL.
    #[napi(ts_return_type = "Promise<string>", catch_unwind)]
    pub fn delete_where<'env>(
        &self,
        env: &'env Env,
        condition: String,
        signal: Option<AbortSignal>,
    ) -> Result<PromiseRaw<'env, Outcome<Json>>> {
        let turn = self.turn();
        let cancel = token(signal);
        call(env, async move {
            let mut table = unless_cancelled(turn, &cancel).await?;
            let open = table.as_mut().ok_or_else(closed)?;
            let deleted = unless_abandoned(&cancel, open.delete_where(&condition, &cancel)).await;
            Json::of(&or_closed(&mut table, deleted)?)
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
