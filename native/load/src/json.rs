//! Reports are one line of JSON each.

use serde::Serialize;

/// A report as one line. A number that is not finite becomes `null`.
///
/// # Panics
/// Names of a map are not text.
pub fn line(report: &impl Serialize) -> String {
    serde_json::to_string(report).expect("names are text, and writing to memory succeeds")
}
