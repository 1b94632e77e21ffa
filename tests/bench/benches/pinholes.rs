//! One pinhole: which of the rows of address translation applies, and the netlink messages that open and close it.

mod scenes;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use scenes::sessions::legs;

fn nat(criterion: &mut Criterion) {
    let legs = legs();
    let mut group = criterion.benchmark_group("nat");
    group.bench_function("active", |bencher| {
        bencher.iter(|| {
            let legs = black_box(&legs);
            let leased = legs.active_needs_port_at().map(|_| 50_000);
            black_box(legs.plan_active(41_000, leased, false))
        });
    });
    group.bench_function("passive", |bencher| {
        bencher.iter(|| {
            let legs = black_box(&legs);
            let leased = legs.passive_needs_port_at().map(|_| 50_000);
            black_box(legs.plan_passive(51_210, leased))
        });
    });
    group.finish();
}

fn netlink(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("netlink");
    let mut pinhole = scenes::pinholes::Encoder::default();
    group.bench_function("open", |bencher| bencher.iter(|| pinhole.open()));
    group.bench_function("close", |bencher| bencher.iter(|| pinhole.close()));
    group.finish();
}

criterion_group!(benches, nat, netlink);
criterion_main!(benches);
