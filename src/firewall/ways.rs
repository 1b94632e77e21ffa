//! The lines between those who ask for pinholes and the one who may open them: one for all orders, so that
//! they are carried out in the order in which they were given, and one for the answers to each of those
//! who ask, so that an answer wakes no other thread.

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::handle::Firewall;
use super::outbox::{Outbox, Waiting};
use crate::net::line::Line;

/// Those who ask, at most: more share lines. With two lines more they fit into one handing over.
pub const MAX_WAYS: usize = 128;

/// The ends of those who ask.
#[derive(Debug)]
pub struct Asking {
    pub(super) orders: Line,
    pub(super) answers: Vec<Line>,
}

/// The ends of the one who may.
#[derive(Debug)]
pub struct Serving {
    pub(super) orders: Line,
    pub(super) answers: Vec<Line>,
}

/// Makes the lines for `count` of those who ask, at most [`MAX_WAYS`] and one at least.
///
/// # Errors
/// Passes on what the system says.
pub fn ways(count: usize) -> io::Result<(Asking, Serving)> {
    let (orders, taken) = Line::pair()?;
    let (mut asking, mut serving) = (Vec::new(), Vec::new());
    for _ in 0..count.clamp(1, MAX_WAYS) {
        let (here, there) = Line::pair()?;
        asking.push(here);
        serving.push(there);
    }
    Ok((
        Asking {
            orders,
            answers: asking,
        },
        Serving {
            orders: taken,
            answers: serving,
        },
    ))
}

impl Asking {
    /// Makes a handle of each, whose answers are waited for on the runtime that `runtime` gives for its
    /// number; none for those it gives none for. `table` is the table's name, for the errors.
    pub fn connect<'a>(
        self,
        table: &str,
        runtime: impl Fn(usize) -> Option<&'a Handle>,
    ) -> Vec<Firewall> {
        let (tend, handles) = self.handles(table);
        let (mut tend, mut all) = (Some(tend), Vec::new());
        for (number, (firewall, listen)) in handles.into_iter().enumerate() {
            let Some(runtime) = runtime(number) else {
                break;
            };
            if let Some(tend) = tend.take() {
                runtime.spawn(tend);
            }
            runtime.spawn(listen);
            all.push(firewall);
        }
        all
    }

    /// The handles, each with what has to run for its answers, and what has to run for all.
    pub(super) fn handles(
        self,
        table: &str,
    ) -> (
        impl Future<Output = ()> + Send + use<>,
        Vec<(Firewall, impl Future<Output = ()> + Send + use<>)>,
    ) {
        let table: Arc<str> = table.into();
        let outbox = Arc::new(Outbox::new(self.orders));
        let handle = |(number, line)| {
            let waiting = Arc::new(Waiting::default());
            let firewall = Firewall::new(&outbox, &waiting, number, &table);
            (firewall, async move { waiting.listen(line).await })
        };
        let handles = (0..).zip(self.answers).map(handle).collect();
        (outbox.tend(), handles)
    }
}

impl Serving {
    /// The ends as [`crate::net::line::hand_over`] takes them.
    pub fn lines(&self) -> Vec<&Line> {
        [&self.orders].into_iter().chain(&self.answers).collect()
    }

    /// The same from what was handed over; `None` where there are none.
    pub fn from_lines(lines: impl IntoIterator<Item = Line>) -> Option<Self> {
        let mut lines = lines.into_iter();
        Some(Self {
            orders: lines.next()?,
            answers: lines.collect(),
        })
    }
}
