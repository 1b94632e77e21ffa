//! What becomes of portcullis as things grow: sessions that idle, pinholes that are held, records, rules.

mod decisions;
mod pinholes;
mod records;
mod rules;
mod sessions;
mod start;

use regex::Regex;

use crate::lab::Places;
use crate::report::Report;

/// The system whose growth it is.
const PORTCULLIS: &str = "portcullis";

/// One part of growth.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Its name in options; metrics begin with it.
    pub name: &'static str,
    measure: fn(&Places, bool, &mut Report) -> anyhow::Result<()>,
}

/// All, the quick ones first.
const ALL: [Part; 5] = [
    Part {
        name: decisions::NAME,
        measure: decisions::measure,
    },
    Part {
        name: start::NAME,
        measure: start::measure,
    },
    Part {
        name: records::NAME,
        measure: records::measure,
    },
    Part {
        name: pinholes::NAME,
        measure: pinholes::measure,
    },
    Part {
        name: sessions::NAME,
        measure: sessions::measure,
    },
];

/// The names of all.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|part| part.name)
}

/// The parts of a run.
pub fn chosen(only: Option<&Regex>) -> Vec<Part> {
    let wanted = |part: &Part| only.is_none_or(|only| only.is_match(part.name));
    ALL.into_iter().filter(wanted).collect()
}

impl Part {
    /// Measures it once, in small where it has to be quick; what fails is noted.
    pub fn measure(&self, places: &Places, quick: bool, report: &mut Report) {
        if let Err(error) = (self.measure)(places, quick, report) {
            report.fail(format!("{}: {error:#}", self.name));
        }
    }
}
