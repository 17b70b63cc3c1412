//! Reading a whole table back with delta-rs and DataFusion, as SQL: for looks and checks, apart from the writer.

use std::collections::HashMap;

use arrow::ipc::writer::StreamWriter;
use futures::StreamExt;

use crate::error::{Error, ErrorCode, Result};
use crate::expr::spark_session;

/// Runs SQL over the newest version of a table, which it names `t`; all rows where there is no SQL. The result is an
/// Arrow IPC stream.
pub async fn query(uri: &str, storage_options: HashMap<String, String>, sql: Option<&str>) -> Result<Vec<u8>> {
    deltalake::aws::register_handlers(None);
    let url = deltalake::ensure_table_uri(uri)?;
    let table = deltalake::open_table_with_storage_options(url, storage_options).await?;
    let context = spark_session()?;
    table.update_datafusion_session(&context.state())?;
    let provider = table.table_provider().await?;
    context.register_table("t", provider)?;
    let wrong =
        |e: datafusion::error::DataFusionError| Error::with_source(ErrorCode::ExpressionInvalid, "the query failed", e);
    let frame = context.sql(sql.unwrap_or("SELECT * FROM t")).await.map_err(wrong)?;
    let schema = std::sync::Arc::new(frame.schema().as_arrow().clone());
    let mut stream = frame.execute_stream().await.map_err(wrong)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(wrong)?;
        let columns = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| crate::schema::conform(column, field.data_type()))
            .collect::<Result<Vec<_>>>()?;
        writer.write(&arrow::array::RecordBatch::try_new(schema.clone(), columns)?)?;
    }
    writer.finish()?;
    Ok(writer.into_inner()?)
}
