//! `portcullis top`: what the gate does, second by second, in the terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table};
use ratatui::{DefaultTerminal, Frame};
use serde_json::Value;

use crate::admin::Client;
use crate::app::Outcome;

use super::live::{Running, count, list, pinhole, session, word};
use super::show::{plain, size};
use super::times::Zone;

/// Between two looks at the gate.
const EVERY: Duration = Duration::from_secs(1);

/// Lines that Page Up and Page Down move.
const PAGE: usize = 20;

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    Sessions,
    Pinholes,
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Active,
    Bytes,
    Transfers,
    Denied,
}

impl Order {
    fn next(self) -> Self {
        match self {
            Self::Active => Self::Bytes,
            Self::Bytes => Self::Transfers,
            Self::Transfers => Self::Denied,
            Self::Denied => Self::Active,
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Bytes => "bytes",
            Self::Transfers => "transfers",
            Self::Denied => "denied",
        }
    }
}

struct Top {
    client: Client,
    view: View,
    order: Order,
    first: usize,
    status: Value,
    items: Vec<Value>,
    /// Why the last answer did not come; what is shown is older then.
    fault: Option<String>,
}

/// Shows the gate until `q`, Escape or Ctrl-C.
///
/// # Errors
/// Says why nobody answers at the start, or that there is no terminal.
pub(super) fn run(running: &Running) -> anyhow::Result<Outcome> {
    let Some(client) = running.client()? else {
        return Ok(Outcome::Problems);
    };
    if !std::io::stdout().is_terminal() {
        return Err(anyhow!(
            "`top` needs a terminal; `portcullis sessions` prints the same once"
        ));
    }
    let mut top = Top {
        status: client.get("/api/status")?,
        client,
        view: View::Sessions,
        order: Order::Active,
        first: 0,
        items: Vec::new(),
        fault: None,
    };
    let mut terminal = ratatui::try_init().context("taking the terminal")?;
    let shown = top.show(&mut terminal);
    ratatui::try_restore().context("giving the terminal back")?;
    shown?;
    Ok(Outcome::Good)
}

impl Top {
    fn show(&mut self, terminal: &mut DefaultTerminal) -> anyhow::Result<()> {
        loop {
            self.look();
            let next = Instant::now() + EVERY;
            loop {
                terminal
                    .draw(|frame| self.draw(frame))
                    .context("writing to the terminal")?;
                let left = next.saturating_duration_since(Instant::now());
                if !event::poll(left).context("reading from the terminal")? {
                    break;
                }
                let event = event::read().context("reading from the terminal")?;
                if !self.take(&event) {
                    return Ok(());
                }
            }
        }
    }

    fn look(&mut self) {
        let what = self.what();
        let asked = self.client.get("/api/status").and_then(|status| {
            self.status = status;
            self.client.get(&format!("/api/{what}"))
        });
        match asked {
            Ok(answer) => {
                self.fault = None;
                self.items = list(&answer, what).to_vec();
                self.sort();
            }
            Err(error) => self.fault = Some(error.to_string()),
        }
    }

