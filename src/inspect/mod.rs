//! The session state machine: bytes and instants in, actions out.
//!
//! Pure: no socket, no clock, no randomness, no async. The live proxy and the tests drive the same type.

mod event;

pub use event::{
    Command, Direction, EndReason, Event, Mode, PinholeEnd, Record, Side, TransferOutcome,
    Transferred, Violation,
};
