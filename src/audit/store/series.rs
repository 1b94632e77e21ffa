//! What rules did hour by hour.

use rusqlite::{Row, named_params};

use super::{HOUR, Reader, StoreError, ask};

/// One rule's counts over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The id of the rule.
    pub rule: String,
    /// The file it is written in; `built-in` for the default.
    pub file: String,
    /// The hours with something in them, earliest first.
    pub points: Vec<Point>,
}

/// One hour of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its start, in microseconds since 1970; a multiple of [`HOUR`].
    pub hour: i64,
    /// Decisions.
    pub hits: u64,
    /// Bytes of transfers, both directions, in the hour in which they ended.
    pub bytes: u64,
}

impl Reader {
    /// Gives what rules did in the hours that have a part in `from..to` (microseconds since 1970), of
    /// one rule (file and id) or of all; by file, id and hour. One hour of one rule is one point, so
    /// 90 days of ten busy rules are 21,600. Hours older than `keep` are gone.
    ///
    /// # Errors
    /// Tells a store that counts no hours, as earlier programs made it, and what SQLite said.
    pub fn series(
        &self,
        from: i64,
        to: i64,
        rule: Option<(&str, &str)>,
    ) -> Result<Vec<Series>, StoreError> {
        if self.schema < SCHEMA {
            return Err(StoreError::OlderSchema {
                path: self.path.clone(),
                found: self.schema,
                needed: SCHEMA,
            });
        }
        let found = self.try_series(from, to, rule);
        found.map_err(|error| self.unread(&error))
    }

    fn try_series(
        &self,
        from: i64,
        to: i64,
        rule: Option<(&str, &str)>,
    ) -> rusqlite::Result<Vec<Series>> {
        let first = from.saturating_sub(from.rem_euclid(HOUR));
        let (file, id) = rule.unzip();
        let mut select = self.connection.prepare_cached(match rule {
            Some(_) => ONE,
            None => ALL,
        })?;
        let mut all: Vec<Series> = Vec::new();
        let mut take = |row: &Row<'_>| {
            let (file, rule): (String, String) = (row.get("file")?, row.get("id")?);
            let point = Point {
                hour: row.get("hour")?,
                hits: ask::unsigned(row, "hits")?,
                bytes: ask::unsigned(row, "bytes")?,
            };
            match all.last_mut() {
                Some(last) if last.file == file && last.rule == rule => last.points.push(point),
                Some(_) | None => all.push(Series {
                    rule,
                    file,
                    points: vec![point],
                }),
            }
            Ok::<_, rusqlite::Error>(())
        };
        let mut rows = match rule {
            Some(_) => select
                .query(named_params! { ":from": first, ":to": to, ":file": file, ":id": id })?,
            None => select.query(named_params! { ":from": first, ":to": to })?,
        };
        while let Some(row) = rows.next()? {
            take(row)?;
        }
        Ok(all)
    }
}

/// The first schema that counts hours.
const SCHEMA: i64 = 2;

const ONE: &str = "SELECT file, id, hour, hits, bytes FROM hours
    WHERE file = :file AND id = :id AND hour >= :from AND hour < :to ORDER BY hour";

const ALL: &str = "SELECT file, id, hour, hits, bytes FROM hours
    WHERE hour >= :from AND hour < :to ORDER BY file, id, hour";
