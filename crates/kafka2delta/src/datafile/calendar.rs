//! The calendar of a file's old days and instants. Spark before 3.0, and later versions in mode `LEGACY`, count days before
//! 15 October 1582 in the Julian calendar, and instants before 1900 by what a time zone of theirs was then.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, TimestampMillisecondArray,
    make_array,
};
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType};
use arrow::error::ArrowError;
use object_store::path::Path;
use parquet::file::metadata::FileMetaData;

use crate::error::{Error, ErrorCode, Result};

/// Footer: the version of Spark that wrote the file.
const VERSION: &str = "org.apache.spark.version";
/// Footer: days and 64-bit instants are old ones.
const LEGACY_DATETIME: &str = "org.apache.spark.legacyDateTime";
/// Footer: 96-bit instants are old ones.
const LEGACY_INT96: &str = "org.apache.spark.legacyINT96";
/// Footer: the time zone of the session that wrote old ones.
const TIME_ZONE: &str = "org.apache.spark.timeZone";
/// Footer: Spark's own schema. Its versions that did not tell their number wrote it, too.
const SCHEMA: &str = "org.apache.spark.sql.parquet.row.metadata";

/// 15 October 1582, the first day that both calendars count alike.
const FIRST_GREGORIAN_DAY: i64 = -141_427;
/// 1 January 1900 in UTC: from here on, Spark has one rule for all time zones.
const FIRST_EQUAL_SECOND: i64 = -2_208_988_800;
const DAY_SECONDS: i64 = 86_400;

/// What the days, or the instants, of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Old {
    /// As we count.
    Ours,
    /// Julian, in UTC.
    Julian,
    /// Nobody can say: by a time zone of which we do not know what it was.
    Unknown,
}

/// How a file's days and instants are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Calendar {
    days: Old,
    instants: Old,
}

impl Calendar {
    /// As Spark tells it: by the marks of its footer, and by the version that wrote it.
    pub(super) fn of(file: &FileMetaData, has_int96: bool) -> Self {
        let value = |key: &str| {
            let found = file.key_value_metadata().into_iter().flatten().find(|pair| pair.key == key);
            found.map(|pair| pair.value.as_deref().unwrap_or(""))
        };
        // Spark compares versions as texts, too.
        let is_old = |first: &str, mark: &str| match value(VERSION) {
            Some(version) => version < first || value(mark).is_some(),
            None => value(SCHEMA).is_some(),
        };
        let days = if is_old("3.0.0", LEGACY_DATETIME) { Old::Julian } else { Old::Ours };
        let (first, mark) = if has_int96 { ("3.1.0", LEGACY_INT96) } else { ("3.0.0", LEGACY_DATETIME) };
        let instants = match (is_old(first, mark), value(TIME_ZONE)) {
            (false, _) => Old::Ours,
            (true, Some("UTC" | "Etc/UTC" | "GMT" | "Z")) => Old::Julian,
            (true, _) => Old::Unknown,
        };
        Self { days, instants }
    }

    /// Whether all values are as we count.
    pub(super) fn is_ours(self) -> bool {
        self == Self { days: Old::Ours, instants: Old::Ours }
    }

    /// The rows with their days and instants as we count.
    ///
    /// # Errors
    /// `TABLE_UNSUPPORTED` where a value may be one of several.
    pub(super) fn convert(self, rows: RecordBatch, path: &Path) -> Result<RecordBatch> {
        if self.is_ours() {
            return Ok(rows);
        }
        let (schema, columns, num_rows) = rows.into_parts();
        let converted = columns.iter().zip(schema.fields()).map(|(column, field)| {
            self.column(column).map_err(|e| {
                let message = format!(
                    "{path}: column '{0}' has instants before 1900 that Spark wrote in its old calendar, in a time zone of \
                     which is not known here what it was then. Nothing was changed. In Spark, set \
                     spark.sql.parquet.int96RebaseModeInWrite and spark.sql.parquet.datetimeRebaseModeInWrite to \
                     CORRECTED, run UPDATE … SET {0} = {0} (WHERE it is before 1900, if the table is large), then REORG \
                     TABLE … APPLY (PURGE)",
                    field.name()
                );
                Error::with_source(ErrorCode::TableUnsupported, message, e)
            })
        });
        let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
        Ok(RecordBatch::try_new_with_options(schema.clone(), converted.collect::<Result<_>>()?, &options)?)
    }

