//! The report for people.

use std::fmt::Write as _;

use super::targets::{ALL, Against, Bound, Reached, Target};
use super::{Line, Report, grouped, short};

/// Under what it was measured.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// When it began, as `date` writes it.
    pub date: String,
    /// Processor, memory, kernel.
    pub machine: String,
    /// The load of the machine before the first measurement.
    pub load: String,
    /// What was called.
    pub command: String,
    /// Rounds, and how long each measurement was.
    pub rounds: String,
}

/// Systems that others are compared with.
const PEERS: [&str; 3] = ["bare-relay", "helper", "mod_proxy"];

/// What one of something that grows is, and what a table of it is headed by.
const GROWTH: [(&str, &str, &str); 5] = [
    ("growth-sessions", "Idle sessions held", "sessions"),
    ("growth-pinholes", "Pinholes held", "pinholes"),
    ("growth-records", "Records", "records"),
    ("growth-decisions", "Deciding by many rules", "rules"),
    (
        "growth-start",
        "Starting and reloading with many rules",
        "rules",
    ),
];

/// Writes it all.
pub(super) fn report(
    lines: &[Line],
    report: &Report,
    circumstances: &Circumstances,
    plotted: bool,
) -> String {
    let mut text = String::from("# portcullis beside its peers\n\n");
    let Circumstances {
        date,
        machine,
        load,
        command,
        rounds,
    } = circumstances;
    let _ = writeln!(text, "{date}, {machine}; load before: {load}.\n");
    let _ = writeln!(
        text,
        "`{command}`: {rounds}. Medians; `report.json` has minimum and maximum of each.\n"
    );
    for note in &report.notes {
        let _ = writeln!(text, "- {note}");
    }
    failures(&mut text, report);
    targets(&mut text, lines);
    let mut figures: Vec<&str> = Vec::new();
    for line in lines
        .iter()
        .filter(|line| !line.figure.starts_with("growth-"))
    {
        if !figures.contains(&line.figure) {
            figures.push(line.figure);
        }
    }
    for figure in figures {
        let of_figure: Vec<&Line> = lines.iter().filter(|line| line.figure == figure).collect();
        compared(&mut text, figure, &of_figure);
    }
    for (figure, heading, noun) in GROWTH {
        let of_figure: Vec<&Line> = lines.iter().filter(|line| line.figure == figure).collect();
        if !of_figure.is_empty() {
            growth(&mut text, heading, noun, &of_figure);
        }
    }
    if plotted {
        text.push_str("\n![How it grows](growth.svg)\n");
    }
    text
}

fn failures(text: &mut String, report: &Report) {
    if report.failures.is_empty() {
        return;
    }
    text.push_str("\n## Failed\n\nNo figure is told of these:\n\n");
    for failure in &report.failures {
        let _ = writeln!(text, "- {failure}");
    }
}

fn targets(text: &mut String, lines: &[Line]) {
    text.push_str("\n## Targets\n\n| what | of | against | measured | target | met |\n|---|---|---|---|---|---|\n");
    for target in ALL {
        let (told, met) = match target.reached(lines) {
            Reached::Value(value) if target.bound.is_met(value) => (short(value), "yes"),
            Reached::Value(value) => (short(value), "**no**"),
            Reached::Below(value, at) => (
                format!("{} with {}", short(value), grouped(at)),
                "not reached",
            ),
            Reached::Nothing => ("–".to_owned(), "not measured"),
        };
        let at = target
            .at
            .map(|at| format!(", {}", grouped(at)))
            .unwrap_or_default();
        let against = match target.against {
            Against::Number => unit(lines, target).unwrap_or("").to_owned(),
            Against::System(system) => format!("× {system}"),
            Against::At(from) => format!("× {}", grouped(from)),
        };
        let _ = writeln!(
            text,
            "| {} {}{at} | {} | {against} | {told} | {} | {met} |",
            target.figure,
            target.what,
            target.system,
            bound(target.bound)
        );
    }
}

fn unit(lines: &[Line], target: &Target) -> Option<&'static str> {
    let mut lines = lines.iter();
    let is = |line: &&Line| line.figure == target.figure && line.what == target.what;
    lines.find(is).map(|line| line.unit)
}

fn bound(bound: Bound) -> String {
    match bound {
        Bound::AtLeast(least) => format!("≥ {}", short(least)),
        Bound::AtMost(most) => format!("≤ {}", short(most)),
    }
}

