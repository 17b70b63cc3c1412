//! Conditions: which rows they choose, which columns they name, and that their tree says the same of each row.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int8Array, Int32Array, Int64Array, LargeStringArray, RecordBatch, Scalar, StringArray, StructArray,
    TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::compute::kernels::{boolean, cmp};
use arrow::compute::{cast, is_null};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use spark_expr::{Comparison, CompiledCondition, Condition, Expression, Shape};

const DAY: i64 = 86_400_000_000;

fn rows() -> RecordBatch {
    let times = || vec![Some(0), None, Some(19_000 * DAY), Some(19_000 * DAY + 1), Some(i64::MAX), Some(i64::MIN)];
    let decimals = |p, s| {
        let values = vec![Some(0), None, Some(100), Some(150), Some(-99_999), Some(30_000)];
        Decimal128Array::from(values).with_precision_and_scale(p, s).unwrap()
    };
    let texts = vec![Some("a"), None, Some("5"), Some(""), Some("2022-01-08"), Some("true")];
    let inner: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5, 6]));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true), Some(false), None]))),
        ("i8", Arc::new(Int8Array::from(vec![Some(5), None, Some(-128), Some(127), Some(0), Some(1)]))),
        ("Id", Arc::new(Int32Array::from(vec![Some(5), None, Some(i32::MIN), Some(i32::MAX), Some(0), Some(300)]))),
        (
            "l",
            Arc::new(Int64Array::from(vec![
                Some(5),
                None,
                Some(i64::MIN),
                Some(1 << 53),
                Some((1 << 53) + 1),
                Some(0),
            ])),
        ),
        (
            "f",
            Arc::new(Float32Array::from(vec![
                Some(0.1),
                None,
                Some(-0.0),
                Some(f32::NAN),
                Some(f32::INFINITY),
                Some(5.0),
            ])),
        ),
        (
            "d",
            Arc::new(Float64Array::from(vec![
                Some(0.1),
                None,
                Some(-0.0),
                Some(f64::NAN),
                Some(f64::INFINITY),
                Some(5.0),
            ])),
        ),
        ("dec", Arc::new(decimals(10, 2))),
        ("big", Arc::new(decimals(38, 0))),
        ("s", Arc::new(StringArray::from(texts.clone()))),
        ("large", Arc::new(LargeStringArray::from(texts))),
        (
            "bin",
            Arc::new(BinaryArray::from(vec![Some(b"a".as_ref()), None, Some(b""), Some(b"\xff"), Some(b"5"), None])),
        ),
        (
            "day",
            Arc::new(Date32Array::from(vec![Some(0), None, Some(19_000), Some(i32::MAX), Some(i32::MIN), Some(1)])),
        ),
        ("ts", Arc::new(TimestampMicrosecondArray::from(times()).with_timezone("UTC"))),
        ("ntz", Arc::new(TimestampMicrosecondArray::from(times()))),
        ("nanos", Arc::new(TimestampNanosecondArray::from(times()).with_timezone("UTC"))),
        ("nested", Arc::new(StructArray::from(vec![(Arc::new(Field::new("a", DataType::Int32, true)), inner)]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn compile(sql: &str) -> CompiledCondition {
    Condition::parse(sql).unwrap().compile(&rows().schema()).unwrap_or_else(|fault| panic!("{sql}: {fault}"))
}

fn chosen(sql: &str) -> Vec<usize> {
    let met = compile(sql).evaluate(&rows()).unwrap();
    assert_eq!((met.len(), met.null_count()), (rows().num_rows(), 0), "{sql}");
    met.values().set_indices().collect()
}

fn shape(sql: &str) -> Shape {
    compile(sql).shape().clone()
}

fn compared(column: &str, comparison: Comparison, literal: impl Array + 'static) -> Shape {
    Shape::Compare { column: column.to_owned(), comparison, literal: Arc::new(literal) }
}

fn int(value: i32) -> Int32Array {
    Int32Array::from(vec![value])
}

#[test]
fn a_condition_chooses_rows_and_null_chooses_none() {
    assert_eq!(chosen("id >= 5"), [0, 3, 5]);
    assert_eq!(chosen("NOT id >= 5"), [2, 4]);
    assert_eq!(chosen("id >= 300 AND s IN ('a', 'true') OR i8 IS NULL"), [1, 5]);
    assert_eq!(chosen("b"), [0, 3]);
    assert!(chosen("id NOT IN (5, NULL)").is_empty());
    assert_eq!(chosen("upper(s) = 'A'"), [0]);
    assert_eq!(chosen("nested.a > 4"), [4, 5]);
    assert_eq!(chosen("true").len(), 6);
    assert!(chosen("NULL").is_empty());
    assert_eq!(compile("true").evaluate(&rows().slice(0, 0)).unwrap().len(), 0);
}

#[test]
fn columns_are_named_as_the_schema_writes_them_in_the_order_of_mention() {
    assert_eq!(compile("S = 'a' OR ID > 5 AND s <> 'b' OR nested.a = 1").columns(), ["s", "Id", "nested"]);
    assert_eq!(compile("`l` BETWEEN 1 AND CAST(i8 AS BIGINT)").columns(), ["l", "i8"]);
    assert!(compile("1 = 1").columns().is_empty());
}

#[test]
fn what_chooses_no_rows_by_mistake_is_refused() {
    let schema = rows().schema();
    for (sql, part) in [
        ("id >= 5 AND", "expected an expression"),
        ("id = 5 6", "expected AND, OR or the end"),
        ("", "expected an expression"),
        ("id + 1", "takes a condition, not int"),
        ("absent IS NULL", "there is no column or field 'absent'"),
        ("nested.absent = 1", "there is no column or field 'absent'"),
        ("rand() < 0.5", "rand is refused"),
        ("id = nested", "is not supported"),
    ] {
        let fault = Condition::parse(sql).and_then(|condition| condition.compile(&schema)).unwrap_err();
        assert!(fault.to_string().contains(part), "{sql}: {fault}");
    }
}

#[test]
fn a_batch_of_another_schema_is_refused() {
    let rows = rows().project(&[0, 1]).unwrap();
    let fault = compile("id = 5").evaluate(&rows).unwrap_err();
    assert!(fault.to_string().contains("the batch has no column 'Id'"), "{fault}");
    let few = Condition::parse("i8 = 5").unwrap().compile(&rows.schema()).unwrap();
    assert_eq!(few.evaluate(&rows).unwrap().true_count(), 1);
}

#[test]
fn the_tree_has_the_parts_as_written() {
    use Comparison::*;
    let five = || compared("Id", Equal, int(5));
    assert_eq!(shape("id = 5"), five());
    assert_eq!(shape("5 < id"), compared("Id", Greater, int(5)));
    assert_eq!(shape("id = 2 + 3"), five());
    assert_eq!(shape("id = '5'"), five());
    assert_eq!(shape("id = 5.00"), five());
    assert_eq!(shape("id <> 5"), Shape::Not(Box::new(five())));
    assert_eq!(shape("b"), compared("b", Equal, BooleanArray::from(vec![true])));
    assert_eq!(shape("id IS NOT NULL"), Shape::Not(Box::new(Shape::IsNull { column: "Id".into() })));
    assert_eq!(shape("id <=> NULL"), Shape::IsNull { column: "Id".into() });
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    assert_eq!(shape("id IN (1, 2)"), Shape::In { column: "Id".into(), literals: ids });
    let between = [compared("Id", GreaterOrEqual, int(1)), compared("Id", LessOrEqual, int(2))];
    let flat = [between.as_slice(), &[five()]].concat();
    assert_eq!(shape("id BETWEEN 1 AND 2 AND id = 5"), Shape::And(flat));
    assert_eq!(shape("id = 5 OR (id = 5 OR upper(s) = 'A')"), Shape::Or(vec![five(), five(), Shape::Other]));
    assert_eq!(shape("1 = 1"), Shape::And(Vec::new()));
    assert_eq!(shape("day >= '2022-01-08'"), compared("day", GreaterOrEqual, Date32Array::from(vec![19_000])));
    assert_eq!(shape("large = 'a'"), compared("large", Equal, LargeStringArray::from(vec!["a"])));
    let dec = Decimal128Array::from(vec![150]).with_precision_and_scale(10, 2).unwrap();
    assert_eq!(shape("dec < 1.5"), compared("dec", Less, dec));
}

#[test]
fn what_the_columns_type_does_not_hold_is_no_part_of_the_tree() {
    for sql in [
        "id = 5.5",
        "i8 < 300",
        "i8 IN (1, 300)",
        "id IN (1, NULL)",
        "id = NULL",
        "l = 9007199254740992D",
        "f = 0.1",
        "dec = 1.005",
        "s = 5",
        "id IN ('5')",
        "day < TIMESTAMP '2022-01-08 12:00:00'",
        "nanos = TIMESTAMP '1970-01-01 00:00:00'",
        "id = l",
        "NOT upper(s) = 'A'",
        "nested.a = 1",
        "id = 'five'",
    ] {
        assert_eq!(shape(sql), Shape::Other, "{sql}");
    }
}

/// Zero without a sign, one NaN, and texts and times in one layout.
fn normal(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => Arc::new(
            array
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v + 0.0 }),
        ),
        DataType::Float64 => Arc::new(
            array
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v + 0.0 }),
        ),
        _ => array.clone(),
    }
}

