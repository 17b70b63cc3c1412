//! Expressions beside Spark 3.5's results, which `spark-expressions.py` writes into `expressions.json`.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Float32Array, Float64Array, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Schema, TimeUnit, TimestampMicrosecondType,
};
use serde::Deserialize;
use serde_json::Value;
use spark_expr::{Expression, Fault};

#[derive(Deserialize)]
struct Table {
    columns: Vec<Column>,
    cases: Vec<Case>,
    refused: Vec<String>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    r#type: String,
    values: Vec<Option<String>>,
}

#[derive(Deserialize)]
struct Case {
    sql: String,
    r#type: Option<String>,
    #[serde(default)]
    values: Vec<Option<String>>,
    error: Option<String>,
    /// Why kafka2delta refuses what Spark allows.
    refused: Option<String>,
}

fn table() -> Table {
    // Another table, of random values for one, by SPARK_EXPRESSIONS.
    let path = std::env::var("SPARK_EXPRESSIONS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/expressions.json").to_owned());
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn arrow_type(name: &str) -> DataType {
    match name {
        "boolean" => DataType::Boolean,
        "tinyint" => DataType::Int8,
        "smallint" => DataType::Int16,
        "int" => DataType::Int32,
        "bigint" => DataType::Int64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "string" => DataType::Utf8,
        "binary" => DataType::Binary,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "array<string>" => DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))),
        "array<int>" => DataType::List(Arc::new(Field::new("element", DataType::Int32, true))),
        "struct<a:int,b:string>" => {
            DataType::Struct(vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)].into())
        }
        "map<string,int>" => DataType::Map(
            Arc::new(Field::new(
                "key_value",
                DataType::Struct(
                    vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Int32, true)].into(),
                ),
                false,
            )),
            false,
        ),
        decimal => {
            let (p, s) = decimal.strip_prefix("decimal(").unwrap().strip_suffix(')').unwrap().split_once(',').unwrap();
            DataType::Decimal128(p.parse().unwrap(), s.parse().unwrap())
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn array(column: &Column) -> ArrayRef {
    let data_type = arrow_type(&column.r#type);
    match data_type {
        DataType::Float64 => {
            Arc::new(Float64Array::from_iter(column.values.iter().map(|v| v.as_ref().map(|v| v.parse().unwrap()))))
        }
        DataType::Float32 => {
            Arc::new(Float32Array::from_iter(column.values.iter().map(|v| v.as_ref().map(|v| v.parse().unwrap()))))
        }
        DataType::Binary => Arc::new(BinaryArray::from_iter(column.values.iter().map(|v| v.as_deref().map(unhex)))),
        DataType::List(_) | DataType::Map(..) | DataType::Struct(_) => {
            let schema = Arc::new(Schema::new(vec![Field::new("x", data_type, true)]));
            let lines: Vec<String> =
                column.values.iter().map(|v| format!("{{\"x\":{}}}", v.as_deref().unwrap_or("null"))).collect();
            let mut decoder = arrow::json::ReaderBuilder::new(schema).build_decoder().unwrap();
            decoder.decode(lines.join("\n").as_bytes()).unwrap();
            decoder.flush().unwrap().unwrap().column(0).clone()
        }
        _ => {
            let texts: ArrayRef = Arc::new(StringArray::from(column.values.clone()));
            cast_with_options(&texts, &data_type, &CastOptions { safe: false, ..CastOptions::default() }).unwrap()
        }
    }
}

fn rows(table: &Table) -> RecordBatch {
    let fields: Vec<Field> = table.columns.iter().map(|c| Field::new(&c.name, arrow_type(&c.r#type), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), table.columns.iter().map(array).collect()).unwrap()
}

fn spark_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Decimal128(p, s) => format!("decimal({p},{s})"),
        DataType::List(item) => format!("array<{}>", spark_name(item.data_type())),
        DataType::Struct(_) => "struct<a:int,b:string>".to_owned(),
        DataType::Map(..) => "map<string,int>".to_owned(),
        other => [
            "boolean",
            "tinyint",
            "smallint",
            "int",
            "bigint",
            "float",
            "double",
            "string",
            "binary",
            "date",
            "timestamp",
            "timestamp_ntz",
        ]
        .into_iter()
        .find(|name| arrow_type(name) == *other)
        .unwrap_or_else(|| panic!("{other}"))
        .to_owned(),
    }
}

/// A value as the script writes it.
fn text(array: &ArrayRef, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float32 => format!("{:?}", array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => format!("{:?}", array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::Binary => array.as_binary::<i32>().value(row).iter().fold(String::new(), |mut s, b| {
            write!(s, "{b:02X}").unwrap();
            s
        }),
        DataType::Date32 => array.as_primitive::<Date32Type>().value(row).to_string(),
        DataType::Timestamp(..) => array.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::from((0..items.len()).map(|i| json(&items, i)).collect::<Vec<_>>()).to_string()
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let pairs = (0..entries.len()).map(|i| (text(keys, i).unwrap(), json(values, i)));
            Value::Object(pairs.collect()).to_string()
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let pairs = fields.iter().zip(columns).filter(|(_, c)| c.is_valid(row));
            Value::Object(pairs.map(|(f, c)| (f.name().clone(), json(c, row))).collect()).to_string()
        }
        other => panic!("{other}"),
    })
}

fn json(array: &ArrayRef, row: usize) -> Value {
    match (text(array, row), array.data_type()) {
        (None, _) => Value::Null,
        (Some(text), DataType::Utf8) => Value::from(text),
        (Some(text), _) => serde_json::from_str(&text).unwrap(),
    }
}

fn same(data_type: &str, ours: Option<&str>, spark: Option<&str>) -> bool {
    match (ours, spark) {
        (Some(a), Some(b)) if data_type == "double" => {
            let (a, b): (f64, f64) = (a.parse().unwrap(), b.parse().unwrap());
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }
        (Some(a), Some(b)) if data_type == "float" => {
            let (a, b): (f32, f32) = (a.parse().unwrap(), b.parse().unwrap());
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }
        (Some(a), Some(b)) if data_type.starts_with(['a', 'm']) || data_type.starts_with("struct") => {
            let (a, b): (Value, Value) = (serde_json::from_str(a).unwrap(), serde_json::from_str(b).unwrap());
            a == b
        }
        (a, b) => a == b,
    }
}

fn compute(sql: &str, rows: &RecordBatch) -> Result<ArrayRef, Fault> {
    let (expression, _) = Expression::parse_named(&format!("{sql} AS made"))?;
    expression.compile(&rows.schema(), &mut Vec::new())?.evaluate(rows)
}

/// What differs from Spark in a case, or none.
fn difference(case: &Case, rows: &RecordBatch) -> Option<String> {
    let found = compute(&case.sql, rows);
    let array = match (&found, case.refused.is_some() || case.error.is_some()) {
        (Err(_), true) => return None,
        (Err(fault), false) => return Some(fault.to_string()),
        (Ok(array), true) => return Some(format!("is not refused: {}", spark_name(array.data_type()))),
        (Ok(array), false) => array,
    };
    let (ours, spark) = (spark_name(array.data_type()), case.r#type.clone().unwrap_or_default());
    if ours != spark {
        return Some(format!("type {ours}, Spark's {spark}"));
    }
    let mut wrong = String::new();
    for (row, expected) in case.values.iter().enumerate() {
        let found = text(array, row);
        if !same(&ours, found.as_deref(), expected.as_deref()) {
            write!(wrong, " row {row}: {found:?}, Spark {expected:?};").unwrap();
        }
    }
    (!wrong.is_empty()).then_some(wrong)
}

#[test]
fn every_expression_gives_what_spark_gives() {
    let table = table();
    let rows = rows(&table);
    let wrong: Vec<String> = table
        .cases
        .iter()
        .filter_map(|case| difference(case, &rows).map(|d| format!("{}\n    {d}", case.sql)))
        .collect();
    let refused = table.cases.iter().filter(|c| c.refused.is_some() || c.error.is_some()).count();
    println!("{} expressions as Spark's, {refused} refused", table.cases.len() - refused - wrong.len());
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), table.cases.len(), wrong.join("\n"));
}

/// Each row alone, and no rows: constants and slices have the same values.
#[test]
fn slices_give_the_same() {
    let table = table();
    let rows = rows(&table);
    for case in table.cases.iter().filter(|c| c.refused.is_none() && c.error.is_none()) {
        let whole = compute(&case.sql, &rows).unwrap();
        assert_eq!(compute(&case.sql, &rows.slice(0, 0)).unwrap().len(), 0, "{}", case.sql);
        for row in 0..rows.num_rows() {
            let one = compute(&case.sql, &rows.slice(row, 1)).unwrap();
            assert_eq!(one.len(), 1, "{}", case.sql);
            assert_eq!(text(&one, 0), text(&whole, row), "{} row {row}", case.sql);
        }
    }
}

#[test]
fn what_is_not_supported_is_refused_when_compiled() {
    let table = table();
    let rows = rows(&table);
    for sql in &table.refused {
        let compiled = Expression::parse_named(&format!("{sql} AS made"))
            .and_then(|(expression, _)| expression.compile(&rows.schema(), &mut Vec::new()));
        // NULL alone compiles, and has no type that a column could have.
        assert!(compiled.is_err() || compiled.is_ok_and(|c| c.data_type() == &DataType::Null), "{sql}");
    }
}

#[test]
fn columns_and_nested_fields_that_are_not_there_are_null_and_named() {
    let table = table();
    let rows = rows(&table);
    let compile = |sql: &str| {
        let (expression, _) = Expression::parse_named(sql).unwrap();
        let mut missing = Vec::new();
        let compiled = expression.compile(&rows.schema(), &mut missing).unwrap();
        (compiled.data_type().clone(), compiled.evaluate(&rows).unwrap(), missing)
    };
    let (_, values, missing) = compile("coalesce(absent, 3) AS a");
    assert_eq!((text(&values, 0).as_deref(), missing), (Some("3"), vec!["absent".to_owned()]));
    let (data_type, values, missing) = compile("absent AS b");
    assert_eq!((data_type, values.len(), missing), (DataType::Null, rows.num_rows(), vec!["absent".to_owned()]));
    let (_, values, missing) = compile("year(absent.inner) AS c");
    assert_eq!((text(&values, 0), missing), (None, vec!["absent".to_owned(), "inner".to_owned()]));
}

#[test]
fn long_and_deep_expressions_do_no_harm() {
    let table = table();
    let rows = rows(&table);
    let long = format!("1{}", " + 1".repeat(480));
    assert_eq!(text(&compute(&long, &rows).unwrap(), 0).as_deref(), Some("481"));
    let columns = format!("i8{}", " + i8".repeat(480));
    assert_eq!(compute(&columns, &rows).unwrap().len(), rows.num_rows());
    let between = (0..40).fold("i".to_owned(), |sql, _| format!("({sql} BETWEEN 1 AND 2)"));
    for sql in [
        format!("1{}", " + 1".repeat(5_000)),
        between,
        format!("{}1", "- ".repeat(500)),
        "repeat('x', 2000000000)".to_owned(),
        "lpad(s, 2000000000, 'x')".to_owned(),
    ] {
        assert!(compute(&sql, &rows).is_err(), "{}", &sql[..sql.len().min(50)]);
    }
}

#[test]
fn the_name_stands_behind_the_expression() {
    for (sql, name) in [("1 AS a", "a"), ("1 b", "b"), ("1 as `a b`", "a b")] {
        assert_eq!(Expression::parse_named(sql).unwrap().1, name);
    }
    for sql in [
        "1",
        "1 AS",
        "1 AS 'a'",
        "1 AS a b",
        "AS a",
        "",
        "1 AS a, 2 AS b",
        &format!("{}1{} AS a", "(".repeat(500), ")".repeat(500)),
    ] {
        assert!(Expression::parse_named(sql).is_err(), "{sql}");
    }
}
