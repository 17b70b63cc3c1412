//! Keys: which columns they have, and their values as 128 bits.

pub mod columns;
pub mod hasher;
