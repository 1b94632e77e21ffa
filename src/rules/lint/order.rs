//! Rules against the rules before them: what is never reached, in whole or in part, and what an allow
//! takes from a deny behind it.

use std::cell::Cell;

use ipnet::IpNet;

use crate::yaml::{Report, quoted};

use super::super::commands::Commands;
use super::super::glob::Glob;
use super::super::index::Index;
use super::super::networks::{self, Networks};
use super::super::rule::{Condition, Places, Rule};
use super::super::when::Times;
use super::super::{Class, Field};
use super::covers::{covers, covers_but};
use super::sample::Sample;

/// Earlier rules that one rule is compared with at most; what lies beyond is not told.
const MAX_COMPARED: usize = 1000;

/// Comparisons for one policy at most; what lies beyond is not told.
const MAX_COMPARISONS: usize = 4_000_000;

/// Values in a list that are looked at one by one at most.
const MAX_ITEMS: usize = 64;

/// Pairs of a rule that allows and one that denies which are looked at for paths that cross at most.
const MAX_CROSSINGS: usize = 20_000;

/// Warns of rules and values that others take the place of.
pub(super) fn warn(rules: &[Rule], index: &Index, report: &mut Report) {
    let left = Cell::new(MAX_COMPARISONS);
    let mut whole = vec![true; rules.len()];
    for (place, rule) in rules.iter().enumerate() {
        let earlier = Earlier {
            rules,
            index,
            place,
            left: &left,
        };
        let reached = !warn_of_unreached(rule, &earlier, report);
        if let Some(whole) = whole.get_mut(place) {
            *whole = reached;
        }
        if reached {
            warn_of_dead_items(rule, &earlier, report);
        }
    }
    warn_of_crossings(rules, &whole, report);
}

struct Earlier<'a> {
    rules: &'a [Rule],
    index: &'a Index,
    place: usize,
    /// Comparisons that may still be made.
    left: &'a Cell<usize>,
}

impl<'a> Earlier<'a> {
    /// The rules before this one that may match what it matches in full.
    fn of(&self, rule: &Rule) -> Vec<&'a Rule> {
        let Some(sample) = Sample::of(rule) else {
            return Vec::new();
        };
        let mut places: Vec<usize> = self
            .index
            .candidates(&sample.request())
            .take_while(|place| *place < self.place)
            .take(MAX_COMPARED.min(self.left.get()))
            .collect();
        places.dedup();
        self.left.set(self.left.get().saturating_sub(places.len()));
        places
            .into_iter()
            .filter_map(|place| self.rules.get(place))
            .collect()
    }
}

/// Tells a rule that nothing reaches, or only foreign addresses (FXP); true where it did.
fn warn_of_unreached(rule: &Rule, earlier: &Earlier<'_>, report: &mut Report) -> bool {
    let id = &rule.name.id;
    let before = earlier.of(rule);
    if let Some(all) = before.iter().find(|first| covers(first, rule)) {
        let message = format!("the rule `{id}` is never reached");
        let help = if all.is_catch_all() {
            format!(
                "`{}` before it matches everything; move it to the end",
                all.name
            )
        } else {
            format!(
                "`{}` before it matches all that it matches; move `{id}` before it, or take it out",
                all.name
            )
        };
        report.warn(rule.places.head.clone(), message, help);
        return true;
    }
    let foreign_left = |first: &&&Rule| {
        first.allows()
            && !rule.allows()
            && rule.commands.is_none()
            && covers_but(Field::Fxp, first, rule)
    };
    if let Some(all) = before.iter().find(foreign_left) {
        let message =
            format!("the rule `{id}` is only reached by PORT and EPRT with foreign addresses");
        let what = if all.is_catch_all() {
            "everything"
        } else {
            "all that it matches"
        };
        let help = format!(
            "`{}` before it matches {what} else; move it to the end",
            all.name
        );
        report.warn(rule.places.head.clone(), message, help);
        return true;
    }
    warn_of_taken_times(rule, &before, report)
}

/// Several rules with times of their own may take the place of one.
fn warn_of_taken_times(rule: &Rule, before: &[&Rule], report: &mut Report) -> bool {
    let mut taken = Times::default();
    let mut names = Vec::new();
    for first in before {
        if let Some(times) = &first.times
            && covers_but(Field::When, first, rule)
        {
            taken.merge(times);
            names.push(format!("`{}`", first.name));
        }
    }
    let all = match &rule.times {
        Some(times) => !times.is_empty() && taken.cover(times),
        None => taken.is_always(),
    };
    if all {
        let message = format!("the rule `{}` is never reached at any time", rule.name.id);
        let help = format!("together they hold whenever it does: {}", names.join(", "));
        let when = rule.places.of(Field::When);
        let span = when.map_or_else(|| rule.places.head.clone(), |when| when.span.clone());
        report.warn(span, message, help);
    }
    all
}

/// Tells single values of a list that an earlier rule decides in the other way, always.
fn warn_of_dead_items(rule: &Rule, earlier: &Earlier<'_>, report: &mut Report) {
    let lists = rule.places.conditions.iter();
    let mut lists = lists.filter(|written| (2..=MAX_ITEMS).contains(&written.items.len()));
    let Some(first) = lists.next() else { return };
    // One copy for all values: rules have long lists.
    let mut part = Rule {
        places: Places::default(),
        ..rule.clone()
    };
    for written in std::iter::once(first).chain(lists) {
        for (place, (text, span)) in written.items.iter().enumerate() {
            if narrow(&mut part, rule, written, place, text).is_none() {
                continue;
            }
            let before = earlier.of(&part);
            let other = before
                .into_iter()
                .find(|first| first.allows() != rule.allows() && covers(first, &part));
            if let Some(first) = other {
                let does = if first.allows() { "allows" } else { "denies" };
                let message = format!(
                    "{} in `{}` of the rule `{}` never counts",
                    quoted(text),
                    written.field.name(),
                    rule.name.id
                );
                let help = format!(
                    "`{}` before it {does} all of that; take it out here, or move one of the rules",
                    first.name
                );
                report.warn(span.clone(), message, help);
            }
        }
        widen(&mut part, rule, written.field);
    }
}

