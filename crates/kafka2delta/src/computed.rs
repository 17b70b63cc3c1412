//! Additional columns: SQL expressions that compute a column of a row from its others.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, SchemaRef};
use spark_expr::{Compiled, Expression};

use crate::error::{Error, ErrorCode, Result};

/// An expression and the name of the column that it makes.
#[derive(Debug, Clone, PartialEq)]
pub struct AdditionalColumn {
    /// The column's name.
    pub name: String,
    sql: String,
    expression: Expression,
}

fn invalid(sql: &str, message: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::ExpressionInvalid, format!("additional column '{sql}': {message}"))
}

impl AdditionalColumn {
    /// Parses `expr AS name`.
    pub fn parse(sql: &str) -> Result<Self> {
        let (expression, name) = Expression::parse_named(sql).map_err(|fault| invalid(sql, fault))?;
        Ok(Self { name, sql: sql.to_owned(), expression })
    }
}

/// A table's additional columns, and what they were compiled to last.
#[derive(Debug)]
pub(crate) struct ComputedColumns {
    columns: Vec<AdditionalColumn>,
    compiled: Option<(SchemaRef, Arc<CompiledColumns>)>,
}

impl ComputedColumns {
    /// Parses columns as `expr AS name`.
    pub(crate) fn parse(sql: &[String]) -> Result<Self> {
        let columns = sql.iter().map(|sql| AdditionalColumn::parse(sql)).collect::<Result<_>>()?;
        Ok(Self { columns, compiled: None })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Whether a column is computed.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// The columns compiled over those of `base`.
    pub(crate) fn compile(&mut self, base: &SchemaRef) -> Result<Arc<CompiledColumns>> {
        match &self.compiled {
            Some((schema, compiled)) if schema == base => Ok(compiled.clone()),
            _ => {
                let compiled = Arc::new(CompiledColumns::compile(&self.columns, base)?);
                self.compiled = Some((base.clone(), compiled.clone()));
                Ok(compiled)
            }
        }
    }
}

/// Additional columns compiled for one schema.
pub struct CompiledColumns {
    columns: Vec<(Field, Compiled)>,
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
            let mut lacks = Vec::new();
            let expression = column.expression.compile(schema, &mut lacks);
            let lacks_some = !lacks.is_empty();
            missing.extend(lacks.into_iter().map(|name| MissingColumn { additional: column.name.clone(), name }));
            let expression = match expression {
                // Without the columns that it needs, an expression may have no type: it gets one when they come.
                Err(_) if lacks_some => continue,
                Ok(untyped) if lacks_some && untyped.data_type() == &DataType::Null => continue,
                expression => expression.map_err(|fault| invalid(&column.sql, fault))?,
            };
            let data_type = match expression.data_type() {
                // NULL alone has no type that a table could hold.
                DataType::Null => return Err(invalid(&column.sql, "it is always null: give it a type with CAST")),
                other => other.clone(),
            };
            let field = crate::schema::canonical(&Field::new(&column.name, data_type, true))?;
            compiled.push((field, expression));
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
            .map(|(field, expression)| {
                let name = field.name();
                let value = expression.evaluate(batch).map_err(|fault| {
                    Error::new(ErrorCode::ExpressionInvalid, format!("additional column '{name}' failed: {fault}"))
                })?;
                Ok((name.clone(), crate::schema::conform(&value, field.data_type())?))
            })
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use arrow::array::{Array, Int32Array};
    use arrow::datatypes::Schema;

    use super::*;

    fn parsed(sql: &[&str]) -> Vec<AdditionalColumn> {
        sql.iter().map(|sql| AdditionalColumn::parse(sql).unwrap()).collect()
    }

    #[test]
    fn columns_that_are_not_there_are_null_and_named() {
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let rows = RecordBatch::try_from_iter([("i", numbers)]).unwrap();
        let columns = parsed(&["coalesce(absent, 3) + i AS a", "absent AS b", "year(absent.inner) AS c"]);
        let compiled = CompiledColumns::compile(&columns, &rows.schema()).unwrap();
        let missing: Vec<_> = compiled.missing().iter().map(|m| (m.additional.as_str(), m.name.as_str())).collect();
        assert_eq!(missing, [("a", "absent"), ("b", "absent"), ("c", "absent"), ("c", "inner")]);
        let values = compiled.evaluate(&rows).unwrap();
        assert_eq!(values["a"].as_ref(), &Int32Array::from(vec![4, 5]) as &dyn Array);
        assert_eq!(values["c"].null_count(), 2);
        assert!(!values.contains_key("b"), "it has no type yet");
    }

    #[test]
    fn an_error_has_its_code_and_names_the_expression() {
        let schema = Arc::new(Schema::empty());
        let compile = |sql: &str| CompiledColumns::compile(&parsed(&[sql]), &schema).map(|_| ()).unwrap_err();
        let unparsed = AdditionalColumn::parse("1 AS").unwrap_err();
        for (error, sql) in [
            (unparsed, "1 AS"),
            (compile("no_such_function(1) AS a"), "no_such_function(1) AS a"),
            (compile("NULL AS a"), "NULL AS a"),
        ] {
            assert_eq!(error.code, ErrorCode::ExpressionInvalid);
            assert!(error.message.starts_with(&format!("additional column '{sql}': ")), "{}", error.message);
        }
    }
}
