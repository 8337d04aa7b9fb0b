//! The candidates of the `peers` binary under criterion: `cargo bench -p ringbar-benches [-- FILTER]`.
//!
//! criterion takes one candidate after the other, so a host that moves the cores in between spoils the comparison: for
//! figures to be compared, use the `peers` binary, which rotates and watches the placement.

#![forbid(unsafe_code)]
#![allow(missing_docs)]

use std::process::ExitCode;
use std::time::Duration;

use criterion::Criterion;
use ringbar_benches::candidate::Candidate;
use ringbar_benches::cores::Cores;
use ringbar_benches::drive::Plan;
use ringbar_benches::error::BenchError;
use ringbar_benches::process::serve_if_asked;
use ringbar_benches::{candidates, roles};

fn main() -> ExitCode {
    if let Some(code) = serve_if_asked(&roles()) {
        return code;
    }
    let cores = match Cores::first_two() {
        Ok(cores) => cores,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .without_plots()
        .configure_from_args();
    candidates().into_iter().for_each(|candidate| bench(&mut criterion, candidate, cores));
    criterion.final_summary();
    ExitCode::SUCCESS
}

fn bench(criterion: &mut Criterion, mut candidate: Candidate, cores: Cores) {
    let identity = candidate.identity.clone();
    if let Err(BenchError::Unavailable { what, reason }) = candidate.sample(Plan::of(32), cores) {
        println!("{identity}: {what} cannot run here: {reason}");
        return;
    }
    let mut group = criterion.benchmark_group(identity.measure.title());
    group.bench_function(format!("{identity}, {}", identity.sides), |bencher| {
        bencher.iter_custom(|operations| {
            let each = candidate.sample(Plan::of(operations), cores);
            let each = each.unwrap_or_else(|error| panic!("{identity}: {error}"));
            Duration::from_nanos((each * operations as f64) as u64)
        });
    });
    group.finish();
}
