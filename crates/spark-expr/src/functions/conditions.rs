//! Comparisons, logic, and what chooses between values.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Datum};
use arrow::compute::kernels::{boolean, cmp, zip::zip};
use arrow::datatypes::{DataType, Float64Type};

use crate::fault::Res;
use crate::values::cast::{cast, cast_array};
use crate::values::coerce::{self, arity};
use crate::values::conditions::{condition, normal, truth};
use crate::values::node::{Arg, Node, bools};
use crate::values::spark_types::{self, T, is_atomic, name};

/// Compiles a comparison, AND, OR, CASE and the like.
pub(super) fn build(function: &str, args: &mut Vec<Node>) -> Res<Option<Node>> {
    let mut take = |min, max| -> Res<Vec<Node>> {
        arity(function, args, min, max)?;
        Ok(std::mem::take(args))
    };
    Ok(Some(match function {
        "=" | "<" | "<=" | ">" | ">=" | "<=>" => compare(function, take(2, 2)?)?,
        "in" => within(take(2, 10_000)?)?,
        "and" | "or" => {
            let args = take(2, 2)?.into_iter().map(|a| condition(function, a)).collect::<Res<Vec<_>>>()?;
            let and = function == "and";
            Node::call(T::Boolean, args, move |args, rows| {
                let (a, b) = (args[0].spread(rows)?, args[1].spread(rows)?);
                let (a, b) = (a.as_boolean(), b.as_boolean());
                Ok(Arc::new(if and { boolean::and_kleene(a, b)? } else { boolean::or_kleene(a, b)? }))
            })?
        }
        "not" => {
            let args = take(1, 1)?.into_iter().map(|a| condition(function, a)).collect::<Res<Vec<_>>>()?;
            Node::call(T::Boolean, args, |args, _| Ok(Arc::new(boolean::not(args[0].array.as_boolean())?)))?
        }
        "isnull" | "isnotnull" => is_null(take(1, 1)?.remove(0), function == "isnull")?,
        "isnan" => {
            let value = coerce::number(function, take(1, 1)?.remove(0), &T::Float64)?;
            Node::call(T::Boolean, vec![value], |args, rows| {
                let v = args[0].prim::<Float64Type>();
                bools(rows, |i| Some(v.at(i).is_some_and(f64::is_nan)))
            })?
        }
        "coalesce" => choose_first(function, take(1, 1_000)?)?,
        "nvl" | "ifnull" => choose_first(function, take(2, 2)?)?,
        "nvl2" => {
            let mut args = take(3, 3)?;
            let first = args.remove(0);
            args.insert(0, is_null(first, false)?);
            case("nvl2", args)?
        }
        "nullif" => nullif(take(2, 2)?)?,
        "if" => case(function, take(3, 3)?)?,
        "case" => case(function, take(2, 1_000)?)?,
        "greatest" | "least" => extreme(function, take(2, 1_000)?)?,
        _ => return Ok(None),
    }))
}

fn is_null(value: Node, wanted: bool) -> Res<Node> {
    Node::call(T::Boolean, vec![value], move |args, rows| bools(rows, |i| Some(args[0].is_null(i) == wanted)))
}

fn compare(function: &str, mut args: Vec<Node>) -> Res<Node> {
    let (Some(right), Some(left)) = (args.pop(), args.pop()) else {
        return Err("a comparison takes two values".into());
    };
    let common = spark_types::comparison(&left.data_type, &right.data_type).filter(|t| is_atomic(t) || *t == T::Null);
    let Some(common) = common else {
        let (a, b) = (name(&left.data_type), name(&right.data_type));
        return Err(format!("{a} {function} {b} is not supported: cast one, or take a field").into());
    };
    if common == T::Null {
        let equal = function == "<=>";
        return Ok(if equal {
            Node::constant(Arc::new(BooleanArray::from(vec![true])))
        } else {
            Node::null(&T::Boolean)
        });
    }
    let args = vec![cast(left, &common)?, cast(right, &common)?];
    let kernel: fn(&dyn Datum, &dyn Datum) -> Result<BooleanArray, arrow::error::ArrowError> = match function {
        "=" => cmp::eq,
        "<" => cmp::lt,
        "<=" => cmp::lt_eq,
        ">" => cmp::gt,
        ">=" => cmp::gt_eq,
        _ => cmp::not_distinct,
    };
    Node::call(T::Boolean, args, move |args, _| {
        let a = Arg { array: normal(&args[0].array), scalar: args[0].scalar };
        let b = Arg { array: normal(&args[1].array), scalar: args[1].scalar };
        Ok(Arc::new(kernel(&a, &b)?))
    })
}

