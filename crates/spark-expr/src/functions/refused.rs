//! What to say of functions that are not here.

use crate::fault::Fault;

const NOT_THE_ROWS: &str = "its value would differ between two runs";

/// Functions that are refused, and what to use instead.
pub(super) const REFUSED: &[(&str, &str)] = &[
    (
        "now current_timestamp current_date curdate localtimestamp today current_timezone current_user user uuid rand \
      random randn shuffle monotonically_increasing_id spark_partition_id input_file_name version",
        NOT_THE_ROWS,
    ),
    (
        "sum count avg mean min max first last any_value collect_list collect_set stddev variance approx_count_distinct \
      row_number rank dense_rank lag lead ntile",
        "it is a function of many rows, not of one",
    ),
    ("explode explode_outer posexplode inline stack", "it makes several rows of one"),
    (
        "transform filter exists forall aggregate reduce zip_with map_filter transform_keys transform_values",
        "functions with a lambda are not supported: use element_at, array_contains or array_join",
    ),
    ("soundex levenshtein", "it is not supported"),
    ("regexp_extract_all regexp_count regexp_instr regexp_substr", "use regexp_extract"),
    ("to_char to_varchar format_number", "use format_string, or cast a rounded number to STRING"),
    ("to_number try_to_number", "use CAST(text AS DECIMAL(p, s))"),
    (
        "make_interval make_dt_interval make_ym_interval",
        "use date_add, add_months, or unix_micros and timestamp_micros",
    ),
    ("convert_timezone", "use to_utc_timestamp and from_utc_timestamp"),
    ("to_json from_json json_tuple json_object_keys schema_of_json parse_json", "use get_json_object"),
    ("parse_url url_encode url_decode", "use regexp_extract or replace"),
    (
        "cbrt ln log sin cos tan asin acos atan atan2 sinh cosh tanh log10 log2 log1p expm1 hypot e pi",
        "its last digit differs between platforms; sqrt, power and exp are exact",
    ),
    ("aes_encrypt aes_decrypt", "mask with sha2 or md5"),
    (
        "array named_struct struct map map_from_arrays create_map sequence flatten slice sort_array array_sort array_distinct",
        "a column made here is a scalar: use element_at, array_join or size",
    ),
];

fn reason(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(names, _)| names.split_whitespace().any(|n| n == name)).map(|(_, reason)| *reason)
}

/// The error for a function that is not here.
pub(crate) fn unknown(name: &str) -> Fault {
    match reason(name) {
        Some(reason) => format!("{name} is refused: {reason}").into(),
        None => format!(
            "there is no function '{name}' here: only Spark functions that are tested beside Spark's results are \
             supported, docs/sql-functions.md lists them"
        )
        .into(),
    }
}

/// Whether a function is refused whatever the columns are.
pub(crate) fn differs_between_runs(name: &str) -> bool {
    reason(name) == Some(NOT_THE_ROWS)
}
