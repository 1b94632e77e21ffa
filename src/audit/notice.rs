//! What the writer says about the record itself: how much of it is missing, and since when.

use std::time::SystemTime;

use serde_json::json;

use super::encode::written;
use super::read::lacking;
use super::row::{Row, micros};

/// Says that events went unrecorded from `since` to `at`; gives the line, its end included, and its row.
pub(super) fn unrecorded(at: SystemTime, since: SystemTime, count: u64) -> (Vec<u8>, Row) {
    let kind = "events-unrecorded";
    let line = json!({
        "timestamp": written(at),
        "event_type": "portcullis",
        "portcullis": {
            "event": kind,
            "unrecorded": count,
            "since": written(since),
            "reason": "the record could not be kept, and the configuration says `on-failure: allow`",
        },
    });
    let text = line.to_string();
    let row = Row {
        time: micros(at),
        kind: kind.to_owned(),
        outcome: Some(lacking(count, &written(since))),
        line: text.clone(),
        ..Row::default()
    };
    (format!("{text}\n").into_bytes(), row)
}

/// Says to a peer how many lines it did not get.
pub(super) fn uncopied(at: SystemTime, count: u64) -> Row {
    let kind = "lines-uncopied";
    let line = json!({
        "timestamp": written(at),
        "event_type": "portcullis",
        "portcullis": {
            "event": kind,
            "uncopied": count,
            "reason": "they came faster than they were taken here; file and store have them",
        },
    });
    Row {
        time: micros(at),
        kind: kind.to_owned(),
        line: line.to_string(),
        ..Row::default()
    }
}
