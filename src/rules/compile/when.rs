//! `when`: windows of weekdays and hours, as operators write them.

use crate::yaml::{Node, Report, Value, nearest, quoted};

use super::super::keys;
use super::super::when::{DAY, Times, Week};
use super::Compiler;

/// Weekdays, Monday first (ISO 8601).
pub(in super::super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Compiler<'_> {
    /// One window or a list of them; warns of those that add nothing.
    pub(super) fn times(&mut self, node: &Node) -> Times {
        let items = match &node.value {
            Value::Map(_) => std::slice::from_ref(node),
            Value::List(_) | Value::Scalar { .. } => self.report.one_or_many(node, "`when`"),
        };
        let mut windows: Vec<(&Node, Times)> = Vec::new();
        for item in items {
            if let Some(window) = self.window_of_time(item) {
                windows.push((item, window));
            }
        }
        let mut times = Times::default();
        for (place, (item, window)) in windows.iter().enumerate() {
            if window.is_empty() {
                let message = "a window that is empty: it ends when it begins";
                let help = "for whole days leave out `from` and `to`; a window ends before the minute in `to`";
                self.report.warn(item.head(), message, help);
            } else {
                let mut others = windows.iter().enumerate();
                let within = others.find(|(other, (_, theirs))| {
                    // Of two that are the same, the second one is said to be too much.
                    *other != place
                        && theirs.cover(window)
                        && (*other < place || !window.cover(theirs))
                });
                if let Some((_, (theirs, _))) = within {
                    let line = self.report.source().line(theirs.head().start);
                    let message = "a window that lies within another of the same rule";
                    let help = format!("the other one is in line {line}; take this one out");
                    self.report.warn(item.head(), message, help);
                }
            }
            times.merge(window);
        }
        times
    }

    fn window_of_time(&mut self, node: &Node) -> Option<Times> {
        let mut map = self.report.section(node, "`when`", &keys::WINDOW_OF_TIME)?;
        let days = map.optional("days");
        let from = map.optional("from");
        let to = map.optional("to");
        let zone = map.optional("zone");
        map.finish(&mut self.report);
        let days = match days {
            Some(node) => days_of(node, &mut self.report),
            None => (0..7).collect(),
        };
        if days.is_empty() {
            return None;
        }
        let from = from.map_or(Some(0), |node| minute(node, "`from`", &mut self.report));
        let to = to.map_or(Some(DAY), |node| minute(node, "`to`", &mut self.report));
        let (name, zone) = match zone {
            Some(node) => self.zone(node)?,
            None => ("UTC".to_owned(), jiff::tz::TimeZone::UTC),
        };
        let mut week = Week::default();
        week.add(days.into_iter(), from?, to?);
        let mut times = Times::default();
        times.add(&name, &zone, &week);
        Some(times)
    }

    fn zone(&mut self, node: &Node) -> Option<(String, jiff::tz::TimeZone)> {
        let text = self.report.text(node, "`zone`")?;
        if let Ok(zone) = self.zones.get(text) {
            let name = zone.iana_name().unwrap_or(text).to_owned();
            return Some((name, zone));
        }
        let known: Vec<String> = self
            .zones
            .available()
            .map(|name| name.to_string())
            .collect();
        let near = nearest(text, known.iter().map(String::as_str));
        let near = near.map(|near| format!("did you mean `{near}`? "));
        let message = format!("`zone` {} is no time zone", quoted(text));
        let help = near.unwrap_or_default()
            + "write a name of the IANA database, such as Europe/Berlin or UTC";
        self.report.error(node.span.clone(), message, help);
        None
    }
}

/// Days and spans of days: `mon-fri`, `[sat, sun]`, `fri-mon`.
fn days_of(node: &Node, report: &mut Report) -> Vec<u16> {
    let place = |name: &str| {
        let found = DAYS.iter().position(|day| *day == name)?;
        u16::try_from(found).ok()
    };
    let mut days = Vec::new();
    for item in report.one_or_many(node, "`days`") {
        let Some(text) = report.text(item, "`days`") else {
            continue;
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        if let (Some(first), Some(last)) = (place(first), place(last)) {
            let count = (last + 7 - first) % 7;
            days.extend((0..=count).map(|step| (first + step) % 7));
            continue;
        }
        let message = format!("`days` cannot be {}", quoted(text));
        let help = format!(
            "write days or spans such as mon-fri, of: {}",
            DAYS.join(", ")
        );
        report.error(item.span.clone(), message, help);
    }
    days.sort_unstable();
    days.dedup();
    days
}

/// A time of day in minutes; 24:00 is the end of the day.
fn minute(node: &Node, what: &str, report: &mut Report) -> Option<u16> {
    let text = report.text(node, what)?;
    let two = |digits: &str| {
        let plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let parts = text.split_once(':');
    let parts = parts.and_then(|(hour, minute)| Some((two(hour)?, two(minute)?)));
    match parts {
        Some((hour, minute)) if minute < 60 && hour * 60 + minute <= DAY => {
            Some(hour * 60 + minute)
        }
        _ => {
            let message = format!("{what} is {}, not a time of day", quoted(text));
            let help = "write hours and minutes in 24 hours, such as \"08:00\"; \"24:00\" is the end of the day";
            report.error(node.span.clone(), message, help);
            None
        }
    }
}