    fn what(&self) -> &'static str {
        match self.view {
            View::Sessions => "sessions",
            View::Pinholes => "pinholes",
        }
    }

    fn sort(&mut self) {
        let key = match self.view {
            View::Sessions => self.order.key(),
            View::Pinholes => "opened",
        };
        self.items
            .sort_by_key(|item| std::cmp::Reverse(count(item, key)));
    }

    /// Takes a key; false where it ends the program.
    fn take(&mut self, event: &Event) -> bool {
        let Event::Key(key) = event else {
            return true;
        };
        if key.kind != KeyEventKind::Press {
            return true;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let code = key.code;
        let ends = [KeyCode::Char('q'), KeyCode::Esc].contains(&code);
        if ends || (control && code == KeyCode::Char('c')) {
            return false;
        }
        if code == KeyCode::Char('s') {
            self.switch(View::Sessions);
        } else if code == KeyCode::Char('p') {
            self.switch(View::Pinholes);
        } else if code == KeyCode::Char('o') {
            self.order = self.order.next();
            self.sort();
        } else if code == KeyCode::Down {
            self.scroll(1);
        } else if code == KeyCode::Up {
            self.first = self.first.saturating_sub(1);
        } else if code == KeyCode::PageDown {
            self.scroll(PAGE);
        } else if code == KeyCode::PageUp {
            self.first = self.first.saturating_sub(PAGE);
        } else if code == KeyCode::Home {
            self.first = 0;
        }
        true
    }

    fn scroll(&mut self, by: usize) {
        let last = self.items.len().saturating_sub(1);
        self.first = (self.first + by).min(last);
    }

    fn switch(&mut self, view: View) {
        if self.view != view {
            self.view = view;
            self.first = 0;
            self.items.clear();
            self.look();
        }
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let rows = Layout::vertical([
            Constraint::Length(3),
            Constraint::Min(1),
            Constraint::Length(1),
        ]);
        let [head, body, foot] = rows.areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()), head);
        let columns = self.columns();
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let lines = self.items.iter().skip(self.first).map(|item| {
            let cells = match self.view {
                View::Sessions => session(item, Zone::Local),
                View::Pinholes => pinhole(item, Zone::Local),
            };
            // What peers wrote reaches no terminal as it came.
            let shown = columns.iter().map(|(_, _, place)| {
                Cell::from(
                    cells
                        .get(*place)
                        .map(|cell| plain(cell))
                        .unwrap_or_default(),
                )
            });
            Row::new(shown.collect::<Vec<_>>())
        });
        let heads = columns.iter().map(|(head, _, _)| (*head).to_owned());
        let widths = columns
            .iter()
            .map(|(_, width, _)| Constraint::Length(*width));
        let table = Table::new(lines, widths).header(Row::new(heads).style(bold));
        frame.render_widget(table, body);
        let order = match self.view {
            View::Sessions => format!(" · o order: {}", self.order.key()),
            View::Pinholes => String::new(),
        };
        let keys = format!("s sessions · p pinholes{order} · ↑ ↓ scroll · q quit");
        frame.render_widget(Paragraph::new(keys), foot);
    }

    /// The columns: head, width, and place in what `sessions` or `pinholes` prints.
    fn columns(&self) -> &'static [(&'static str, u16, usize)] {
        match self.view {
            View::Sessions => &[
                ("SESSION", 7, 0),
                ("CLIENT", 22, 2),
                ("SERVER", 22, 3),
                ("USER", 12, 4),
                ("STATE", 8, 5),
                ("LAST", 28, 6),
                ("RULE", 14, 7),
                ("MOVED", 6, 8),
                ("BYTES", 9, 9),
                ("DENIED", 6, 10),
            ],
            View::Pinholes => &[
                ("SESSION", 7, 0),
                ("FROM", 22, 2),
                ("TO", 22, 3),
                ("TARGET", 22, 4),
                ("MODE", 7, 5),
                ("STATE", 5, 6),
                ("USER", 12, 7),
                ("RULE", 14, 8),
                ("FOR", 28, 9),
            ],
        }
    }

    fn head(&self) -> Vec<Line<'static>> {
        let status = &self.status;
        let record = status.get("record").unwrap_or(&Value::Null);
        let fault = record.get("error").and_then(Value::as_str);
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let alarm = Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED);
        let first = Line::styled(
            format!(
                "portcullis {} · {} sessions · {} transfers running · {} pinholes · {} of data in the sessions shown",
                word(status, "version"),
                count(status, "sessions"),
                count(status, "transfers_running"),
                count(status, "pinholes"),
                size(self.items.iter().map(|item| count(item, "bytes")).sum()),
            ),
            bold,
        );
        let second = match (&self.fault, fault) {
            (Some(fault), _) => Line::styled(plain(fault), alarm),
            (None, Some(error)) => Line::styled(
                format!("The record cannot be kept: {}", plain(error)),
                alarm,
            ),
            (None, None) => Line::raw(format!(
                "record: {} events written, {} wait",
                count(record, "written"),
                count(record, "waiting"),
            )),
        };
        vec![first, second]
    }
}
