//! What an operator and other programs do to a gate meanwhile: new rules every few seconds, bad ones now and then, a
//! record that is rotated, and a table that is edited.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Play, policy};

/// Between two reloads.
const RELOAD: Duration = Duration::from_secs(3);
/// Every so many reloads the rules are bad ones.
const BAD: u32 = 7;
/// How long the gate may take for anything of this.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it says when the table is put back.
pub(super) const TABLE_BACK: &str = "was removed or changed by another program and is put back";
/// The same of the policy routing.
pub(super) const ROUTING_BACK: &str = "was removed by another program and is put back";
const REOPENED: &str = "opened the file of the record again";

/// One edit.
struct Edit {
    commands: &'static str,
    /// What the gate says when it has mended it; empty where it takes nothing to mend.
    mended: &'static str,
    /// Whether pinholes that wait are lost by it.
    takes: bool,
}

const EDITS: [Edit; 6] = [
    Edit {
        commands: "nft 'add chain inet portcullis other; add set inet portcullis mine { type ipv4_addr; }; \
                   insert rule inet portcullis intercept counter comment \"a look\"'",
        mended: "",
        takes: false,
    },
    Edit {
        commands: "nft flush table inet portcullis",
        mended: TABLE_BACK,
        takes: true,
    },
    Edit {
        commands: "nft flush set inet portcullis admit4; nft flush set inet portcullis admit6",
        mended: "",
        takes: true,
    },
    Edit {
        commands: "nft delete rule inet portcullis intercept handle $(nft -a list chain inet portcullis intercept | \
                   sed -n 's/.*admit4 .* handle //p' | head -1)",
        mended: TABLE_BACK,
        takes: true,
    },
    Edit {
        commands: "ip rule del fwmark 0x21/0xff lookup 121; ip -6 route flush table 121",
        mended: ROUTING_BACK,
        takes: false,
    },
    Edit {
        commands: "nft delete table inet portcullis",
        mended: TABLE_BACK,
        takes: true,
    },
];

/// Between two edits of a long play.
const EDIT: Duration = Duration::from_secs(45);

/// Goes on until it is over. The last part of the play is without edits: who lost a pinhole waits for some time.
pub(super) fn trouble(play: &Arc<Play>, length: Duration) {
    let (between, last) = ((length / 8).min(EDIT), length * 2 / 3);
    let mut edits = EDITS.iter().cycle();
    let began = Instant::now();
    let mut edited = began;
    for round in 1.. {
        let next = Instant::now() + RELOAD;
        reload(play, round);
        if edited.elapsed() >= between && began.elapsed() < last {
            edit(play, edits.next().unwrap());
            edited = Instant::now();
        }
        while Instant::now() < next {
            if play.is_over() {
                return;
            }
            sleep(Duration::from_millis(50));
        }
    }
}

/// New rules, or bad ones; the record moves on to another file, and the old one is counted.
fn reload(play: &Arc<Play>, round: u32) {
    let rules = match round % BAD {
        0 => "rules:\n  - { id: one, allow: maybe }\n".to_owned(),
        _ => policy(round),
    };
    std::fs::write(play.lab.dir.join("policy.yaml"), rules).unwrap();
    collect(play);
}

/// Has the record go on in another file, and counts the one so far.
pub(super) fn collect(play: &Play) {
    let (now, then) = (play.lab.dir.join("eve.json"), play.lab.dir.join("eve.old"));
    let before = play.said(REOPENED);
    std::fs::rename(now, &then).unwrap();
    play.gate.hang_up();
    let reopened = wait(|| play.said(REOPENED) > before);
    assert!(
        reopened,
        "the record is not opened again:\n{}",
        play.gate.output()
    );
    play.tally.lock().unwrap().take(&then);
}

fn edit(play: &Play, edit: &Edit) {
    let before = play.said(edit.mended);
    let window = edit.takes.then(|| play.ledger.edited());
    let done = play.lab.edge.sh(edit.commands);
    assert!(done.status.success(), "{}: {done:?}", edit.commands);
    if !edit.mended.is_empty() {
        let mended = wait(|| play.said(edit.mended) > before);
        let said = play.gate.output();
        assert!(mended, "{} is not mended:\n{said}", edit.commands);
    }
    if let Some(window) = window {
        play.ledger.mended(window);
    }
}

fn wait(mut until: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if until() {
            return true;
        }
        sleep(Duration::from_millis(20));
    }
    false
}
