//! `ringbar figures`: what the executor reaches on this machine, with what each figure had to reach, as a record.
//!
//! Every figure comes from a command of its own, which anybody can call alone and which the record names. Each round calls
//! all of them once, and measures in this process what a producer's cost is made of.

mod producer;

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use ringbar_benches::machine::Machine;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Options of `ringbar figures`.
#[derive(Debug, Args)]
pub struct FiguresArgs {
    /// Write text and JSON, named by machine and date, into this folder.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Rounds; about 35 seconds each.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is called: a name, the arguments, and whether it may use one core only.
const CALLS: [(&str, &[&str], bool); 5] = [
    ("main", &["--json"], false),
    ("paced", &["replay", "llama-1b-eager-decode", "--pace", "recorded", "--json"], false),
    ("weights", &["replay", "llama-1b-weight-load", "--json"], false),
    ("one core", &["replay", "llama-1b-eager-decode", "--json"], true),
    ("idle", &["idle-cpu", "--json"], false),
];

/// A figure: its name, the call it comes from, what it must reach, and how it is found in what the call printed.
struct Figure {
    name: &'static str,
    call: &'static str,
    must_reach: &'static str,
    reached: fn(f64) -> bool,
    value: fn(&Value) -> Option<f64>,
}

/// A figure without an aim: a part or a limit of the one above it.
const fn beside(
    name: &'static str,
    call: &'static str,
    value: fn(&Value) -> Option<f64>,
) -> Figure {
    Figure { name, call, must_reach: "", reached: |_| true, value }
}

const FIGURES: [Figure; 18] = [
    Figure {
        name: "llama decode, times as fast as one doorbell per call",
        call: "main",
        must_reach: "at least 20",
        reached: |value| value >= 20.0,
        value: |main| Some(rate(main, "ring")? / rate(main, "doorbell")?),
    },
    beside("  commands a second, ring", "main", |main| rate(main, "ring")),
    beside("  commands a second, one doorbell per call", "main", |main| rate(main, "doorbell")),
    beside("  commands a second, no transport", "main", |main| rate(main, "direct")),
    Figure {
        name: "  doorbells per 1,000 commands",
        call: "main",
        must_reach: "at most 5",
        reached: |value| value <= 5.0,
        value: |main| number(row(main, "ring")?, "/doorbells_per_1000"),
    },
    Figure {
        name: "producer's cost per posted command, ns, p50",
        call: "main",
        must_reach: "at most 150",
        reached: |value| value <= 150.0,
        value: |main| number(row(main, "ring")?, "/post_ns/p50"),
    },
    beside("  the same without transport", "main", |main| {
        number(row(main, "direct")?, "/post_ns/p50")
    }),
    beside("  beside it: a post into lines that are at hand", producer::LIMITS, |limits| {
        number(limits, "/post_at_hand_ns")
    }),
    beside("  beside it: one line fetched back from the other core", producer::LIMITS, |limits| {
        number(limits, "/line_ns")
    }),
    beside("  beside it: the two together", producer::LIMITS, |limits| {
        Some(number(limits, "/post_at_hand_ns")? + number(limits, "/line_ns")?)
    }),
    Figure {
        name: "at the recorded pace, doorbells per 1,000 commands",
        call: "paced",
        must_reach: "at most 10",
        reached: |value| value <= 10.0,
        value: |paced| number(row(paced, "ring")?, "/doorbells_per_1000"),
    },
    beside("  pauses longer than a worker polls, per 1,000 commands", "paced", |paced| {
        let ring = row(paced, "ring")?;
        Some(1000.0 * number(ring, "/long_pauses")? / number(ring, "/commands")?)
    }),
    beside("  worker, percent of a core", "paced", |paced| {
        let ring = row(paced, "ring")?;
        Some(100.0 * number(ring, "/worker_cpu_ns")? / number(ring, "/elapsed_ns")?)
    }),
    Figure {
        name: "weight load, 2.2 GB, of one thread's copy rate",
        call: "weights",
        must_reach: "at least 0.85",
        reached: |value| value >= 0.85,
        value: |weights| {
            let copied = number(weights, "/copy_rate/single_thread_bytes_per_s")?;
            Some(number(weights, "/copy_rate/bulk_bytes_per_s")? / copied)
        },
    },
    beside("  one thread's copy rate, GB/s", "weights", |weights| {
        Some(number(weights, "/copy_rate/single_thread_bytes_per_s")? / 1e9)
    }),
    beside("llama decode on one core, commands a second", "one core", |one| rate(one, "ring")),
    Figure {
        name: "idle daemon and worker, percent of a core",
        call: "idle",
        must_reach: "at most 1",
        reached: |value| value <= 1.0,
        value: |idle| Some(number(idle, "/daemon_percent")? + number(idle, "/worker_percent")?),
    },
    beside("  worker's blocks a second", "idle", |idle| number(idle, "/worker_parks_per_s")),
];

fn number(found: &Value, at: &str) -> Option<f64> {
    found.pointer(at)?.as_f64()
}

/// The row of a transport in what a replay printed.
fn row<'v>(report: &'v Value, transport: &str) -> Option<&'v Value> {
    report.get("rows")?.as_array()?.iter().find(|row| row["transport"] == transport)
}

