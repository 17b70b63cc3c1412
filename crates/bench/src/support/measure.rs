//! Times and memory.

/// The value in the middle, of an even number the mean of both; NaN of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The value below which `share` of the values are (nearest rank); NaN of none.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

fn status_mib(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|l| l.trim().trim_end_matches(" kB").trim().parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1024.0)
}

/// The highest resident size of this process since its start or [`reset_peak`], MiB. NaN where the system is not Linux.
pub fn peak_mib() -> f64 {
    status_mib("VmHWM")
}

/// The resident size of this process, MiB.
pub fn resident_mib() -> f64 {
    status_mib("VmRSS")
}

/// Makes the peak begin anew.
pub fn reset_peak() {
    // Where it is not to be had the peak is that since the start, which is higher: never a figure that is too good.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// A number as JSON: null where there is none.
pub fn number(value: f64) -> serde_json::Value {
    serde_json::Number::from_f64(value).map_or(serde_json::Value::Null, serde_json::Value::Number)
}
