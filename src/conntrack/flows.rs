//! Which data connections run, which ended lately, and what to tell about them: a pure table.
//!
//! Takes what the kernel says, with the time of its arrival; gives [`FlowEvent`]s. Each connection is told
//! as opened and as closed at most once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::message::{Entry, Flow, TcpState};
use super::{FlowEvent, Key};

/// Running connections that are remembered; of more, the duration is not told and the end may be told
/// twice.
pub const MAX_FLOWS: usize = 1 << 18;
/// Ended connections that are remembered until connection tracking forgets them, 10 to 120 s later; of
/// more, the end may be told twice. Each takes some 30 bytes: a busy gate has all that ended within two minutes.
pub const MAX_ENDED: usize = 1 << 16;

/// The connections with our mark.
#[derive(Debug, Default)]
pub(super) struct Flows {
    running: BTreeMap<Flow, Running>,
    ended: BTreeSet<Tag>,
    /// The same, oldest first.
    ended_order: VecDeque<Tag>,
    /// A secret of this table, so that no peer can choose ports for which two connections have one tag.
    tags: RandomState,
}

/// Stands for a connection and its id, which take seven times as much. That two of [`MAX_ENDED`] have the same happens
/// once in 10^10 times, and leaves one end untold.
type Tag = u64;

/// How late an event may be heard: a longer time between the kernel's word and the clock says that the
/// clock was set.
const MAX_LATENESS: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Running {
    id: u32,
    seen_at: Instant,
    /// When it began. Once told by the kernel's clock of the day, which may be set while it runs.
    begun_at: Instant,
}

/// The time, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// For what was measured here.
    pub(super) instant: Instant,
    /// For what the kernel wrote down.
    pub(super) wall: SystemTime,
}

