//! A compiled expression: a tree of kernels over Arrow arrays.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, BooleanBufferBuilder, Datum,
    PrimitiveArray, RecordBatch, StringArray, new_null_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;

use crate::fault::Res;

/// Computes an array of `rows` values.
pub(crate) type Kernel = dyn Fn(&[Arg], usize) -> Res<ArrayRef> + Send + Sync;

enum Kind {
    /// The same value in each row: an array of one.
    Const(ArrayRef),
    Column(usize),
    Call(Box<Kernel>, Vec<Node>),
}

/// An expression with its type.
pub(crate) struct Node {
    pub data_type: DataType,
    kind: Kind,
    /// Whether it is written as a number, which has the precision of its digits beside decimals.
    pub literal: bool,
}

impl Node {
    pub fn constant(value: ArrayRef) -> Self {
        Self { data_type: value.data_type().clone(), kind: Kind::Const(value), literal: false }
    }

    pub fn literal(value: ArrayRef) -> Self {
        Self { literal: true, ..Self::constant(value) }
    }

    pub fn null(data_type: &DataType) -> Self {
        Self::constant(new_null_array(data_type, 1))
    }

    pub fn text(value: &str) -> Self {
        Self::constant(Arc::new(StringArray::from(vec![value])))
    }

    pub fn column(index: usize, data_type: DataType) -> Self {
        Self { data_type, kind: Kind::Column(index), literal: false }
    }

    /// A call; constants are computed at once.
    pub fn call<F>(data_type: DataType, args: Vec<Node>, kernel: F) -> Res<Self>
    where
        F: Fn(&[Arg], usize) -> Res<ArrayRef> + Send + Sync + 'static,
    {
        let constants: Option<Vec<Arg>> = args
            .iter()
            .map(|a| match &a.kind {
                Kind::Const(array) => Some(Arg { array: array.clone(), scalar: true }),
                _ => None,
            })
            .collect();
        let kind = match constants {
            Some(values) => Kind::Const(kernel(&values, 1)?),
            None => Kind::Call(Box::new(kernel), args),
        };
        Ok(Self { data_type, kind, literal: false })
    }

    /// The value, where it is the same in each row.
    pub fn value(&self) -> Option<&ArrayRef> {
        match &self.kind {
            Kind::Const(array) => Some(array),
            _ => None,
        }
    }

    /// A constant text; the inner option is none for null.
    pub fn const_text(&self) -> Option<Option<String>> {
        let array = self.value()?;
        if array.is_null(0) {
            return Some(None);
        }
        Some(Some(array.as_string_opt::<i32>()?.value(0).to_owned()))
    }

    /// A constant integer; the inner option is none for null.
    pub fn const_int(&self) -> Option<Option<i32>> {
        let array = self.value()?;
        if array.is_null(0) {
            return Some(None);
        }
        Some(Some(array.as_primitive_opt::<arrow::datatypes::Int32Type>()?.value(0)))
    }

    pub fn is_null_literal(&self) -> bool {
        self.data_type == DataType::Null
    }

    /// The values of a batch.
    pub fn eval(&self, batch: &RecordBatch) -> Res<Arg> {
        match &self.kind {
            Kind::Const(array) => Ok(Arg { array: array.clone(), scalar: true }),
            Kind::Column(index) => {
                let array = batch.column(*index);
                // Views and large offsets have the same values in the plain layout.
                let array = match array.data_type() == &self.data_type {
                    true => array.clone(),
                    false => arrow::compute::cast(array, &self.data_type)?,
                };
                Ok(Arg { array, scalar: false })
            }
            Kind::Call(kernel, args) => {
                let args = args.iter().map(|a| a.eval(batch)).collect::<Res<Vec<_>>>()?;
                Ok(Arg { array: kernel(&args, batch.num_rows())?, scalar: false })
            }
        }
    }
}

/// An argument's values; a scalar has one for all rows.
pub(crate) struct Arg {
    pub array: ArrayRef,
    pub scalar: bool,
}

impl Datum for Arg {
    fn get(&self) -> (&dyn Array, bool) {
        (self.array.as_ref(), self.scalar)
    }
}

impl Arg {
    /// The values as an array of `rows`.
    pub fn spread(&self, rows: usize) -> Res<ArrayRef> {
        if !self.scalar || rows == 1 {
            return Ok(self.array.clone());
        }
        if self.array.is_null(0) {
            return Ok(new_null_array(self.array.data_type(), rows));
        }
        let zeros = arrow::array::UInt32Array::from(vec![0; rows]);
        Ok(arrow::compute::take(&self.array, &zeros, None)?)
    }

    pub fn row(&self, row: usize) -> usize {
        if self.scalar { 0 } else { row }
    }

