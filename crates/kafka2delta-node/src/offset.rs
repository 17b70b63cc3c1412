//! Offsets of a merge. They are 64 bits, which only a BigInt holds.

use kafka2delta::{Offset, Result};
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

use crate::error::invalid;

#[napi(object)]
pub struct NativeOffset {
    pub app_id: String,
    pub expected: Option<BigInt>,
    pub last: BigInt,
    pub may_fall: Option<bool>,
}

fn offset(value: &BigInt) -> Result<i64> {
    let (value, lossless) = value.get_i64();
    match lossless {
        true => Ok(value),
        false => Err(invalid("an offset is beyond 64 bits")),
    }
}

impl NativeOffset {
    /// The engine's offset.
    pub fn into_engine(self) -> Result<Offset> {
        Ok(Offset {
            expected: self.expected.as_ref().map(offset).transpose()?,
            last: offset(&self.last)?,
            app_id: self.app_id,
            may_fall: self.may_fall.unwrap_or(false),
        })
    }
}
