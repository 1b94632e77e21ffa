//! Retention: what is too old, or too much, goes in small steps between two batches.

use std::time::{Duration, SystemTime};

use rusqlite::TransactionBehavior;

use super::super::row::micros;
use super::blocks::{Taken, WITHIN};
use super::{HOUR, Store, StoreError};

/// Events that one step takes out at most, more than a batch brings in: some milliseconds of work.
const STEP: i64 = 600;

/// Free pages that one step gives back to the disk at most.
const VACUUM_STEP: i64 = 128;

impl Store {
    /// Takes out at most 600 events that are too old or too many, and as many counts of hours that are
    /// too old; true where there is more to do.
    ///
    /// The counts of the rules as a whole stay as they are.
    ///
    /// # Errors
    /// Gives what SQLite said; nothing was taken out then.
    pub fn retain(&mut self, at: SystemTime) -> Result<bool, StoreError> {
        let result = self.try_retain(at);
        result.map_err(|error| StoreError::unwritten(&self.path, &error))
    }

    fn try_retain(&mut self, at: SystemTime) -> rusqlite::Result<bool> {
        let over = self.size()? > i64::try_from(self.settings.keep_size).unwrap_or(i64::MAX);
        let before = micros(oldest(at, self.settings.keep));
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let old = format!(
            "SELECT seq FROM blocks CROSS JOIN events ON {WITHIN}
             WHERE earliest < ?1 AND time < ?1 ORDER BY earliest LIMIT ?2"
        );
        let mut taken = Taken::take(&transaction, &old, [before, STEP])?.count;
        if taken == 0 && over {
            let first = "SELECT seq FROM events ORDER BY seq LIMIT ?1";
            taken = Taken::take(&transaction, first, [STEP])?.count;
        }
        // An hour goes once all of it is too old.
        let hours = "DELETE FROM hours WHERE (file, id, hour) IN
            (SELECT file, id, hour FROM hours WHERE hour <= ?1 ORDER BY hour LIMIT ?2)";
        let hours = transaction
            .prepare_cached(hours)?
            .execute([before.saturating_sub(HOUR), STEP])?;
        // A session goes with the last of its events; one still running has its own to come.
        let sessions = "DELETE FROM sessions WHERE flow IN (SELECT flow FROM sessions
            WHERE started < ifnull((SELECT min(earliest) FROM blocks), ?1) AND NOT EXISTS
                (SELECT 1 FROM blocks_of_flow WHERE value = sessions.flow)
            ORDER BY started LIMIT ?2)";
        if taken > 0 {
            transaction
                .prepare_cached(sessions)?
                .execute([before, STEP])?;
        }
        transaction.commit()?;
        let free: i64 = self
            .connection
            .pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        // Half of a step stays, so that a store at its limit does not shrink and grow in turns.
        if free > 2 * VACUUM_STEP {
            let vacuum = format!("PRAGMA incremental_vacuum({VACUUM_STEP})");
            let mut vacuum = self.connection.prepare(&vacuum)?;
            let mut pages = vacuum.query([])?;
            // One page a step of the statement.
            while pages.next()?.is_some() {}
        }
        Ok(taken > 0 || hours > 0 || free > 3 * VACUUM_STEP)
    }

    /// Bytes of the pages in use, the write-ahead log aside.
    fn size(&self) -> rusqlite::Result<i64> {
        let pragma = |name: &str| {
            self.connection
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
        };
        Ok((pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?)
    }
}

fn oldest(at: SystemTime, keep: Duration) -> SystemTime {
    at.checked_sub(keep).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use crate::audit::batch::MAX_BATCH;

    use super::*;

    #[test]
    fn a_step_takes_out_more_than_a_batch_brings_in() {
        // With the line that counts what went unrecorded.
        assert!(usize::try_from(STEP).unwrap() > MAX_BATCH + 1);
    }
}
