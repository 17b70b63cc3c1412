//! Conditions that choose rows, such as `id >= 5 AND name IN ('a', 'b')`.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;

use crate::compile::{check, compile, position};
use crate::expression::{Compiled, Expression};
use crate::fault::Fault;
use crate::shape::{Shape, shape};
use crate::syntax::parse::{self, Ast};
use crate::values::conditions::{condition, truth};

/// A condition as written, which no schema is needed for.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition(Expression);

impl Condition {
    /// Parses a condition.
    pub fn parse(sql: &str) -> Result<Self, Fault> {
        let expr = parse::parse_expression(sql)?;
        check(&expr)?;
        Ok(Self(Expression(expr)))
    }

    /// Compiles the condition over the columns of `schema`, which it finds without regard to case.
    ///
    /// # Errors
    ///
    /// Unlike an [`Expression`], a condition that names a column or nested field which `schema` lacks is refused: as null
    /// it would choose no row, or all.
    pub fn compile(&self, schema: &SchemaRef) -> Result<CompiledCondition, Fault> {
        let Expression(expr) = &self.0;
        let mut missing = Vec::new();
        let node = compile(expr, schema, &mut missing);
        if let Some(name) = missing.first() {
            return Err(format!("there is no column or field '{name}'").into());
        }
        let node = condition("WHERE", node?)?;
        let mut positions = Vec::new();
        named(expr, schema, &mut positions)?;
        let columns = positions.iter().map(|at| schema.field(*at).name().clone()).collect();
        Ok(CompiledCondition { compiled: Compiled(node), columns, positions, shape: shape(expr, schema) })
    }
}

/// Enters the positions of the columns that an expression names, each once.
fn named(expr: &Ast, schema: &SchemaRef, found: &mut Vec<usize>) -> Result<(), Fault> {
    match expr {
        Ast::Name(name) => {
            if let Some(at) = position(name, schema)?
                && !found.contains(&at)
            {
                found.push(at);
            }
            Ok(())
        }
        Ast::Call(_, args) => args.iter().try_for_each(|arg| named(arg, schema, found)),
        Ast::Field(base, _) | Ast::Cast(base, _) | Ast::TryCast(base, _) => named(base, schema, found),
        _ => Ok(()),
    }
}

/// A condition compiled for one schema.
pub struct CompiledCondition {
    compiled: Compiled,
    columns: Vec<String>,
    positions: Vec<usize>,
    shape: Shape,
}

impl std::fmt::Debug for CompiledCondition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shape.fmt(f)
    }
}

impl CompiledCondition {
    /// The columns that the condition names, as the schema writes them, in the order of their first mention. To evaluate
    /// the condition on these columns alone, compile it again for a schema that has no others.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The condition as a tree, from which a reader can tell files without a matching row.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Tells of each row whether it meets the condition. The result has no nulls: a row for which the condition is null
    /// does not meet it.
    ///
    /// # Errors
    ///
    /// The batch has another schema than the one that the condition was compiled for, or a function fails.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<BooleanArray, Fault> {
        let schema = batch.schema_ref();
        for (name, at) in self.columns.iter().zip(&self.positions) {
            if schema.fields().get(*at).is_none_or(|field| field.name() != name) {
                return Err(format!("the batch has no column '{name}' where the condition's schema has it").into());
            }
        }
        Ok(truth(&self.compiled.evaluate(batch)?))
    }
}
