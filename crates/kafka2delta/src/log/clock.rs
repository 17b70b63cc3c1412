//! The time as the log has it.

/// Milliseconds since 1970.
pub fn now_millis() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
