//! What `tests/bench/run` starts inside its namespaces: rounds of figures, then growth, then the report.

use std::process::ExitCode;

use clap::Parser;
use portcullis_bench::figures;
use portcullis_bench::lab::{Places, System};
use portcullis_bench::report::Report;
use regex::Regex;

/// Options of `tests/bench/run`.
#[derive(Debug, Parser)]
struct Arguments {
    /// Fewer figures, one round.
    #[arg(long)]
    quick: bool,
    /// Only figures whose name this finds.
    #[arg(long)]
    only: Option<Regex>,
    /// Rounds; five of a whole run, one of a quick one.
    #[arg(long)]
    rounds: Option<u32>,
    /// Only these systems.
    #[arg(long, value_delimiter = ',')]
    systems: Vec<System>,
    /// Seconds of each measurement.
    #[arg(long)]
    seconds: Option<f64>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let places = Places::from_environment()?;
    let mut report = Report::default();
    let rounds = arguments
        .rounds
        .unwrap_or(if arguments.quick { 1 } else { 5 });
    let seconds = arguments
        .seconds
        .unwrap_or(if arguments.quick { 1.0 } else { 3.0 });
    let systems = match arguments.systems.is_empty() {
        true => System::ALL.to_vec(),
        false => arguments.systems,
    };
    let figures = figures::chosen(arguments.quick, arguments.only.as_ref());
    for round in 0..rounds {
        for figure in &figures {
            for turn in 0..systems.len() {
                // Another one begins each time, so that none is always behind the same.
                let system = systems[(turn + round as usize) % systems.len()];
                match figure.measure(&places, system, seconds) {
                    Ok(samples) => {
                        for sample in &samples {
                            println!(
                                "{} {system}: {:.1} {}",
                                sample.metric, sample.value, sample.unit
                            );
                        }
                        report.add(system.name(), samples);
                    }
                    Err(error) => {
                        let failure = format!("{} {system}: {error:#}", figure.name);
                        eprintln!("FAILED {failure}");
                        report.failures.push(failure);
                    }
                }
            }
        }
    }
    std::fs::write(
        places.out.join("report.json"),
        serde_json::to_string_pretty(&report.lines())?,
    )?;
    Ok(match report.failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