/// The table of one figure: a row for each system, ratios of what it is about, all else behind.
fn compared(text: &mut String, figure: &str, lines: &[&Line]) {
    let mut whats: Vec<(&str, &str)> = Vec::new();
    let mut systems: Vec<&str> = Vec::new();
    for line in lines {
        if !whats.contains(&(line.what, line.unit)) {
            whats.push((line.what, line.unit));
        }
        if !systems.contains(&line.system) {
            systems.push(line.system);
        }
    }
    systems.sort_by_key(|system| {
        crate::lab::System::ALL
            .iter()
            .position(|one| one.name() == *system)
    });
    let Some(&(main, main_unit)) = whats.first() else {
        return;
    };
    // Times add up along a way, so that they are told as differences.
    let is_delay = figure.starts_with("reply");
    let _ = write!(
        text,
        "\n## {figure}\n\n| system | {main}, {main_unit} | min – max |"
    );
    let mut columns = 3;
    let compared_with: &[&str] = if is_delay { &["routing"] } else { &PEERS };
    for peer in compared_with {
        let sign = if is_delay { '−' } else { '÷' };
        let _ = write!(text, " {sign} {peer} |");
        columns += 1;
    }
    for (what, unit) in &whats[1..] {
        let _ = write!(text, " {what}, {unit} |");
        columns += 1;
        if is_delay {
            let _ = write!(text, " − routing |");
            columns += 1;
        }
    }
    let _ = writeln!(text, "\n|{}", "---|".repeat(columns));
    let find = |system: &str, what: &str| {
        let mut lines = lines.iter();
        lines.find(|line| line.system == system && line.what == what)
    };
    for system in systems {
        let Some(own) = find(system, main) else {
            continue;
        };
        let _ = write!(
            text,
            "| {system} | {} | {} – {} |",
            short(own.median),
            short(own.min),
            short(own.max)
        );
        for peer in compared_with {
            let told = match find(peer, main) {
                Some(other) if is_delay => short(own.median - other.median),
                Some(other) => {
                    let target = target(figure, main, system, peer);
                    format!("{:.2}{target}", own.median / other.median)
                }
                None => "–".to_owned(),
            };
            let _ = write!(text, " {told} |");
        }
        for (what, _) in &whats[1..] {
            let own = find(system, what);
            let told = own.map_or("–".to_owned(), |line| short(line.median));
            let _ = write!(text, " {told} |");
            if is_delay {
                let difference = own.zip(find("routing", what));
                let told = difference.map_or("–".to_owned(), |(own, other)| {
                    short(own.median - other.median)
                });
                let _ = write!(text, " {told} |");
            }
        }
        text.push('\n');
    }
}

/// A ratio's target, in brackets.
fn target(figure: &str, what: &str, system: &str, peer: &str) -> String {
    let mut targets = ALL.iter();
    let is = |target: &&Target| {
        target.figure == figure
            && target.what == what
            && target.system == system
            && matches!(target.against, Against::System(name) if name == peer)
    };
    targets.find(is).map_or(String::new(), |target| {
        format!(" ({})", bound(target.bound))
    })
}

/// The table of something that grows: a row for each size and system.
fn growth(text: &mut String, heading: &str, noun: &str, lines: &[&Line]) {
    let mut whats: Vec<(&str, &str)> = Vec::new();
    let mut rows: Vec<(Option<u64>, &str)> = Vec::new();
    for line in lines {
        if !whats.contains(&(line.what, line.unit)) {
            whats.push((line.what, line.unit));
        }
        if !rows.contains(&(line.at, line.system)) {
            rows.push((line.at, line.system));
        }
    }
    rows.sort_unstable();
    let _ = write!(text, "\n## {heading}\n\n| {noun} | system |");
    for (what, unit) in &whats {
        let _ = write!(text, " {what}, {unit} |");
    }
    let _ = writeln!(text, "\n|{}", "---|".repeat(whats.len() + 2));
    for (at, system) in rows {
        let _ = write!(
            text,
            "| {} | {system} |",
            at.map_or("–".to_owned(), grouped)
        );
        for (what, _) in &whats {
            let mut lines = lines.iter();
            let found =
                lines.find(|line| line.at == at && line.system == system && line.what == *what);
            let told = match found {
                Some(line) if line.rounds > 1 => format!(
                    "{} ({} – {})",
                    short(line.median),
                    short(line.min),
                    short(line.max)
                ),
                Some(line) => short(line.median),
                None => "–".to_owned(),
            };
            let _ = write!(text, " {told} |");
        }
        text.push('\n');
    }
}
