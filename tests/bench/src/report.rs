//! What was measured, gathered over rounds.

use std::collections::BTreeMap;

use serde::Serialize;

/// One value of one measurement.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What it says.
    pub metric: String,
    /// In what.
    pub unit: &'static str,
    /// How much.
    pub value: f64,
}

/// The values of all rounds.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order they came first.
    order: Vec<(String, String)>,
    values: BTreeMap<(String, String), (&'static str, Vec<f64>)>,
    /// What failed, in words.
    pub failures: Vec<String>,
}

/// One line of `report.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What it says.
    pub metric: String,
    /// Of which system.
    pub system: String,
    /// The middle of all rounds.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// In what.
    pub unit: &'static str,
}

impl Report {
    /// Adds what one measurement of a system gave.
    pub fn add(&mut self, system: &str, samples: Vec<Sample>) {
        for Sample {
            metric,
            unit,
            value,
        } in samples
        {
            let key = (metric, system.to_owned());
            let entry = self.values.entry(key.clone()).or_insert_with(|| {
                self.order.push(key);
                (unit, Vec::new())
            });
            entry.1.push(value);
        }
    }

    /// Medians with what they lie between.
    pub fn lines(&self) -> Vec<Line> {
        let line = |key: &(String, String)| {
            let (unit, values) = self.values.get(key)?;
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            Some(Line {
                metric: key.0.clone(),
                system: key.1.clone(),
                median: median(&sorted)?,
                min: *sorted.first()?,
                max: *sorted.last()?,
                unit,
            })
        };
        self.order.iter().filter_map(line).collect()
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
}
