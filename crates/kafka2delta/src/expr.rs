//! Additional columns: SQL expressions over a row, with Spark's function names and rules.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};
use sqlparser::ast::{self, Visit, Visitor};
use sqlparser::dialect::SparkSqlDialect;
use sqlparser::parser::Parser;

use crate::error::{Error, ErrorCode, Result};

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
        let parsed = Parser::new(&SparkSqlDialect {})
            .try_with_sql(sql)
            .and_then(|mut parser| {
                let item = parser.parse_select_item()?;
                parser.expect_token(&sqlparser::tokenizer::Token::EOF)?;
                Ok(item)
            })
            .map_err(|e| invalid(sql, e))?;
        let ast::SelectItem::ExprWithAlias { expr, alias } = parsed else {
            return Err(invalid(sql, "write it as 'expression AS name'"));
        };
        let mut refuse = Refuse(None);
        if expr.visit(&mut refuse).is_break() {
            return Err(invalid(sql, refuse.0.unwrap_or_default()));
        }
        Ok(Self { name: alias.value, sql: expr.to_string() })
    }
}

/// Finds what Spark and DataFusion understand differently, or what is no function of the row.
struct Refuse(Option<String>);

impl Visitor for Refuse {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        let refused = match expr {
            ast::Expr::Subquery(_) | ast::Expr::InSubquery { .. } | ast::Expr::Exists { .. } => {
                Some("a subquery is no function of the row".to_owned())
            }
            ast::Expr::Function(function) if function.over.is_some() => {
                Some("a window is no function of the row".to_owned())
            }
            _ => None,
        };
        match refused {
            Some(reason) => {
                self.0 = Some(reason);
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        }
    }
}

/// Functions whose value is not the row's alone.
const NOT_DETERMINISTIC: &str = "its value would differ between two runs";

/// Additional columns compiled for one schema.
#[derive(Debug)]
pub struct CompiledColumns {
    columns: Vec<(Field, Arc<dyn PhysicalExpr>)>,
}

impl CompiledColumns {
    /// Compiles expressions over the columns of `schema`.
    pub fn compile(columns: &[AdditionalColumn], schema: &SchemaRef) -> Result<Self> {
        if columns.is_empty() {
            return Ok(Self { columns: Vec::new() });
        }
        let context = spark_session()?;
        let df_schema = DFSchema::try_from(schema.as_ref().clone())?;
        let mut compiled = Vec::with_capacity(columns.len());
        for column in columns {
            let wrong = |e: datafusion::error::DataFusionError| invalid(&column.sql, e.strip_backtrace());
            let named = resolve_names(&column.sql, schema)?;
            let expr = context.parse_sql_expr(&named, &df_schema).map_err(wrong)?;
            let expr = try_casts(expr).map_err(wrong)?;
            if expr.is_volatile() || is_stable_only(&expr) {
                return Err(invalid(&column.sql, NOT_DETERMINISTIC));
            }
            // Some functions are written as others (coalesce as CASE) before they can run.
            let expr = simplify(expr, &df_schema).map_err(wrong)?;
            let physical = context.create_physical_expr(expr, &df_schema).map_err(wrong)?;
            let data_type = physical.data_type(schema).map_err(wrong)?;
            let field = crate::schema::canonical(&Field::new(&column.name, spark_type(&data_type), true))?;
            compiled.push((field, physical));
        }
        Ok(Self { columns: compiled })
    }

    /// The columns that are made.
    pub fn fields(&self) -> Vec<Field> {
        self.columns.iter().map(|(field, _)| field.clone()).collect()
    }

