//! delta-rs, as another writer and reader of our tables: `delta_rs.py` runs it from its Python wheel, so that the tests need
//! not compile it with DataFusion.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde_json::{Value, json};

use crate::temporary;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/delta_rs.py");
const HELP: &str = "These tests run delta-rs from its Python wheel. `npm run test:rust` makes a Python environment with it; \
    `cargo test` alone takes one from the environment variable ORACLE_PYTHON: the path of a Python with the packages of \
    __test__/oracle/requirements.txt.";

/// Processes that wait for a request. There are as many as requests were under way at once; they end with the tests, by
/// the end of their input.
static IDLE: Mutex<Vec<Process>> = Mutex::new(Vec::new());

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start() -> Self {
        let python = std::env::var_os("ORACLE_PYTHON").filter(|python| !python.is_empty());
        let Some(python) = python else { panic!("ORACLE_PYTHON is not set. {HELP}") };
        let mut command = Command::new(&python);
        command.arg(PROGRAM).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{} does not run: {error}. {HELP}", python.display()));
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    fn ask(&mut self, request: &Value) -> std::io::Result<Value> {
        writeln!(self.input, "{request}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

fn ask(request: &Value) -> Result<Value, String> {
    let idle = IDLE.lock().unwrap().pop();
    let mut process = idle.unwrap_or_else(Process::start);
    let mut answer = match process.ask(request) {
        Ok(answer) => answer,
        Err(error) => {
            let _ = process.child.kill();
            return Err(format!("the process ended ({:?}): {error}. {HELP}", process.child.wait()));
        }
    };
    IDLE.lock().unwrap().push(process);
    match answer["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer["ok"].take()),
    }
}

/// Has delta-rs do what `request` asks for; a failure of it fails the test.
async fn call(request: Value) -> Value {
    tokio::task::spawn_blocking(move || ask(&request).unwrap_or_else(|error| panic!("delta-rs: {request}: {error}")))
        .await
        .unwrap()
}

/// The rows that a request gives, which writes them to the file `out`.
async fn rows_of(mut request: Value) -> Vec<RecordBatch> {
    let folder = temporary::folder();
    let out = folder.path().join("out");
    request["out"] = json!(out);
    call(request).await;
    StreamReader::try_new(File::open(out).unwrap(), None).unwrap().map(Result::unwrap).collect()
}

/// Makes a request with the rows in a file, which it names as `rows`.
async fn call_with(rows: &RecordBatch, mut request: Value) -> Value {
    let folder = temporary::folder();
    let path = folder.path().join("rows");
    let mut writer = StreamWriter::try_new(File::create(&path).unwrap(), &rows.schema()).unwrap();
    writer.write(rows).unwrap();
    writer.finish().unwrap();
    request["rows"] = json!(path);
    call(request).await
}

async fn write(uri: &str, rows: &RecordBatch, mode: &str, partition_by: &[&str]) {
    call_with(rows, json!({ "op": "write", "uri": uri, "mode": mode, "partition_by": partition_by })).await;
}

/// Makes a table of these rows.
pub async fn create(uri: &str, rows: &RecordBatch, partition_by: &[&str]) {
    write(uri, rows, "error", partition_by).await;
}

/// Adds rows. Columns that they lack are null.
pub async fn append(uri: &str, rows: &RecordBatch) {
    write(uri, rows, "append", &[]).await;
}

/// Puts these rows in the place of all.
pub async fn overwrite(uri: &str, rows: &RecordBatch) {
    write(uri, rows, "overwrite", &[]).await;
}

/// DELETE
pub async fn delete(uri: &str, predicate: &str) {
    call(json!({ "op": "delete", "uri": uri, "predicate": predicate })).await;
}

/// UPDATE, with the columns that are set and their expressions.
pub async fn update(uri: &str, predicate: &str, updates: &[(&str, &str)]) {
    let updates: HashMap<_, _> = updates.iter().copied().collect();
    call(json!({ "op": "update", "uri": uri, "predicate": predicate, "updates": updates })).await;
}

/// MERGE of the rows `s` into the table `t`, with the columns of a row that is found and of one that is not.
pub async fn merge(uri: &str, rows: &RecordBatch, predicate: &str, updates: &[&str], inserts: &[&str]) {
    let from_source =
        |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), format!("s.{name}"))).collect::<HashMap<_, _>>();
    let (updates, inserts) = (from_source(updates), from_source(inserts));
    let request = json!({ "op": "merge", "uri": uri, "predicate": predicate, "updates": updates, "inserts": inserts });
    call_with(rows, request).await;
}

/// OPTIMIZE. Gives the number of files that it removed.
pub async fn optimize(uri: &str) -> u64 {
    call(json!({ "op": "optimize", "uri": uri })).await["numFilesRemoved"].as_u64().unwrap()
}

/// Adds a column of the type `long`.
pub async fn add_column(uri: &str, name: &str) {
    call(json!({ "op": "add_column", "uri": uri, "name": name })).await;
}

/// SET TBLPROPERTIES. Gives the version that it made.
pub async fn set_property(uri: &str, name: &str, value: &str) -> u64 {
    let request = json!({ "op": "set_properties", "uri": uri, "properties": { name: value } });
    call(request).await.as_u64().unwrap()
}

/// RESTORE
pub async fn restore(uri: &str, version: u64) {
    call(json!({ "op": "restore", "uri": uri, "version": version })).await;
}

/// Writes a checkpoint of the newest version, which it gives.
pub async fn checkpoint(uri: &str) -> u64 {
    call(json!({ "op": "checkpoint", "uri": uri })).await.as_u64().unwrap()
}

/// VACUUM without a retention, of the files that the log names. Gives those that it deleted.
pub async fn vacuum(uri: &str) -> Vec<String> {
    serde_json::from_value(call(json!({ "op": "vacuum", "uri": uri })).await).unwrap()
}

/// What the SQL gives of the table `t`, at its newest version or an older one.
pub async fn query(uri: &str, version: Option<u64>, sql: &str) -> Vec<RecordBatch> {
    rows_of(json!({ "op": "query", "uri": uri, "version": version, "sql": sql })).await
}

/// The change data feed of one version.
pub async fn change_feed(uri: &str, version: u64) -> Vec<RecordBatch> {
    rows_of(json!({ "op": "change_feed", "uri": uri, "version": version })).await
}
