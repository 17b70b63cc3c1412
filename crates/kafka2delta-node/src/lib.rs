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
use kafka2delta::KeyedTable;
use napi::bindgen_prelude::*;
use napi_derive::napi;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::dto::{NativeMergeResult, NativeOffset, NativeTableInfo, NativeTableOptions};
use crate::error::closed;
use crate::outcome::Outcome;

/// One open table. Calls wait for each other, but for the long part of maintenance.
#[napi]
pub struct NativeTable {
    table: Arc<Mutex<Option<KeyedTable>>>,
    /// Held during a step of compaction.
    compacting: Arc<Mutex<()>>,
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
    env.spawn_future(async move {
        Ok(Outcome(
            outcome::guarded(async {
                let options = options.into_engine()?;
                tokio::select! {
                    table = KeyedTable::open(options) => {
                        Ok(NativeTable { table: Arc::new(Mutex::new(Some(table?))), compacting: Arc::default() })
                    }
                    () = cancel.cancelled() => Err(error::cancelled()),
                }
            })
            .await,
        ))
    })
}

#[napi(ts_return_type = "Promise<string[]>", catch_unwind)]
pub fn list_objects<'env>(
    env: &'env Env,
    uri: String,
    storage_options: HashMap<String, String>,
    folder: String,
) -> Result<PromiseRaw<'env, Outcome<Vec<String>>>> {
    env.spawn_future(async move {
        Ok(Outcome(outcome::guarded(kafka2delta::objects::list(&uri, storage_options, &folder)).await))
    })
}

#[napi(ts_return_type = "Promise<Uint8Array>", catch_unwind)]
pub fn read_object<'env>(
    env: &'env Env,
    uri: String,
    storage_options: HashMap<String, String>,
    path: String,
) -> Result<PromiseRaw<'env, Outcome<Uint8Array>>> {
    env.spawn_future(async move {
        Ok(Outcome(
            outcome::guarded(async {
                let bytes = kafka2delta::objects::read(&uri, storage_options, &path).await?;
                Ok(Uint8Array::from(bytes.to_vec()))
            })
            .await,
        ))
    })
}

#[napi(ts_return_type = "Promise<string[]>", catch_unwind)]
pub fn table_history<'env>(
    env: &'env Env,
    uri: String,
    storage_options: HashMap<String, String>,
    limit: f64,
) -> Result<PromiseRaw<'env, Outcome<Vec<String>>>> {
    env.spawn_future(async move {
        Ok(Outcome(
            outcome::guarded(async {
                let limit = usize::try_from(dto::count("limit", limit)?).unwrap_or(usize::MAX);
                kafka2delta::log::history::history(&uri, storage_options, limit).await
            })
            .await,
        ))
    })
}

#[napi]
impl NativeTable {
    #[napi(ts_return_type = "Promise<NativeTableInfo>", catch_unwind)]
    pub fn info<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, Outcome<NativeTableInfo>>> {
        let table = self.table.clone();
        env.spawn_future(async move {
            Ok(Outcome(
                outcome::guarded(async {
                    let table = table.lock().await;
                    Ok(table.as_ref().ok_or_else(closed)?.info().into())
                })
                .await,
            ))
        })
    }

    #[napi(ts_return_type = "Promise<NativeTableInfo>", catch_unwind)]
    pub fn refresh<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, Outcome<NativeTableInfo>>> {
        let table = self.table.clone();
        env.spawn_future(async move {
            Ok(Outcome(
                outcome::guarded(async {
                    let mut table = table.lock().await;
                    let table = table.as_mut().ok_or_else(closed)?;
                    table.follow().await?;
                    Ok(table.info().into())
                })
                .await,
            ))
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
        let table = self.table.clone();
        let cancel = token(signal);
        let batch = ipc.map(Bytes::from_owner);
        env.spawn_future(async move {
            Ok(Outcome(
                outcome::guarded(async {
                    let offsets =
                        offsets.into_iter().map(NativeOffset::into_engine).collect::<kafka2delta::Result<Vec<_>>>()?;
                    let mut table = table.lock().await;
                    let table = table.as_mut().ok_or_else(closed)?;
                    Ok(table.merge(batch, &primary_key, &offsets, &cancel).await?.into())
                })
                .await,
            ))
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
        let table = self.table.clone();
        let cancel = token(signal);
        env.spawn_future(async move {
            Ok(Outcome(
                outcome::guarded(async {
                    let mut table = table.lock().await;
                    let table = table.as_mut().ok_or_else(closed)?;
                    Ok(table.delete_where(&condition, &cancel).await?.into())
                })
                .await,
            ))
        })
    }

    #[napi(ts_return_type = "Promise<void>", catch_unwind)]
    pub fn close<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, Outcome<()>>> {
        let table = self.table.clone();
        env.spawn_future(async move {
            Ok(Outcome(
                outcome::guarded(async {
                    let table = table.lock().await.take();
                    if let Some(table) = table {
                        table.close().await;
                    }
                    Ok(())
                })
                .await,
            ))
        })
    }
}
