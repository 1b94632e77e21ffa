//! How far the file of the EVE lines had come: kept in the transaction of each batch.

use rusqlite::{OptionalExtension, Transaction, params};

use super::super::Row;
use super::super::batch::Place;
use super::blocks::WITHIN;
use super::{Store, StoreError};

impl Store {
    /// The place of the file as of the last batch; `None` where none was told so far.
    pub(in crate::audit) fn place(&self) -> Result<Option<Place>, StoreError> {
        let found = self.try_place();
        found.map_err(|error| StoreError::unread(self.path(), &error))
    }

    fn try_place(&self) -> rusqlite::Result<Option<Place>> {
        let query = "SELECT device, inode, before, after FROM state";
        let numbers: [Option<i64>; 4] = self.connection.query_row(query, [], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])
        })?;
        let [Some(device), Some(inode), Some(before), Some(after)] = numbers else {
            return Ok(None);
        };
        Ok(Some(Place {
            device: device.cast_unsigned(),
            inode: inode.cast_unsigned(),
            before: before.cast_unsigned(),
            after: after.cast_unsigned(),
        }))
    }

    /// Tells where the file is, without a batch.
    pub(in crate::audit) fn mark(&mut self, place: &Place) -> Result<(), StoreError> {
        let mark = |store: &mut Self| {
            let transaction = store.connection.transaction()?;
            put(&transaction, place)?;
            transaction.commit()
        };
        mark(self).map_err(|error| StoreError::unwritten(self.path(), &error))
    }

    /// The newest event; `None` where there is none.
    pub(in crate::audit) fn newest(&self) -> Result<Option<(i64, String)>, StoreError> {
        let query = "SELECT time, line FROM events ORDER BY seq DESC LIMIT 1";
        let found = self
            .connection
            .query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?)));
        found
            .optional()
            .map_err(|error| StoreError::unread(self.path(), &error))
    }

    /// The newest lines, oldest first, that with their ends have so many bytes; `None` where no number
    /// of lines has.
    pub(in crate::audit) fn last_bytes(&self, bytes: u64) -> Result<Option<String>, StoreError> {
        let found = self.try_last_bytes(bytes);
        found.map_err(|error| StoreError::unread(self.path(), &error))
    }

    fn try_last_bytes(&self, bytes: u64) -> rusqlite::Result<Option<String>> {
        let mut select = self
            .connection
            .prepare("SELECT line FROM events ORDER BY seq DESC")?;
        let mut rows = select.query([])?;
        let (mut lines, mut total) = (Vec::<String>::new(), 0_u64);
        while total < bytes {
            let Some(row) = rows.next()? else { break };
            let line: String = row.get(0)?;
            let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
            total = total.saturating_add(length).saturating_add(1);
            lines.push(line);
        }
        let text = lines.iter().rev().map(|line| format!("{line}\n"));
        Ok((total == bytes).then(|| text.collect()))
    }

    /// Whether an event with this very line is there.
    pub(in crate::audit) fn holds(&self, row: &Row) -> Result<bool, StoreError> {
        let query = format!(
            "SELECT EXISTS (SELECT 1 FROM blocks_of_flow CROSS JOIN events ON {WITHIN}
             WHERE value = ?1 AND flow = ?1 AND time = ?2 AND line = ?3)"
        );
        let flow = i64::try_from(row.flow).unwrap_or(i64::MAX);
        let found = self
            .connection
            .query_row(&query, params![flow, row.time, row.line], |row| row.get(0));
        found.map_err(|error| StoreError::unread(self.path(), &error))
    }
}

pub(super) fn put(transaction: &Transaction<'_>, place: &Place) -> rusqlite::Result<()> {
    let mut update = transaction
        .prepare_cached("UPDATE state SET device = ?1, inode = ?2, before = ?3, after = ?4")?;
    // SQLite's integers have a sign; the bits are what counts.
    update.execute([
        place.device.cast_signed(),
        place.inode.cast_signed(),
        place.before.cast_signed(),
        place.after.cast_signed(),
    ])?;
    Ok(())
}