fn rate(report: &Value, transport: &str) -> Option<f64> {
    number(row(report, transport)?, "/commands_per_s")
}

/// One figure over all rounds.
#[derive(Debug, Serialize)]
struct Row {
    figure: &'static str,
    must_reach: &'static str,
    reached: bool,
    median: f64,
    min: f64,
    max: f64,
    /// What it comes from.
    command: String,
}

#[derive(Debug, Serialize)]
struct Record {
    machine: Machine,
    command: String,
    rows: Vec<Row>,
    /// What the commands printed, by name.
    rounds: Vec<BTreeMap<&'static str, Value>>,
}

/// Measures, prints, and writes the record.
///
/// # Errors
/// If a command fails, or the record cannot be written.
pub fn run(args: &FiguresArgs) -> Result<(), Box<dyn Error>> {
    let bar = ProgressBar::new(u64::from(args.rounds) * CALLS.len() as u64);
    bar.set_style(ProgressStyle::with_template("{msg:>9} {wide_bar} {pos}/{len}, {elapsed}")?);
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        let mut round = BTreeMap::new();
        for (name, arguments, on_one_core) in CALLS {
            bar.set_message(name);
            round.insert(name, call(arguments, on_one_core)?);
            bar.inc(1);
        }
        round.insert(producer::LIMITS, producer::limits()?);
        rounds.push(round);
    }
    bar.finish_and_clear();
    let record = Record::new(rounds)?;
    println!("{}", if args.json { serde_json::to_string_pretty(&record)? } else { record.text() });
    match &args.record {
        Some(folder) => record.write_into(folder),
        None => Ok(()),
    }
}

fn call(arguments: &[&str], on_one_core: bool) -> Result<Value, Box<dyn Error>> {
    let all = sched_getaffinity(None)?;
    if on_one_core {
        // A child inherits it.
        sched_setaffinity(None, &first_of(&all))?;
    }
    let mut command = Command::new(std::env::current_exe()?);
    let ended = command.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    sched_setaffinity(None, &all)?;
    let ended = ended?;
    if !ended.status.success() {
        return Err(
            format!("`{}` failed: {}", spelled(arguments, on_one_core), ended.status).into()
        );
    }
    Ok(serde_json::from_slice(&ended.stdout)?)
}

fn first_of(all: &CpuSet) -> CpuSet {
    let mut one = CpuSet::new();
    if let Some(first) = (0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)) {
        one.set(first);
    }
    one
}

/// A command as a shell takes it.
fn spelled(arguments: &[&str], on_one_core: bool) -> String {
    format!("{}ringbar {}", if on_one_core { "taskset -c 0 " } else { "" }, arguments.join(" "))
}

impl Record {
    fn new(rounds: Vec<BTreeMap<&'static str, Value>>) -> Result<Self, Box<dyn Error>> {
        let rows = FIGURES.iter().map(|figure| figure.row(&rounds)).collect::<Result<_, _>>()?;
        let command = format!("ringbar figures --rounds {}", rounds.len());
        Ok(Self { machine: Machine::here(), command, rows, rounds })
    }

