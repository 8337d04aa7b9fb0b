//! Measures the peers, the limits and ringbar on this machine, in one rotation.

#![forbid(unsafe_code)]

use std::fs;
use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use ringbar_benches::candidate::{Candidate, Identity};
use ringbar_benches::cores::Cores;
use ringbar_benches::process::serve_if_asked;
use ringbar_benches::report::{Record, plot};
use ringbar_benches::rotation::{Outcome, Row, Settings, run};
use ringbar_benches::{candidates, roles};

/// Measures ringbar's peers and this machine's limits in one rotation: the same two cores, the same payload, all of it
/// written, read and checked.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Print the record as JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Write a plot of the figures that count.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write table, JSON and plot, named by machine and date, into this folder.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Times that every candidate is measured; at least 3 for figures that are to be compared.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rotations: Option<u16>,
    /// Length of a sample in milliseconds; each rotation takes three of each candidate.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    sample_ms: Option<u16>,
    /// Seconds in all, to see that everything runs; the figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// The two cores, such as 0,1; the first two that this process may use if left out.
    #[arg(long, value_name = "A,B")]
    cores: Option<Cores>,
    /// Only candidates whose name or measure contains this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// List the candidates and measure nothing.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    if let Some(code) = serve_if_asked(&roles()) {
        return code;
    }
    match measure(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let chosen = options.chosen();
    if options.list {
        chosen.iter().for_each(|candidate| println!("{}", described(&candidate.identity)));
        return Ok(ExitCode::SUCCESS);
    }
    if chosen.is_empty() {
        return Err(
            format!("no candidate matches {:?}; --list names them all", options.only).into()
        );
    }
    let record = Record::new(run(chosen, &options.settings()?, progress)?);
    clear_progress();
    options.publish(&record)?;
    let failed: Vec<&Row> = record.results.rows.iter().filter(|row| is_failed(row)).collect();
    failed
        .iter()
        .for_each(|row| eprintln!("failed: {}: {:?}", described(&row.identity), row.outcome));
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Options {
    fn chosen(&self) -> Vec<Candidate> {
        let is_chosen = |identity: &Identity| {
            let name = described(identity).to_lowercase();
            self.only.is_empty() || self.only.iter().any(|text| name.contains(&text.to_lowercase()))
        };
        candidates().into_iter().filter(|candidate| is_chosen(&candidate.identity)).collect()
    }

    fn settings(&self) -> Result<Settings, Box<dyn std::error::Error>> {
        let cores = self.cores.map_or_else(Cores::first_two, Ok)?;
        let mut settings = if self.quick { Settings::quick(cores) } else { Settings::full(cores) };
        settings.rotations = self.rotations.map_or(settings.rotations, usize::from);
        settings.sample_ms = self.sample_ms.map_or(settings.sample_ms, f64::from);
        Ok(settings)
    }

    fn publish(&self, record: &Record) -> Result<(), String> {
        println!("{}", if self.json { record.json() } else { record.text() });
        if let Some(file) = &self.svg {
            fs::write(file, plot(record)).map_err(|error| not_written(file, &error))?;
        }
        if let Some(folder) = &self.record {
            let paths = record.write_into(folder).map_err(|error| not_written(folder, &error))?;
            paths.iter().for_each(|path| eprintln!("wrote {}", path.display()));
        }
        Ok(())
    }
}

fn not_written(path: &Path, error: &std::io::Error) -> String {
    format!(
        "could not write {}: {error}; does its folder exist, and may you write there?",
        path.display()
    )
}

fn is_failed(row: &Row) -> bool {
    matches!(row.outcome, Outcome::Failed { .. })
}

fn described(identity: &Identity) -> String {
    format!("{}: {identity} ({})", identity.measure.title(), identity.sides)
}

fn progress(done: f64, identity: &Identity) {
    if stderr().is_terminal() {
        eprint!("\r\x1b[K{:3.0} % {}", done * 100.0, described(identity));
        let _ = stderr().flush();
    }
}

fn clear_progress() {
    if stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}
