//! Finding events by what they are: on from a place, or newest first.

use std::ops::ControlFlow;

use ipnet::IpNet;
use rusqlite::types::Value;
use rusqlite::{params, params_from_iter};

use crate::rules::Glob;

use super::super::Row;
use super::ask::unsigned;
use super::blocks::{BITS, WITHIN};
use super::{Reader, StoreError};

/// Events read in one go: a reader that stays in one place longer keeps the writer's log from shrinking.
const PAGE: i64 = 1000;

/// Events that one call of [`Reader::latest`] looks at.
const MAX_LOOKED: i64 = 50_000;

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

/// Events, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latest {
    /// Those that fit.
    pub rows: Vec<Row>,
    /// Where to go on: what to give as `before` for older ones; `None` where there are none. There may
    /// be more even where `rows` is empty: one call looks at so many events only.
    pub next: Option<i64>,
}

impl Reader {
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
        let search = Search::new(filter, self.has_blocks());
        let unread = |error: rusqlite::Error| self.unread(&error);
        let mut at = after;
        if after == 0 {
            let Some((first, _)) = self.places(filter).map_err(unread)? else {
                return self.newest();
            };
            at = first.saturating_sub(1).max(0);
        }
        loop {
            let page = self.page(&search, at).map_err(unread)?;
            let whole = i64::try_from(page.len()) == Ok(PAGE);
            for row in page {
                at = row.seq;
                let path = row.path.as_deref();
                let fits = search.fits(&row.client, row.user.as_deref(), path);
                if fits && each(row).is_break() {
                    return Ok(at);
                }
            }
            if !whole {
                return Ok(at);
            }
        }
    }

    /// Gives at most `limit` events that fit, newest first: the last ones, or those in front of the
    /// place `before`. Looks at 50,000 events at most, so that a call takes a bounded time.
    ///
    /// # Errors
    /// Gives what SQLite said.
    pub fn latest(
        &self,
        filter: &Filter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Latest, StoreError> {
        let found = self.try_latest(filter, before.unwrap_or(i64::MAX), limit);
        found.map_err(|error| self.unread(&error))
    }

    fn try_latest(&self, filter: &Filter, before: i64, limit: usize) -> rusqlite::Result<Latest> {
        // One state of the store for all questions: retention goes on meanwhile.
        let _state = self.connection.unchecked_transaction()?;
        let search = Search::new(filter, self.has_blocks());
        let mut latest = Latest::default();
        let Some((first, last)) = self.places(filter)? else {
            return Ok(latest);
        };
        let before = before.min(last.saturating_add(1));
        let (query, values) = search.backwards(first, before);
        let mut looks = self.connection.prepare_cached(&query)?;
        let mut looks = looks.query(params_from_iter(values))?;
        let mut fetch = self
            .connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM events WHERE seq = ?1"))?;
        let (mut at, mut looked) = (before, 0);
        while let Some(look) = looks.next()? {
            if latest.rows.len() >= limit || looked >= MAX_LOOKED {
                latest.next = Some(at);
                break;
            }
            looked += 1;
            at = look.get(0)?;
            let text = |column: usize| {
                let text = look.get_ref(column)?.as_str_or_null();
                text.map_err(rusqlite::Error::from)
            };
            let client = text(2)?.unwrap_or_default();
            if look.get(1)? && search.fits(client, text(3)?, text(4)?) {
                latest.rows.push(fetch.query_row(params![at], row_of)?);
            }
        }
        Ok(latest)
    }

    /// Places around all of the span of time that is asked for; `None` where it holds nothing. Clocks are set
    /// back, so that later places may have earlier times.
    fn places(&self, filter: &Filter) -> rusqlite::Result<Option<(i64, i64)>> {
        if filter.since.is_none() && filter.until.is_none() {
            return Ok(Some((0, i64::MAX - 1)));
        }
        let since = filter.since.unwrap_or(i64::MIN);
        let until = filter.until.unwrap_or(i64::MAX);
        let mut select = self.connection.prepare_cached(match self.has_blocks() {
            true => SPAN,
            false => SPAN_OF_BEFORE,
        })?;
        select.query_row([since, until], |row| {
            let (first, last): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
            Ok(first.zip(last))
        })
    }

    fn page(&self, search: &Search, after: i64) -> rusqlite::Result<Vec<Row>> {
        let (query, values) = search.forwards(after);
        let mut select = self.connection.prepare_cached(&query)?;
        select
            .query_map(params_from_iter(values), row_of)?
            .collect()
    }
}

/// The blocks that have a part in a span of time.
const SPAN: &str = "SELECT min(block) << 6, (max(block) << 6) + 63 FROM blocks
    WHERE latest >= ?1 AND earliest < ?2";

/// The places of a span of time in a store of an earlier schema.
const SPAN_OF_BEFORE: &str = "SELECT min(seq), max(seq) FROM events WHERE time >= ?1 AND time < ?2";

