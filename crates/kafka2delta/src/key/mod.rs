//! Keys: which columns they have, and their values as 128 bits.

pub(crate) mod columns;
pub(crate) mod hasher;
