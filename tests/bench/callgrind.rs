//! Counts instructions and allocations of the hot path, one unit of each step, under `valgrind --tool=callgrind`.
//!
//! Plays each step `n` and `2 n` times in a process of its own; the difference over `n` is what one costs,
//! without the start. Started by `tests/bench/callgrind`, which says how.

#[path = "benches/scenes/mod.rs"]
mod scenes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

use scenes::Folder;
use scenes::audit::{Batches, encode_many, write_many};
use scenes::pinholes::Encoder;
use scenes::policies::Shape;
use scenes::sessions::{Session, records};

/// How far above its baseline a count may be, in per cent.
const TOLERANCE: f64 = 3.0;

/// The file with the baseline.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/BASELINE.md");

/// One thing that is counted.
struct Step {
    name: &'static str,
    /// How often it is played at first, and then twice as often.
    times: u64,
    play: fn(u64),
    /// Whether its count is held to the baseline; with threads it is not the same in every run.
    held: bool,
}

const fn step(name: &'static str, times: u64, play: fn(u64)) -> Step {
    Step {
        name,
        times,
        play,
        held: true,
    }
}

const STEPS: [Step; 19] = [
    step("active transfer", 1000, |times| {
        session(Session::active, times)
    }),
    step("passive transfer", 1000, |times| {
        session(Session::passive, times)
    }),
    step("command without argument", 1000, |times| {
        session(Session::noop, times)
    }),
    step("command with a path", 1000, |times| {
        session(Session::size, times)
    }),
    step("decision by user, 10 rules", 1000, |times| {
        decide(Shape::User, 10, times)
    }),
    step("decision by user, 10,000 rules", 1000, |times| {
        decide(Shape::User, 10_000, times)
    }),
    step("decision by network, 10 rules", 1000, |times| {
        decide(Shape::Network, 10, times)
    }),
    step("decision by network, 10,000 rules", 1000, |times| {
        decide(Shape::Network, 10_000, times)
    }),
    step("decision by path, 10 rules", 1000, |times| {
        decide(Shape::Path, 10, times)
    }),
    step("decision by path, 10,000 rules", 1000, |times| {
        decide(Shape::Path, 10_000, times)
    }),
    step("pinhole, messages that open it", 1000, |times| {
        pinhole(Encoder::open, times)
    }),
    step("pinhole, messages that close it", 1000, |times| {
        pinhole(Encoder::close, times)
    }),
    step("line of a decision", 1000, |times| lines("decision", times)),
    step("line of a transfer", 1000, |times| lines("transfer", times)),
    step("line, mean of an active transfer", 1200, |times| {
        lines("", times)
    }),
    step("batch of 6 rows into the store", 1000, |times| {
        store(6, times)
    }),
    step("batch of 512 rows into the store", 20, |times| {
        store(512, times)
    }),
    Step {
        held: false,
        ..step("record through the writer, file alone", 12_288, |times| {
            writer(false, times)
        })
    },
    Step {
        held: false,
        ..step(
            "record through the writer, file and store",
            12_288,
            |times| writer(true, times),
        )
    },
];

fn session(transfer: fn(&mut Session), times: u64) {
    let mut session = Session::logged_in();
    for _ in 0..times {
        transfer(&mut session);
    }
}

fn decide(shape: Shape, rules: u32, times: u64) {
    let (policy, asker) = (shape.policy(rules), shape.asker(rules));
    asker.check(&policy);
    for _ in 0..times {
        black_box(policy.decide(black_box(&asker.request())));
    }
}

fn pinhole(encode: fn(&mut Encoder) -> usize, times: u64) {
    let mut encoder = Encoder::default();
    for _ in 0..times {
        black_box(encode(&mut encoder));
    }
}

fn lines(kind: &str, times: u64) {
    let mut records = records(Session::active);
    records.retain(|record| {
        format!("{:?}", record.event)
            .to_ascii_lowercase()
            .starts_with(match kind {
                "decision" => "decided",
                "transfer" => "transferred",
                _ => "",
            })
    });
    black_box(encode_many(&records, times));
}

fn store(size: usize, times: u64) {
    let folder = Folder::new("callgrind");
    let mut batches = Batches::new(&records(Session::active), size, &folder);
    for _ in 0..times {
        batches.write();
    }
}

fn writer(with_store: bool, times: u64) {
    let folder = Folder::new("callgrind");
    write_many(
        &records(Session::active),
        times,
        &folder.file(""),
        with_store,
    );
}

/// What one unit of a step costs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    instructions: f64,
    allocations: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["play", name, times] => {
            let step = STEPS
                .iter()
                .find(|step| step.name == *name)
                .expect("a step");
            (step.play)(times.parse().expect("a number"));
            ExitCode::SUCCESS
        }
        ["--check"] => check(&measure("")),
        ["--only", part] => {
            print!("{}", table(&measure(part)));
            ExitCode::SUCCESS
        }
        [] => {
            let costs = measure("");
            fs::write(BASELINE, page(&costs)).expect("BASELINE.md can be written");
            print!("{}", table(&costs));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: callgrind [--check | --only PART-OF-A-NAME]");
            ExitCode::from(2)
        }
    }
}

