//! Who said what and when; written down only where somebody will read it.

use std::cell::RefCell;
use std::rc::Rc;

use portcullis::inspect::{Action, Event};

#[derive(Clone, Debug, Default)]
pub(crate) struct Transcript {
    lines: Option<Rc<RefCell<Vec<String>>>>,
    session: usize,
}

impl Transcript {
    pub(crate) fn kept() -> Self {
        Self {
            lines: Some(Rc::default()),
            session: 0,
        }
    }

    /// The same, for one of several sessions.
    pub(crate) fn of(&self, session: usize) -> Self {
        Self {
            lines: self.lines.clone(),
            session,
        }
    }

    pub(crate) fn say(&self, line: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            let line = format!("{} {}", self.session, line());
            lines.borrow_mut().push(line);
        }
    }

    pub(crate) fn text(&self) -> String {
        let lines = self.lines.as_ref();
        lines.map_or_else(String::new, |lines| lines.borrow().join("\n"))
    }
}

/// An action as it is read in a transcript.
pub(crate) fn shown(action: &Action) -> String {
    match action {
        Action::ToClient(bytes) => format!("    C< {}", bytes.escape_ascii()),
        Action::ToServer(bytes) => format!("    S< {}", bytes.escape_ascii()),
        Action::OpenPinhole { id, pinhole, .. } => format!("    open {id}: {pinhole}"),
        Action::Record(record) => match &record.event {
            Event::Decided { command, verdict } => {
                let user = record.user.as_deref().unwrap_or_default();
                let argument = command.argument.as_deref().unwrap_or_default();
                let (rule, decision) = (&verdict.rule.id, &verdict.decision);
                format!(
                    "    {user}: {} {argument} by {rule}: {decision:?}",
                    command.verb
                )
            }
            event => format!("    {event:?}"),
        },
        other => format!("    {other:?}"),
    }
}
