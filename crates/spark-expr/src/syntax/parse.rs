//! Spark's grammar of expressions.

use arrow::datatypes::DataType;

use crate::fault::Res;
use crate::syntax::token::{Token, tokens};

/// An expression as written. Operators are calls of functions with the operator's name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ast {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    /// `DATE '…'` and the like: the type's name in capitals and the text.
    Typed(String, String),
    Name(String),
    Field(Box<Ast>, String),
    Call(String, Vec<Ast>),
    Cast(Box<Ast>, DataType),
    TryCast(Box<Ast>, DataType),
}

/// Parses `expression AS name`.
pub(crate) fn parse_column(sql: &str) -> Res<(Ast, String)> {
    let mut parser = Parser::new(sql)?;
    let expr = parser.expression()?;
    let explicit = parser.keyword("AS");
    let name = match parser.next() {
        Token::Word(name) | Token::Quoted(name) if !name.is_empty() => name,
        Token::Text(name) => return Err(format!("write the name without quotes, or in backticks: AS `{name}`").into()),
        _ if explicit => return Err("there is no name after AS".into()),
        Token::End => return Err("write it as 'expression AS name'".into()),
        _ => {
            parser.at -= 1;
            return Err(parser.unexpected("'AS name'"));
        }
    };
    match parser.peek() {
        Token::End => Ok((expr, name)),
        _ => Err(parser.unexpected("the end")),
    }
}

/// Parses an expression without a name.
pub(crate) fn parse_expression(sql: &str) -> Res<Ast> {
    let mut parser = Parser::new(sql)?;
    let expr = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected("AND, OR or the end")),
    }
}

const MAX_DEPTH: usize = 64;
// Each of a chain of operators is a level of the stack when it is computed.
const MAX_TOKENS: usize = 1_000;
const MAX_COPIED: usize = 100_000;

fn short(tokens: Vec<(Token, usize)>) -> Res<Vec<(Token, usize)>> {
    if tokens.len() > MAX_TOKENS {
        return Err(format!("it has more than {MAX_TOKENS} words and signs").into());
    }
    Ok(tokens)
}

/// How many nodes an expression has.
fn size(expr: &Ast) -> usize {
    match expr {
        Ast::Call(_, args) => 1 + args.iter().map(size).sum::<usize>(),
        Ast::Cast(base, _) | Ast::TryCast(base, _) | Ast::Field(base, _) => 1 + size(base),
        _ => 1,
    }
}

/// Words that end an expression, and so are no names where an expression is expected.
const RESERVED: [&str; 22] = [
    "AS", "AND", "OR", "NOT", "IN", "IS", "LIKE", "ILIKE", "RLIKE", "REGEXP", "BETWEEN", "CASE", "WHEN", "THEN",
    "ELSE", "END", "FROM", "FOR", "ESCAPE", "SELECT", "EXISTS", "DISTINCT",
];

pub(crate) struct Parser {
    tokens: Vec<(Token, usize)>,
    pub(crate) at: usize,
    depth: usize,
    /// Nodes of expressions that stand in the tree once more than in the text.
    copied: usize,
}

pub(crate) fn call(name: &str, args: Vec<Ast>) -> Ast {
    Ast::Call(name.to_owned(), args)
}

impl Parser {
    fn new(sql: &str) -> Res<Self> {
        Ok(Self { tokens: short(tokens(sql)?)?, at: 0, depth: 0, copied: 0 })
    }

    /// A copy of an expression that BETWEEN and CASE need twice.
    pub(crate) fn copy(&mut self, expr: &Ast) -> Res<Ast> {
        self.copied += size(expr);
        if self.copied > MAX_COPIED {
            return Err("its BETWEENs and CASEs are nested too deep".into());
        }
        Ok(expr.clone())
    }

