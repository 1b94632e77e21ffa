//! What can be opened and closed: a pinhole or a window, as values for one path through the worker.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::{Change, TRANSLATION_GRACE, plan_close, plan_open};
use super::window::WindowSpec;
use crate::pinhole::Pinhole;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// The permission for one connection.
    Pinhole(Pinhole),
    /// The permission for several, between one pair of hosts.
    Window(WindowSpec),
}

impl Subject {
    /// Plans the changes that open it for `lifetime`, at most four; all must happen in one transaction.
    pub fn plan_open(&self, lifetime: Duration) -> Vec<Change> {
        match self {
            Self::Pinhole(pinhole) => plan_open(pinhole, lifetime),
            Self::Window(spec) => {
                let (translations, admission) = spec.elements();
                let translations = translations.into_iter().map(|element| Change::Add {
                    element,
                    lifetime: lifetime.saturating_add(TRANSLATION_GRACE),
                });
                let admission = Change::Add {
                    element: admission,
                    lifetime,
                };
                translations.chain([admission]).collect()
            }
        }
    }

    /// Plans the changes that close it, at most four.
    pub fn plan_close(&self) -> Vec<Change> {
        match self {
            Self::Pinhole(pinhole) => plan_close(pinhole),
            Self::Window(spec) => {
                let (translations, admission) = spec.elements();
                let all = [admission].into_iter().chain(translations);
                all.map(|element| Change::Remove { element }).collect()
            }
        }
    }

    /// All its addresses, as a packet has them and as it is translated.
    pub(super) fn addresses(&self) -> [IpAddr; 4] {
        match self {
            Self::Pinhole(pinhole) => [
                pinhole.initiator,
                pinhole.announced.ip(),
                pinhole.target.ip(),
                pinhole.source,
            ],
            Self::Window(spec) => [spec.client, spec.dialled, spec.server, spec.source],
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinhole(pinhole) => write!(f, "pinhole {pinhole}"),
            Self::Window(spec) => write!(f, "window {spec}"),
        }
    }
}