/// The rows that a tree chooses by its own words; none where a part of it is unknown.
fn truth(shape: &Shape, rows: &RecordBatch) -> Option<BooleanArray> {
    let of = |column: &str| normal(rows.column_by_name(column).unwrap());
    let all = |value| BooleanArray::from(vec![value; rows.num_rows()]);
    let equal = |column: &str, literal: ArrayRef| cmp::eq(&of(column), &Scalar::new(literal)).unwrap();
    Some(match shape {
        Shape::And(parts) => parts
            .iter()
            .try_fold(all(true), |met, part| Some(boolean::and_kleene(&met, &truth(part, rows)?).unwrap()))?,
        Shape::Or(parts) => parts
            .iter()
            .try_fold(all(false), |met, part| Some(boolean::or_kleene(&met, &truth(part, rows)?).unwrap()))?,
        Shape::Not(inner) => boolean::not(&truth(inner, rows)?).unwrap(),
        Shape::IsNull { column } => is_null(rows.column_by_name(column).unwrap()).unwrap(),
        Shape::In { column, literals } => (0..literals.len())
            .map(|i| equal(column, literals.slice(i, 1)))
            .reduce(|met, part| boolean::or_kleene(&met, &part).unwrap())?,
        Shape::Compare { column, comparison, literal } => {
            assert_eq!(literal.data_type(), rows.column_by_name(column).unwrap().data_type());
            assert_eq!((literal.len(), literal.null_count()), (1, 0));
            let (column, literal) = (of(column), Scalar::new(normal(literal)));
            match comparison {
                Comparison::Equal => cmp::eq(&column, &literal),
                Comparison::Less => cmp::lt(&column, &literal),
                Comparison::LessOrEqual => cmp::lt_eq(&column, &literal),
                Comparison::Greater => cmp::gt(&column, &literal),
                Comparison::GreaterOrEqual => cmp::gt_eq(&column, &literal),
            }
            .unwrap()
        }
        Shape::Other => return None,
    })
}

