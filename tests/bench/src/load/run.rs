//! All sessions of a load: brought to their login, let go at one moment, and counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::session::Session;
use super::{Arguments, Outcome, Spread, Work};

/// What one session has done.
#[derive(Default)]
struct Done {
    took: Vec<u64>,
    reply_delays: Vec<u64>,
    bytes: u64,
    failure: Option<String>,
}

/// Told to all sessions at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    Wait,
    Go(Instant),
}

/// Does what is asked for; `held` is called once all sessions that idle are logged in.
pub async fn run(arguments: Arguments, held: impl FnOnce(usize, u64)) -> Outcome {
    let arguments = Arc::new(arguments);
    let patience = Duration::from_secs_f64(arguments.patience);
    let turns = Arc::new(Semaphore::new(arguments.dialling.max(1)));
    let (go, wait) = watch::channel(Signal::Wait);
    let (stop, stopped) = watch::channel(false);
    let (ready, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let mut sessions = JoinSet::new();
    for number in 0..arguments.sessions {
        let (arguments, turns) = (Arc::clone(&arguments), Arc::clone(&turns));
        let (wait, ready, stopped) = (wait.clone(), ready.clone(), stopped.clone());
        sessions.spawn(async move {
            let mut done = Done::default();
            let result = live(&arguments, number, &turns, wait, ready, stopped, &mut done).await;
            if let Err(error) = result {
                done.failure = Some(format!("{error:#}"));
            }
            done
        });
    }
    drop(ready);
    let mut up = 0;
    for _ in 0..arguments.sessions {
        match timeout(patience, arrived.recv()).await {
            Ok(Some(logged_in)) => up += usize::from(logged_in),
            Ok(None) | Err(_) => break,
        }
    }
    let began = Instant::now();
    go.send_replace(Signal::Go(began));
    if arguments.work == Work::Idle {
        held(up, (arguments.sessions - up) as u64);
        let mut end = Vec::new();
        // However it ends, that is the sign.
        let _ = tokio::io::stdin().read_to_end(&mut end).await;
        stop.send_replace(true);
    }
    let room = arguments
        .seconds
        .map_or(Duration::ZERO, Duration::from_secs_f64)
        + patience;
    let all = timeout(room, sum_up(&mut sessions)).await;
    let mut outcome = match all {
        Ok(outcome) => outcome,
        Err(_) => Outcome {
            failures: sessions.len() as u64,
            first_failure: Some(format!("not done after {} s", room.as_secs())),
            ..Outcome::default()
        },
    };
    outcome.sessions = up;
    outcome.uncounted = up as u64 * arguments.warm;
    outcome
}

/// One session from its connection to its end.
async fn live(
    arguments: &Arc<Arguments>,
    number: usize,
    turns: &Semaphore,
    mut wait: watch::Receiver<Signal>,
    ready: tokio::sync::mpsc::UnboundedSender<bool>,
    mut stopped: watch::Receiver<bool>,
    done: &mut Done,
) -> anyhow::Result<()> {
    let begun = {
        let _turn = turns.acquire().await?;
        Session::begin(arguments, number).await
    };
    let warmed = match begun {
        Ok(session) => warm(session, arguments.warm).await,
        Err(error) => Err(error),
    };
    // Whoever has failed is counted by what it says at its end.
    let _ = ready.send(warmed.is_ok());
    let mut session = warmed?;
    let signal = *wait.wait_for(|signal| *signal != Signal::Wait).await?;
    let Signal::Go(began) = signal else {
        return Ok(());
    };
    if arguments.work == Work::Idle {
        stopped.wait_for(|stopped| *stopped).await?;
        anyhow::ensure!(session.is_open(), "a session was not held to the end");
        return Ok(());
    }
    let warmed = session.bytes;
    let limit = arguments.seconds.map(Duration::from_secs_f64);
    let wanted = arguments.transfers.or(limit.is_none().then_some(1));
    let mut count = 0;
    let mut from = Instant::now();
    while wanted.is_none_or(|wanted| count < wanted)
        && limit.is_none_or(|limit| from.duration_since(began) < limit)
    {
        session.work().await?;
        let now = Instant::now();
        done.took.push(u64::try_from((now - from).as_nanos())?);
        done.reply_delays.extend(session.reply_delay.take());
        done.bytes = session.bytes - warmed;
        count += 1;
        from = now;
    }
    session.end().await
}

/// Does what is not counted.
async fn warm(mut session: Session, times: u64) -> anyhow::Result<Session> {
    for _ in 0..times {
        session.work().await?;
    }
    Ok(session)
}

async fn sum_up(sessions: &mut JoinSet<Done>) -> Outcome {
    let (mut took, mut delays) = (Vec::new(), Vec::new());
    let mut outcome = Outcome::default();
    while let Some(joined) = sessions.join_next().await {
        let done = joined.unwrap_or_else(|error| Done {
            failure: Some(error.to_string()),
            ..Done::default()
        });
        outcome.failures += u64::from(done.failure.is_some());
        outcome.first_failure = outcome.first_failure.or(done.failure);
        outcome.bytes += done.bytes;
        let total: u64 = done.took.iter().sum();
        outcome.seconds = outcome.seconds.max(total as f64 / 1e9);
        took.extend(done.took);
        delays.extend(done.reply_delays);
    }
    outcome.transfers = took.len() as u64;
    if outcome.seconds > 0.0 {
        outcome.transfers_per_second = outcome.transfers as f64 / outcome.seconds;
    }
    outcome.took = Spread::of(took);
    outcome.reply_delay = Spread::of(delays);
    outcome
}
