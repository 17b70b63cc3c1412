//! Hashes and encodings of bytes: `md5`, `sha2`, `hash`, `hex`, `base64`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use arrow::datatypes::{Int32Type, Int64Type};

use crate::fault::Res;
use crate::values::cast::cast;
use crate::values::coerce::{self, arity};
use crate::values::murmur::{Murmur3, XxHash64, hashable, update};
use crate::values::node::{Node, binaries, prims, texts};
use crate::values::spark_types::{T, name};

/// Compiles a hash or an encoding.
pub(super) fn build(function: &str, args: &mut Vec<Node>) -> Res<Option<Node>> {
    let mut take = |min, max| -> Res<Vec<Node>> {
        arity(function, args, min, max)?;
        Ok(std::mem::take(args))
    };
    Ok(Some(match function {
        "md5" => digest(function, take(1, 1)?, hex_of::<Md5>)?,
        "sha" | "sha1" => digest(function, take(1, 1)?, hex_of::<Sha1>)?,
        "sha2" => sha2(take(2, 2)?)?,
        "crc32" => {
            let arg = coerce::binary(function, take(1, 1)?.remove(0))?;
            Node::call(T::Int64, vec![arg], |args, rows| {
                let v = args[0].bytes();
                prims::<Int64Type>(&T::Int64, rows, |i| v.at(i).map(|v| i64::from(crc32fast::hash(v))))
            })?
        }
        "hash" | "xxhash64" => {
            let args = take(1, 1_000)?;
            if let Some(arg) = args.iter().find(|a| !hashable(&a.data_type)) {
                return Err(format!("{function} is not supported for {}", name(&arg.data_type)).into());
            }
            if function == "hash" {
                Node::call(T::Int32, args, |args, rows| {
                    prims::<Int32Type>(&T::Int32, rows, |i| {
                        Some(args.iter().fold(Murmur3(42), |h, arg| update(h, &arg.array, arg.row(i))).0)
                    })
                })?
            } else {
                Node::call(T::Int64, args, |args, rows| {
                    prims::<Int64Type>(&T::Int64, rows, |i| {
                        Some(args.iter().fold(XxHash64(42), |h, arg| update(h, &arg.array, arg.row(i))).0)
                    })
                })?
            }
        }
        "hex" => hex(take(1, 1)?.remove(0))?,
        "unhex" => {
            let arg = coerce::text(function, take(1, 1)?.remove(0))?;
            Node::call(T::Binary, vec![arg], |args, rows| {
                let v = args[0].text();
                binaries(rows, |i, out| {
                    let text = v.at(i)?.as_bytes();
                    let (odd, rest) = text.split_at(text.len() % 2);
                    if let Some(digit) = odd.first() {
                        out.push(hex_digit(*digit)?);
                    }
                    out.extend(from_hex(rest)?);
                    Some(())
                })
            })?
        }
        "base64" => {
            let arg = coerce::binary(function, take(1, 1)?.remove(0))?;
            Node::call(T::Utf8, vec![arg], |args, rows| {
                let v = args[0].bytes();
                texts(rows, |i, out| {
                    let text = STANDARD.encode(v.at(i)?);
                    // MIME lines of 76 characters, as Spark 3.5 breaks them.
                    for (line, chunk) in text.as_bytes().chunks(76).enumerate() {
                        if line > 0 {
                            out.push_str("\r\n");
                        }
                        out.push_str(std::str::from_utf8(chunk).unwrap_or_default());
                    }
                    Some(())
                })
            })?
        }
        "unbase64" => {
            let arg = coerce::text(function, take(1, 1)?.remove(0))?;
            Node::call(T::Binary, vec![arg], |args, rows| {
                let v = args[0].text();
                binaries(rows, |i, out| {
                    out.extend(unbase64(v.at(i)?)?);
                    Some(())
                })
            })?
        }
        _ => return Ok(None),
    }))
}

/// Java's MIME decoder: characters outside the alphabet are passed over; a bad end, an error in Spark, is null.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut digits: Vec<u8> =
        text.bytes().filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=')).collect();
    while digits.last() == Some(&b'=') {
        digits.pop();
    }
    let lenient = base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, lenient).decode(digits).ok()
}

type HexOf = fn(&[u8], &mut String);

fn hex_of<D: Digest>(bytes: &[u8], out: &mut String) {
    write_hex(&D::digest(bytes), b"0123456789abcdef", out);
}

fn write_hex(bytes: &[u8], digits: &[u8; 16], out: &mut String) {
    for byte in bytes {
        out.push(char::from(digits[usize::from(byte >> 4)]));
        out.push(char::from(digits[usize::from(byte & 15)]));
    }
}

fn digest(function: &str, mut args: Vec<Node>, hex_of: HexOf) -> Res<Node> {
    let arg = coerce::binary(function, args.remove(0))?;
    Node::call(T::Utf8, vec![arg], move |args, rows| {
        let v = args[0].bytes();
        texts(rows, |i, out| v.at(i).map(|v| hex_of(v, out)))
    })
}

/// `sha2(value, bits)`: null for other lengths than 0 (which is 256), 224, 256, 384 and 512.
fn sha2(mut args: Vec<Node>) -> Res<Node> {
    let bits = coerce::int("sha2", args.remove(1))?;
    let value = coerce::binary("sha2", args.remove(0))?;
    Node::call(T::Utf8, vec![value, bits], |args, rows| {
        let (v, bits) = (args[0].bytes(), args[1].prim::<Int32Type>());
        texts(rows, |i, out| {
            let hex_of: HexOf = match bits.at(i)? {
                0 | 256 => hex_of::<Sha256>,
                224 => hex_of::<Sha224>,
                384 => hex_of::<Sha384>,
                512 => hex_of::<Sha512>,
                _ => return None,
            };
            hex_of(v.at(i)?, out);
            Some(())
        })
    })
}

fn hex(arg: Node) -> Res<Node> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    match arg.data_type {
        T::Utf8 | T::Binary => Node::call(T::Utf8, vec![coerce::binary("hex", arg)?], |args, rows| {
            let v = args[0].bytes();
            texts(rows, |i, out| v.at(i).map(|v| write_hex(v, DIGITS, out)))
        }),
        _ => {
            use std::fmt::Write;
            let arg =
                if arg.is_null_literal() { cast(arg, &T::Int64)? } else { coerce::number("hex", arg, &T::Int64)? };
            Node::call(T::Utf8, vec![arg], |args, rows| {
                let v = args[0].prim::<Int64Type>();
                texts(rows, |i, out| write!(out, "{:X}", v.at(i)?).ok())
            })
        }
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|d| d as u8)
}

/// Bytes of pairs of hexadecimal digits.
pub(crate) fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks(2).map(|pair| Some(hex_digit(pair[0])? << 4 | hex_digit(pair[1])?)).collect()
}