    fn peek(&self) -> &Token {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> &Token {
        self.tokens.get(self.at + by).map_or(&Token::End, |t| &t.0)
    }

    pub(crate) fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    pub(super) fn is_keyword(&self, by: usize, word: &str) -> bool {
        matches!(self.ahead(by), Token::Word(w) if w.eq_ignore_ascii_case(word))
    }

    pub(super) fn keyword(&mut self, word: &str) -> bool {
        let found = self.is_keyword(0, word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(s) if *s == symbol);
        self.at += usize::from(found);
        found
    }

    pub(super) fn unexpected(&self, wanted: &str) -> crate::fault::Fault {
        let position = self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.1);
        let found = match self.peek() {
            Token::Word(w) | Token::Number(w) => format!("'{w}'"),
            Token::Quoted(w) => format!("`{w}`"),
            Token::Text(w) => format!("the text '{w}'"),
            Token::Symbol(s) => format!("'{s}'"),
            Token::End => "the end".to_owned(),
        };
        format!("expected {wanted} at {position}, and there is {found}").into()
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Res<()> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.unexpected(&format!("'{symbol}'"))) }
    }

    pub(super) fn expect_keyword(&mut self, word: &str) -> Res<()> {
        if self.keyword(word) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    pub(crate) fn expression(&mut self) -> Res<Ast> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("it is nested deeper than {MAX_DEPTH} levels").into());
        }
        let mut left = self.conjunction()?;
        while self.keyword("OR") {
            left = call("or", vec![left, self.conjunction()?]);
        }
        self.depth -= 1;
        Ok(left)
    }

    fn conjunction(&mut self) -> Res<Ast> {
        let mut left = self.negation()?;
        while self.keyword("AND") {
            left = call("and", vec![left, self.negation()?]);
        }
        Ok(left)
    }

    fn negation(&mut self) -> Res<Ast> {
        let mut count = 0usize;
        while self.keyword("NOT") || self.symbol("!") {
            count += 1;
        }
        let mut expr = self.predicate()?;
        for _ in 0..count {
            expr = call("not", vec![expr]);
        }
        Ok(expr)
    }

    fn predicate(&mut self) -> Res<Ast> {
        let value = self.binary(0)?;
        if self.keyword("IS") {
            return self.is_predicate(value);
        }
        let not = self.keyword("NOT") || (matches!(self.peek(), Token::Symbol("!")) && self.symbol("!"));
        let found = if self.keyword("BETWEEN") {
            let low = self.binary(0)?;
            self.expect_keyword("AND")?;
            let high = self.binary(0)?;
            call("and", vec![call(">=", vec![self.copy(&value)?, low]), call("<=", vec![value, high])])
        } else if self.keyword("IN") {
            self.expect("(")?;
            if self.is_keyword(0, "SELECT") {
                return Err("a subquery is no function of the row".into());
            }
            let mut args = vec![value];
            args.extend(self.list(")")?);
            call("in", args)
        } else if self.keyword("RLIKE") || self.keyword("REGEXP") {
            call("rlike", vec![value, self.binary(0)?])
        } else if self.is_keyword(0, "LIKE") || self.is_keyword(0, "ILIKE") {
            let name = if self.keyword("LIKE") {
                "like"
            } else {
                self.at += 1;
                "ilike"
            };
            if self.is_keyword(0, "ANY") || self.is_keyword(0, "ALL") || self.is_keyword(0, "SOME") {
                return Err("LIKE ANY and LIKE ALL are not supported: write each LIKE, joined by OR or AND".into());
            }
            let mut args = vec![value, self.binary(0)?];
            if self.keyword("ESCAPE") {
                args.push(self.primary()?);
            }
            call(name, args)
        } else if not {
            return Err(self.unexpected("BETWEEN, IN, LIKE or RLIKE"));
        } else {
            return Ok(value);
        };
        Ok(if not { call("not", vec![found]) } else { found })
    }

    fn is_predicate(&mut self, value: Ast) -> Res<Ast> {
        let not = self.keyword("NOT");
        let found = if self.keyword("NULL") || self.keyword("UNKNOWN") {
            call("isnull", vec![value])
        } else if self.keyword("TRUE") {
            call("<=>", vec![value, Ast::Bool(true)])
        } else if self.keyword("FALSE") {
            call("<=>", vec![value, Ast::Bool(false)])
        } else if self.keyword("DISTINCT") {
            self.expect_keyword("FROM")?;
            call("not", vec![call("<=>", vec![value, self.binary(0)?])])
        } else {
            return Err(self.unexpected("NULL, TRUE, FALSE or DISTINCT FROM"));
        };
        Ok(if not { call("not", vec![found]) } else { found })
    }

    /// Operators from comparison (0) to multiplication (5), all from left to right.
    fn binary(&mut self, level: usize) -> Res<Ast> {
        const LEVELS: [&[&str]; 6] = [
            &["=", "==", "<>", "!=", "<", "<=", ">", ">=", "<=>", "!<", "!>"],
            &["|"],
            &["^"],
            &["&"],
            &["+", "-", "||"],
            &["*", "/", "%"],
        ];
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        loop {
            let operator = match self.peek() {
                Token::Symbol(s) if operators.contains(s) => *s,
                Token::Word(w) if level == 5 && w.eq_ignore_ascii_case("div") => "div",
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.binary(level + 1)?;
            left = match operator {
                "==" => call("=", vec![left, right]),
                "<>" | "!=" => call("not", vec![call("=", vec![left, right])]),
                "!<" => call(">=", vec![left, right]),
                "!>" => call("<=", vec![left, right]),
                "||" => call("concat", vec![left, right]),
                _ => call(operator, vec![left, right]),
            };
        }
    }

    fn unary(&mut self) -> Res<Ast> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("it is nested deeper than {MAX_DEPTH} levels").into());
        }
        let expr = if self.symbol("-") {
            // The sign belongs to the number: -2147483648 is an integer.
            match self.peek().clone() {
                Token::Number(number) => {
                    self.at += 1;
                    self.postfix(Ast::Number(format!("-{number}")))
                }
                _ => Ok(call("negative", vec![self.unary()?])),
            }
        } else if self.symbol("+") {
            Ok(call("positive", vec![self.unary()?]))
        } else if self.symbol("~") {
            Ok(call("~", vec![self.unary()?]))
        } else {
            self.primary()
        };
        self.depth -= 1;
        expr
    }

    fn postfix(&mut self, mut expr: Ast) -> Res<Ast> {
        loop {
            if self.symbol("[") {
                let index = self.binary(0)?;
                self.expect("]")?;
                expr = call("[]", vec![expr, index]);
            } else if self.symbol(".") {
                match self.next() {
                    Token::Word(name) | Token::Quoted(name) => expr = Ast::Field(Box::new(expr), name),
                    _ => {
                        self.at -= 1;
                        return Err(self.unexpected("a field's name"));
                    }
                }
            } else if self.symbol("::") {
                expr = Ast::Cast(Box::new(expr), self.data_type()?);
            } else {
                return Ok(expr);
            }
        }
    }

    fn list(&mut self, close: &str) -> Res<Vec<Ast>> {
        let mut items = Vec::new();
        if self.symbol(close) {
            return Ok(items);
        }
        loop {
            items.push(self.expression()?);
            if self.symbol(close) {
                return Ok(items);
            }
            self.expect(",")?;
        }
    }

    fn primary(&mut self) -> Res<Ast> {
        let expr = match self.peek().clone() {
            Token::Number(number) => {
                self.at += 1;
                Ast::Number(number)
            }
            Token::Text(mut text) => {
                self.at += 1;
                // Texts side by side are one.
                while let Token::Text(more) = self.peek() {
                    text.push_str(more);
                    self.at += 1;
                }
                Ast::Text(text)
            }
            Token::Quoted(name) => {
                self.at += 1;
                Ast::Name(name)
            }
            Token::Symbol("(") => {
                self.at += 1;
                if self.is_keyword(0, "SELECT") {
                    return Err("a subquery is no function of the row".into());
                }
                let expr = self.expression()?;
                self.expect(")")?;
                expr
            }
            Token::Word(word) => self.word(&word)?,
            _ => return Err(self.unexpected("an expression")),
        };
        self.postfix(expr)
    }

    fn word(&mut self, word: &str) -> Res<Ast> {
        let upper = word.to_ascii_uppercase();
        let is_call = matches!(self.ahead(1), Token::Symbol("("));
        match upper.as_str() {
            "CASE" => return self.case(),
            "NULL" | "TRUE" | "FALSE" if !is_call => {
                self.at += 1;
                return Ok(match upper.as_str() {
                    "NULL" => Ast::Null,
                    truth => Ast::Bool(truth == "TRUE"),
                });
            }
            "DATE" | "TIMESTAMP" | "TIMESTAMP_NTZ" | "TIMESTAMP_LTZ" | "X" | "INTERVAL"
                if matches!(self.ahead(1), Token::Text(_)) =>
            {
                self.at += 1;
                let Token::Text(text) = self.next() else { return Err(self.unexpected("a text")) };
                return Ok(Ast::Typed(upper, text));
            }
            "INTERVAL" if matches!(self.ahead(1), Token::Number(_) | Token::Symbol("-")) => {
                return Ok(Ast::Typed(upper, String::new()));
            }
            "CURRENT_DATE" | "CURRENT_TIMESTAMP" | "CURRENT_USER" | "LOCALTIMESTAMP" if !is_call => {
                self.at += 1;
                return Ok(call(&upper.to_ascii_lowercase(), Vec::new()));
            }
            _ => {}
        }
        let function = is_call && matches!(upper.as_str(), "LIKE" | "ILIKE" | "RLIKE" | "REGEXP");
        if !function && RESERVED.contains(&upper.as_str()) {
            return Err(self.unexpected("an expression"));
        }
        self.at += 1;
        if !self.symbol("(") {
            return Ok(Ast::Name(word.to_owned()));
        }
        let call = self.arguments(&upper)?;
        if self.is_keyword(0, "OVER") {
            return Err("a window is no function of the row".into());
        }
        Ok(call)
    }

    /// The arguments of a call, some in words.
    fn arguments(&mut self, name: &str) -> Res<Ast> {
        let lower = name.to_ascii_lowercase();
        match name {
            "CAST" | "TRY_CAST" => {
                let expr = self.expression()?;
                self.expect_keyword("AS")?;
                let data_type = self.data_type()?;
                self.expect(")")?;
                let expr = Box::new(expr);
                return Ok(if name == "CAST" { Ast::Cast(expr, data_type) } else { Ast::TryCast(expr, data_type) });
            }
            "EXTRACT" => {
                let Token::Word(field) = self.next() else { return Err("write EXTRACT(field FROM value)".into()) };
                self.expect_keyword("FROM")?;
                let value = self.binary(0)?;
                self.expect(")")?;
                return Ok(call("date_part", vec![Ast::Text(field), value]));
            }
            "TRIM" => return self.trim(),
            "DATEDIFF" | "DATE_DIFF" | "TIMESTAMPDIFF" | "DATEADD" | "TIMESTAMPADD"
                if matches!(self.peek(), Token::Word(w) if is_unit(w))
                    && matches!(self.ahead(1), Token::Symbol(",")) =>
            {
                return Err(format!("{lower} with a unit is not supported: use datediff(end, start), date_add, add_months or months_between").into());
            }
            _ => {}
        }
        if self.keyword("DISTINCT") {
            return Err(format!("{lower}(DISTINCT …) is no function of the row").into());
        }
        if self.symbol(")") {
            return Ok(call(&lower, Vec::new()));
        }
        if self.symbol("*") {
            return Err(format!("{lower}(*) is no function of the row").into());
        }
        let mut args = Vec::new();
        loop {
            let arg = if name == "POSITION" && args.is_empty() { self.binary(0)? } else { self.expression()? };
            args.push(arg);
            let parts = matches!(name, "SUBSTRING" | "SUBSTR") && matches!(args.len(), 1 | 2);
            if parts && self.keyword(if args.len() == 1 { "FROM" } else { "FOR" }) {
                continue;
            }
            if name == "POSITION" && args.len() == 1 && self.keyword("IN") {
                continue;
            }
            if self.symbol(")") {
                return Ok(call(&lower, args));
            }
            self.expect(",")?;
        }
    }
}

fn is_unit(word: &str) -> bool {
    const UNITS: [&str; 12] = [
        "YEAR",
        "QUARTER",
        "MONTH",
        "WEEK",
        "DAY",
        "DAYOFYEAR",
        "HOUR",
        "MINUTE",
        "SECOND",
        "MILLISECOND",
        "MICROSECOND",
        "YEARS",
    ];
    UNITS.iter().any(|unit| unit.eq_ignore_ascii_case(word))
}
