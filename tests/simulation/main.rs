//! Trust, shown: sessions of chance between honest, clumsy and hostile peers, each step held against an
//! oracle that reads the same bytes for itself.
//!
//! `SIMULATION_SEED=n cargo test --test simulation` plays one session, or several that share limits, and prints them;
//! `SIMULATION_STEPS=n` plays that many steps instead of the usual number, and `SIMULATION_BASE=n` other
//! sessions than the usual ones.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a failed expectation is a failed test, and its story is read on the terminal"
)]

mod chance;
mod client;
mod filter;
mod ledger;
mod oracle;
mod party;
mod record;
mod scene;
mod server;
mod transcript;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use party::Party;
use transcript::Transcript;

/// What was checked; the text says what does not hold.
pub(crate) type Held<T = ()> = Result<T, String>;

/// Steps that are played where nobody asks for more.
const STEPS: u64 = 10_000_000;
const THREADS: u64 = 2;
/// The most steps of one session.
pub(crate) const SESSION: usize = 250;

/// What was seen in many sessions.
#[derive(Debug, Default)]
struct Tally {
    sessions: u64,
    steps: u64,
    seen: record::Seen,
}

#[test]
fn nothing_opens_and_nothing_passes_that_both_sides_have_not_agreed_on() {
    if let Some(seed) = asked("SIMULATION_SEED") {
        return replay(seed);
    }
    let steps = asked("SIMULATION_STEPS").unwrap_or(STEPS);
    let base = asked("SIMULATION_BASE").unwrap_or(1);
    let began = Instant::now();
    let failed = AtomicBool::new(false);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let failed = &failed;
                scope
                    .spawn(move || sessions(base * 1_000_000_007 + thread, steps / THREADS, failed))
            })
            .collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect()
    });
    assert_eq!(tallies.len(), 2, "a session failed; its story stands above");
    let sum = |what: fn(&Tally) -> u64| tallies.iter().map(what).sum::<u64>();
    println!(
        "{} steps in {} sessions, {:?}",
        sum(|tally| tally.steps),
        sum(|tally| tally.sessions),
        began.elapsed()
    );
    let mut seen = record::Seen::new();
    for (kind, count) in tallies.iter().flat_map(|tally| &tally.seen) {
        *seen.entry(kind).or_default() += count;
    }
    println!("{seen:?}");
    // Chance that never gets somewhere shows nothing about it.
    for kind in record::KINDS {
        assert!(seen.contains_key(kind), "no session came to: {kind}");
    }
}

fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.replace('_', "").parse().expect("a number"))
}

/// Plays sessions until the steps are used up.
fn sessions(first: u64, steps: u64, failed: &AtomicBool) -> Tally {
    let began = Instant::now();
    let mut tally = Tally::default();
    let mut seed = first;
    while tally.steps < steps && !failed.load(Ordering::Relaxed) {
        let mut party = Party::new(seed, began, &Transcript::default());
        match play(&mut party, usize::MAX) {
            Ok(played) => {
                tally.steps += u64::try_from(played).unwrap_or_default();
                for world in &party.worlds {
                    for (kind, count) in &world.record.seen {
                        *tally.seen.entry(kind).or_default() += count;
                    }
                    tally.sessions += 1;
                }
            }
            Err(_) => {
                // Of several failures one is told.
                if !failed.swap(true, Ordering::Relaxed) {
                    println!("found after {} steps of this thread", tally.steps);
                    replay(seed);
                }
            }
        }
        seed += THREADS;
    }
    tally
}

fn play(party: &mut Party, most: usize) -> Held<usize> {
    match catch_unwind(AssertUnwindSafe(|| party.play(most))) {
        Ok(played) => played,
        Err(_) => Err("it panicked".into()),
    }
}

/// Plays one session, in as few steps as show what is wrong, and prints it.
fn replay(seed: u64) {
    let began = Instant::now();
    let fails = |most: &usize| {
        let mut party = Party::new(seed, began, &Transcript::default());
        play(&mut party, *most).is_err()
    };
    let longest = SESSION * party::MOST;
    let most = (0..longest).find(fails).unwrap_or(longest);
    let transcript = Transcript::kept();
    let mut party = Party::new(seed, began, &transcript);
    let played = play(&mut party, most);
    println!("seed {seed}, {most} steps");
    for world in &party.worlds {
        println!("{}", world.about());
    }
    println!("{}", transcript.text());
    if let Err(broken) = played {
        panic!("{broken}; SIMULATION_SEED={seed} cargo test --test simulation plays it again");
    }
}
