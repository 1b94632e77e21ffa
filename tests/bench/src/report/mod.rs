//! What was measured, gathered over rounds, and how it is told: [`Report::write`].

mod markdown;
mod plot;
mod targets;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

pub use markdown::Circumstances;

/// One value of one measurement.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What was measured: a figure, or what grows.
    pub figure: &'static str,
    /// What it says.
    pub what: &'static str,
    /// In what.
    pub unit: &'static str,
    /// How many of what grows there were.
    pub at: Option<u64>,
    /// How much.
    pub value: f64,
}

/// What the values of all rounds belong to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    figure: &'static str,
    what: &'static str,
    at: Option<u64>,
    system: &'static str,
}

/// The values of all rounds.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order they came first.
    order: Vec<Key>,
    values: BTreeMap<Key, (&'static str, Vec<f64>)>,
    /// What failed, in words.
    pub failures: Vec<String>,
    /// What the reader should know of how it was measured.
    pub notes: Vec<String>,
}

/// One line of `report.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What it says.
    pub metric: String,
    /// How many of what grows there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// Of which system.
    pub system: &'static str,
    /// The middle of all rounds.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// In what.
    pub unit: &'static str,
    /// How many rounds there were.
    pub rounds: usize,
    #[serde(skip)]
    figure: &'static str,
    #[serde(skip)]
    what: &'static str,
}

impl Report {
    /// Adds what one measurement of a system gave, and tells it.
    pub fn add(&mut self, system: &'static str, samples: &[Sample]) {
        let mut told = Vec::new();
        for sample in samples {
            let key = Key {
                figure: sample.figure,
                what: sample.what,
                at: sample.at,
                system,
            };
            let entry = self.values.entry(key.clone()).or_insert_with(|| {
                self.order.push(key);
                (sample.unit, Vec::new())
            });
            entry.1.push(sample.value);
            told.push(format!(
                "{} {} {}",
                sample.what,
                short(sample.value),
                sample.unit
            ));
        }
        if let Some(first) = samples.first() {
            let at = first
                .at
                .map(|at| format!(" {}", grouped(at)))
                .unwrap_or_default();
            println!("{}{at} {system}: {}", first.figure, told.join(", "));
        }
    }

    /// Notes what failed, and tells it.
    pub fn fail(&mut self, failure: String) {
        eprintln!("FAILED {failure}");
        self.failures.push(failure);
    }

    /// Notes something once.
    pub fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Medians with what they lie between.
    pub fn lines(&self) -> Vec<Line> {
        let line = |key: &Key| {
            let (unit, values) = self.values.get(key)?;
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            Some(Line {
                metric: format!("{} {}", key.figure, key.what),
                at: key.at,
                system: key.system,
                median: median(&sorted)?,
                min: *sorted.first()?,
                max: *sorted.last()?,
                unit,
                rounds: sorted.len(),
                figure: key.figure,
                what: key.what,
            })
        };
        self.order.iter().filter_map(line).collect()
    }

    /// Writes `report.json`, `report.md` and, where anything grew, `growth.svg`.
    ///
    /// # Errors
    /// Says what could not be written.
    pub fn write(&self, out: &Path, circumstances: &Circumstances) -> anyhow::Result<()> {
        let lines = self.lines();
        let json = serde_json::to_string_pretty(&lines)?;
        let grew = plot::growth(&lines)?;
        let markdown = markdown::report(&lines, self, circumstances, grew.is_some());
        let files = [
            ("report.json", Some(json)),
            ("report.md", Some(markdown)),
            ("growth.svg", grew),
        ];
        for (name, text) in files {
            if let Some(text) = text {
                let path = out.join(name);
                std::fs::write(&path, text)
                    .with_context(|| format!("writing {}", path.display()))?;
            }
        }
        Ok(())
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some((lower + upper) / 2.0)
}

/// A value with as many digits as say something.
fn short(value: f64) -> String {
    match value.abs() {
        _ if value.is_infinite() => "more".to_owned(),
        size if size >= 1000.0 => grouped(value.round() as u64),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f64) -> Sample {
        Sample {
            figure: "pinned-active",
            what: "transfers",
            unit: "/s",
            at: None,
            value,
        }
    }

    #[test]
    fn the_middle_of_all_rounds_is_told_with_its_bounds() {
        let mut report = Report::default();
        for value in [3.0, 1.0, 4.0, 2.0] {
            report.add("routing", &[sample(value)]);
        }
        let line = &report.lines()[0];
        assert_eq!(
            (line.median, line.min, line.max, line.rounds),
            (2.5, 1.0, 4.0, 4)
        );
    }

    #[test]
    fn numbers_have_as_many_digits_as_say_something() {
        let told: Vec<String> = [0.0, 0.01234, 1.234, 56.78, 345.6, 1_234_567.0]
            .map(short)
            .to_vec();
        assert_eq!(told, ["0", "0.012", "1.23", "56.8", "346", "1,234,567"]);
    }
}
