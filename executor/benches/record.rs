//! A record of figures: as text and as JSON, with what each had to reach.

use comfy_table::{ContentArrangement, Table, presets};
use ringbar_benches::calls::Figures;
use ringbar_benches::exchange::GuestLimit;
use ringbar_benches::machine::Machine;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What stands under every table.
const TERMS: &str = "Each round has a fresh daemon, worker and guest; a round's figure is a median, of calls that of the means of 16 in a row. The old way: one register \
    access that traps into the monitor, which passes the call over a unix socket to a mediator process (cat, which sends it \
    back) and the answer back, one call outstanding; under emulation the register is a PCI serial port's. That old way is flattered: \
    a call is eight bytes over bare KVM and one under emulation, and its mediator does nothing; and under emulation handicapped: a \
    byte there and back takes at least four register accesses in place of one, each a system call of the guest, and while the guest \
    polls the port's status it takes turns with the thread of QEMU that carries the byte. Asleep means: 3 ms of pause before each burst. Bare KVM: the ring's own code in user mode \
    on a virtual processor without a kernel, pinned to core 0, worker and mediator on core 1; under emulation the scheduler \
    places QEMU's threads, worker and mediator.";

/// How the guest ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Road {
    BareKvm,
    Emulated,
}

impl Road {
    fn name(self) -> &'static str {
        match self {
            Self::BareKvm => "bare KVM",
            Self::Emulated => "QEMU's TCG",
        }
    }
}

/// One round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    /// Memory types, as measured.
    pub memory: String,
    pub figures: Figures,
    /// The same calls by the same process without a virtual processor.
    pub native_ns: Option<f64>,
    /// A request and a reply of the ring's sizes between the same two cores, without any ring.
    pub limit_ns: f64,
    /// What the emulated guest itself takes, without any ring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestLimit>,
}

/// All rounds of a road, or why there are none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub road: Road,
    pub rounds: Vec<Round>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// One figure of a road over its rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    road: Road,
    figure: &'static str,
    must_reach: &'static str,
    pub median: f64,
    min: f64,
    max: f64,
    pub reached: bool,
    /// What the median was measured from, in its own round.
    pub from: String,
    /// What bounds it, each ratio of one round.
    pub limit: Option<String>,
}

/// Everything.
#[derive(Debug, Serialize)]
pub struct Record {
    machine: Machine,
    commit: String,
    kvm: String,
    qemu: String,
    terms: &'static str,
    rows: Vec<Row>,
    measured: [Measured; 2],
}

/// A value over the rounds.
#[derive(Clone, Copy)]
struct Spread<'r> {
    /// The round whose value is the median.
    middle: &'r Round,
    median: f64,
    min: f64,
    max: f64,
}

/// Of a value that each round has; nothing without rounds.
fn spread(rounds: &[Round], value: impl Fn(&Round) -> f64) -> Option<Spread<'_>> {
    let mut sorted: Vec<_> = rounds.iter().map(|round| (value(round), round)).collect();
    sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (median, middle) = *sorted.get(sorted.len() / 2)?;
    let (min, max) = (sorted.first()?.0, sorted.last()?.0);
    Some(Spread { middle, median, min, max })
}

/// A value over the rounds as a sentence has it: the median, and between what it lay.
fn times(rounds: &[Round], value: impl Fn(&Round) -> f64) -> String {
    spread(rounds, value).map_or_else(String::new, |found| {
        format!("{:.0} times ({:.0} to {:.0})", found.median, found.min, found.max)
    })
}

/// A figure: its name, what it must reach, its value in a round, whether a value is good, what it was measured from.
struct Figure {
    name: &'static str,
    must_reach: &'static str,
    value: fn(&Figures) -> f64,
    good: fn(f64) -> bool,
    /// Whether every round must be good, not only the median's, and is told of.
    always: bool,
    from: fn(&Figures) -> String,
}

