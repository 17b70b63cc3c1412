//! The parts of the grammar in words: TRIM, CASE and types.

use arrow::datatypes::DataType;

use crate::fault::Res;
use crate::syntax::parse::{Ast, Parser, call};
use crate::syntax::token::Token;
use crate::values::spark_types::{ntz_type, timestamp_type};

impl Parser {
    /// `TRIM([BOTH | LEADING | TRAILING] [characters FROM] text)`.
    pub(crate) fn trim(&mut self) -> Res<Ast> {
        let name = if self.keyword("LEADING") {
            "ltrim"
        } else if self.keyword("TRAILING") {
            "rtrim"
        } else {
            self.keyword("BOTH");
            "trim"
        };
        if self.keyword("FROM") {
            let text = self.expression()?;
            self.expect(")")?;
            return Ok(call(name, vec![text]));
        }
        let first = self.expression()?;
        if self.keyword("FROM") {
            let text = self.expression()?;
            self.expect(")")?;
            return Ok(call(name, vec![first, text]));
        }
        self.expect(")")?;
        Ok(call(name, vec![first]))
    }

    /// A CASE as `case(condition, value, …, otherwise)`.
    pub(crate) fn case(&mut self) -> Res<Ast> {
        self.at += 1;
        let operand = if self.is_keyword(0, "WHEN") { None } else { Some(self.expression()?) };
        let mut args = Vec::new();
        while self.keyword("WHEN") {
            let condition = self.expression()?;
            self.expect_keyword("THEN")?;
            args.push(match &operand {
                Some(operand) => call("=", vec![self.copy(operand)?, condition]),
                None => condition,
            });
            args.push(self.expression()?);
        }
        if args.is_empty() {
            return Err(self.unexpected("WHEN"));
        }
        if self.keyword("ELSE") {
            args.push(self.expression()?);
        }
        self.expect_keyword("END")?;
        Ok(call("case", args))
    }

    pub(crate) fn data_type(&mut self) -> Res<DataType> {
        let Token::Word(name) = self.next() else {
            self.at -= 1;
            return Err(self.unexpected("a type"));
        };
        Ok(match name.to_ascii_lowercase().as_str() {
            "boolean" => DataType::Boolean,
            "tinyint" | "byte" => DataType::Int8,
            "smallint" | "short" => DataType::Int16,
            "int" | "integer" => DataType::Int32,
            "bigint" | "long" => DataType::Int64,
            "float" | "real" => DataType::Float32,
            "double" => DataType::Float64,
            "date" => DataType::Date32,
            "timestamp" | "timestamp_ltz" => timestamp_type(),
            "timestamp_ntz" => ntz_type(),
            "string" => DataType::Utf8,
            "binary" => DataType::Binary,
            "decimal" | "dec" | "numeric" => {
                let (mut precision, mut scale) = (10, 0);
                if self.symbol("(") {
                    precision = self.small()?;
                    if self.symbol(",") {
                        scale = self.small()?;
                    }
                    self.expect(")")?;
                }
                if !(1..=38).contains(&precision) || scale > precision {
                    return Err(format!(
                        "decimal({precision},{scale}) is no type: up to 38 digits, the scale among them"
                    )
                    .into());
                }
                DataType::Decimal128(precision, scale as i8)
            }
            "char" | "varchar" | "character" => {
                return Err(format!("there is no cast to {name}: cast to STRING").into());
            }
            _ => return Err(format!("there is no cast to the type '{name}'").into()),
        })
    }

    fn small(&mut self) -> Res<u8> {
        match self.next() {
            Token::Number(n) => n.parse().map_err(|_| format!("'{n}' is no number of digits").into()),
            _ => {
                self.at -= 1;
                Err(self.unexpected("a number of digits"))
            }
        }
    }
}