/// `value IN (…)`: null where it is in none and one of them is null.
fn within(args: Vec<Node>) -> Res<Node> {
    let (common, args) = coerce::unify("in", args, spark_types::wider_or_text)?;
    if !is_atomic(&common) {
        return Err(format!("IN is not supported for {}", name(&common)).into());
    }
    Node::call(T::Boolean, args, |args, rows| {
        let value = Arg { array: normal(&args[0].array), scalar: args[0].scalar };
        let mut found: Option<BooleanArray> = None;
        for item in &args[1..] {
            let item = Arg { array: normal(&item.array), scalar: item.scalar };
            let equal = cmp::eq(&value, &item)?;
            let equal = if equal.len() == rows {
                equal
            } else {
                Arg { array: Arc::new(equal), scalar: true }.spread(rows)?.as_boolean().clone()
            };
            found = Some(match found {
                Some(found) => boolean::or_kleene(&found, &equal)?,
                None => equal,
            });
        }
        Ok(Arc::new(found.ok_or("IN takes a list")?))
    })
}

fn choose_first(function: &str, args: Vec<Node>) -> Res<Node> {
    let (common, args) = coerce::unify(function, args, spark_types::wider_or_text)?;
    Node::call(common, args, |args, rows| {
        let mut result = match args.last() {
            Some(last) => last.spread(rows)?,
            None => return Err("coalesce takes values".into()),
        };
        for arg in args.iter().rev().skip(1) {
            let present = arrow::compute::is_not_null(&arg.spread(rows)?)?;
            result = zip(&present, arg, &result)?;
        }
        Ok(result)
    })
}

fn nullif(args: Vec<Node>) -> Res<Node> {
    let common = spark_types::comparison(&args[0].data_type, &args[1].data_type).filter(is_atomic);
    if args[1].is_null_literal() || args[0].is_null_literal() {
        return args.into_iter().next().ok_or_else(|| "nullif takes two values".into());
    }
    let Some(common) = common else {
        return Err(
            format!("nullif: {} and {} are not compared", name(&args[0].data_type), name(&args[1].data_type)).into()
        );
    };
    let data_type = args[0].data_type.clone();
    let (from, to) = (data_type.clone(), args[1].data_type.clone());
    Node::call(data_type, args, move |args, rows| {
        let as_common = |arg: &Arg, from: &DataType| -> Res<Arg> {
            let array = cast_array(&arg.array, from, &common)?;
            Ok(Arg { array: normal(&array), scalar: arg.scalar })
        };
        let (a, b) = (as_common(&args[0], &from)?, as_common(&args[1], &to)?);
        let equal: ArrayRef = Arc::new(cmp::eq(&a, &b)?);
        let equal = Arg { scalar: equal.len() != rows, array: equal }.spread(rows)?;
        Ok(arrow::compute::nullif(&args[0].spread(rows)?, &truth(&equal))?)
    })
}

/// `case(condition, value, …, otherwise)`.
fn case(function: &str, args: Vec<Node>) -> Res<Node> {
    let (mut conditions, mut values) = (Vec::new(), Vec::new());
    let count = args.len();
    for (i, arg) in args.into_iter().enumerate() {
        if i % 2 == 0 && i + 1 < count {
            conditions.push(condition(function, arg)?);
        } else {
            values.push(arg);
        }
    }
    if values.len() == conditions.len() {
        values.push(Node::null(&T::Null));
    }
    let (common, values) = coerce::unify(function, values, spark_types::wider_or_text)?;
    let branches = conditions.len();
    let args = conditions.into_iter().chain(values).collect();
    Node::call(common, args, move |args, rows| {
        let (conditions, values) = args.split_at(branches);
        let mut result = values[branches].spread(rows)?;
        for (condition, value) in conditions.iter().zip(values).rev() {
            result = zip(&truth(&condition.spread(rows)?), value, &result)?;
        }
        Ok(result)
    })
}

/// The greatest or least that is not null.
fn extreme(function: &str, args: Vec<Node>) -> Res<Node> {
    let (common, args) = coerce::unify(function, args, spark_types::wider)?;
    if !is_atomic(&common) {
        return Err(format!("{function} is not supported for {}", name(&common)).into());
    }
    let greatest = function == "greatest";
    Node::call(common, args, move |args, rows| {
        let mut result = args[0].spread(rows)?;
        for arg in &args[1..] {
            let (a, b) = (normal(&result), normal(&arg.spread(rows)?));
            let better = if greatest { cmp::gt(&b, &a)? } else { cmp::lt(&b, &a)? };
            let missing = arrow::compute::is_null(&result)?;
            let present = arrow::compute::is_not_null(&b)?;
            let better: ArrayRef = Arc::new(better);
            let take = boolean::or(&truth(&better), &boolean::and(&missing, &present)?)?;
            result = zip(&take, arg, &result)?;
        }
        Ok(result)
    })
}
