//! Fields of structs, elements of arrays, values of maps.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt32Array};
use arrow::compute::{kernels::cmp, nullif, take};
use arrow::datatypes::{DataType, Int32Type, Int64Type};

use crate::fault::Res;
use crate::values::cast::cast;
use crate::values::coerce::{self, arity};
use crate::values::conditions::truth;
use crate::values::node::{Arg, Node, bools, prims, texts};
use crate::values::spark_types::{self, T, is_atomic, is_integral, name};

/// Whether a struct has no field of this name.
pub(crate) fn lacks(base: &DataType, wanted: &str) -> bool {
    matches!(base, T::Struct(fields) if !fields.iter().any(|f| f.name().eq_ignore_ascii_case(wanted)))
}

/// `base.field`, without case; of an array of structs, the fields of all.
pub(crate) fn field(base: Node, wanted: &str) -> Res<Node> {
    let T::Struct(fields) = &base.data_type else {
        return Err(match base.data_type {
            T::Map(..) => format!("write a map's value as column['{wanted}']"),
            _ => format!("there is no field '{wanted}' in {}", name(&base.data_type)),
        }
        .into());
    };
    let mut found = fields.iter().enumerate().filter(|(_, f)| f.name().eq_ignore_ascii_case(wanted));
    let (Some((index, field)), None) = (found.next(), found.next()) else {
        let names: Vec<_> = fields.iter().map(|f| f.name().as_str()).collect();
        return Err(format!("there is no one field '{wanted}'; there are {}", names.join(", ")).into());
    };
    let data_type = spark_types::plain(field.data_type());
    let out = data_type.clone();
    Node::call(data_type, vec![base], move |args, _| {
        let base = args[0].array.as_struct();
        let mut column = base.column(index).clone();
        if column.data_type() != &out {
            column = arrow::compute::cast(&column, &out)?;
        }
        match base.nulls() {
            Some(nulls) => Ok(nullif(&column, &BooleanArray::new(!nulls.inner(), None))?),
            None => Ok(column),
        }
    })
}

/// Compiles a function of arrays and maps.
pub(super) fn build(function: &str, args: &mut Vec<Node>) -> Res<Option<Node>> {
    Ok(Some(match function {
        "[]" | "element_at" => {
            arity(function, args, 2, 2)?;
            let mut args = std::mem::take(args);
            let index = args.remove(1);
            let base = args.remove(0);
            match (&base.data_type, index.const_text()) {
                (T::Struct(_), Some(Some(name))) if function == "[]" => field(base, &name)?,
                (T::List(_), _) => element(function, base, index)?,
                (T::Map(..), _) => map_value(base, index)?,
                (other, _) => return Err(format!("{function} takes an array or map, not {}", name(other)).into()),
            }
        }
        "size" | "cardinality" => {
            arity(function, args, 1, 1)?;
            if !matches!(args[0].data_type, T::List(_) | T::Map(..)) {
                return Err(format!("{function} takes an array or map, not {}", name(&args[0].data_type)).into());
            }
            Node::call(T::Int32, std::mem::take(args), |args, rows| {
                // Without ANSI mode the size of null is -1.
                prims::<Int32Type>(&T::Int32, rows, |i| {
                    let row = args[0].row(i);
                    Some(if args[0].array.is_null(row) { -1 } else { bounds(&args[0].array, row).len() as i32 })
                })
            })?
        }
        "array_contains" => contains(std::mem::take(args))?,
        "array_join" => join(std::mem::take(args))?,
        _ => return Ok(None),
    }))
}

/// Where a list's or map's items are.
fn bounds(array: &ArrayRef, row: usize) -> std::ops::Range<usize> {
    let offsets = match array.data_type() {
        T::Map(..) => array.as_map().offsets(),
        _ => array.as_list::<i32>().offsets(),
    };
    offsets[row] as usize..offsets[row + 1] as usize
}

fn item_type(data_type: &DataType) -> DataType {
    match data_type {
        T::List(item) => spark_types::plain(item.data_type()),
        _ => T::Null,
    }
}

fn plain_items(array: &ArrayRef, out: &DataType) -> Res<ArrayRef> {
    Ok(if array.data_type() == out { array.clone() } else { arrow::compute::cast(array, out)? })
}

/// `array[i]` counts from 0, `element_at` from 1 or, below 0, from the end; beside the array is null.
fn element(function: &str, base: Node, index: Node) -> Res<Node> {
    if !is_integral(&index.data_type) {
        return Err(format!("an array's index is an integer, not {}", name(&index.data_type)).into());
    }
    let from_one = function == "element_at";
    let data_type = item_type(&base.data_type);
    let out = data_type.clone();
    Node::call(data_type, vec![base, cast(index, &T::Int64)?], move |args, rows| {
        let list = args[0].array.as_list::<i32>();
        let index = args[1].prim::<Int64Type>();
        let mut picks = Vec::with_capacity(rows);
        for i in 0..rows {
            let row = args[0].row(i);
            let pick = match index.at(i) {
                Some(0) if from_one => return Err("element_at counts from 1, and an index is 0".into()),
                Some(at) if list.is_valid(row) => {
                    let items = bounds(&args[0].array, row);
                    let length = items.len() as i64;
                    let at = match at {
                        1.. if from_one => at - 1,
                        i64::MIN..=-1 if from_one => length + at,
                        _ => at,
                    };
                    (0..length).contains(&at).then(|| (items.start as i64 + at) as u32)
                }
                _ => None,
            };
            picks.push(pick);
        }
        Ok(take(&plain_items(list.values(), &out)?, &UInt32Array::from(picks), None)?)
    })
}

