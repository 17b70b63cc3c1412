//! Expressions: parsed from a text, compiled for a schema, computed for each row of a batch.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};

use crate::compile;
use crate::fault::Fault;
use crate::syntax::parse::{self, Ast};
use crate::values::node::Node;

/// An expression as written, which no schema is needed for.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression(pub(crate) Ast);

impl Expression {
    /// Parses `expression AS name`, and returns the name beside the expression.
    pub fn parse_named(sql: &str) -> Result<(Self, String), Fault> {
        let (expr, name) = parse::parse_column(sql)?;
        compile::check(&expr)?;
        Ok((Self(expr), name))
    }

    /// Compiles the expression over the columns of `schema`, which it finds without regard to case.
    ///
    /// Columns and nested fields that `schema` lacks count as null and are added to `missing`, also where compiling fails
    /// because of them.
    pub fn compile(&self, schema: &SchemaRef, missing: &mut Vec<String>) -> Result<Compiled, Fault> {
        compile::compile(&self.0, schema, missing).map(Compiled)
    }
}

/// An expression compiled for one schema.
pub struct Compiled(pub(crate) Node);

impl Compiled {
    /// The type of the values. It is [`DataType::Null`] where every value is null and nothing says of which type.
    pub fn data_type(&self) -> &DataType {
        &self.0.data_type
    }

    /// Computes the value of each row of a batch, which has the schema that the expression was compiled for.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef, Fault> {
        let value = self.0.eval(batch)?.spread(batch.num_rows())?;
        // One row would hide that a constant is an array of one.
        Ok(if batch.num_rows() == 0 { value.slice(0, 0) } else { value })
    }
}
