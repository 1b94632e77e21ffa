//! How long a client may take to log in.

use std::time::Duration;

use crate::behind_nat;
use crate::dialogue::{BEHIND_NAT, Dialogue};

/// Bytes that trickle in keep a session from being idle, and nobody from having to log in.
#[test]
fn who_does_not_log_in_in_time_is_told_421() {
    let told = "C< 421 Nobody has logged in for too long, closing.";
    let mut dialogue = Dialogue::new(BEHIND_NAT);
    dialogue.server("220 ready").forget();
    for _ in 0..119 {
        dialogue.after(Duration::from_secs(1)).client_bytes(b"U");
    }
    dialogue.expect(&[]);
    dialogue.after(Duration::from_secs(1));
    dialogue.expect(&[told, "close both", "ended: LoginTimeout"]);

    let mut dialogue = behind_nat();
    dialogue.after(Duration::from_secs(800)).expect(&[]);
    // Who is there and names another has as much time as at the start, and REIN gives no more of it.
    dialogue.client("REIN").server("220 ready").forget();
    dialogue.after(Duration::from_secs(100)).client("REIN");
    dialogue.server("220 ready").forget();
    dialogue.after(Duration::from_secs(19)).expect(&[]);
    dialogue.after(Duration::from_secs(1));
    dialogue.expect(&[told, "close both", "ended: LoginTimeout"]);

    let mut dialogue = behind_nat();
    dialogue.after(Duration::from_secs(800)).client("USER bob");
    dialogue.server("331 password").forget();
    dialogue.after(Duration::from_secs(119)).expect(&[]);
    dialogue.client("PASS secret").server("230 in").forget();
    dialogue.after(Duration::from_secs(800)).expect(&[]);
}

#[test]
fn nobody_has_to_log_in_where_transfers_need_no_login() {
    let policy = "protocol: {transfers-before-login: accept}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue.server("220 ready").forget();
    dialogue.after(Duration::from_secs(800)).expect(&[]);
}
