//! Asking: events by what they are, and what the rules have done; beside a running writer, which is not disturbed.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, RowIndex, params, params_from_iter};

use crate::rules::Glob;

use super::super::Row;
use super::{StoreError, cannot_open, schema};

/// How long the writer may hold what a question needs.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Events read in one go: a reader that stays in one place longer keeps the writer's log from shrinking.
const PAGE: i64 = 1000;

/// What is asked for; what is `None` is not asked.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The earliest time, in microseconds since 1970.
    pub since: Option<i64>,
    /// The time before which it happened, in microseconds since 1970.
    pub until: Option<i64>,
    /// The id of the rule.
    pub rule: Option<String>,
    /// A glob on the name given in USER.
    pub user: Option<String>,
    /// The address or network that dialled.
    pub client: Option<IpNet>,
    /// A glob on the path, as rules have it: `*` within a folder, `**` across folders, without `/`
    /// on the last segment.
    pub path: Option<String>,
    /// `allow`, `deny`, `completed`, `failed`, `abandoned`, or how something ended.
    pub outcome: Option<String>,
    /// `decision`, `transfer` and so on.
    pub kind: Option<String>,
    /// The session, by its flow id.
    pub flow: Option<u64>,
}

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

    /// Gives the events behind `after` (0: all) that fit, in the order they were written, until
    /// `each` breaks. Gives the place of the last event looked at, to go on from.
    ///
    /// # Errors
    /// Gives what SQLite said.
    pub fn events(
        &self,
        filter: &Filter,
        after: i64,
        mut each: impl FnMut(Row) -> ControlFlow<()>,
    ) -> Result<i64, StoreError> {
        let wanted = Wanted::new(filter);
        let mut at = after;
        loop {
            let page = self.page(filter, at).map_err(|error| self.unread(&error))?;
            let whole = i64::try_from(page.len()) == Ok(PAGE);
            for row in page {
                at = row.seq;
                if wanted.fits(&row) && each(row).is_break() {
                    return Ok(at);
                }
            }
            if !whole {
                return Ok(at);
            }
        }
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
        self.try_hits(clients).map_err(|error| self.unread(&error))
    }

    fn try_hits(&self, clients: u32) -> rusqlite::Result<Vec<Hits>> {
        let mut rules = self.connection.prepare(
            "SELECT file, id, at, hits, bytes, first_use, last_use FROM rules
             ORDER BY hits DESC, file, id",
        )?;
        let mut top = self.connection.prepare(
            "SELECT client, count(*) AS hits FROM events
             WHERE kind = 'decision' AND rule = ?1
                 AND (rule_at = ?2 OR substr(rule_at, 1, length(?2) + 1) = ?2 || ':')
             GROUP BY client ORDER BY hits DESC, client LIMIT ?3",
        )?;
        let mut all = Vec::new();
        let mut found = rules.query([])?;
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
            let named = top.query_map(params![hits.rule, hits.file, clients], |row| {
                Ok((row.get("client")?, unsigned(row, "hits")?))
            })?;
            hits.clients = named.collect::<rusqlite::Result<_>>()?;
            all.push(hits);
        }
        Ok(all)
    }

    fn page(&self, filter: &Filter, after: i64) -> rusqlite::Result<Vec<Row>> {
        let text = |text: &Option<String>| text.clone().map(Value::from);
        let flow = filter.flow.map(|flow| i64::try_from(flow).unwrap_or(-1));
        let mut query = format!("SELECT {COLUMNS} FROM events WHERE seq > ?");
        let mut values = vec![Value::from(after)];
        for (value, condition) in [
            (filter.since.map(Value::from), " AND time >= ?"),
            (filter.until.map(Value::from), " AND time < ?"),
            (flow.map(Value::from), " AND flow = ?"),
            (text(&filter.rule), " AND rule = ?"),
            (text(&filter.kind), " AND kind = ?"),
            (text(&filter.outcome), " AND outcome = ?"),
        ] {
            if let Some(value) = value {
                query.push_str(condition);
                values.push(value);
            }
        }
        query.push_str(" ORDER BY seq LIMIT ?");
        values.push(PAGE.into());
        let mut select = self.connection.prepare_cached(&query)?;
        select
            .query_map(params_from_iter(values), row_of)?
            .collect()
    }

    pub(super) fn unread(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::unread(&self.path, error)
    }
}

/// What SQL does not decide.
struct Wanted {
    user: Option<Glob>,
    path: Option<Glob>,
    client: Option<IpNet>,
}

impl Wanted {
    fn new(filter: &Filter) -> Self {
        Self {
            user: filter.user.as_deref().map(Glob::name),
            path: filter.path.as_deref().map(Glob::path),
            client: filter.client,
        }
    }

    fn fits(&self, row: &Row) -> bool {
        let glob = |glob: &Option<Glob>, text: &Option<String>, path: bool| {
            glob.as_ref().is_none_or(|glob| {
                let text = text.as_deref().map(str::as_bytes);
                text.is_some_and(|text| match path {
                    true => glob.matches_path(text),
                    false => glob.matches(text),
                })
            })
        };
        let inside = |net: IpNet| {
            row.client
                .parse()
                .is_ok_and(|ip| net.contains::<&std::net::IpAddr>(&ip))
        };
        glob(&self.user, &row.user, false)
            && glob(&self.path, &row.path, true)
            && self.client.is_none_or(inside)
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
    opened.map_err(|error| StoreError::unopened(path, error))
}

/// The path as SQLite's URI (`%`, `?` and `#` mean something there).
fn uri(path: &Path) -> String {
    let text = path.display().to_string();
    let text = text.replace('%', "%25").replace('?', "%3f");
    format!("file:{}", text.replace('#', "%23"))
}

/// The columns in the order that [`row_of`] takes them: names would be looked up for each row.
const COLUMNS: &str = "seq, time, session, flow, kind, client, server, listener, user, rule, rule_at, \
    verb, path, outcome, code, bytes, packets, duration_ms, line";

fn row_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        seq: row.get(0)?,
        time: row.get(1)?,
        session: unsigned(row, 2)?,
        flow: unsigned(row, 3)?,
        kind: row.get(4)?,
        client: row.get(5)?,
        server: row.get(6)?,
        listener: row.get(7)?,
        user: row.get(8)?,
        rule: row.get(9)?,
        rule_at: row.get(10)?,
        verb: row.get(11)?,
        path: row.get(12)?,
        outcome: row.get(13)?,
        code: row.get(14)?,
        bytes: maybe_unsigned(row, 15)?,
        packets: maybe_unsigned(row, 16)?,
        duration_ms: maybe_unsigned(row, 17)?,
        line: row.get(18)?,
    })
}

pub(super) fn unsigned(row: &rusqlite::Row<'_>, column: impl RowIndex) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

fn maybe_unsigned(row: &rusqlite::Row<'_>, column: impl RowIndex) -> rusqlite::Result<Option<u64>> {
    let number: Option<i64> = row.get(column)?;
    Ok(number.map(|number| u64::try_from(number).unwrap_or(0)))
}