    fn text(&self) -> String {
        let m = &self.machine;
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["", "figure", "must reach", "median", "min", "max", "command"]);
        for row in &self.rows {
            let number = |value: f64| match value {
                large if large >= 1000.0 => format!("{large:.0}"),
                small => format!("{small:.2}"),
            };
            let mark = match (row.must_reach, row.reached) {
                ("", _) => "",
                (_, true) => "✔",
                (_, false) => "✘",
            };
            table.add_row([
                mark.to_owned(),
                row.figure.to_owned(),
                row.must_reach.to_owned(),
                number(row.median),
                number(row.min),
                number(row.max),
                row.command.clone(),
            ]);
        }
        format!(
            "{} ({}), {} cores, {}, {}, {}\n{}\n\n{table}\n",
            m.cpu, m.cpu_id, m.cores, m.kernel, m.rustc, m.date, self.command
        )
    }

    fn write_into(&self, folder: &Path) -> Result<(), Box<dyn Error>> {
        let slug = self.machine.slug_of("executor");
        let named = |ending: &str| folder.join(format!("{slug}.{ending}"));
        for (path, text) in [
            (named("txt"), self.text()),
            (named("json"), serde_json::to_string_pretty(self)? + "\n"),
        ] {
            std::fs::write(&path, text).map_err(|e| format!("writing {}: {e}", path.display()))?;
            eprintln!("wrote {}", path.display());
        }
        Ok(())
    }
}

impl Figure {
    fn row(&self, rounds: &[BTreeMap<&'static str, Value>]) -> Result<Row, Box<dyn Error>> {
        let found = rounds.iter().map(|round| round.get(self.call).and_then(self.value));
        let mut values = found
            .collect::<Option<Vec<f64>>>()
            .ok_or_else(|| format!("no figure `{}` in what was printed", self.name.trim()))?;
        values.sort_unstable_by(f64::total_cmp);
        let median = values[values.len() / 2];
        let call = CALLS.iter().find(|(name, ..)| *name == self.call);
        let command = call
            .map_or("(in its own process)".to_owned(), |(_, arguments, on_one_core)| {
                spelled(arguments, *on_one_core)
            });
        Ok(Row {
            figure: self.name,
            must_reach: self.must_reach,
            reached: (self.reached)(median),
            median,
            min: values[0],
            max: values[values.len() - 1],
            command,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn round(ring: f64, idle: f64) -> BTreeMap<&'static str, Value> {
        let row = |transport: &str, rate: f64| {
            json!({
                "transport": transport, "commands_per_s": rate, "doorbells_per_1000": 6.0, "post_ns": {"p50": 150},
                "commands": 1000, "long_pauses": 4, "worker_cpu_ns": 30, "elapsed_ns": 100
            })
        };
        let replay = json!({
            "rows": [row("ring", ring), row("doorbell", 10.0), row("direct", 900.0)],
            "copy_rate": {"bulk_bytes_per_s": 2e9, "single_thread_bytes_per_s": 4e9}
        });
        let idle = json!({"daemon_percent": idle, "worker_percent": 0.1, "worker_parks_per_s": 20});
        let mut round: BTreeMap<&'static str, Value> = CALLS
            .iter()
            .map(|(name, ..)| (*name, if *name == "idle" { idle.clone() } else { replay.clone() }))
            .collect();
        round.insert(producer::LIMITS, json!({"post_at_hand_ns": 70.0, "line_ns": 84.0}));
        round
    }

    #[test]
    fn every_figure_is_judged_by_its_median() {
        let record =
            Record::new(vec![round(100.0, 0.2), round(300.0, 5.0), round(250.0, 0.3)]).unwrap();
        let by_name =
            |name: &str| record.rows.iter().find(|row| row.figure.contains(name)).unwrap();
        let times = by_name("times as fast");
        assert_eq!((times.median, times.min, times.max, times.reached), (25.0, 10.0, 30.0, true));
        assert!(!record.rows.iter().find(|row| row.must_reach == "at most 5").unwrap().reached);
        assert!(by_name("producer's cost").reached && by_name("recorded pace").reached);
        assert_eq!(by_name("pauses longer").median, 4.0);
        assert_eq!(by_name("the two together").median, 154.0);
        assert!(!by_name("weight load").reached);
        let idle = by_name("idle daemon");
        assert!(idle.reached && (idle.median - 0.4).abs() < 1e-9);
        assert!(record.text().contains("taskset -c 0 ringbar replay"));
    }

    #[test]
    fn a_figure_that_was_not_printed_is_an_error_and_not_left_out() {
        let mut short = round(100.0, 0.2);
        short.insert("weights", json!({"rows": []}));
        let error = Record::new(vec![short]).unwrap_err().to_string();
        assert!(error.contains("weight load"), "{error}");
    }
}
