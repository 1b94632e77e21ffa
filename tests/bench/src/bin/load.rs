//! The load client: many FTP sessions at one time. `--help` says how; the answer is one line of JSON,
//! [`portcullis_bench::load::Outcome`]. Exit code 1 where anything failed.

use std::process::ExitCode;

use clap::Parser;
use portcullis_bench::load::{Arguments, run};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum;
    // What is there has to do then.
    let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(run(arguments, |held, failed| {
        println!("{}", serde_json::json!({ "held": held, "failed": failed }));
    }));
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(match outcome.failures {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
