//! `ringbar bench`: the ring against this machine's own limits, in one rotation.
//!
//! What is measured, and how, is the business of the measuring library (`ringbar-benches`, without its competitors); here
//! each figure gets the name under which tools read it.

use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use ringbar_benches::candidate::{Candidate, Identity, Measure, Sides};
use ringbar_benches::cores::Cores;
use ringbar_benches::machine::Machine;
use ringbar_benches::process;
use ringbar_benches::rotation::{self, Canary, Outcome, Results, Row, Settings};
use serde::Serialize;
use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;

/// Options of `ringbar bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Rotations: each measures everything once, in another order.
    #[arg(long, value_name = "N", default_value_t = 5)]
    rotations: usize,
    /// A second or two in all, to see that it runs: the figures say little.
    #[arg(long)]
    quick: bool,
    /// The two cores, for instance 0,1 [default: the first two that this process may use].
    #[arg(long, value_name = "A,B")]
    cores: Option<Cores>,
}

/// Name of a figure, the transport and variant it belongs to, and its unit in nanoseconds.
const FIGURES: [(&str, Measure, &str, &str, f64); 11] = [
    ("one_way_ns", Measure::OneWay, "ringbar", "bare", 1.0),
    ("batch32_ns", Measure::Batch32, "ringbar", "bare", 1.0),
    ("armed_one_way_ns", Measure::OneWay, "ringbar", "armed", 1.0),
    ("fenced_one_way_ns", Measure::OneWay, "ringbar", "fenced", 1.0),
    ("call_rtt_ns", Measure::RoundTrip, "ringbar", "bare call", 1.0),
    ("two_ring_rtt_ns", Measure::RoundTrip, "ringbar", "bare", 1.0),
    ("wake_us", Measure::Wake, "ringbar", "parked", 1e3),
    ("raw_eventfd_wake_us", Measure::Wake, "eventfd", "raw wake", 1e3),
    ("stream32_ns", Measure::Stream32, "limit", "", 1.0),
    ("pingpong_one_line_ns", Measure::PingpongOneLine, "limit", "", 1.0),
    ("pingpong_two_line_ns", Measure::PingpongTwoLine, "limit", "", 1.0),
];

fn figure_of(identity: &Identity) -> Option<(&'static str, f64)> {
    let found = FIGURES.iter().find(|(_, measure, peer, variant, _)| {
        *measure == identity.measure
            && *peer == identity.peer
            && (variant.is_empty() || *variant == identity.variant)
    })?;
    Some((found.0, found.4))
}

/// One figure: median, smallest and largest sample, in the unit its name says; or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Figure {
    Measured { median: f64, min: f64, max: f64, samples: usize, dropped: usize },
    Missing { reason: String },
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    cores: Cores,
    rotations: usize,
    canary: Canary,
    threads: BTreeMap<&'static str, Figure>,
    processes: BTreeMap<&'static str, Figure>,
}

/// If this process was started as the second process of a measurement, does that work and says how to exit.
pub fn serve_if_asked() -> Option<ExitCode> {
    process::serve_if_asked(&ringbar_benches::roles())
}

/// Runs `ringbar bench`.
///
/// # Errors
/// If nothing can be measured here: fewer than two cores, or no shared memory. Also, behind the report, if a measurement
/// went wrong or its payload was not what was sent.
pub fn run(args: &BenchArgs) -> Result<(), Box<dyn Error>> {
    let cores = args.cores.map_or_else(Cores::first_two, Ok)?;
    let settings = if args.quick {
        Settings::quick(cores)
    } else {
        Settings { rotations: args.rotations, ..Settings::full(cores) }
    };
    let candidates = ringbar_benches::candidates();
    let named = candidates.into_iter().filter(|c: &Candidate| figure_of(&c.identity).is_some());
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(1000) };
    bar.set_style(ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}")?);
    let results = rotation::run(named.collect(), &settings, |done, identity| {
        bar.set_position((done * 1000.0) as u64);
        bar.set_message(format!("{identity}"));
    })?;
    bar.finish_and_clear();
    let failures = failures(&results.rows);
    let report = report(results);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_table(&report);
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ").into()) }
}

