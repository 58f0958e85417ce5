//! What holds of every ledger, whatever was sent.

use serde_json::Value;

/// One count.
pub fn count(ledger: &Value, group: &str, name: &str) -> u64 {
    ledger[group][name].as_u64().unwrap_or_else(|| panic!("{group}.{name} in {ledger}"))
}

/// P6: the parts sum to their totals, settled or not.
pub fn assert_balanced(ledger: &Value) {
    let sum = |group: &str, names: &[&str]| names.iter().map(|name| count(ledger, group, name)).sum::<u64>();
    let messages = sum("messages", &["decoded", "partial", "quarantined", "ignored", "pending"]);
    assert_eq!(count(ledger, "messages", "received"), messages, "{ledger}");
    let parts = ["inserted", "corrected", "outranked", "duplicate", "unresolved", "quarantined"];
    assert_eq!(count(ledger, "observations", "total"), sum("observations", &parts), "{ledger}");
}
