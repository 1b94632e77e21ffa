//! Times of the week: windows by weekday and hour in a named zone, decided on the instant passed in.

use std::cell::Cell;
use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Minutes of a day as the wall clock counts them, whatever the day's real length.
pub(super) const DAY: u16 = 24 * 60;

/// Minutes of a week.
const WEEK: u16 = 7 * DAY;

/// A set of minutes of the week, from Monday 00:00, as sorted ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Week(Vec<Range<u16>>);

/// When a rule holds: minutes of the week, for each zone that it names.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(Vec<InZone>);

#[derive(Clone, Debug)]
struct InZone {
    name: String,
    zone: TimeZone,
    week: Week,
}

/// One instant, as the clocks on the wall show it; asked by rule after rule, a zone is worked out once.
#[derive(Debug)]
pub(super) struct Clock<'a> {
    at: Timestamp,
    /// The zone asked for last, and the minute of its week.
    shown: Cell<Option<(&'a str, u16)>>,
}

impl<'a> Clock<'a> {
    /// The clocks at an instant.
    pub(super) fn at(at: Timestamp) -> Self {
        let shown = Cell::new(None);
        Self { at, shown }
    }

    /// The minute of the week.
    fn minute(&self, in_zone: &'a InZone) -> Option<u16> {
        if let Some((name, minute)) = self.shown.get()
            && name == in_zone.name
        {
            return Some(minute);
        }
        let local = in_zone.zone.to_datetime(self.at);
        let day = u16::try_from(local.weekday().to_monday_zero_offset()).ok()?;
        let hour = u16::try_from(local.hour()).ok()?;
        let minute = day * DAY + hour * 60 + u16::try_from(local.minute()).ok()?;
        self.shown.set(Some((&in_zone.name, minute)));
        Some(minute)
    }
}

impl Week {
    /// Adds a window that begins on each of `days` (0 is Monday) at `from` and ends before `to`, both
    /// in minutes of the day; one that ends before it begins ends on the next day.
    pub(super) fn add(&mut self, days: impl Iterator<Item = u16>, from: u16, to: u16) {
        for day in days {
            let start = day * DAY + from;
            let end = day * DAY + if to < from { to + DAY } else { to };
            // What reaches beyond Sunday goes on on Monday.
            self.0.push(start..end.min(WEEK));
            if end > WEEK {
                self.0.push(0..end - WEEK);
            }
        }
        self.tidy();
    }

    /// Adds all minutes of another.
    pub(super) fn merge(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
        self.tidy();
    }

    /// Whether it has no minute.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has every minute.
    pub(super) fn is_full(&self) -> bool {
        self.0.first().is_some_and(|range| *range == (0..WEEK))
    }

    /// Whether it has every minute of the other.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let within = |inner: &Range<u16>| {
            let mut outer = self.0.iter();
            outer.any(|outer| outer.start <= inner.start && inner.end <= outer.end)
        };
        other.0.iter().all(within)
    }

    fn has(&self, minute: u16) -> bool {
        self.0.iter().any(|range| range.contains(&minute))
    }

    fn tidy(&mut self) {
        let mut all = std::mem::take(&mut self.0);
        all.retain(|range| !range.is_empty());
        all.sort_by_key(|range| (range.start, range.end));
        for range in all {
            match self.0.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => self.0.push(range),
            }
        }
    }
}

impl Times {
    /// Adds minutes of the week in a zone.
    pub(super) fn add(&mut self, name: &str, zone: &TimeZone, week: &Week) {
        match self.0.iter_mut().find(|known| known.name == name) {
            Some(known) => known.week.merge(week),
            None => self.0.push(InZone {
                name: name.to_owned(),
                zone: zone.clone(),
                week: week.clone(),
            }),
        }
    }

