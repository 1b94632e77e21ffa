//! The inspector in dialogues on virtual time: what each protocol rule demands, and what holds for
//! every input.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod agreement;
mod announcements;
mod conditions;
mod conversion;
mod dialogue;
mod foreign;
mod framing;
mod limits;
mod pinholes;
mod properties;
mod replies;
mod security;
mod sessions;
mod telnet;
mod waits;

use dialogue::{BEHIND_NAT, Dialogue};

pub(crate) const PORT: &str = "PORT 10,0,0,5,4,1";
pub(crate) const OPENED: &str = "open 192.0.2.20 → 198.51.100.1:50000 → 10.0.0.5:1025";

pub(crate) fn behind_nat() -> Dialogue {
    Dialogue::new(BEHIND_NAT).logged_in()
}

pub(crate) fn open_active(dialogue: &mut Dialogue) {
    dialogue.client(PORT).server("200 ok").forget();
}

pub(crate) fn open_passive(dialogue: &mut Dialogue) {
    dialogue
        .client("PASV")
        .server("227 (192,0,2,20,200,10)")
        .forget();
}
