//! Additional columns: SQL expressions over a row, with the functions, types and rules of Spark 3.5 outside ANSI mode.
//!
//! An expression is parsed by Spark's grammar and compiled to kernels over Arrow arrays. Only functions that are tested
//! beside Spark's results exist here: all others are refused.

use std::collections::HashMap;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::error::{Error, ErrorCode, Result};
use node::Node;

pub(crate) use types::name as type_name;

mod arithmetic;
mod calendar;
mod cast;
mod cast_text;
mod compile;
mod condition;
mod datetime;
mod format;
mod functions;
mod hash;
mod java_double;
mod json;
mod math;
mod murmur;
mod nested;
mod node;
mod parse;
mod parse_words;
mod pattern;
mod pattern_parse;
mod regex;
mod regex_translate;
mod strings;
mod strings_more;
mod token;
mod types;
mod zone;

/// An expression and the name of the column that it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdditionalColumn {
    /// The column's name.
    pub name: String,
    sql: String,
}

fn invalid(sql: &str, message: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::ExpressionInvalid, format!("additional column '{sql}': {message}"))
}

impl AdditionalColumn {
    /// Parses `expr AS name`.
    pub fn parse(sql: &str) -> Result<Self> {
        let (expr, name) = parse::parse_column(sql).map_err(|e| invalid(sql, e.0))?;
        functions::check(&expr).map_err(|e| invalid(sql, e.0))?;
        Ok(Self { name, sql: sql.to_owned() })
    }
}

/// Additional columns compiled for one schema.
pub struct CompiledColumns {
    columns: Vec<(Field, Node)>,
    missing: Vec<MissingColumn>,
}

/// A column or nested field that an additional column needs and that is not there: it counts as null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingColumn {
    /// The additional column.
    pub additional: String,
    /// What it needs.
    pub name: String,
}

impl std::fmt::Debug for CompiledColumns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.columns.iter().map(|(field, _)| field)).finish()
    }
}

impl CompiledColumns {
    /// Compiles expressions over the columns of `schema`.
    pub fn compile(columns: &[AdditionalColumn], schema: &SchemaRef) -> Result<Self> {
        let mut compiled = Vec::with_capacity(columns.len());
        let mut missing = Vec::new();
        for column in columns {
            let wrong = |e: node::Fault| invalid(&column.sql, e.0);
            let (expr, _) = parse::parse_column(&column.sql).map_err(wrong)?;
            let mut lacks = Vec::new();
            let node = compile::compile(&expr, schema, &mut lacks);
            let lacks_some = !lacks.is_empty();
            let entry = |name| MissingColumn { additional: column.name.clone(), name };
            missing.extend(lacks.into_iter().map(entry));
            let node = match node {
                // Without the columns that it needs, an expression may have no type: it gets one when they come.
                Ok(Node { data_type: DataType::Null, .. }) | Err(_) if lacks_some => continue,
                node => node.map_err(wrong)?,
            };
            let data_type = match &node.data_type {
                // NULL alone has no type that a table could hold.
                DataType::Null => return Err(invalid(&column.sql, "it is always null: give it a type with CAST")),
                other => other.clone(),
            };
            let field = crate::schema::canonical(&Field::new(&column.name, data_type, true))?;
            compiled.push((field, node));
        }
        Ok(Self { columns: compiled, missing })
    }

    /// What the expressions need and `schema` did not have.
    pub fn missing(&self) -> &[MissingColumn] {
        &self.missing
    }

    /// The columns that are made.
    pub fn fields(&self) -> Vec<Field> {
        self.columns.iter().map(|(field, _)| field.clone()).collect()
    }

    /// Computes the columns of each row.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<HashMap<String, ArrayRef>> {
        self.columns
            .iter()
            .map(|(field, node)| {
                let wrong = |e: node::Fault| {
                    let name = field.name();
                    Error::new(ErrorCode::ExpressionInvalid, format!("additional column '{name}' failed: {}", e.0))
                };
                let value = node.eval(batch).and_then(|v| v.spread(batch.num_rows())).map_err(wrong)?;
                // One row would hide that a constant is an array of one.
                let value = if batch.num_rows() == 0 { value.slice(0, 0) } else { value };
                Ok((field.name().clone(), crate::schema::conform(&value, field.data_type())?))
            })
            .collect()
    }
}

/// A session with Spark's functions over DataFusion's own, its dialect, and UTC.
pub fn spark_session() -> Result<SessionContext> {
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