/// A filter as it is carried out: by one index, by SQL on what that leaves, and by globs and networks.
struct Search {
    /// The one condition that an index serves, which leaves the fewest, and the table that tells the
    /// blocks in which it holds.
    indexed: Option<(&'static str, &'static str, Value)>,
    /// Whether there are such tables.
    blocks: bool,
    others: Vec<(&'static str, Value)>,
    user: Option<Glob>,
    path: Option<Glob>,
    client: Option<IpNet>,
}

impl Search {
    fn new(filter: &Filter, blocks: bool) -> Self {
        let text = |text: &Option<String>| text.clone().map(Value::from);
        let flow = filter.flow.map(|flow| i64::try_from(flow).unwrap_or(-1));
        let host = filter
            .client
            .filter(|net| net.prefix_len() == net.max_prefix_len());
        let host = host.map(|net| net.addr().to_string());
        let mut served = [
            ("blocks_of_flow", "flow = ?", flow.map(Value::from)),
            (
                "blocks_of_client",
                "client = ?",
                host.clone().map(Value::from),
            ),
            ("blocks_of_rule", "rule = ?", text(&filter.rule)),
        ]
        .into_iter()
        .filter_map(|(table, condition, value)| Some((table, condition, value?)));
        let indexed = served.next();
        let others = [
            ("time >= ?", filter.since.map(Value::from)),
            ("time < ?", filter.until.map(Value::from)),
            ("kind = ?", text(&filter.kind)),
            ("outcome = ?", text(&filter.outcome)),
        ];
        let others = others
            .into_iter()
            .filter_map(|(condition, value)| Some((condition, value?)));
        let served = served.map(|(_, condition, value)| (condition, value));
        Self {
            indexed,
            blocks,
            others: served.chain(others).collect(),
            user: filter.user.as_deref().map(Glob::name),
            path: filter.path.as_deref().map(Glob::path),
            client: filter.client.filter(|_| host.is_none()),
        }
    }

    /// The query for one page of rows behind a place. `+` keeps indexes on other columns out of it, and
    /// has the places of a block looked up by the block.
    fn forwards(&self, after: i64) -> (String, Vec<Value>) {
        let mut query = format!("SELECT {COLUMNS} FROM ");
        let mut values = Vec::new();
        match self.in_blocks() {
            Some((table, value)) => {
                query.push_str(&format!(
                    "{table} CROSS JOIN events ON {WITHIN} WHERE value = ? AND block >= ? AND +seq > ?"
                ));
                values.extend([value.clone(), (after >> BITS).into(), after.into()]);
            }
            None => {
                query.push_str("events WHERE seq > ?");
                values.push(after.into());
            }
        }
        if let Some((_, condition, value)) = &self.indexed {
            query.push_str(&format!(" AND {condition}"));
            values.push(value.clone());
        }
        for (condition, value) in &self.others {
            query.push_str(&format!(" AND +{condition}"));
            values.push(value.clone());
        }
        query.push_str(match self.in_blocks() {
            Some(_) => " ORDER BY block, seq LIMIT ?",
            None => " ORDER BY seq LIMIT ?",
        });
        values.push(PAGE.into());
        (query, values)
    }

    /// The query that looks at events in front of a place, down to `first`: place, whether SQL's
    /// conditions hold, and what the others need. All stand in front of `line`, so that what a long
    /// line spills over into other pages is not read.
    fn backwards(&self, first: i64, before: i64) -> (String, Vec<Value>) {
        let (mut conditions, mut values): (Vec<&str>, Vec<Value>) =
            self.others.iter().cloned().unzip();
        let mut query = String::new();
        let mut behind = vec![first.into(), before.into()];
        match (self.in_blocks(), &self.indexed) {
            (Some((table, value)), Some((_, condition, _))) => {
                // Each event of a block counts as looked at, or a call would have no bound.
                conditions.push(condition);
                values.push(value.clone());
                query.push_str(&format!(
                    "{table} CROSS JOIN events ON {WITHIN} WHERE +seq >= ? AND +seq < ? AND value = ?
                     AND block >= ? AND block <= ? ORDER BY block DESC, seq DESC"
                ));
                let blocks = [first >> BITS, before >> BITS].map(Value::from);
                behind.push(value.clone());
                behind.extend(blocks);
            }
            (_, Some((_, condition, value))) => {
                query.push_str(&format!(
                    "events WHERE seq >= ? AND seq < ? AND {condition} ORDER BY seq DESC"
                ));
                behind.push(value.clone());
            }
            (_, None) => query.push_str("events WHERE seq >= ? AND seq < ? ORDER BY seq DESC"),
        }
        values.extend(behind);
        let fits = match conditions.is_empty() {
            true => "1".to_owned(),
            false => conditions.join(" AND "),
        };
        let looked = "client, user, path";
        let query = format!("SELECT seq, ifnull({fits}, 0), {looked} FROM {query}");
        (query, values)
    }

    /// The table that tells the blocks of the condition, and of what.
    fn in_blocks(&self) -> Option<(&'static str, &Value)> {
        let indexed = self.indexed.as_ref().filter(|_| self.blocks);
        indexed.map(|(table, _, value)| (*table, value))
    }

    /// Decides what SQL does not.
    fn fits(&self, client: &str, user: Option<&str>, path: Option<&str>) -> bool {
        let name = |glob: &Glob| user.is_some_and(|user| glob.matches(user.as_bytes()));
        let file = |glob: &Glob| path.is_some_and(|path| glob.matches_path(path.as_bytes()));
        let inside = |net: IpNet| {
            let ip = client.parse();
            ip.is_ok_and(|ip| net.contains::<&std::net::IpAddr>(&ip))
        };
        self.user.as_ref().is_none_or(name)
            && self.path.as_ref().is_none_or(file)
            && self.client.is_none_or(inside)
    }
}

/// The columns in the order that [`row_of`] takes them: names would be looked up for each row.
pub(super) const COLUMNS: &str = "seq, time, session, flow, kind, client, server, listener, user, rule, rule_at, \
    verb, path, outcome, code, bytes, packets, duration_ms, line";

pub(super) fn row_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
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

fn maybe_unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let number: Option<i64> = row.get(column)?;
    Ok(number.map(|number| u64::try_from(number).unwrap_or(0)))
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