fn measure(part: &str) -> BTreeMap<&'static str, Cost> {
    let folder = Folder::new("counts");
    let steps = STEPS.iter().filter(|step| step.name.contains(part));
    let cost = |step: &Step| {
        let (few, many) = (
            run(step, step.times, &folder),
            run(step, 2 * step.times, &folder),
        );
        let times = step.times as f64;
        Cost {
            instructions: (many.instructions - few.instructions) / times,
            allocations: (many.allocations - few.allocations) / times,
        }
    };
    steps.map(|step| (step.name, cost(step))).collect()
}

/// Plays a step so many times under valgrind; gives what the whole process cost.
fn run(step: &Step, times: u64, folder: &Folder) -> Cost {
    let counts = folder.file("counts");
    let own = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", counts.display()));
    command
        .arg(own)
        .args(["play", step.name, &times.to_string()]);
    let output = command
        .output()
        .expect("valgrind can be started; it is in the package valgrind");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    read(&counts)
}

/// The functions of the C library that give memory; growing counts as well.
const ALLOCATORS: [&str; 5] = [
    "malloc",
    "calloc",
    "realloc",
    "aligned_alloc",
    "posix_memalign",
];

/// Reads callgrind's file: all instructions, and the calls of the allocators.
///
/// A function is named once, `(12) malloc`, and is `(12)` from then on; the line behind the one that
/// names who is called says how often.
fn read(counts: &Path) -> Cost {
    let text = fs::read_to_string(counts).expect("callgrind's file");
    let (mut allocators, mut called) = (BTreeSet::new(), "");
    let (mut instructions, mut allocations) = (0.0, 0.0);
    for line in text.lines() {
        let function = line
            .strip_prefix("cfn=")
            .or_else(|| line.strip_prefix("fn="));
        if let Some(function) = function {
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            if ALLOCATORS.contains(&name) {
                allocators.insert(number);
            }
            called = number;
        } else if let Some(rest) = line.strip_prefix("calls=") {
            let count = rest.split(' ').next().unwrap_or_default();
            if allocators.contains(called) {
                allocations += count.parse::<f64>().expect("a number of calls");
            }
        } else if let Some(rest) = line.strip_prefix("totals: ") {
            instructions = rest.trim().parse().expect("the sum of all instructions");
        }
    }
    Cost {
        instructions,
        allocations,
    }
}

fn table(costs: &BTreeMap<&'static str, Cost>) -> String {
    let mut text = "| step | instructions | allocations |\n|---|---:|---:|\n".to_owned();
    for step in &STEPS {
        let Some(cost) = costs.get(step.name) else {
            continue;
        };
        let (instructions, allocations) = (cost.instructions, cost.allocations);
        let loose = if step.held { "" } else { " (not held)" };
        let _ = writeln!(
            text,
            "| {}{loose} | {instructions:.0} | {allocations:.1} |",
            step.name
        );
    }
    text
}

fn page(costs: &BTreeMap<&'static str, Cost>) -> String {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        let output = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        output.unwrap_or_default()
    };
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d");
    format!(
        "# What one step costs\n\n\
         Written by `tests/bench/callgrind` on {date}, {}, {}, {}; not to be edited.\n\n\
         Instructions and calls of the allocator for one unit of each step, the start taken out, in a release build.\n\
         They do not depend on the load of the machine; on another processor the C library may take other ways.\n\
         `tests/bench/callgrind --check` fails where a count is more than {TOLERANCE} % above the one here. What runs in\n\
         several threads is not the same twice, and is not held.\n\n{}",
        version("rustc"),
        version("valgrind"),
        processor(),
        table(costs)
    )
}

fn processor() -> String {
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
    model.unwrap_or_else(|| "a processor without a name".to_owned())
}

/// Compares with the baseline; tells what grew.
fn check(costs: &BTreeMap<&'static str, Cost>) -> ExitCode {
    let baseline = baseline();
    let mut grown = false;
    for step in STEPS.iter().filter(|step| step.held) {
        let Some(cost) = costs.get(step.name) else {
            continue;
        };
        let Some(before) = baseline.get(step.name) else {
            println!(
                "{}: not in BASELINE.md; run tests/bench/callgrind",
                step.name
            );
            grown = true;
            continue;
        };
        let more = |now: f64, then: f64| now > then * (1.0 + TOLERANCE / 100.0) + 0.05;
        let worse = more(cost.instructions, before.instructions)
            || more(cost.allocations, before.allocations);
        grown |= worse;
        println!(
            "{}{}: {:.0} instructions, {:.1} allocations; baseline {:.0} and {:.1}",
            if worse {
                "MORE THAN THE BASELINE: "
            } else {
                ""
            },
            step.name,
            cost.instructions,
            cost.allocations,
            before.instructions,
            before.allocations
        );
    }
    if grown {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Reads the table of BASELINE.md.
fn baseline() -> BTreeMap<String, Cost> {
    let text = fs::read_to_string(BASELINE).unwrap_or_default();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let (name, instructions, allocations) = (cells.next()?, cells.next()?, cells.next()?);
        let cost = Cost {
            instructions: instructions.parse().ok()?,
            allocations: allocations.parse().ok()?,
        };
        Some((name.to_owned(), cost))
    });
    rows.collect()
}
