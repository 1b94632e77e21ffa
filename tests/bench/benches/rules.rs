//! Rules: the time of one decision, and of loading a configuration, by how many rules there are.

mod scenes;

use std::collections::BTreeSet;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use portcullis::config;
use scenes::Folder;
use scenes::policies::Shape;

fn decide(criterion: &mut Criterion) {
    for (name, shape) in Shape::ALL {
        let mut group = criterion.benchmark_group(format!("decide/{name}"));
        for rules in [10, 10_000, 100_000] {
            let (policy, asker) = (shape.policy(rules), shape.asker(rules));
            asker.check(&policy);
            group.bench_with_input(BenchmarkId::from_parameter(rules), &rules, |bencher, _| {
                bencher.iter(|| black_box(policy.decide(black_box(&asker.request()))));
            });
        }
        group.finish();
    }
}

fn load(criterion: &mut Criterion) {
    let folder = Folder::new("load");
    let interfaces = BTreeSet::from(["lan0".to_owned()]);
    for (name, shape) in Shape::ALL {
        let mut group = criterion.benchmark_group(format!("load/{name}"));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        for rules in [10, 10_000, 100_000] {
            let file = scenes::policies::configuration(&folder, shape, rules);
            group.bench_with_input(
                BenchmarkId::from_parameter(rules),
                &file,
                |bencher, file| {
                    bencher.iter(|| config::load(black_box(file), &interfaces).unwrap());
                },
            );
        }
        group.finish();
    }
}

criterion_group!(benches, decide, load);
criterion_main!(benches);