    /// Computes the columns of each row.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<HashMap<String, ArrayRef>> {
        self.columns
            .iter()
            .map(|(field, expr)| {
                let wrong = |e| {
                    let name = field.name();
                    Error::with_source(ErrorCode::ExpressionInvalid, format!("additional column '{name}' failed"), e)
                };
                let value = expr.evaluate(batch).and_then(|v| v.into_array(batch.num_rows())).map_err(wrong)?;
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
    for part in DateField::all() {
        context.register_udf(ScalarUDF::new_from_impl(part));
    }
    Ok(context)
}

/// Spark compares names without case: writes each column as the schema spells it.
fn resolve_names(sql: &str, schema: &Schema) -> Result<String> {
    let mut expr = Parser::new(&SparkSqlDialect {})
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_expr())
        .map_err(|e| invalid(sql, e))?;
    let mut unknown = None;
    let _ = ast::visit_expressions_mut(&mut expr, |expr: &mut ast::Expr| {
        if let ast::Expr::Identifier(ident) = expr {
            // Spark's double quotes make a string.
            if ident.quote_style == Some('"') {
                *expr = ast::Expr::Value(ast::Value::SingleQuotedString(ident.value.clone()).into());
                return ControlFlow::<()>::Continue(());
            }
            match schema.fields().iter().find(|f| f.name().eq_ignore_ascii_case(&ident.value)) {
                Some(field) => *ident = ast::Ident::with_quote('`', field.name()),
                None => unknown = Some(ident.value.clone()),
            }
        }
        ControlFlow::Continue(())
    });
    match unknown {
        Some(name) => {
            let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            Err(invalid(sql, format!("there is no column '{name}'; there are {}", names.join(", "))))
        }
        None => Ok(expr.to_string()),
    }
}

fn simplify(expr: Expr, schema: &DFSchema) -> datafusion::error::Result<Expr> {
    let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build());
    simplifier.simplify(simplifier.coerce(expr, schema)?)
}

/// A cast that fails gives null, as Spark's does outside ANSI mode.
fn try_casts(expr: Expr) -> datafusion::error::Result<Expr> {
    expr.transform(|expr| match expr {
        Expr::Cast(cast) => Ok(Transformed::yes(Expr::TryCast(datafusion::logical_expr::TryCast::new_from_field(
            cast.expr, cast.field,
        )))),
        other => Ok(Transformed::no(other)),
    })
    .map(|t| t.data)
}

/// Whether a function's value is fixed for a statement only (`now()`).
fn is_stable_only(expr: &Expr) -> bool {
    expr.exists(|e| {
        Ok(matches!(e, Expr::ScalarFunction(f) if f.func.signature().volatility == Volatility::Stable && is_clock(f.func.name())))
    })
    .unwrap_or(true)
}

fn is_clock(name: &str) -> bool {
    matches!(name, "now" | "current_date" | "current_time" | "current_timestamp" | "today")
}

/// The type that Spark gives where DataFusion has others.
fn spark_type(data_type: &DataType) -> DataType {
    use arrow::datatypes::TimeUnit::Microsecond;
    match data_type {
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Timestamp(_, None) => DataType::Timestamp(Microsecond, None),
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(Microsecond, Some("UTC".into())),
        DataType::Null => DataType::Utf8,
        other => other.clone(),
    }
}

/// Spark's functions of one field of a date that `datafusion-spark` lacks: `year(date or timestamp)` and so on, integers.
#[derive(Debug, PartialEq, Eq, Hash)]
struct DateField {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
}

impl DateField {
    fn new(name: &'static str, aliases: &[&str]) -> Self {
        Self {
            name,
            aliases: aliases.iter().map(|a| (*a).to_owned()).collect(),
            signature: Signature::new(TypeSignature::Any(1), Volatility::Immutable),
        }
    }

    fn all() -> [Self; 7] {
        [
            Self::new("year", &[]),
            Self::new("quarter", &[]),
            Self::new("month", &[]),
            Self::new("day", &["dayofmonth"]),
            Self::new("dayofyear", &[]),
            Self::new("dayofweek", &[]),
            Self::new("weekofyear", &[]),
        ]
    }
}

