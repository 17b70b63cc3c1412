//! That docs/sql-functions.md lists the functions that are here, and those that are refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Schema;
use regex::Regex;

use crate::expression::Expression;
use crate::functions::refused;

/// Names that the files have as texts, and that are operators when they are called.
const OPERATORS: [&str; 2] = ["div", "not"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    std::fs::read_to_string(root().join("../../docs/sql-functions.md")).unwrap()
}

/// Whether a call with some number of arguments gets further than to the error of an unknown function.
fn is_function(name: &str) -> bool {
    let schema = Arc::new(Schema::empty());
    (0..=6).any(|count| {
        let sql = format!("{name}({}) AS x", vec!["NULL"; count].join(", "));
        let Ok((expression, _)) = Expression::parse_named(&sql) else { return false };
        match expression.compile(&schema, &mut Vec::new()) {
            Ok(_) => true,
            Err(fault) => fault.to_string() != refused::unknown(name).to_string(),
        }
    })
}

/// Words that stand in the builders as texts, the functions' names among them.
fn words() -> BTreeSet<String> {
    let word = Regex::new(r#""([a-z][a-z0-9_]*)""#).unwrap();
    let files = std::fs::read_dir(root().join("src/functions")).unwrap();
    let sources = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    sources.flat_map(|text| word.captures_iter(&text).map(|c| c[1].to_owned()).collect::<Vec<_>>()).collect()
}

#[test]
fn the_page_lists_every_function_and_no_other() {
    let listed: BTreeSet<String> =
        Regex::new("`([a-z0-9_]+)\\(").unwrap().captures_iter(&page()).map(|c| c[1].to_owned()).collect();
    let here: BTreeSet<String> =
        words().into_iter().filter(|name| !OPERATORS.contains(&name.as_str()) && is_function(name)).collect();
    assert!(here.len() > 150, "only {} functions were found", here.len());
    assert_eq!(listed.difference(&here).collect::<Vec<_>>(), Vec::<&String>::new(), "are listed and not here");
    assert_eq!(here.difference(&listed).collect::<Vec<_>>(), Vec::<&String>::new(), "are here and not listed");
}

#[test]
fn the_page_lists_what_is_refused() {
    let page = page();
    let (_, section) = page.split_once("## Refused").unwrap();
    for (names, reason) in refused::REFUSED {
        let names: Vec<_> = names.split_whitespace().map(|name| format!("`{name}`")).collect();
        let row = format!("| {} | {reason} |", names.join(", "));
        assert!(section.contains(&row), "the page lacks the row\n{row}");
    }
}
