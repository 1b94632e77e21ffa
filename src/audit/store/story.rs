//! The story of one session.

use rusqlite::{OptionalExtension, params};

use super::super::Row;
use super::ask::unsigned;
use super::blocks::WITHIN;
use super::find::{COLUMNS, row_of};
use super::{Reader, StoreError};

/// One session and what happened in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The session as a whole.
    pub session: Told,
    /// Its events that are kept, oldest first, each with its EVE line.
    pub rows: Vec<Row>,
    /// Whether it has more events than were asked for.
    pub more: bool,
}

/// A session as the store has it. Times are microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The number that ties its lines together, unique across restarts.
    pub flow: u64,
    /// Its number in the life of its process.
    pub session: u64,
    /// The listener that took it.
    pub listener: String,
    /// The address that dialled, without its port.
    pub client: String,
    /// The server's address and port.
    pub server: String,
    /// The last name given in USER.
    pub user: Option<String>,
    /// When it began.
    pub started: i64,
    /// When it ended; `None` while it runs, and where its end is not on the record.
    pub ended: Option<i64>,
    /// Why it ended.
    pub reason: Option<String>,
    /// Transfers.
    pub transfers: u64,
    /// Bytes of its transfers, both directions.
    pub bytes: u64,
}

impl Reader {
    /// Gives the session of a flow id and its first `limit` events; `None` where the store knows
    /// nothing of it.
    ///
    /// # Errors
    /// Gives what SQLite said.
    pub fn story(&self, flow: u64, limit: u32) -> Result<Option<Story>, StoreError> {
        let told = self.try_story(flow, limit);
        told.map_err(|error| self.unread(&error))
    }

    fn try_story(&self, flow: u64, limit: u32) -> rusqlite::Result<Option<Story>> {
        let _state = self.connection.unchecked_transaction()?;
        let number = i64::try_from(flow).unwrap_or(i64::MAX);
        let query = match self.has_blocks() {
            true => format!(
                "SELECT {COLUMNS} FROM blocks_of_flow CROSS JOIN events ON {WITHIN}
                 WHERE value = ?1 AND flow = ?1 ORDER BY block, seq LIMIT ?2"
            ),
            false => format!("SELECT {COLUMNS} FROM events WHERE flow = ?1 ORDER BY seq LIMIT ?2"),
        };
        let mut select = self.connection.prepare_cached(&query)?;
        let values = params![number, i64::from(limit) + 1];
        let rows = select.query_map(values, row_of)?;
        let mut rows = rows.collect::<rusqlite::Result<Vec<Row>>>()?;
        let kept = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > kept;
        let session = self.told(number)?;
        // A session whose start went unrecorded is known by its events until it ends.
        let session = session.or_else(|| rows.first().map(of_event));
        rows.truncate(kept);
        Ok(session.map(|session| Story {
            session,
            rows,
            more,
        }))
    }

    fn told(&self, flow: i64) -> rusqlite::Result<Option<Told>> {
        let mut select = self.connection.prepare_cached(
            "SELECT flow, session, listener, client, server, user, started, ended, reason,
                 transfers, bytes
             FROM sessions WHERE flow = ?1",
        )?;
        let told = select.query_row([flow], |row| {
            Ok(Told {
                flow: unsigned(row, 0)?,
                session: unsigned(row, 1)?,
                listener: row.get(2)?,
                client: row.get(3)?,
                server: row.get(4)?,
                user: row.get(5)?,
                started: row.get(6)?,
                ended: row.get(7)?,
                reason: row.get(8)?,
                transfers: unsigned(row, 9)?,
                bytes: unsigned(row, 10)?,
            })
        });
        told.optional()
    }
}

fn of_event(row: &Row) -> Told {
    Told {
        flow: row.flow,
        session: row.session,
        listener: row.listener.clone(),
        client: row.client.clone(),
        server: row.server.clone(),
        user: row.user.clone(),
        started: row.time,
        ..Told::default()
    }
}
