//! The app ids under which a table's log keeps offsets.

/// The query of an app id, which is `<queryName>:<topic>:<partition>`, or that of a companion, `…:time`, or of all other
/// partitions, `…:*`.
pub(crate) fn query_of(app_id: &str) -> &str {
    let offset = match app_id.rsplit_once(':') {
        Some((offset, companion)) if companion != "*" && companion.bytes().any(|b| !b.is_ascii_digit()) => offset,
        _ => app_id,
    };
    offset.rsplitn(3, ':').nth(2).unwrap_or(app_id)
}

#[cfg(test)]
mod tests {
    use super::query_of;

    #[test]
    fn an_app_id_names_its_query() {
        for app_id in ["shop:a.b:0", "shop:a.b:12:time", "shop:a.b:12:lost", "shop:a.b:*"] {
            assert_eq!(query_of(app_id), "shop", "{app_id}");
        }
        assert_eq!(query_of("one:shop:a.b:3"), "one:shop");
        assert_eq!(query_of("by hand"), "by hand");
    }
}