const FIGURES: [Figure; 4] = [
    Figure {
        name: "round trip, host polling, against the old way",
        must_reach: "at least 100 times faster",
        value: |f| f.times_faster().unwrap_or(f64::NAN),
        good: |value| value >= 100.0,
        always: false,
        from: |f| format!("{:.0} ns against {:.0} ns", f.round_trip_ns, old_way(f)),
    },
    Figure {
        name: "doorbells while the host is awake",
        must_reach: "0 in every round",
        value: |f| f.bells_for_awake() as f64,
        good: |value| value == 0.0,
        always: true,
        from: |f| {
            let (calls, sleeps, bells) = (f.calls, f.sleeps, f.bells);
            format!("in {calls} calls, {sleeps} times asleep, {bells} doorbells in all")
        },
    },
    Figure {
        name: "64 commands a doorbell, per command, against one",
        must_reach: "at least 15 times faster",
        value: Figures::batch_gain,
        good: |value| value >= 15.0,
        always: false,
        from: |f| format!("{:.0} ns against {:.0} ns", f.batched_ns, f.single_ns),
    },
    Figure {
        name: "copy of 256 KiB into the BAR against own memory",
        must_reach: "at least 0.85 of its rate",
        value: Figures::copy_rate,
        good: |value| value >= 0.85,
        always: false,
        from: |f| format!("{:.0} ns against {:.0} ns", f.copy_device_ns, f.copy_memory_ns),
    },
];

/// What was counted, of all rounds.
fn in_all(rounds: &[Round], one: &Round) -> Figures {
    let sum = |count: fn(&Figures) -> u64| rounds.iter().map(|round| count(&round.figures)).sum();
    let (calls, sleeps, bells) = (sum(|f| f.calls), sum(|f| f.sleeps), sum(|f| f.bells));
    Figures { calls, sleeps, bells, ..one.figures.clone() }
}

fn old_way(figures: &Figures) -> f64 {
    figures.old_way_ns.unwrap_or(f64::NAN)
}

/// What the rounds of a road say.
pub fn rows(measured: &Measured) -> Vec<Row> {
    let (road, rounds) = (measured.road, measured.rounds.as_slice());
    let row = |figure: &Figure| {
        let found = spread(rounds, |round| (figure.value)(&round.figures))?;
        let good = |round: &Round| (figure.good)((figure.value)(&round.figures));
        let reached = (figure.good)(found.median) && (!figure.always || rounds.iter().all(good));
        let Spread { middle, median, min, max } = found;
        let from = if figure.always { in_all(rounds, middle) } else { middle.figures.clone() };
        let (name, must_reach, from) = (figure.name, figure.must_reach, (figure.from)(&from));
        Some(Row { road, figure: name, must_reach, median, min, max, reached, from, limit: None })
    };
    let mut rows: Vec<_> = FIGURES.iter().filter_map(row).collect();
    if let Some(first) = rows.first_mut() {
        first.limit = match road {
            Road::BareKvm => round_trip_limit(rounds),
            Road::Emulated => emulated_limit(rounds),
        };
    }
    rows
}

/// What bounds an emulated round trip: the bytes without any ring; and what of the rest is the ring's own posting.
fn emulated_limit(rounds: &[Round]) -> Option<String> {
    let of_guest =
        |round: &Round, value: fn(&GuestLimit) -> f64| round.guest.as_ref().map_or(f64::NAN, value);
    let median = |value: fn(&GuestLimit) -> f64| {
        spread(rounds, |round| of_guest(round, value)).map_or(f64::NAN, |found| found.median)
    };
    let (exchange, fence) = (median(|limit| limit.exchange_ns), median(|limit| limit.fence_ns));
    let (clock, pause) = (median(|limit| limit.clock_ns), median(|limit| limit.pause_ns));
    let (store, host) = (median(|limit| limit.store_ns), spread(rounds, |r| r.limit_ns)?.median);
    let post = spread(rounds, |round| round.figures.post_ns)?.median;
    let raw = |round: &Round| of_guest(round, |limit| limit.exchange_ns);
    let most = times(rounds, |round| old_way(&round.figures) / raw(round));
    let both =
        times(rounds, |round| old_way(&round.figures) / (raw(round) + round.figures.post_ns));
    Some(format!(
        "56 bytes there and 16 back between this emulated processor and a thread of the host take {exchange:.0} ns without any \
         ring ({host:.0} ns between two cores), in its own round each: {most} is the limit of the machine. The rest is the ring's own \
         cost: with the {post:.0} ns that posting takes of the emulated processor, which runs it as translated code (a store takes {store:.1} ns there, a fence {fence:.0} ns, a \
         pause {pause:.0} ns, a reading of the clock {clock:.0} ns), it is {both}"
    ))
}