    fn column(self, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        use DataType as T;
        Ok(match array.data_type() {
            T::Date32 if self.days != Old::Ours => {
                let day = |day| i32::try_from(to_gregorian(i64::from(day))).map_err(|_| overflow());
                Arc::new(array.as_primitive::<Date32Type>().try_unary::<_, Date32Type, _>(day)?)
            }
            T::Timestamp(unit, Some(zone)) if self.instants != Old::Ours => {
                let zone = zone.clone();
                match unit {
                    TimeUnit::Millisecond => {
                        let instants = array.as_primitive::<TimestampMillisecondType>();
                        let instants: TimestampMillisecondArray =
                            instants.try_unary(|instant| self.instant(instant, 1_000))?;
                        Arc::new(instants.with_timezone(zone))
                    }
                    TimeUnit::Microsecond => {
                        let instants = array.as_primitive::<TimestampMicrosecondType>();
                        let instants: TimestampMicrosecondArray =
                            instants.try_unary(|instant| self.instant(instant, 1_000_000))?;
                        Arc::new(instants.with_timezone(zone))
                    }
                    // Spark writes no other ones.
                    _ => array.clone(),
                }
            }
            T::Struct(_) | T::List(_) | T::Map(_, _) => {
                let data = array.to_data();
                let parts = data.child_data().iter().map(|part| Ok(self.column(&make_array(part.clone()))?.to_data()));
                let parts = parts.collect::<Result<_, ArrowError>>()?;
                make_array(data.into_builder().child_data(parts).build()?)
            }
            _ => array.clone(),
        })
    }

    fn instant(self, instant: i64, per_second: i64) -> Result<i64, ArrowError> {
        let per_day = DAY_SECONDS * per_second;
        match self.instants {
            Old::Unknown if instant < FIRST_EQUAL_SECOND * per_second => {
                Err(ArrowError::CastError(format!("{instant} may be several instants")))
            }
            Old::Julian if instant < FIRST_GREGORIAN_DAY * per_day => {
                let day = to_gregorian(instant.div_euclid(per_day)).checked_mul(per_day).ok_or_else(overflow)?;
                day.checked_add(instant.rem_euclid(per_day)).ok_or_else(overflow)
            }
            _ => Ok(instant),
        }
    }
}

fn overflow() -> ArrowError {
    ArrowError::ArithmeticOverflow("a day is beyond what can be counted".into())
}

