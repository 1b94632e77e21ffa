//! The counts that limits are held against, on virtual time: rates, places, debts, and what is bounded.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::ftp::Verb;
use portcullis::rules::{Asking, Cause, Limits, Meters, Permit, Policy, Request};
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

/// The limits of the one rule of a policy.
fn limits(text: &str) -> Arc<Limits> {
    let policy = format!("rules: [{{ id: a, allow: true, limits: {text} }}]");
    let policy = Policy::parse("edge.yaml", &policy).unwrap();
    let asked = Request::new(
        "lan",
        [10, 0, 0, 1].into(),
        [192, 0, 2, 1].into(),
        &Verb::Retr,
    );
    policy.decide(&asked).grants.limits.unwrap()
}

fn take(
    meters: &Arc<Meters>,
    limits: &Limits,
    host: u8,
    verb: Verb,
    now: Instant,
) -> Result<Permit, Cause> {
    let asking = Asking {
        client: [10, 0, 0, host].into(),
        user: None,
        verb: &verb,
    };
    meters
        .take(limits, &asking, now)
        .map_err(|refusal| refusal.cause)
}

#[test]
fn a_rate_is_full_at_first_and_comes_back_evenly() {
    let (meters, limits) = (Arc::default(), limits("{ per: client, commands: 60/min }"));
    let now = Instant::now();
    for _ in 0..60 {
        take(&meters, &limits, 1, Verb::Noop, now).unwrap();
    }
    let second = Duration::from_secs(1);
    let used_up = take(&meters, &limits, 1, Verb::Noop, now).unwrap_err();
    assert_eq!(used_up, Cause::UsedUp(second));
    let almost = now + Duration::from_millis(999);
    assert!(take(&meters, &limits, 1, Verb::Noop, almost).is_err());
    take(&meters, &limits, 1, Verb::Noop, now + second).unwrap();
    assert!(take(&meters, &limits, 1, Verb::Noop, now + second).is_err());
    take(&meters, &limits, 2, Verb::Noop, now).unwrap();
    let later = now + second + MINUTE;
    let taken = (0..100).filter(|_| take(&meters, &limits, 1, Verb::Noop, later).is_ok());
    assert_eq!(taken.count(), 60);
}

#[test]
fn what_ends_things_is_never_refused() {
    let (meters, limits) = (Arc::default(), limits("{ per: rule, commands: 1/day }"));
    let now = Instant::now();
    take(&meters, &limits, 1, Verb::Noop, now).unwrap();
    for verb in [Verb::Quit, Verb::Abor] {
        take(&meters, &limits, 1, verb, now).unwrap();
    }
    assert!(take(&meters, &limits, 1, Verb::Noop, now).is_err());
}

#[test]
fn places_come_back_by_release_and_by_drop_and_only_once() {
    let (meters, limits) = (Arc::default(), limits("{ per: client, transfers: 2 }"));
    let now = Instant::now();
    let mut first = take(&meters, &limits, 1, Verb::Retr, now).unwrap();
    let second = take(&meters, &limits, 1, Verb::List, now).unwrap();
    assert_eq!(
        take(&meters, &limits, 1, Verb::Stor, now).unwrap_err(),
        Cause::Running
    );
    assert!(take(&meters, &limits, 1, Verb::Cwd, now).is_ok());
    first.release();
    first.release();
    drop(first);
    assert_eq!(meters.held(), 1);
    second.settle(10, now);
    assert_eq!((meters.held(), meters.counts()), (0, 0));
}

#[test]
fn bytes_are_a_debt_that_has_to_come_back() {
    let (meters, limits) = (Arc::default(), limits("{ per: client, bytes: 100B/s }"));
    let now = Instant::now();
    let first = take(&meters, &limits, 1, Verb::Retr, now).unwrap();
    // Nothing is counted before it is over.
    let second = take(&meters, &limits, 1, Verb::Retr, now).unwrap();
    first.settle(350, now);
    drop(second);
    let Cause::UsedUp(wait) = take(&meters, &limits, 1, Verb::Retr, now).unwrap_err() else {
        panic!("no time to wait");
    };
    assert_eq!(wait.as_millis(), 2500);
    take(&meters, &limits, 1, Verb::Noop, now).unwrap();
    take(&meters, &limits, 1, Verb::Retr, now + wait).unwrap();
}

