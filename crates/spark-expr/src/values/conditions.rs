//! Truth values, and numbers as they are compared.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array};
use arrow::datatypes::{Float32Type, Float64Type};

use crate::fault::Res;
use crate::values::node::Node;
use crate::values::spark_types::{T, name};

/// Zero without a sign and one NaN, as Spark compares.
pub(crate) fn normal(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        T::Float64 => {
            let values: Float64Array =
                array.as_primitive::<Float64Type>().unary(|v| if v.is_nan() { f64::NAN } else { v + 0.0 });
            Arc::new(values)
        }
        T::Float32 => {
            let values: Float32Array =
                array.as_primitive::<Float32Type>().unary(|v| if v.is_nan() { f32::NAN } else { v + 0.0 });
            Arc::new(values)
        }
        _ => array.clone(),
    }
}

/// A condition: a truth value.
pub(crate) fn condition(function: &str, node: Node) -> Res<Node> {
    match node.data_type {
        T::Boolean => Ok(node),
        T::Null => Ok(Node::null(&T::Boolean)),
        _ => Err(format!("{function} takes a condition, not {}", name(&node.data_type)).into()),
    }
}

/// A truth value with nulls as false.
pub(crate) fn truth(array: &ArrayRef) -> BooleanArray {
    let array = array.as_boolean();
    match array.nulls() {
        Some(nulls) => BooleanArray::new(array.values() & nulls.inner(), None),
        None => array.clone(),
    }
}