/// Measurements that went wrong, each with its reason. What this machine cannot run is none of them.
fn failures(rows: &[Row]) -> Vec<String> {
    let failed = |row: &Row| match &row.outcome {
        Outcome::Failed { reason } => {
            let (name, _) = figure_of(&row.identity)?;
            Some(format!("{name} between {} failed: {reason}", row.identity.sides))
        }
        _ => None,
    };
    rows.iter().filter_map(failed).collect()
}

fn report(results: Results) -> Report {
    let mut report = Report {
        machine: Machine::here(),
        cores: results.settings.cores,
        rotations: results.settings.rotations,
        canary: results.canary,
        threads: BTreeMap::new(),
        processes: BTreeMap::new(),
    };
    for row in results.rows {
        let Some((name, unit)) = figure_of(&row.identity) else { continue };
        let figure = match row.outcome {
            Outcome::Measured(sum) => Figure::Measured {
                median: sum.median / unit,
                min: sum.min / unit,
                max: sum.max / unit,
                samples: row.samples,
                dropped: row.dropped,
            },
            Outcome::AllDropped => Figure::Missing { reason: "the placement kept changing".into() },
            Outcome::Unavailable { reason } | Outcome::Failed { reason } => {
                Figure::Missing { reason }
            }
        };
        match row.identity.sides {
            Sides::Processes => report.processes.insert(name, figure),
            Sides::Threads | Sides::One => report.threads.insert(name, figure),
        };
    }
    report
}

impl Figure {
    fn cell(figure: Option<&Self>) -> String {
        match figure {
            Some(Self::Measured { median, min, max, .. }) => {
                format!("{median:.1}  ({min:.1} to {max:.1})")
            }
            Some(Self::Missing { reason }) => reason.clone(),
            None => "-".into(),
        }
    }
}

fn print_table(report: &Report) {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["figure", "threads: median (min to max)", "processes: median (min to max)"]);
    for (name, ..) in FIGURES {
        let cells = [&report.threads, &report.processes].map(|side| Figure::cell(side.get(name)));
        table.add_row([name.to_string(), cells[0].clone(), cells[1].clone()]);
    }
    for column in 1..3 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
    let canary = &report.canary;
    println!(
        "Placement {:?}: canary {:.0} ns (one-line ping-pong); {} of {} samples dropped because it moved. Cores {} and {}.",
        canary.placement,
        canary.usual_ns,
        canary.dropped,
        canary.samples,
        report.cores.left,
        report.cores.right
    );
    println!(
        "The last three are this machine's limits, the wake's is the raw eventfd. Peers: cargo run --release -p ringbar-benches --bin peers"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_that_went_wrong_fails_the_command_and_one_that_cannot_run_does_not() {
        let candidates = ringbar_benches::candidates();
        let rows = |outcome: Outcome| -> Vec<Row> {
            let wanted = candidates.iter().filter(|c| figure_of(&c.identity).is_some());
            let row = |c: &Candidate| Row {
                identity: c.identity.clone(),
                outcome: outcome.clone(),
                samples: 0,
                dropped: 0,
            };
            wanted.map(row).collect()
        };
        let found = failures(&rows(Outcome::Failed { reason: "word 3 is wrong".into() }));
        assert_eq!(found.len(), 2 * FIGURES.len());
        assert!(found.iter().all(|text| text.ends_with("failed: word 3 is wrong")), "{found:?}");
        let fine = Outcome::Unavailable { reason: "no io_uring here".into() };
        assert_eq!(failures(&rows(fine)), [""; 0]);
        assert_eq!(failures(&rows(Outcome::AllDropped)), [""; 0]);
    }

    #[test]
    fn every_figure_has_a_candidate_between_threads_and_between_processes() {
        let candidates = ringbar_benches::candidates();
        for (name, ..) in FIGURES {
            for sides in [Sides::Threads, Sides::Processes] {
                let count = candidates
                    .iter()
                    .filter(|c| c.identity.sides == sides)
                    .filter(|c| figure_of(&c.identity).is_some_and(|(found, _)| found == name))
                    .count();
                assert_eq!(count, 1, "{name} between {sides}");
            }
        }
    }
}
