//! An event in a few words, out of its line: what the columns of the table leave out.

use serde_json::Value;

use crate::audit::Row;

use super::show::size;

/// Says what happened in one event.
pub(super) fn what(row: &Row) -> String {
    let line: Value = serde_json::from_str(&row.line).unwrap_or_default();
    let word = |place: &str| {
        let found = line.pointer(place).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let ours = |name: &str| word(&format!("/portcullis/{name}"));
    let mut parts = vec![row.verb.clone().unwrap_or_default()];
    parts.push(
        row.path
            .clone()
            .unwrap_or_else(|| word("/ftp/command_data")),
    );
    match row.kind.as_str() {
        "session-start" => parts.push(format!("{} {}", row.listener, row.server)),
        "rewrite" | "conversion" => {
            parts.push(format!("{} → {}", ours("before"), ours("after")));
        }
        "violation" => {
            let (by, reason, line) = (ours("by"), ours("reason"), ours("line"));
            parts.push(format!("{by} {reason}: {line}"));
        }
        "tls-start" | "pinhole-refused" => parts.push(ours("reason")),
        "window-used" | "window-transfer" => parts.push(ours("announced")),
        _ => {}
    }
    if row.kind.starts_with("pinhole-") && line.pointer("/portcullis/pinhole").is_some() {
        let ends = ["initiator", "announced", "target"];
        parts.push(ends.map(|end| ours(&format!("pinhole/{end}"))).join(" → "));
    }
    parts.extend(row.code.map(|code| code.to_string()));
    parts.push(word("/ftp/reply/0"));
    parts.extend(row.bytes.map(size));
    parts.extend(row.duration_ms.map(|ms| format!("{ms} ms")));
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}
