//! Reading a whole table back with delta-rs and DataFusion, as SQL: for looks and checks, apart from the writer.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::StreamWriter;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;

use crate::error::{Error, ErrorCode, Result};
use crate::log::state::TableState;
use crate::schema::conform;
use crate::table::open_log_store_at;

/// Blocking threads beside those that wait for a file's deletion vector.
const THREADS: usize = 64;

/// Runs SQL over the newest version of a table, which it names `t`; all rows where there is no SQL. The result is an
/// Arrow IPC stream.
///
/// It has a runtime of its own: delta-rs reads the deletion vectors of all files at once, each in a blocking thread that
/// waits for others, and with more files than threads waits for ever.
pub async fn query(uri: &str, storage_options: HashMap<String, String>, sql: Option<&str>) -> Result<Vec<u8>> {
    let log_store = open_log_store_at(uri, &storage_options)?;
    let Some(state) = TableState::load(&log_store).await? else {
        return Err(Error::new(ErrorCode::StorageDenied, format!("there is no Delta table at '{uri}'")));
    };
    let threads = THREADS + 2 * state.live_files().count();
    let (uri, sql) = (uri.to_owned(), sql.unwrap_or("SELECT * FROM t").to_owned());
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .max_blocking_threads(threads)
            .enable_all()
            .build()
            .map_err(|e| Error::with_source(ErrorCode::Internal, "no threads for the query", e))?;
        let result = runtime.block_on(run(&uri, storage_options, &sql));
        runtime.shutdown_background();
        result
    })
    .await?
}

async fn run(uri: &str, storage_options: HashMap<String, String>, sql: &str) -> Result<Vec<u8>> {
    let url = deltalake::ensure_table_uri(uri)?;
    let table = deltalake::open_table_with_storage_options(url, storage_options).await?;
    let context = spark_session()?;
    table.update_datafusion_session(&context.state())?;
    context.register_table("t", table.table_provider().await?)?;
    let wrong =
        |e: datafusion::error::DataFusionError| Error::with_source(ErrorCode::ExpressionInvalid, "the query failed", e);
    let frame = context.sql(sql).await.map_err(wrong)?;
    let fields: Vec<Field> = frame.schema().as_arrow().fields().iter().map(|f| plain(f)).collect();
    let schema = Arc::new(Schema::new(fields));
    let mut stream = frame.execute_stream().await.map_err(wrong)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(wrong)?;
        let columns = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| conform(column, field.data_type()))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        writer.write(&RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)?;
    }
    writer.finish()?;
    Ok(writer.into_inner()?)
}

/// A field without the view types, which not every Arrow reader knows.
fn plain(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    };
    field.clone().with_data_type(data_type)
}

/// A session with Spark's functions over DataFusion's own, its dialect, and UTC.
fn spark_session() -> Result<SessionContext> {
    let mut config = SessionConfig::new();
    let options = config.options_mut();
    options.sql_parser.dialect = datafusion::common::config::Dialect::Spark;
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.parse_float_as_decimal = true;
    options.execution.time_zone = Some("UTC".to_owned());
    let context = SessionContext::new_with_config(config);
    for function in datafusion_spark::all_default_scalar_functions() {
        context.register_udf(function.as_ref().clone());
    }
    Ok(context)
}