/// Leaves one value of a list alone; `None` for lists and values that are not parted.
fn narrow(
    part: &mut Rule,
    rule: &Rule,
    written: &Condition,
    place: usize,
    text: &str,
) -> Option<()> {
    let nets = || {
        let net: IpNet = networks::parse(text)?.ok()?;
        Some(Networks::new(vec![net]))
    };
    let glob = |globs: &Option<Vec<Glob>>| {
        let globs = globs.as_ref()?;
        // A group stands for several.
        (globs.len() == written.items.len()).then(|| globs.get(place).cloned().map(|g| vec![g]))?
    };
    match written.field {
        Field::Client => part.client = Some(nets()?),
        Field::Server => part.server = Some(nets()?),
        Field::Fxp => part.fxp = Some(nets()?),
        Field::User => part.users = Some(glob(&rule.users)?),
        Field::Host => part.hosts = Some(glob(&rule.hosts)?),
        Field::Path => part.paths = Some(glob(&rule.paths)?),
        Field::Listener => part.listeners = Some(vec![text.to_owned()]),
        Field::Command => {
            let mut commands = Commands::default();
            commands.add(text).ok()?;
            part.commands = Some(commands);
        }
        Field::Mode | Field::Channel | Field::When => return None,
    }
    Some(())
}

/// Puts the whole list back.
fn widen(part: &mut Rule, rule: &Rule, field: Field) {
    match field {
        Field::Client => part.client.clone_from(&rule.client),
        Field::Server => part.server.clone_from(&rule.server),
        Field::Fxp => part.fxp.clone_from(&rule.fxp),
        Field::User => part.users.clone_from(&rule.users),
        Field::Host => part.hosts.clone_from(&rule.hosts),
        Field::Path => part.paths.clone_from(&rule.paths),
        Field::Listener => part.listeners.clone_from(&rule.listeners),
        Field::Command => part.commands.clone_from(&rule.commands),
        Field::Mode | Field::Channel | Field::When => {}
    }
}

/// Tells a deny of a kind of file (`*.exe`) that an earlier allow of a folder keeps from some.
///
/// An exception allowed before a wide deny is what rules are for; here neither is an exception of
/// the other, and the deny means all folders.
fn warn_of_crossings(rules: &[Rule], reached: &[bool], report: &mut Report) {
    let kinds = |rule: &&Rule| {
        let mut paths = rule.paths.iter().flatten();
        !rule.allows() && rule.times.is_none() && paths.any(|glob| glob.is_last_segment())
    };
    let mut folders: Vec<&Rule> = Vec::new();
    let mut looks = 0;
    for (rule, _) in rules.iter().zip(reached).filter(|(_, reached)| **reached) {
        if rule.allows() && rule.times.is_none() && rule.paths.is_some() {
            folders.push(rule);
        }
        if !kinds(&rule) {
            continue;
        }
        let found = folders.iter().find_map(|first| {
            looks += 1;
            let told = looks <= MAX_CROSSINGS && !covers(rule, first);
            told.then(|| crossing(first, rule))
                .flatten()
                .map(|shown| (first, shown))
        });
        if let Some((first, shown)) = found {
            let message = format!(
                "the rule `{}` does not deny {}: `{}` allows it before",
                rule.name.id,
                quoted(&shown),
                first.name
            );
            let help = format!("move `{}` before `{}`", rule.name.id, first.name.id);
            let at = rule.places.of(Field::Path);
            let span = at.map_or_else(|| rule.places.head.clone(), |at| at.span.clone());
            report.warn(span, message, help);
        }
    }
}

/// A command that both rules match, made of a folder of the one and a kind of file of the other.
fn crossing(allow: &Rule, deny: &Rule) -> Option<String> {
    let (ours, theirs) = (Sample::of(allow)?, Sample::of(deny)?);
    let folders = allow
        .paths
        .iter()
        .flatten()
        .filter(|glob| !glob.is_last_segment());
    for folder in folders {
        let kinds = deny
            .paths
            .iter()
            .flatten()
            .filter(|glob| glob.is_last_segment());
        for kind in kinds {
            let mut path = folder.prefix().as_bytes().to_vec();
            path.extend(kind.sample());
            let mut samples = both(&ours, &theirs);
            let fits = samples.find_map(|mut sample| {
                sample.path = Some(path.clone());
                let request = sample.request();
                let class = Class::of(request.verb, true);
                let both = allow.matches(&request, class) && deny.matches(&request, class);
                both.then(|| format!("{} {}", sample.verb, String::from_utf8_lossy(&path)))
            });
            if fits.is_some() {
                return fits;
            }
        }
    }
    None
}

/// Samples whose parts come from either rule.
fn both<'a>(ours: &'a Sample, theirs: &'a Sample) -> impl Iterator<Item = Sample> + 'a {
    (0..32_u8).map(move |choice| {
        let from = |bit: u8| if choice >> bit & 1 == 0 { ours } else { theirs };
        let listener = if ours.listener.is_empty() {
            theirs
        } else {
            ours
        };
        Sample {
            client: from(0).client,
            server: from(1).server,
            listener: listener.listener.clone(),
            host: from(2).host.clone(),
            user: from(3).user.clone(),
            verb: from(4).verb.clone(),
            site: None,
            foreign: None,
            path: None,
        }
    })
}