    pub fn is_null(&self, row: usize) -> bool {
        self.array.is_null(self.row(row))
    }

    pub fn prim<T: ArrowPrimitiveType>(&self) -> Prim<'_, T> {
        Prim { array: self.array.as_primitive::<T>(), scalar: self.scalar }
    }

    pub fn text(&self) -> Texts<'_> {
        Texts { array: self.array.as_string::<i32>(), scalar: self.scalar }
    }

    pub fn bytes(&self) -> Bytes<'_> {
        Bytes { array: self.array.as_binary::<i32>(), scalar: self.scalar }
    }

    pub fn bools(&self) -> Bools<'_> {
        Bools { array: self.array.as_boolean(), scalar: self.scalar }
    }
}

macro_rules! values {
    ($name:ident, $array:ty, $item:ty) => {
        /// Values by row.
        pub(crate) struct $name<'a> {
            array: &'a $array,
            scalar: bool,
        }

        impl<'a> $name<'a> {
            #[inline]
            pub fn at(&self, row: usize) -> Option<$item> {
                let row = if self.scalar { 0 } else { row };
                (!self.array.is_null(row)).then(|| self.array.value(row))
            }
        }
    };
}

values!(Texts, StringArray, &'a str);
values!(Bytes, BinaryArray, &'a [u8]);
values!(Bools, BooleanArray, bool);

/// Values by row.
pub(crate) struct Prim<'a, T: ArrowPrimitiveType> {
    array: &'a PrimitiveArray<T>,
    scalar: bool,
}

impl<T: ArrowPrimitiveType> Prim<'_, T> {
    #[inline]
    pub fn at(&self, row: usize) -> Option<T::Native> {
        let row = if self.scalar { 0 } else { row };
        (!self.array.is_null(row)).then(|| self.array.value(row))
    }
}

/// An array of numbers, dates or times, of the type `data_type`.
pub(crate) fn prims<T: ArrowPrimitiveType>(
    data_type: &DataType,
    rows: usize,
    mut value: impl FnMut(usize) -> Option<T::Native>,
) -> Res<ArrayRef> {
    let mut values = Vec::with_capacity(rows);
    let mut valid = BooleanBufferBuilder::new(rows);
    for row in 0..rows {
        let value = value(row);
        valid.append(value.is_some());
        values.push(value.unwrap_or_default());
    }
    let nulls = NullBuffer::new(valid.finish());
    let array = PrimitiveArray::<T>::new(values.into(), (nulls.null_count() > 0).then_some(nulls));
    Ok(Arc::new(array.with_data_type(data_type.clone())))
}

/// An array of truth values.
pub(crate) fn bools(rows: usize, value: impl FnMut(usize) -> Option<bool>) -> Res<ArrayRef> {
    let array: BooleanArray = (0..rows).map(value).collect();
    Ok(Arc::new(array))
}

/// An array of texts, each appended to one buffer; none makes it null.
pub(crate) fn texts(rows: usize, mut write: impl FnMut(usize, &mut String) -> Option<()>) -> Res<ArrayRef> {
    let mut buffer = String::new();
    let (offsets, nulls) = offsets(rows, |row| {
        let start = buffer.len();
        let written = write(row, &mut buffer).is_some();
        if !written {
            buffer.truncate(start);
        }
        (written, buffer.len())
    })?;
    Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(buffer.into_bytes()), nulls)?))
}

/// An array of bytes, each appended to one buffer; none makes it null.
pub(crate) fn binaries(rows: usize, mut write: impl FnMut(usize, &mut Vec<u8>) -> Option<()>) -> Res<ArrayRef> {
    let mut buffer = Vec::new();
    let (offsets, nulls) = offsets(rows, |row| {
        let start = buffer.len();
        let written = write(row, &mut buffer).is_some();
        if !written {
            buffer.truncate(start);
        }
        (written, buffer.len())
    })?;
    Ok(Arc::new(BinaryArray::try_new(offsets, Buffer::from_vec(buffer), nulls)?))
}

type Layout = (OffsetBuffer<i32>, Option<NullBuffer>);

fn offsets(rows: usize, mut next: impl FnMut(usize) -> (bool, usize)) -> Res<Layout> {
    let mut ends = Vec::with_capacity(rows + 1);
    ends.push(0i32);
    let mut valid = BooleanBufferBuilder::new(rows);
    for row in 0..rows {
        let (written, end) = next(row);
        valid.append(written);
        ends.push(i32::try_from(end).map_err(|_| "its texts exceed 2 GiB in one batch: make batches smaller")?);
    }
    let nulls = NullBuffer::new(valid.finish());
    Ok((OffsetBuffer::new(ends.into()), (nulls.null_count() > 0).then_some(nulls)))
}
