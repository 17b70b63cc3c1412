//! Reading tables back: scans and change data feeds, batch by batch.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use kafka2delta::scan::{Batches, changes, scan};
use napi::bindgen_prelude::*;
use napi_derive::napi;
use tokio::sync::Mutex;

use crate::error::invalid;
use crate::json;
use crate::outcome::{Outcome, call, stoppable};

/// A whole number.
pub(crate) fn whole(option: &str, value: f64) -> kafka2delta::Result<u64> {
    match (0.0..=9_007_199_254_740_991.0).contains(&value) && value.fract() == 0.0 {
        true => Ok(value as u64),
        false => Err(invalid(format!("{option} is {value}, and must be a whole number from 0 on"))),
    }
}

/// A result that is being read. Once closed, or given up by JavaScript, its readers stop.
#[napi]
pub struct NativeBatches {
    schema: SchemaRef,
    version: u64,
    batches: Arc<Mutex<Option<Batches>>>,
    closed: tokio_util::sync::CancellationToken,
}

impl From<Batches> for NativeBatches {
    fn from(batches: Batches) -> Self {
        Self {
            schema: batches.schema().clone(),
            version: batches.version(),
            batches: Arc::new(Mutex::new(Some(batches))),
            closed: Default::default(),
        }
    }
}

fn to_ipc(schema: &SchemaRef, batch: Option<&RecordBatch>) -> kafka2delta::Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    if let Some(batch) = batch {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(writer.into_inner()?)
}

#[napi(ts_return_type = "Promise<NativeBatches>", catch_unwind)]
pub fn scan_table<'env>(
    env: &'env Env,
    options: String,
    signal: Option<AbortSignal>,
) -> Result<PromiseRaw<'env, Outcome<NativeBatches>>> {
    stoppable(env, signal, async move { Ok(scan(json::read(&options)?).await?.into()) })
}

#[napi(ts_return_type = "Promise<NativeBatches>", catch_unwind)]
pub fn table_changes<'env>(
    env: &'env Env,
    uri: String,
    storage_options: HashMap<String, String>,
    from: f64,
    to: Option<f64>,
    signal: Option<AbortSignal>,
) -> Result<PromiseRaw<'env, Outcome<NativeBatches>>> {
    stoppable(env, signal, async move {
        let (from, to) = (whole("from", from)?, to.map(|to| whole("to", to)).transpose()?);
        Ok(changes::changes(&uri, &storage_options, from, to).await?.into())
    })
}

#[napi]
impl NativeBatches {
    /// The version that is read.
    #[napi(getter)]
    pub fn version(&self) -> f64 {
        self.version as f64
    }

    /// An Arrow IPC stream without batches: the columns of the result.
    #[napi(ts_return_type = "Promise<Uint8Array>", catch_unwind)]
    pub fn schema<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, Outcome<Uint8Array>>> {
        let schema = self.schema.clone();
        call(env, async move { to_ipc(&schema, None).map(Uint8Array::from) })
    }

    /// The next batch as an Arrow IPC stream; null after the last one.
    #[napi(ts_return_type = "Promise<Uint8Array | null>", catch_unwind)]
    pub fn next<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, Outcome<Option<Uint8Array>>>> {
        let (batches, schema, closed) = (self.batches.clone(), self.schema.clone(), self.closed.clone());
        call(env, async move {
            let mut batches = batches.lock().await;
            let next = match batches.as_mut() {
                None => return Ok(None),
                Some(batches) => tokio::select! {
                    next = batches.next() => next?,
                    () = closed.cancelled() => return Ok(None),
                },
            };
            match next {
                Some(batch) => Ok(Some(Uint8Array::from(to_ipc(&schema, Some(&batch))?))),
                None => {
                    batches.take();
                    Ok(None)
                }
            }
        })
    }

    /// Stops the readers.
    #[napi(ts_return_type = "Promise<void>", catch_unwind)]
    pub fn close<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, Outcome<()>>> {
        let batches = self.batches.clone();
        self.closed.cancel();
        call(env, async move {
            batches.lock().await.take();
            Ok(())
        })
    }
}