/// The day that has, in the Gregorian calendar, the date which `day` has in the Julian one; from 15 October 1582 on, and
/// before it, as Spark does: a 29 February that the Gregorian calendar lacks is the 1 March.
fn to_gregorian(day: i64) -> i64 {
    if day >= FIRST_GREGORIAN_DAY {
        return day;
    }
    // Years begin in March, so that a leap day is the last one: 1 March of year 0, Julian, is number 0.
    let number = day + 719_470;
    let year = (4 * number + 3).div_euclid(1461);
    let in_year = number - (1461 * year).div_euclid(4);
    // The same date in the Gregorian calendar: the days of its years, and those within the year.
    let days = |year: i64| 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    days(year) + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, StructArray};
    use arrow::datatypes::{Field, Schema};
    use parquet::arrow::ArrowSchemaConverter;
    use parquet::file::metadata::KeyValue;

    fn calendar(marks: &[(&str, &str)], has_int96: bool) -> Calendar {
        let schema = ArrowSchemaConverter::new().convert(&Schema::empty()).unwrap();
        let marks = marks.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), (*value).to_owned())).collect();
        Calendar::of(&FileMetaData::new(1, 0, None, Some(marks), Arc::new(schema), None), has_int96)
    }

    #[test]
    fn the_footer_tells_the_calendar() {
        use Old::{Julian, Ours, Unknown};
        let utc = (TIME_ZONE, "UTC");
        for (marks, has_int96, days, instants) in [
            (&[][..], true, Ours, Ours),
            (&[(VERSION, "3.5.7")], true, Ours, Ours),
            (&[(VERSION, "3.5.7"), (LEGACY_DATETIME, ""), utc], false, Julian, Julian),
            (&[(VERSION, "3.5.7"), (LEGACY_DATETIME, "")], false, Julian, Unknown),
            (&[(VERSION, "3.5.7"), (LEGACY_DATETIME, ""), (TIME_ZONE, "Europe/Berlin")], false, Julian, Unknown),
            // Each mark is of its own kind of values.
            (&[(VERSION, "3.5.7"), (LEGACY_DATETIME, ""), utc], true, Julian, Ours),
            (&[(VERSION, "3.5.7"), (LEGACY_INT96, ""), utc], true, Ours, Julian),
            (&[(VERSION, "3.5.7"), (LEGACY_INT96, ""), utc], false, Ours, Ours),
            // Spark 3.0 wrote 96 bits in the old calendar, without a mark, and earlier versions everything.
            (&[(VERSION, "3.0.3"), utc], true, Ours, Julian),
            (&[(VERSION, "3.0.3"), utc], false, Ours, Ours),
            (&[(VERSION, "2.4.8")], true, Julian, Unknown),
            (&[(SCHEMA, "{}")], false, Julian, Unknown),
        ] {
            assert_eq!(calendar(marks, has_int96), Calendar { days, instants }, "{marks:?}, {has_int96}");
        }
    }

    /// As Spark 3.5 has them (`RebaseDateTime.rebaseJulianToGregorianDays`).
    #[test]
    fn julian_days_become_gregorian_ones() {
        let days = [-2_000_000, -1_000_000, -719_165, -700_000, -600_000, -300_000, -171_000, -141_428, -141_427, 0];
        let spark = [-1_999_971, -999_992, -719_163, -699_998, -600_001, -300_007, -171_010, -141_438, -141_427, 0];
        assert_eq!(days.map(to_gregorian), spark);
    }

    #[test]
    fn values_within_others_are_converted_and_nulls_stay() {
        let julian = Calendar { days: Old::Julian, instants: Old::Unknown };
        let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(-141_428), None, Some(0)]));
        let field = Arc::new(Field::new("day", DataType::Date32, true));
        let one: ArrayRef = Arc::new(StructArray::from(vec![(field, days)]));
        let rows = RecordBatch::try_from_iter([("one", one)]).unwrap();
        let converted = julian.convert(rows, &Path::from("a.parquet")).unwrap();
        let found = converted.column(0).as_struct().column(0).as_primitive::<Date32Type>().clone();
        assert_eq!(found, Date32Array::from(vec![Some(-141_438), None, Some(0)]));
    }

    #[test]
    fn instants_of_an_unknown_zone_are_refused_before_1900_alone() {
        let unknown = Calendar { days: Old::Ours, instants: Old::Unknown };
        let first = FIRST_EQUAL_SECOND * 1_000_000;
        let convert = |instants: Vec<Option<i64>>| {
            let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from(instants).with_timezone("UTC"));
            let rows = RecordBatch::try_from_iter([("at", at)]).unwrap();
            unknown.convert(rows.clone(), &Path::from("a.parquet")).map(|converted| converted == rows)
        };
        assert!(convert(vec![Some(first), None, Some(i64::MAX)]).unwrap());
        let error = convert(vec![Some(0), Some(first - 1)]).unwrap_err();
        assert_eq!(error.code, ErrorCode::TableUnsupported);
        assert!(error.message.starts_with("a.parquet: column 'at' has instants before 1900"), "{error}");
    }
}
