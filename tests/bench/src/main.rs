//! What `tests/bench/run` starts inside its namespaces: rounds of figures, then growth, then the report.

use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};
use portcullis_bench::lab::{Places, System};
use portcullis_bench::report::{Circumstances, Report};
use portcullis_bench::{figures, growth};
use regex::Regex;

/// Options of `tests/bench/run`.
#[derive(Debug, Parser)]
#[command(name = "tests/bench/run")]
struct Arguments {
    /// One part of it; all where left out.
    part: Option<Part>,
    /// Fewer figures, one round, growth in small.
    #[arg(long)]
    quick: bool,
    /// Only figures and parts of growth whose names this finds.
    #[arg(long)]
    only: Option<Regex>,
    /// Rounds of figures, 5 where left out; of growth, 3. One of each in a quick run.
    #[arg(long)]
    rounds: Option<u32>,
    /// Only these systems.
    #[arg(long, value_delimiter = ',')]
    systems: Vec<System>,
    /// Seconds of each measurement of figures.
    #[arg(long)]
    seconds: Option<f64>,
    /// Tells the names of systems, figures and parts of growth.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Portcullis beside its peers.
    Figures,
    /// Portcullis as things grow.
    Growth,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        println!("systems: {}", System::ALL.map(System::name).join(" "));
        println!(
            "figures: {}",
            figures::names().collect::<Vec<_>>().join(" ")
        );
        println!("growth:  {}", growth::names().collect::<Vec<_>>().join(" "));
        return Ok(ExitCode::SUCCESS);
    }
    let places = Places::from_environment()?;
    let mut report = Report::default();
    let quick = arguments.quick;
    let rounds = |whole| arguments.rounds.unwrap_or(if quick { 1 } else { whole });
    let (rounds, growth_rounds) = (rounds(5), rounds(3));
    let seconds = arguments.seconds.unwrap_or(if quick { 1.0 } else { 3.0 });
    let circumstances = Circumstances {
        date: told("date", &["--iso-8601=minutes"]),
        machine: machine(),
        load: first_words("/proc/loadavg", 3),
        command: command_line(),
        rounds: format!(
            "{rounds} round(s) of {seconds} s for each figure and system, in turn; {growth_rounds} round(s) of growth"
        ),
    };
    println!("{}; load {}", circumstances.machine, circumstances.load);
    if arguments.part != Some(Part::Growth) {
        let systems = match arguments.systems.is_empty() {
            true => System::ALL.to_vec(),
            false => arguments.systems.clone(),
        };
        let figures = figures::chosen(quick, arguments.only.as_ref());
        for round in 0..rounds {
            compare(&places, &figures, &systems, round, seconds, &mut report);
        }
    }
    if arguments.part != Some(Part::Figures) {
        for _ in 0..growth_rounds {
            for part in growth::chosen(arguments.only.as_ref()) {
                part.measure(&places, quick, &mut report);
            }
        }
    }
    report.write(&places.out, &circumstances)?;
    println!("{}", places.out.join("report.md").display());
    Ok(match report.failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// One round: every figure of every system, figure by figure, so that what is compared is measured side by side.
fn compare(
    places: &Places,
    figures: &[figures::Figure],
    systems: &[System],
    round: u32,
    seconds: f64,
    report: &mut Report,
) {
    for figure in figures {
        for turn in 0..systems.len() {
            // Another one begins each time, so that none is always behind the same.
            let system = systems[(turn + round as usize) % systems.len()];
            if !figure.is_of(system) {
                continue;
            }
            match figure.measure(places, system, seconds) {
                Ok(samples) => report.add(system.name(), &samples),
                Err(error) => report.fail(format!("{} {system}: {error:#}", figure.name)),
            }
        }
    }
}

/// The machine, in a line.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |model| {
        model.trim_start_matches(['\t', ':', ' '])
    });
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = first_words("/proc/meminfo", 3);
    let kernel = first_words("/proc/sys/kernel/osrelease", 1);
    format!("{processors} × {model}, {memory}, Linux {kernel}")
}

fn first_words(path: &str, count: usize) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .take(count)
        .collect::<Vec<_>>()
        .join(" ")
}

fn told(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

fn command_line() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("tests/bench/run {}", arguments.join(" "))
        .trim_end()
        .to_owned()
}