const LITERALS: [&str; 44] = [
    "NULL",
    "true",
    "false",
    "0",
    "5",
    "-5",
    "127",
    "128",
    "300",
    "-128",
    "2147483647",
    "2147483648",
    "5L",
    "5Y",
    "9007199254740992",
    "9007199254740993",
    "9007199254740992D",
    "9223372036854775807",
    "0.0",
    "1.5",
    "1.50",
    "1.005",
    "-999.99",
    "0.1",
    "0.1D",
    "0.1F",
    "-0.0D",
    "5e0",
    "1e300",
    "CAST('NaN' AS DOUBLE)",
    "CAST('inf' AS FLOAT)",
    "12345678901234567890123456789012345678",
    "''",
    "'a'",
    "'5'",
    "'5.0'",
    "'true'",
    "'2022-01-08'",
    "'2022-1-8'",
    "DATE '2022-01-08'",
    "TIMESTAMP '2022-01-08'",
    "TIMESTAMP_NTZ '2022-01-08 00:00:00.000001'",
    "X'FF'",
    "TIMESTAMP '1970-01-01 00:00:00'",
];

#[test]
fn the_tree_says_the_same_of_each_row() {
    let rows = rows();
    let mut known = 0;
    let mut conditions = Vec::new();
    for field in rows.schema().fields() {
        let column = field.name();
        conditions.push(format!("{column} IS NULL"));
        conditions.push(format!("NOT ({column} AND {column} IS NOT NULL)"));
        for literal in LITERALS {
            for operator in ["=", "<>", "<", "<=", ">", ">=", "<=>"] {
                conditions.push(format!("{column} {operator} {literal}"));
                conditions.push(format!("NOT ({literal} {operator} {column})"));
            }
            conditions.push(format!("{column} IN ({literal}, 5)"));
            conditions.push(format!("{column} NOT IN ({literal}, '2022-01-08', {literal})"));
        }
    }
    for sql in conditions {
        let Ok(compiled) = Condition::parse(&sql).unwrap().compile(&rows.schema()) else { continue };
        let Some(tree) = truth(compiled.shape(), &rows) else { continue };
        let (expression, _) = Expression::parse_named(&format!("{sql} AS met")).unwrap();
        let met = expression.compile(&rows.schema(), &mut Vec::new()).unwrap().evaluate(&rows).unwrap();
        assert_eq!(&tree, cast(&met, &DataType::Boolean).unwrap().as_boolean(), "{sql}: {:?}", compiled.shape());
        known += 1;
    }
    println!("{known} conditions");
    assert!(known > 1_000, "only {known} conditions have a tree");
}
