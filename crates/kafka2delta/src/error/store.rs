//! What the error of a store says: clients wrap it many times, and clouds answer with pages of XML.

use std::error::Error as StdError;

/// Where the store is, and what it said or why it did not; none where the error does not tell.
///
/// Clouds answer a request that they refuse with `<Error><Code>…</Code><Message>…</Message>…</Error>`: S3's API reference,
/// "Error responses"; Azure's "Status and error codes".
pub(super) fn said(error: &object_store::Error) -> Option<String> {
    let text = error.to_string();
    let host = host_in(&text)?;
    let answer = [("<Code>", "</Code>"), ("<Message>", "</Message>")].map(|(from, to)| between(&text, from, to));
    let parts: Vec<&str> = [status_in(&text)].into_iter().chain(answer).flatten().collect();
    if parts.is_empty() {
        return Some(format!("{host} does not answer: {}", innermost(error)));
    }
    Some(format!("{host} answers: {}", parts.join(": ")))
}

/// Why a disk could not do it; none where it is no disk.
pub(super) fn said_of_disk(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(innermost(io));
        }
        next = error.source();
    }
    None
}

/// Whether the store knows who asks and does not let them, or does not know them.
pub(super) fn is_refusal(error: &object_store::Error) -> bool {
    let text = error.to_string();
    // Only requests for a single object have an error of their own for it.
    status_in(&text).is_some_and(|status| status.starts_with("401") || status.starts_with("403"))
}

/// Whether there is no place for the table: no bucket, no container.
///
/// S3's API reference, "Error responses"; Azure's "Blob Storage error codes"; "HTTP status and error codes" of Cloud Storage.
pub(super) fn is_without_place(error: &object_store::Error) -> bool {
    let text = error.to_string();
    let codes = ["<Code>NoSuchBucket</Code>", "<Code>ContainerNotFound</Code>", "The specified bucket does not exist"];
    // Of requests for a single object the client does not tell the text. What cannot be written is not a file that is missing.
    codes.iter().any(|code| text.contains(code))
        || matches!(error, object_store::Error::NotFound { .. })
            && text.contains("Error performing PUT ")
            && !text.contains("<Code>NoSuchUpload</Code>")
}

/// Whether a file has fewer bytes than were asked for: what is read is never more than the log says that it has, and no log
/// entry is empty. The client tells it in several ways, none of them by a type. An answer with fewer bytes than the store says that
/// the object has is none of them: that may pass.
pub(super) fn is_cut_short(error: &object_store::Error) -> bool {
    let text = error.to_string();
    let of_disk = ["Requested range was invalid", "Out of range of file "].iter().any(|said| text.contains(said));
    of_disk || status_in(&text).is_some_and(|status| status.starts_with("416"))
}

/// A message up to the text of an answer.
pub(super) fn without_body(message: &str) -> &str {
    let end = ["<?xml", "<Error>", "<!DOCTYPE", "<html"].iter().filter_map(|mark| message.find(mark)).min();
    end.map_or(message, |end| message[..end].trim_end_matches([' ', ':']))
}

fn status_in(text: &str) -> Option<&str> {
    between(text, "status code: ", ":").map(|status| status.lines().next().unwrap_or_default())
}

/// Scheme, host and port of the first URL.
fn host_in(text: &str) -> Option<&str> {
    let scheme = ["http://", "https://"].iter().filter_map(|scheme| Some((text.find(scheme)?, scheme.len()))).min()?;
    let rest = &text[scheme.0..];
    let end = rest[scheme.1..].find(['/', '?', ' ', ')']).map_or(rest.len(), |end| end + scheme.1);
    Some(&rest[..end])
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let start = text.find(from)? + from.len();
    let end = text[start..].find(to)?;
    Some(&text[start..start + end])
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.into() }
    }

    const DENIED: &str = "Error performing list request: Error performing GET http://127.0.0.1:9000/lake?prefix=t in 3ms - \
        Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?>\n<Error>\
        <Code>SignatureDoesNotMatch</Code><Message>Check your key.</Message><RequestId>1</RequestId></Error>";

    #[test]
    fn what_a_cloud_answers_is_told_without_its_xml() {
        let error = error(DENIED);
        assert_eq!(
            said(&error).as_deref(),
            Some("http://127.0.0.1:9000 answers: 403 Forbidden: SignatureDoesNotMatch: Check your key.")
        );
        assert!(is_refusal(&error));
        assert!(without_body(&error.to_string()).ends_with("403 Forbidden"));
    }

    #[test]
    fn a_store_that_is_not_there_is_named() {
        let error =
            error("Error performing GET https://s3.example:9000/lake?x in 2s, after 10 retries - HTTP error: refused");
        let told = said(&error).expect("it names the store");
        assert!(told.starts_with("https://s3.example:9000 does not answer: "), "{told}");
        assert!(!is_refusal(&error));
    }

    #[test]
    fn a_bucket_that_is_not_there_is_no_file_that_is_missing() {
        let listed = error(
            "Error performing list request: Error performing GET http://127.0.0.1:9000/lake?prefix=t in 3ms - Server returned \
             non-2xx status code: 404 Not Found: <Error><Code>NoSuchBucket</Code><Message>There is none.</Message></Error>",
        );
        assert!(is_without_place(&listed) && !is_refusal(&listed));
        let missing = |method: &str| object_store::Error::NotFound {
            path: "t/a.parquet".into(),
            source: format!("Error performing {method} http://127.0.0.1:9000/lake/t/a.parquet in 3ms - 404 Not Found")
                .into(),
        };
        assert!(is_without_place(&missing("PUT")) && !is_without_place(&missing("GET")));
        let code = |error: object_store::Error| crate::error::Error::from(error).code;
        use crate::error::ErrorCode::{StorageDenied, TableCorrupt};
        assert_eq!(
            [code(listed), code(missing("PUT")), code(missing("GET"))],
            [StorageDenied, StorageDenied, TableCorrupt]
        );
    }

    #[test]
    fn a_file_that_is_cut_short_is_no_outage() {
        let told = [
            "Requested range was invalid",
            "Out of range of file /t/a.parquet, expected: 9, actual: 4",
            "Error performing GET http://127.0.0.1:9000/lake/a in 3ms - Server returned non-2xx status code: 416 Range Not \
             Satisfiable: ",
        ];
        for text in told {
            let error = crate::error::Error::from(error(text));
            assert_eq!(error.code, crate::error::ErrorCode::TableCorrupt, "{text}");
        }
        assert!(!is_cut_short(&error(DENIED)) && !is_cut_short(&error("Requested 0..9, got 0..4")));
    }

    #[test]
    fn an_error_of_the_disk_has_no_address() {
        assert_eq!(said(&error("No space left on device")), None);
        let full = std::io::Error::from_raw_os_error(28);
        let full = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(full) };
        let told = crate::error::Error::from(full).message;
        assert!(told.starts_with("the storage failed: ") && told.len() > "the storage failed: ".len(), "{told}");
        assert_eq!(without_body("No space left on device"), "No space left on device");
    }
}
