//! What an attack is, and what comes of it on one side.

use std::time::{Duration, Instant};

use crate::arena::{Place, Side, Stage};
use crate::lab;

/// What came of an attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// What must not be reached was, or what must not pass did.
    Falls(String),
    /// A session that is not at fault does not work.
    Breaks(String),
    /// It opens nothing, and leaves it to the other peer to refuse what it passes on.
    PassesOn(String),
    /// It was not.
    Resists(String),
    /// This side has nothing that could fall.
    NotApplicable(&'static str),
}

/// One attack.
#[derive(Clone, Copy)]
pub(crate) struct Attack {
    /// Its name, as a claim about portcullis.
    pub(crate) name: &'static str,
    /// What is done, for the table.
    pub(crate) what: &'static str,
    pub(crate) place: Place,
    /// Does it.
    pub(crate) act: fn(Stage) -> Finding,
    /// What portcullis' record says of it, each a part of one of the session's lines.
    pub(crate) recorded: &'static [&'static str],
    /// Whether it needs a lab of its own: real servers have port 21 of all addresses.
    pub(crate) alone: bool,
    /// Why no gate can tell it from what it has to allow; portcullis falls to it then.
    pub(crate) limit: Option<&'static str>,
}

/// What came of one attack on one side.
pub(crate) struct Outcome {
    pub(crate) finding: Finding,
    /// What the record had to say and did not.
    pub(crate) unsaid: Vec<&'static str>,
    record: String,
}

impl Attack {
    /// An attack that portcullis resists.
    pub(crate) const fn new(
        place: Place,
        name: &'static str,
        what: &'static str,
        act: fn(Stage) -> Finding,
        recorded: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            what,
            place,
            act,
            recorded,
            alone: false,
            limit: None,
        }
    }

    /// What is asked of portcullis: that it resists, and says on its record what had to be said.
    pub(crate) fn judge(&self, outcome: &Outcome) -> Result<(), String> {
        let Outcome {
            finding,
            unsaid,
            record,
        } = outcome;
        let fell = match finding {
            Finding::Falls(how) | Finding::Breaks(how) | Finding::PassesOn(how) => Some(how),
            Finding::Resists(_) | Finding::NotApplicable(_) => None,
        };
        match (fell, self.limit) {
            (Some(how), None) => return Err(format!("fell: {how}\n{record}")),
            (None, Some(limit)) => return Err(format!("resisted, although {limit}\n{record}")),
            (Some(_), Some(_)) | (None, None) => {}
        }
        match unsaid.as_slice() {
            [] => Ok(()),
            unsaid => Err(format!("the record does not say {unsaid:?}:\n{record}")),
        }
    }

    /// Runs it with the server whose address ends in `number`.
    pub(crate) fn run(&self, side: Side, number: u8) -> Outcome {
        if (side, self.place) == (Side::Helper, Place::Relayed) {
            return Outcome {
                finding: Finding::NotApplicable("carries no data"),
                unsaid: Vec::new(),
                record: String::new(),
            };
        }
        let stage = match self.alone {
            true => Stage::alone(side, self.place, number),
            false => Stage::shared(side, self.place, number),
        };
        let finding = (self.act)(stage);
        let started = Instant::now();
        let mut record = stage.record();
        let unsaid = |record: &str| -> Vec<_> {
            let missing = self.recorded.iter().filter(|word| !record.contains(**word));
            missing.copied().collect()
        };
        while side == Side::Portcullis
            && !unsaid(&record).is_empty()
            && started.elapsed() < lab::PATIENCE
        {
            std::thread::sleep(Duration::from_millis(50));
            record = stage.record();
        }
        let unsaid = match side {
            Side::Portcullis => unsaid(&record),
            Side::Helper => Vec::new(),
        };
        Outcome {
            finding,
            unsaid,
            record,
        }
    }
}