impl ScalarUDFImpl for DateField {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion::error::Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::error::Result<ColumnarValue> {
        use arrow::compute::{DatePart, cast, date_part};
        let array = args.args[0].to_array(args.number_rows)?;
        let array = match array.data_type() {
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, _) => array,
            // Spark casts texts to dates, and what is no date to null.
            _ => cast(&array, &DataType::Date32)?,
        };
        let part = match self.name {
            "year" => DatePart::Year,
            "quarter" => DatePart::Quarter,
            "month" => DatePart::Month,
            "day" => DatePart::Day,
            "dayofyear" => DatePart::DayOfYear,
            "dayofweek" => DatePart::DayOfWeekSunday0,
            _ => DatePart::Week,
        };
        let array = date_part(&array, part)?;
        let array: ArrayRef = match self.name {
            // Spark counts from Sunday as 1.
            "dayofweek" => arrow::compute::kernels::numeric::add(&array, &arrow::array::Int32Array::new_scalar(1))?,
            _ => array,
        };
        Ok(ColumnarValue::Array(array))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::TimeUnit;
    use arrow::util::display::array_value_to_string;

    fn rows() -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("created_at", DataType::Date32, true),
            Field::new("Name", DataType::Utf8, true),
            Field::new("n", DataType::Int64, true),
            Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            // Thursday, 29 February 2024
            Arc::new(Date32Array::from(vec![Some(19_782), None])),
            Arc::new(StringArray::from(vec![Some("42"), Some("abc")])),
            Arc::new(Int64Array::from(vec![Some(1), None])),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1_709_207_999_123_456), None]).with_timezone("UTC")),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    fn values(sql: &str) -> Result<(DataType, Vec<String>)> {
        let rows = rows();
        let compiled = CompiledColumns::compile(&[AdditionalColumn::parse(sql)?], &rows.schema())?;
        let array = compiled.evaluate(&rows)?.into_values().next().unwrap();
        let values = (0..2).map(|i| array_value_to_string(&array, i).unwrap()).collect();
        Ok((array.data_type().clone(), values))
    }

    #[test]
    fn expressions_follow_spark() {
        let cases = [
            ("YEAR(Created_At) AS y", DataType::Int32, ["2024", ""]),
            ("month(created_at) AS m", DataType::Int32, ["2", ""]),
            ("dayofmonth(created_at) AS d", DataType::Int32, ["29", ""]),
            ("dayofweek(created_at) AS d", DataType::Int32, ["5", ""]),
            ("hour(ts) AS h", DataType::Int32, ["11", ""]),
            ("upper(name) AS u", DataType::Utf8, ["42", "ABC"]),
            ("concat(NAME, \"-x\") AS c", DataType::Utf8, ["42-x", "abc-x"]),
            ("CAST(name AS INT) AS i", DataType::Int32, ["42", ""]),
            ("CAST(n AS STRING) AS s", DataType::Utf8, ["1", ""]),
            ("n + 1 AS m", DataType::Int64, ["2", ""]),
            ("coalesce(n, 0) AS m", DataType::Int64, ["1", "0"]),
            ("CASE WHEN n = 1 THEN 'one' ELSE 'other' END AS c", DataType::Utf8, ["one", "other"]),
            (
                "md5(name) AS h",
                DataType::Utf8,
                ["a1d0c6e83f027327d8461063f4ac58a6", "900150983cd24fb0d6963f7d28e17f72"],
            ),
        ];
        for (sql, data_type, expected) in cases {
            let found = values(sql).unwrap_or_else(|e| panic!("{sql}: {:?}", e.chain()));
            assert_eq!(found, (data_type, expected.map(str::to_owned).to_vec()), "{sql}");
        }
        let sha = values("sha2(name, 256) AS h").unwrap().1;
        assert_eq!(sha[1], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn what_is_no_function_of_the_row_is_refused() {
        for sql in
            ["now() AS t", "rand() AS r", "uuid() AS u", "nope AS n", "year(created_at)", "(SELECT 1) AS s", "1 +"]
        {
            let error = values(sql).map(|_| ()).unwrap_err();
            assert_eq!(error.code, ErrorCode::ExpressionInvalid, "{sql}: {error}");
        }
    }
}