fn map_value(base: Node, key: Node) -> Res<Node> {
    let T::Map(entries, _) = &base.data_type else { return Err("it takes a map".into()) };
    let T::Struct(fields) = entries.data_type() else { return Err("it takes a map".into()) };
    let (key_type, data_type) = (spark_types::plain(fields[0].data_type()), spark_types::plain(fields[1].data_type()));
    let same = key.data_type == key_type
        || key.is_null_literal()
        || spark_types::tightest(&key.data_type, &key_type).is_some_and(|t| t == key_type);
    if !same || !is_atomic(&key_type) || spark_types::is_float(&key_type) {
        return Err(format!("the map has keys of type {}, not {}", name(&key_type), name(&key.data_type)).into());
    }
    let out = data_type.clone();
    Node::call(data_type, vec![base, cast(key, &key_type)?], move |args, rows| {
        let map = args[0].array.as_map();
        let keys = plain_items(map.keys(), &key_type)?;
        let owners = owners(&args[0], rows);
        let wanted = take(&args[1].spread(rows)?, &UInt32Array::from(owners.rows), None)?;
        let here = take(&keys, &UInt32Array::from(owners.items.clone()), None)?;
        let equal: ArrayRef = Arc::new(cmp::eq(&here, &wanted)?);
        let equal = truth(&equal);
        let mut picks: Vec<Option<u32>> = vec![None; rows];
        for (i, row) in owners.row_of.iter().enumerate() {
            if equal.value(i) && picks[*row].is_none() {
                picks[*row] = Some(owners.items[i]);
            }
        }
        Ok(take(&plain_items(map.values(), &out)?, &UInt32Array::from(picks), None)?)
    })
}

/// Each item of each row, and the row that has it.
struct Owners {
    items: Vec<u32>,
    rows: Vec<u32>,
    row_of: Vec<usize>,
}

fn owners(arg: &Arg, rows: usize) -> Owners {
    let mut found = Owners { items: Vec::new(), rows: Vec::new(), row_of: Vec::new() };
    for i in 0..rows {
        let row = arg.row(i);
        if arg.array.is_null(row) {
            continue;
        }
        for item in bounds(&arg.array, row) {
            found.items.push(item as u32);
            found.rows.push(i as u32);
            found.row_of.push(i);
        }
    }
    found
}

/// Null where the value is in none and one of them is null.
fn contains(mut args: Vec<Node>) -> Res<Node> {
    arity("array_contains", &args, 2, 2)?;
    let value = args.remove(1);
    let base = args.remove(0);
    let item = match &base.data_type {
        T::List(_) => item_type(&base.data_type),
        other => return Err(format!("array_contains takes an array, not {}", name(other)).into()),
    };
    let fits = spark_types::tightest(&value.data_type, &item).is_some_and(|t| t == item);
    if value.is_null_literal() || !fits || !is_atomic(&item) || spark_types::is_float(&item) {
        return Err(
            format!("array_contains: the array has {}, not {}: cast", name(&item), name(&value.data_type)).into()
        );
    }
    Node::call(T::Boolean, vec![base, cast(value, &item)?], move |args, rows| {
        let list = args[0].array.as_list::<i32>();
        let owners = owners(&args[0], rows);
        let wanted = take(&args[1].spread(rows)?, &UInt32Array::from(owners.rows), None)?;
        let here = take(&plain_items(list.values(), &item)?, &UInt32Array::from(owners.items), None)?;
        let equal = cmp::eq(&here, &wanted)?;
        let mut found = vec![Some(false); rows];
        for (i, row) in owners.row_of.iter().enumerate() {
            if equal.is_null(i) {
                found[*row] = found[*row].filter(|f| *f);
            } else if equal.value(i) {
                found[*row] = Some(true);
            }
        }
        bools(rows, |i| if args[0].is_null(i) || args[1].is_null(i) { None } else { found[i] })
    })
}

/// `array_join(array<string>, delimiter[, for null])`.
fn join(args: Vec<Node>) -> Res<Node> {
    arity("array_join", &args, 2, 3)?;
    if item_type(&args[0].data_type) != T::Utf8 {
        return Err(format!("array_join takes an array<string>, not {}", name(&args[0].data_type)).into());
    }
    let mut args = args.into_iter();
    let mut nodes: Vec<Node> = args.next().into_iter().collect();
    for arg in args {
        nodes.push(coerce::text("array_join", arg)?);
    }
    Node::call(T::Utf8, nodes, |args, rows| {
        let items = plain_items(args[0].array.as_list::<i32>().values(), &T::Utf8)?;
        let items = items.as_string::<i32>();
        let delimiter = args[1].text();
        let for_null = args.get(2).map(Arg::text);
        texts(rows, |i, out| {
            let row = args[0].row(i);
            if args[0].array.is_null(row) {
                return None;
            }
            let delimiter = delimiter.at(i)?;
            let missing = match &for_null {
                Some(text) => Some(text.at(i)?),
                None => None,
            };
            let mut first = true;
            for item in bounds(&args[0].array, row) {
                let text = if items.is_null(item) { missing } else { Some(items.value(item)) };
                if let Some(text) = text {
                    if !first {
                        out.push_str(delimiter);
                    }
                    first = false;
                    out.push_str(text);
                }
            }
            Some(())
        })
    })
}
