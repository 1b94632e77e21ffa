//! Who said what and when; written down only where somebody will read it.

use portcullis::inspect::{Action, Event};

#[derive(Debug, Default)]
pub(crate) struct Transcript(Option<Vec<String>>);

impl Transcript {
    pub(crate) fn kept() -> Self {
        Self(Some(Vec::new()))
    }

    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(line());
        }
    }

    pub(crate) fn text(&self) -> String {
        self.0.as_deref().unwrap_or_default().join("\n")
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
