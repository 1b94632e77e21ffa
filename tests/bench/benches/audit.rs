//! The record: a record as a line of EVE, a row into the store, and both through the writer.

mod scenes;

use std::hint::black_box;

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use portcullis::audit::encode;
use portcullis::inspect::{Event, Record};
use scenes::Folder;
use scenes::audit::{Batches, session, time, write_many};
use scenes::sessions::{Session, records};

/// Records that one run of the writer takes.
const RUN: u64 = 20_000;

fn line(criterion: &mut Criterion) {
    let session = session();
    let records = records(Session::active);
    let mut group = criterion.benchmark_group("audit/line");
    for record in &records {
        let mut out = Vec::with_capacity(4096);
        group.bench_function(name(record), |bencher| {
            bencher.iter(|| {
                out.clear();
                encode(time(0), &session, black_box(record), &mut out);
                black_box(out.len())
            });
        });
    }
    group.finish();
}

/// What the record is about, for the names of benchmarks.
fn name(record: &Record) -> String {
    match &record.event {
        Event::Decided { command, .. } => format!("decision-{}", command.verb),
        Event::Rewrote { .. } => "rewrite".to_owned(),
        Event::PinholeOpened { .. } => "pinhole-opened".to_owned(),
        Event::PinholeUsed { .. } => "pinhole-used".to_owned(),
        Event::Transferred(_) => "transfer".to_owned(),
        other => panic!("no record of a transfer: {other:?}"),
    }
}

fn store(criterion: &mut Criterion) {
    let records = records(Session::active);
    let mut group = criterion.benchmark_group("audit/store");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for size in [6, 512] {
        let folder = Folder::new("store");
        let mut batches = Batches::new(&records, size, &folder);
        group.throughput(Throughput::Elements(size as u64));
        let name = BenchmarkId::new("batch", size);
        group.bench_function(name, |bencher| bencher.iter(|| batches.write()));
    }
    group.finish();
}

fn writer(criterion: &mut Criterion) {
    let records = records(Session::active);
    let mut group = criterion.benchmark_group("audit/writer");
    group.throughput(Throughput::Elements(RUN));
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for (name, with_store) in [("file", false), ("file-and-store", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let folder = Folder::new("writer");
                write_many(&records, RUN, &folder.file(""), with_store);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, line, store, writer);
criterion_main!(benches);