/// What a round trip is made of at least.
fn round_trip_limit(rounds: &[Round]) -> Option<String> {
    let limit = spread(rounds, |round| round.limit_ns)?.median;
    let most = times(rounds, |round| old_way(&round.figures) / round.limit_ns);
    let post = spread(rounds, |round| round.figures.post_ns)?.median;
    let both =
        times(rounds, |round| old_way(&round.figures) / (round.limit_ns + round.figures.post_ns));
    let native_ns = |round: &Round| round.native_ns.unwrap_or(f64::NAN);
    let native = spread(rounds, native_ns)?.median;
    let ring = times(rounds, |round| old_way(&round.figures) / native_ns(round));
    let native = if native.is_nan() {
        String::new()
    } else {
        format!("; the ring's own calls without a virtual processor take {native:.0} ns: {ring}")
    };
    Some(format!(
        "56 bytes there and 16 back between these two cores take {limit:.0} ns without any ring, in its own round each: {most} is \
         the limit of the machine. The rest is the ring's own cost: with the {post:.0} ns that posting takes of the processor it is \
         {both}{native}"
    ))
}

/// What a program says about itself in its first line.
fn said_by(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or("none".into())
}

/// The commit that is checked out, and whether anything differs from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    };
    let head = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or("unknown".to_owned());
    let dirty = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    if dirty { head + ", with changes" } else { head }
}

/// What a record is made of: where and when, and all rounds.
#[derive(Debug, Deserialize)]
pub struct Found {
    machine: Machine,
    /// The tree that was measured; records before there was this field do not say.
    #[serde(default)]
    commit: String,
    kvm: String,
    qemu: String,
    pub measured: [Measured; 2],
}

impl Found {
    /// On this machine, today.
    pub fn here(measured: [Measured; 2]) -> Self {
        let modules = ["kvm_pvm", "kvm_intel", "kvm_amd"];
        let module = modules.into_iter().find(|name| Path::new("/sys/module").join(name).exists());
        Self {
            machine: Machine::here(),
            commit: commit(),
            kvm: module.unwrap_or("none or built in").to_owned(),
            qemu: said_by("qemu-system-x86_64", "--version"),
            measured,
        }
    }

    /// As an earlier record has it.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }
}

impl Record {
    pub fn of(found: Found) -> Self {
        let Found { machine, commit, kvm, qemu, measured } = found;
        let rows = measured.iter().flat_map(rows).collect();
        Self { machine, commit, kvm, qemu, terms: TERMS, rows, measured }
    }

    /// For people.
    pub fn text(&self) -> String {
        let m = &self.machine;
        let mut text = format!(
            "{} ({}), {} cores, {}, KVM: {}, {}, {}, {}, commit {}\n\n",
            m.cpu, m.cpu_id, m.cores, m.kernel, self.kvm, self.qemu, m.rustc, m.date, self.commit
        );
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["", "guest", "figure", "must reach", "median", "min", "max", "from"]);
        for row in &self.rows {
            let number = |value: f64| format!("{value:.2}");
            table.add_row([
                if row.reached { "✔" } else { "✘" }.to_owned(),
                row.road.name().to_owned(),
                row.figure.to_owned(),
                row.must_reach.to_owned(),
                number(row.median),
                number(row.min),
                number(row.max),
                row.from.clone(),
            ]);
        }
        text += &format!("{table}\n\n");
        for row in &self.rows {
            let missed = if row.reached { "reached" } else { "MISSED" };
            if let Some(limit) = &row.limit {
                text += &format!("{}, {} ({missed}): {limit}\n", row.road.name(), row.figure);
            }
        }
        for measured in &self.measured {
            let name = measured.road.name();
            if let Some(why) = &measured.missing {
                text += &format!("{name}: NOT MEASURED, {why}\n");
            }
            for round in measured.rounds.iter().take(1) {
                text += &format!("{name}, memory: {}\n", round.memory);
            }
        }
        text + "\n" + TERMS + "\n"
    }

    /// Writes text and JSON into `folder`.
    pub fn write(&self, folder: &Path) -> std::io::Result<[PathBuf; 2]> {
        let slug = self.machine.slug_of("vm");
        let path = |end| folder.join(format!("{slug}.{end}"));
        let paths = [path("txt"), path("json")];
        std::fs::write(&paths[0], self.text())?;
        std::fs::write(&paths[1], serde_json::to_string_pretty(self)? + "\n")?;
        Ok(paths)
    }
}
