//! Asking what the rules have done, beside a running writer, which is not disturbed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Params, RowIndex, params};

use super::{StoreError, cannot_open, schema};

const RULES: &str = "SELECT file, id, at, hits, bytes, first_use, last_use FROM rules";

const TOP: &str = "SELECT client, hits FROM clients_of_rule
    WHERE id = ?1 AND file = ?2 ORDER BY hits DESC, client LIMIT ?3";

/// The same in a store of an earlier schema.
const TOP_OF_BEFORE: &str = "SELECT client, count(*) AS hits FROM events
    WHERE kind = 'decision' AND rule = ?1
        AND (rule_at = ?2 OR substr(rule_at, 1, length(?2) + 1) = ?2 || ':')
    GROUP BY client ORDER BY hits DESC, client LIMIT ?3";

/// How long the writer may hold what a question needs.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a rule has done since the store was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hits {
    /// The id of the rule.
    pub rule: String,
    /// The file it is written in; `built-in` for the default.
    pub file: String,
    /// File and line, as of the last hit.
    pub at: String,
    /// Decisions.
    pub hits: u64,
    /// Bytes of its transfers, both directions.
    pub bytes: u64,
    /// The first hit, in microseconds since 1970.
    pub first_use: i64,
    /// The last hit or end of a transfer, in microseconds since 1970.
    pub last_use: i64,
    /// Who made it decide most often, and how often, among the events that are still kept; decisions
    /// of quiet rules are not among them.
    pub clients: Vec<(String, u64)>,
}

/// The store, opened to be asked.
#[derive(Debug)]
pub struct Reader {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    /// Its schema, which may be an earlier one.
    pub(super) schema: i64,
}

impl Reader {
    /// Opens a store that exists; changes nothing in it.
    ///
    /// # Errors
    /// Tells a file that is missing, later, foreign, or not to be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing {
                path: path.to_owned(),
            });
        }
        let connection = connect(path)?;
        let schema = schema::version(&connection, path)?;
        if schema == 0 {
            return Err(StoreError::unopened(path, "it holds no record"));
        }
        Ok(Self {
            path: path.to_owned(),
            connection,
            schema,
        })
    }

    /// Gives the place of the event before the last `count` ones: where to go on from to see those.
    ///
    /// # Errors
    /// Gives what SQLite said.
    pub fn before_last(&self, count: i64) -> Result<i64, StoreError> {
        let last = "SELECT ifnull(min(seq), 1) - 1 FROM (SELECT seq FROM events ORDER BY seq DESC LIMIT ?1)";
        let found = self.connection.query_row(last, [count], |row| row.get(0));
        found.map_err(|error| self.unread(&error))
    }

    /// Finds a session by its number or its flow id. Numbers begin again with each start of the
    /// program: the session that began last has the word.
    ///
    /// # Errors
    /// Gives what SQLite said.
    pub fn session(&self, number: u64) -> Result<Option<u64>, StoreError> {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let query = "SELECT flow FROM sessions WHERE session = ?1 OR flow = ?1 ORDER BY started DESC LIMIT 1";
        let found = self
            .connection
            .query_row(query, [number], |row| unsigned(row, "flow"));
        match found {
            Ok(flow) => Ok(Some(flow)),
            Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
            Err(error) => Err(self.unread(&error)),
        }
    }

    /// Gives the place of the newest event; 0 where there is none.
    ///
    /// # Errors
    /// Gives what SQLite said.
    pub fn newest(&self) -> Result<i64, StoreError> {
        let last = "SELECT ifnull(max(seq), 0) FROM events";
        let found = self.connection.query_row(last, [], |row| row.get(0));
        found.map_err(|error| self.unread(&error))
    }

    /// Gives the time from which on the store knows what rules did; `None` for an empty one.
    ///
    /// # Errors
    /// Gives what SQLite said.
    pub fn begun(&self) -> Result<Option<i64>, StoreError> {
        let first = "SELECT min(first_use) FROM rules";
        let found = self.connection.query_row(first, [], |row| row.get(0));
        found.map_err(|error| self.unread(&error))
    }

    /// Gives all rules that ever decided, the busiest first, each with at most `clients` clients.
    ///
    /// # Errors
    /// Gives what SQLite said.
    pub fn hits(&self, clients: u32) -> Result<Vec<Hits>, StoreError> {
        let query = format!("{RULES} ORDER BY hits DESC, file, id");
        let found = self.try_hits(&query, [], clients);
        found.map_err(|error| self.unread(&error))
    }

    /// Gives one rule, by its file and id, with at most `clients` clients; `None` where it never decided.
    ///
    /// # Errors
    /// Gives what SQLite said.
    pub fn rule(&self, file: &str, id: &str, clients: u32) -> Result<Option<Hits>, StoreError> {
        let query = format!("{RULES} WHERE file = ?1 AND id = ?2");
        let found = self.try_hits(&query, params![file, id], clients);
        let mut found = found.map_err(|error| self.unread(&error))?;
        Ok(found.pop())
    }

    fn try_hits(
        &self,
        query: &str,
        values: impl Params,
        clients: u32,
    ) -> rusqlite::Result<Vec<Hits>> {
        let mut rules = self.connection.prepare_cached(query)?;
        let mut top = self.connection.prepare_cached(match self.has_blocks() {
            true => TOP,
            false => TOP_OF_BEFORE,
        })?;
        let mut all = Vec::new();
        let mut found = rules.query(values)?;
        while let Some(row) = found.next()? {
            let mut hits = Hits {
                rule: row.get("id")?,
                file: row.get("file")?,
                at: row.get("at")?,
                hits: unsigned(row, "hits")?,
                bytes: unsigned(row, "bytes")?,
                first_use: row.get("first_use")?,
                last_use: row.get("last_use")?,
                clients: Vec::new(),
            };
            if clients > 0 {
                let named = top.query_map(params![hits.rule, hits.file, clients], |row| {
                    Ok((row.get("client")?, unsigned(row, "hits")?))
                })?;
                hits.clients = named.collect::<rusqlite::Result<_>>()?;
            }
            all.push(hits);
        }
        Ok(all)
    }

    /// Whether the store notes what is in each block of events.
    pub(super) fn has_blocks(&self) -> bool {
        self.schema >= schema::WITH_BLOCKS
    }

    pub(super) fn unread(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::unread(&self.path, error)
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let open = |immutable: &str| {
        let connection = Connection::open_with_flags(format!("{}{immutable}", uri(path)), flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?;
        Ok(connection)
    };
    let opened = open("").or_else(|error: rusqlite::Error| {
        // Who may read the file and not write beside it cannot make the log's index; without a log
        // there is no writer, and the file alone is all.
        let log = PathBuf::from(format!("{}-wal", path.display()));
        if cannot_open(&error) && !log.exists() {
            open("?immutable=1")
        } else {
            Err(error)
        }
    });
    opened.map_err(|error| StoreError::not_opened(path, &error))
}

/// The path as SQLite's URI (`%`, `?` and `#` mean something there).
fn uri(path: &Path) -> String {
    let text = path.display().to_string();
    let text = text.replace('%', "%25").replace('?', "%3f");
    format!("file:{}", text.replace('#', "%23"))
}

pub(super) fn unsigned(row: &rusqlite::Row<'_>, column: impl RowIndex) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}