impl Now {
    pub(super) fn read() -> Self {
        Self {
            instant: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// A moment that the kernel wrote down, nanoseconds of the clock of the day; this one where it
    /// wrote none, or where the clock was set since.
    fn instant_of(&self, nanoseconds: Option<u64>) -> Instant {
        let lateness = nanoseconds.and_then(|nanoseconds| {
            let moment = UNIX_EPOCH.checked_add(Duration::from_nanos(nanoseconds))?;
            let lateness = self.wall.duration_since(moment).ok()?;
            (lateness <= MAX_LATENESS).then_some(lateness)
        });
        lateness
            .and_then(|lateness| self.instant.checked_sub(lateness))
            .unwrap_or(self.instant)
    }
}

impl Flows {
    /// A connection began.
    pub(super) fn handle_new(&mut self, entry: &Entry, now: Now) -> Option<FlowEvent> {
        if !self.awaits_end(entry) {
            return None;
        }
        let known = self.running.get(&entry.flow);
        if known.is_some_and(|running| running.id == entry.id) {
            return None;
        }
        if known.is_some() || self.running.len() < MAX_FLOWS {
            self.running.insert(
                entry.flow,
                Running {
                    id: entry.id,
                    seen_at: now.instant,
                    begun_at: now.instant_of(entry.started),
                },
            );
        }
        Some(FlowEvent::Opened {
            key: entry.flow.key,
        })
    }

    /// Whether the end of this connection is still to be told.
    pub(super) fn awaits_end(&self, entry: &Entry) -> bool {
        !self.ended.contains(&self.tag(entry.flow, entry.id))
    }

    /// A connection ended, but its entry stays for a while.
    pub(super) fn handle_ended(&mut self, entry: &Entry, now: Now) -> Option<FlowEvent> {
        if !self.awaits_end(entry) {
            return None;
        }
        let event = self.close(entry, now);
        self.remember_ended(entry.flow, entry.id);
        Some(event)
    }

    /// The entry of a connection went.
    pub(super) fn handle_destroyed(&mut self, entry: &Entry, now: Now) -> Option<FlowEvent> {
        if self.ended.remove(&self.tag(entry.flow, entry.id)) {
            return None;
        }
        Some(self.close(entry, now))
    }

    /// Events were lost: `entries` are all that there are. Gives what the lost events would have told.
    pub(super) fn reconcile(&mut self, entries: &[Entry], now: Now) -> Vec<FlowEvent> {
        let mut events = Vec::new();
        let alive: BTreeSet<_> = entries.iter().map(|entry| (entry.flow, entry.id)).collect();
        let gone: Vec<_> = self
            .running
            .iter()
            .map(|(&flow, running)| (flow, running.id))
            .filter(|known| !alive.contains(known))
            .collect();
        for (flow, id) in gone {
            self.running.remove(&flow);
            // Word of its end may still be on its way.
            self.remember_ended(flow, id);
            events.push(FlowEvent::Closed {
                key: flow.key,
                counters: None,
                duration: None,
            });
        }
        for entry in entries {
            events.extend(self.handle_new(entry, now));
            if entry.state == TcpState::Ended {
                events.extend(self.handle_ended(entry, now));
            }
        }
        events
    }

    /// The running connections with `key`, and when each was first seen.
    pub(super) fn find(&self, key: &Key) -> impl Iterator<Item = (Flow, Instant)> {
        let at = |source_port, zone| Flow {
            key: *key,
            source_port,
            zone,
        };
        self.running
            .range(at(0, 0)..=at(u16::MAX, u16::MAX))
            .map(|(&flow, running)| (flow, running.seen_at))
    }

    fn close(&mut self, entry: &Entry, now: Now) -> FlowEvent {
        let running = match self.running.get(&entry.flow) {
            Some(running) if running.id == entry.id => self.running.remove(&entry.flow),
            _ => None,
        };
        FlowEvent::Closed {
            key: entry.flow.key,
            counters: entry.counters,
            duration: match running {
                Some(running) => {
                    let ended_at = now.instant_of(entry.stopped);
                    Some(ended_at.saturating_duration_since(running.begun_at))
                }
                None => duration(entry, now),
            },
        }
    }

    fn tag(&self, flow: Flow, id: u32) -> Tag {
        self.tags.hash_one((flow, id))
    }

    fn remember_ended(&mut self, flow: Flow, id: u32) {
        let ended = self.tag(flow, id);
        if self.ended.insert(ended) {
            self.ended_order.push_back(ended);
        }
        // Those that were destroyed meanwhile are in the order alone, and mostly in front.
        while let Some(oldest) = self.ended_order.front()
            && (self.ended_order.len() > MAX_ENDED || !self.ended.contains(oldest))
        {
            self.ended.remove(oldest);
            self.ended_order.pop_front();
        }
    }
}

/// The kernel's own times, where it writes them down: all there is of a connection that was not seen to
/// begin.
fn duration(entry: &Entry, now: Now) -> Option<Duration> {
    let start = Duration::from_nanos(entry.started?);
    let stop = match entry.stopped {
        Some(stop) => Duration::from_nanos(stop),
        None => now.wall.duration_since(UNIX_EPOCH).ok()?,
    };
    stop.checked_sub(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Now {
        Now::read()
    }

    fn entry(source_port: u16, id: u32, state: TcpState) -> Entry {
        Entry {
            flow: Flow {
                key: key(),
                source_port,
                zone: 0,
            },
            id,
            state,
            counters: None,
            started: None,
            stopped: None,
        }
    }

    fn key() -> Key {
        Key {
            initiator: "10.0.0.2".parse().unwrap(),
            announced: "192.0.2.1:5000".parse().unwrap(),
        }
    }

    fn is_closed(event: Option<FlowEvent>) -> bool {
        matches!(event, Some(FlowEvent::Closed { .. }))
    }

    #[test]
    fn a_connection_is_told_opened_once_and_closed_once() {
        let mut flows = Flows::default();
        let running = entry(4000, 1, TcpState::Running);
        let ended = entry(4000, 1, TcpState::Ended);
        assert_eq!(
            flows.handle_new(&running, now()),
            Some(FlowEvent::Opened { key: key() })
        );
        assert_eq!(flows.handle_new(&running, now()), None);
        assert!(is_closed(flows.handle_ended(&ended, now())));
        assert_eq!(flows.handle_ended(&ended, now()), None);
        assert_eq!(flows.handle_destroyed(&ended, now()), None);
    }

    #[test]
    fn an_entry_that_goes_without_an_end_is_told_closed() {
        let mut flows = Flows::default();
        let running = entry(4000, 1, TcpState::Running);
        flows.handle_new(&running, now());
        assert!(is_closed(flows.handle_destroyed(&running, now())));
        assert_eq!(flows.find(&key()).count(), 0);
    }

    #[test]
    fn the_same_tuple_again_is_another_connection() {
        let mut flows = Flows::default();
        flows.handle_new(&entry(20, 1, TcpState::Running), now());
        flows.handle_ended(&entry(20, 1, TcpState::Ended), now());
        assert!(
            flows
                .handle_new(&entry(20, 2, TcpState::Running), now())
                .is_some()
        );
        assert_eq!(
            flows.handle_destroyed(&entry(20, 1, TcpState::Ended), now()),
            None
        );
        assert_eq!(flows.find(&key()).count(), 1);
        assert!(is_closed(
            flows.handle_ended(&entry(20, 2, TcpState::Ended), now())
        ));
    }

    #[test]
    fn lost_events_are_made_up_for() {
        let mut flows = Flows::default();
        flows.handle_new(&entry(1, 1, TcpState::Running), now());
        flows.handle_new(&entry(2, 2, TcpState::Running), now());
        let there = [
            entry(2, 2, TcpState::Running),
            entry(3, 3, TcpState::Running),
            entry(4, 4, TcpState::Ended),
        ];
        let events = flows.reconcile(&there, now());
        let opened = events
            .iter()
            .filter(|event| matches!(event, FlowEvent::Opened { .. }));
        assert_eq!(opened.count(), 2, "{events:?}");
        assert_eq!(
            events
                .iter()
                .filter(|&&event| is_closed(Some(event)))
                .count(),
            2,
            "{events:?}"
        );
        assert_eq!(flows.find(&key()).count(), 2);
        assert!(flows.reconcile(&there, now()).is_empty());
        // The event that was lost was only late.
        assert_eq!(
            flows.handle_destroyed(&entry(1, 1, TcpState::Running), now()),
            None
        );
    }

    #[test]
    fn durations_come_from_the_kernel_where_it_keeps_them() {
        let mut flows = Flows::default();
        let mut gone = entry(1, 1, TcpState::Ended);
        gone.started = Some(1_000);
        gone.stopped = Some(5_000);
        let Some(FlowEvent::Closed { duration, .. }) = flows.handle_destroyed(&gone, now()) else {
            panic!("no end was told");
        };
        assert_eq!(duration, Some(Duration::from_nanos(4_000)));
    }

    #[test]
    fn the_clock_of_the_day_may_be_set_while_a_connection_runs() {
        const HOUR: Duration = Duration::from_secs(3600);
        let nanoseconds = |wall: SystemTime| {
            let since = wall.duration_since(UNIX_EPOCH).unwrap();
            Some(u64::try_from(since.as_nanos()).unwrap())
        };
        let began = now();
        for ended in [began.wall + HOUR, began.wall - HOUR, began.wall] {
            let mut flows = Flows::default();
            let mut connection = entry(1, 1, TcpState::Running);
            // Both were heard of two seconds late.
            let late = Duration::from_secs(2);
            connection.started = nanoseconds(began.wall - late);
            flows.handle_new(&connection, began);
            connection.stopped = nanoseconds(ended - late);
            let lasted = Duration::from_secs(10);
            let end = Now {
                instant: began.instant + lasted,
                wall: ended,
            };
            let Some(FlowEvent::Closed { duration, .. }) = flows.handle_destroyed(&connection, end)
            else {
                panic!("no end was told");
            };
            assert_eq!(duration, Some(lasted));
        }
    }

    #[test]
    fn connections_that_are_gone_take_no_memory() {
        let mut flows = Flows::default();
        for id in 0..100_u32 {
            flows.handle_ended(&entry(1, id, TcpState::Ended), now());
            if let Some(earlier) = id.checked_sub(10) {
                flows.handle_destroyed(&entry(1, earlier, TcpState::Ended), now());
            }
        }
        assert!(flows.ended.len() <= 10);
        assert!(flows.ended_order.len() <= 11, "{}", flows.ended_order.len());
    }

    #[test]
    fn ended_connections_are_forgotten_oldest_first() {
        let mut flows = Flows::default();
        for id in 0..u32::try_from(MAX_ENDED + 1).unwrap() {
            flows.handle_ended(&entry(1, id, TcpState::Ended), now());
        }
        assert!(flows.awaits_end(&entry(1, 0, TcpState::Ended)));
        assert!(!flows.awaits_end(&entry(1, 1, TcpState::Ended)));
    }
}