#[test]
fn what_one_limit_refuses_uses_up_no_other() {
    let (meters, limits) = (
        Arc::default(),
        limits("[{ per: rule, commands: 2/day }, { per: client, transfers: 1 }]"),
    );
    let now = Instant::now();
    let running = take(&meters, &limits, 1, Verb::Retr, now).unwrap();
    for _ in 0..9 {
        assert_eq!(
            take(&meters, &limits, 1, Verb::Retr, now).unwrap_err(),
            Cause::Running
        );
    }
    take(&meters, &limits, 2, Verb::Retr, now).unwrap();
    drop(running);
    // With room for one more transfer, it is the commands.
    let used_up = take(&meters, &limits, 1, Verb::Retr, now).unwrap_err();
    assert!(matches!(used_up, Cause::UsedUp(_)), "{used_up:?}");
    assert_eq!(meters.held(), 0);
}

#[test]
fn changed_numbers_are_held_against_what_was_counted() {
    let meters = Arc::default();
    let now = Instant::now();
    let (wide, narrow) = (
        limits("[{ per: client, commands: 10/h, transfers: 2 }]"),
        limits("[{ per: rule, transfers: 9 }, { per: client, commands: 5/h, transfers: 1 }]"),
    );
    for _ in 0..6 {
        take(&meters, &wide, 1, Verb::Noop, now).unwrap();
    }
    assert!(take(&meters, &narrow, 1, Verb::Noop, now).is_err());
    let running = take(&meters, &wide, 1, Verb::Retr, now).unwrap();
    let later = now + MINUTE * 60;
    let refused = take(&meters, &narrow, 1, Verb::Retr, later).unwrap_err();
    assert_eq!(refused, Cause::Running);
    drop(running);
    take(&meters, &narrow, 1, Verb::Retr, later).unwrap();
}

#[test]
fn idle_counts_make_room_and_busy_ones_do_not() {
    let (meters, limits) = (
        Arc::new(Meters::with_room(8)),
        limits("{ per: client, commands: 60/min, transfers: 1 }"),
    );
    let now = Instant::now();
    let permits: Vec<Permit> = (0..4)
        .map(|host| take(&meters, &limits, host, Verb::Retr, now).unwrap())
        .collect();
    assert_eq!(meters.counts(), 8);
    let refused = take(&meters, &limits, 9, Verb::Noop, now).unwrap_err();
    assert_eq!(refused, Cause::NoRoom);
    // The four transfers run on, their commands have come back.
    let later = now + MINUTE;
    for host in 10..14 {
        take(&meters, &limits, host, Verb::Noop, later).unwrap();
    }
    let refused = take(&meters, &limits, 14, Verb::Noop, later).unwrap_err();
    assert_eq!((refused, meters.counts()), (Cause::NoRoom, 8));
    assert_eq!(meters.held(), 4);
    drop(permits);
    take(&meters, &limits, 14, Verb::Noop, later).unwrap();
}

#[test]
fn threads_take_no_more_than_there_is() {
    let meters: Arc<Meters> = Arc::default();
    let limits = limits("[{ per: rule, commands: 1000/day }, { per: client, transfers: 3 }]");
    let now = Instant::now();
    let taken: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|host| {
                let (meters, limits) = (&meters, &limits);
                scope.spawn(move || {
                    let verb = |n: u32| {
                        if n.is_multiple_of(3) {
                            Verb::Retr
                        } else {
                            Verb::Noop
                        }
                    };
                    let tries =
                        (0..900).filter(|n| take(meters, limits, host, verb(*n), now).is_ok());
                    tries.count()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!((taken, meters.held()), (1000, 0));
}

proptest! {
    #[test]
    fn a_rate_holds_however_commands_come_and_the_time_to_wait_is_right(
        count in 1_u64..50,
        pauses in prop::collection::vec(0_u64..5_000, 1..200),
    ) {
        let (meters, limits) = (
            Arc::default(),
            limits(&format!("{{ per: client, commands: {count}/min }}")),
        );
        let begun = Instant::now();
        let (mut now, mut taken) = (begun, 0_u64);
        for pause in pauses {
            now += Duration::from_millis(pause);
            match take(&meters, &limits, 1, Verb::Noop, now) {
                Ok(_) => taken += 1,
                Err(Cause::UsedUp(wait)) => {
                    let short = Duration::from_millis(1);
                    if wait > short {
                        prop_assert!(take(&meters, &limits, 1, Verb::Noop, now + wait - short).is_err());
                    }
                    now += wait;
                    prop_assert!(take(&meters, &limits, 1, Verb::Noop, now).is_ok());
                    taken += 1;
                }
                Err(cause) => panic!("{cause:?}"),
            }
            let passed = u64::try_from((now - begun).as_nanos()).unwrap();
            let back = u128::from(passed) * u128::from(count) / 60_000_000_000;
            prop_assert!(u128::from(taken) <= u128::from(count) + back + 1);
        }
    }
}