    /// Whether the instant of a clock lies within.
    ///
    /// What counts is what the clock on the wall shows: an hour that is skipped in spring is in no
    /// window, and one that comes twice in autumn is twice in its window.
    pub(super) fn contain<'a>(&'a self, clock: &Clock<'a>) -> bool {
        let mut zones = self.0.iter();
        zones.any(|zone| {
            clock
                .minute(zone)
                .is_some_and(|minute| zone.week.has(minute))
        })
    }

    /// Whether no instant lies within.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|in_zone| in_zone.week.is_empty())
    }

    /// Whether every instant lies within.
    pub(super) fn is_always(&self) -> bool {
        self.0.iter().any(|in_zone| in_zone.week.is_full())
    }

    /// Whether every instant of `other` surely lies within; zones are told apart by name.
    pub(super) fn cover(&self, other: &Self) -> bool {
        if self.is_always() {
            return true;
        }
        other.0.iter().all(|theirs| {
            let ours = self.0.iter().find(|ours| ours.name == theirs.name);
            theirs.week.is_empty() || ours.is_some_and(|ours| ours.week.covers(&theirs.week))
        })
    }

    /// Adds all instants of another.
    pub(super) fn merge(&mut self, other: &Self) {
        for theirs in &other.0 {
            self.add(&theirs.name, &theirs.zone, &theirs.week);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZoneDatabase;

    use super::*;

    fn times(days: Range<u16>, from: u16, to: u16) -> Times {
        let zone = TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
        let mut week = Week::default();
        week.add(days, from * 60, to * 60);
        let mut times = Times::default();
        times.add("Europe/Berlin", &zone, &week);
        times
    }

    fn has(times: &Times, at: &str) -> bool {
        times.contain(&Clock::at(at.parse().unwrap()))
    }

    #[test]
    fn office_hours_follow_the_zone_through_summer_and_winter() {
        let office = times(0..5, 8, 18);
        // 2026-01-12 and 2026-07-13 are Mondays.
        assert!(!has(&office, "2026-01-12T06:59:59Z"));
        assert!(has(&office, "2026-01-12T07:00:00Z"));
        assert!(has(&office, "2026-07-13T06:00:00Z"));
        assert!(has(&office, "2026-07-13T15:59:59Z"));
        assert!(!has(&office, "2026-07-13T16:00:00Z"));
        assert!(!has(&office, "2026-07-12T10:00:00Z"));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
        let nights = times(4..5, 22, 6);
        assert!(has(&nights, "2026-01-16T21:30:00Z"));
        assert!(has(&nights, "2026-01-17T04:59:00Z"));
        assert!(!has(&nights, "2026-01-17T05:00:00Z"));
        assert!(!has(&nights, "2026-01-16T04:00:00Z"));
        let sunday = times(6..7, 22, 6);
        assert!(has(&sunday, "2026-01-19T03:00:00Z"));
    }

    #[test]
    fn the_hour_skipped_in_spring_is_in_no_window() {
        // 2026-03-29: 02:00 to 03:00 does not exist in Berlin.
        let two_to_three = times(0..7, 2, 3);
        for at in [
            "2026-03-29T00:59:59Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T01:30:00Z",
        ] {
            assert!(!has(&two_to_three, at), "{at}");
        }
        let one_to_four = times(0..7, 1, 4);
        for at in [
            "2026-03-29T00:00:00Z",
            "2026-03-29T00:59:59Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T01:59:59Z",
        ] {
            assert!(has(&one_to_four, at), "{at}");
        }
        assert!(!has(&one_to_four, "2026-03-29T02:00:00Z"));
    }

    #[test]
    fn the_hour_that_comes_twice_in_autumn_is_twice_in_its_window() {
        // 2026-10-25: 02:00 to 03:00 comes twice in Berlin.
        let two_to_three = times(0..7, 2, 3);
        for at in ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"] {
            assert!(has(&two_to_three, at), "{at}");
        }
        assert!(!has(&two_to_three, "2026-10-25T02:00:00Z"));
        assert!(!has(&two_to_three, "2026-10-24T23:59:00Z"));
    }

    #[test]
    fn weeks_cover_one_another_by_their_minutes() {
        let mut all = times(0..5, 8, 12);
        all.merge(&times(0..5, 12, 18));
        assert!(all.cover(&times(1..3, 9, 17)));
        assert!(!all.cover(&times(1..3, 9, 19)));
        assert!(times(0..7, 0, 24).cover(&times(0..7, 22, 6)));
        assert!(times(0..7, 8, 8).is_empty());
        let mut full = Week::default();
        full.add(0..7, 0, DAY);
        assert!(full.is_full());
    }
}
