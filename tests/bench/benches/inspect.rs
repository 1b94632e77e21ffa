//! Sessions through the inspector: bytes of control channel a second, and the time of one transfer or command.

mod scenes;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use scenes::sessions::Session;

/// Transfers of a whole session.
const TRANSFERS: usize = 100;

fn sessions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inspect/session");
    for (name, transfer) in MODES {
        let play = || {
            let mut session = Session::connected();
            session.log_in();
            for _ in 0..TRANSFERS {
                transfer(&mut session);
            }
            session.taken
        };
        group.throughput(Throughput::Bytes(play()));
        group.bench_function(name, |bencher| bencher.iter(play));
    }
    group.finish();
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inspect/transfer");
    for (name, transfer) in MODES {
        let mut session = Session::logged_in();
        group.bench_function(name, |bencher| bencher.iter(|| transfer(&mut session)));
    }
    group.finish();
    let mut group = criterion.benchmark_group("inspect/command");
    let commands: [Named; 2] = [("noop", Session::noop), ("size", Session::size)];
    for (name, command) in commands {
        let mut session = Session::logged_in();
        group.bench_function(name, |bencher| bencher.iter(|| command(&mut session)));
    }
    group.finish();
}

/// Something that a session does, and its name.
type Named = (&'static str, fn(&mut Session));

const MODES: [Named; 2] = [("active", Session::active), ("passive", Session::passive)];

criterion_group!(benches, sessions, steps);
criterion_main!(benches);
