//! The life of a hole where portcullis carries the data itself (`data: relay`).

use crate::arena::{Place, Stage};
use crate::attack::{Attack, Finding};
use crate::holes;

pub(crate) const ATTACKS: &[Attack] = &[
    relayed(
        "relayed_a_refused_port_leaves_nothing_open",
        "Relay: PORT that the server refuses with 500",
        holes::refused_port,
        &["\"completion_code\":[\"500\"]"],
    ),
    relayed(
        "relayed_nothing_opens_before_the_server_accepts_port",
        "Relay: the server dials before it answers PORT",
        holes::before_acceptance,
        &[],
    ),
    relayed(
        "relayed_a_neighbour_does_not_take_the_hole",
        "Relay: a neighbour of the client dials the port of a 227",
        holes::neighbour,
        &["\"event\":\"pinhole-opened\""],
    ),
    relayed(
        "relayed_a_reset_closes_the_hole",
        "Relay: the client resets the control connection behind PORT",
        holes::reset,
        &["\"event\":\"pinhole-unused\""],
    ),
    relayed(
        "relayed_quit_closes_the_hole",
        "Relay: QUIT behind PORT",
        holes::quit,
        &["\"event\":\"pinhole-unused\""],
    ),
    relayed(
        "relayed_a_refused_transfer_closes_the_hole",
        "Relay: RETR that the server refuses with 550",
        holes::refused_transfer,
        &["\"event\":\"pinhole-unused\""],
    ),
    relayed(
        "relayed_a_second_connection_is_dropped",
        "Relay: a second connection to the port of a 227",
        holes::second_connection,
        &["\"event\":\"pinhole-used\""],
    ),
    relayed(
        "relayed_a_faster_stranger_does_not_take_the_hole",
        "Relay: a third host dials the hole of PORT before the server does",
        holes::faster_stranger,
        &["\"event\":\"pinhole-used\""],
    ),
];

const fn relayed(
    name: &'static str,
    what: &'static str,
    act: fn(Stage) -> Finding,
    recorded: &'static [&'static str],
) -> Attack {
    Attack::new(Place::Relayed, name, what, act, recorded)
}
