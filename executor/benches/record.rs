//! A record of figures: as text and as JSON, with what each had to reach.

use comfy_table::{ContentArrangement, Table, presets};
use ringbar_benches::machine::Machine;
use ringbar_executor::vm::guest_figures::Figures;
use ringbar_executor::vm::guest_limit::GuestLimit;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What stands under every table.
const TERMS: &str = "Each round has a fresh daemon, worker and guest; a round's figure is a median, of calls that of the means of 16 in a row. The old way: one register \
    access that traps into the monitor, which passes the call over a unix socket to a mediator process (cat, which sends it \
    back) and the answer back, one call outstanding; under emulation the register is a PCI serial port's, a call is one byte, \
    and the guest polls its status. Asleep means: 3 ms of pause before each burst. Bare KVM: the ring's own code in user mode \
    on a virtual processor without a kernel, pinned to core 0, worker and mediator on core 1; under emulation the scheduler \
    places QEMU's threads, worker and mediator.";

/// How the guest ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, Serialize)]
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
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub road: Road,
    pub rounds: Vec<Round>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// One figure of a road over its rounds.
#[derive(Clone, Debug, Serialize)]
struct Row {
    road: Road,
    figure: &'static str,
    must_reach: &'static str,
    median: f64,
    min: f64,
    max: f64,
    reached: bool,
    /// What it was measured from.
    from: String,
    /// What bounds it, measured in the same rounds.
    limit: Option<String>,
}

/// Everything.
#[derive(Debug, Serialize)]
pub struct Record {
    machine: Machine,
    kvm: String,
    qemu: String,
    terms: &'static str,
    rows: Vec<Row>,
    measured: [Measured; 2],
}

/// Median, least and greatest.
fn spread(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> (f64, f64, f64) {
    let mut values: Vec<f64> = rounds.iter().map(figure).collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

fn rows(measured: &Measured) -> Vec<Row> {
    let (road, rounds) = (measured.road, measured.rounds.as_slice());
    if rounds.is_empty() {
        return Vec::new();
    }
    let median = |figure: fn(&Figures) -> f64| spread(rounds, |round| figure(&round.figures)).0;
    let row = |figure, must_reach, value: fn(&Figures) -> f64, good: fn(f64) -> bool, from| {
        let (median, min, max) = spread(rounds, |round| value(&round.figures));
        Row { road, figure, must_reach, median, min, max, reached: good(median), from, limit: None }
    };
    let old = median(|f| f.old_way_ns.unwrap_or(f64::NAN));
    let round_trip = median(|f| f.round_trip_ns);
    let (single, batched) = (median(|f| f.single_ns), median(|f| f.batched_ns));
    let (device, memory) = (median(|f| f.copy_device_ns), median(|f| f.copy_memory_ns));
    let calls: u64 = rounds.iter().map(|round| round.figures.calls).sum();
    let sleeps: u64 = rounds.iter().map(|round| round.figures.sleeps).sum();
    let for_sleep = |f: &Figures| f.bells.saturating_sub(f.awake_bells);
    let bells: u64 = rounds.iter().map(|round| for_sleep(&round.figures)).sum();
    let mut rows = vec![
        row(
            "round trip, host polling, against the old way",
            "at least 100 times faster",
            |f| f.times_faster().unwrap_or(f64::NAN),
            |value| value >= 100.0,
            format!("{round_trip:.0} ns against {old:.0} ns"),
        ),
        row(
            "doorbells while the host is awake",
            "0",
            |f| f.awake_bells as f64,
            |value| value == 0.0,
            format!("in {calls} calls, {sleeps} times asleep, {bells} doorbells for those"),
        ),
        row(
            "64 commands a doorbell, per command, against one",
            "at least 15 times faster",
            Figures::batch_gain,
            |value| value >= 15.0,
            format!("{batched:.0} ns against {single:.0} ns"),
        ),
        row(
            "copy of 256 KiB into the BAR against own memory",
            "at least 0.85 of its rate",
            Figures::copy_rate,
            |value| value >= 0.85,
            format!("{device:.0} ns against {memory:.0} ns"),
        ),
    ];
    rows[0].limit = Some(match road {
        Road::BareKvm => round_trip_limit(rounds, old),
        Road::Emulated => emulated_limit(rounds, old, round_trip),
    });
    rows
}

/// What an emulated round trip is made of: the bytes without any ring, and the steps before the wait, which are translated.
fn emulated_limit(rounds: &[Round], old: f64, round_trip: f64) -> String {
    let median = |value: fn(&GuestLimit) -> f64| {
        spread(rounds, |round| round.guest.as_ref().map_or(f64::NAN, value)).0
    };
    let (exchange, fence) = (median(|limit| limit.exchange_ns), median(|limit| limit.fence_ns));
    let (clock, pause) = (median(|limit| limit.clock_ns), median(|limit| limit.pause_ns));
    let (store, host) = (median(|limit| limit.store_ns), spread(rounds, |round| round.limit_ns).0);
    let post = spread(rounds, |round| round.figures.post_ns).0;
    let (raw_times, times) = (old / exchange, old / (exchange + post));
    format!(
        "56 bytes there and 16 back between this emulated processor and a thread of the host take {exchange:.0} ns without any \
         ring ({host:.0} ns between two cores), so {raw_times:.0} times is the most of any; the ring's {round_trip:.0} ns are \
         those and the {post:.0} ns that posting takes of the emulated processor, which runs it as translated code (a store takes \
         {store:.1} ns there, a fence {fence:.0} ns, a pause {pause:.0} ns, a reading of the clock {clock:.0} ns): both together \
         make {times:.0} times, by medians"
    )
}

/// What a round trip is made of at least.
fn round_trip_limit(rounds: &[Round], old: f64) -> String {
    let limit = spread(rounds, |round| round.limit_ns).0;
    let native = spread(rounds, |round| round.native_ns.unwrap_or(f64::NAN)).0;
    let native = if native.is_nan() {
        String::new()
    } else {
        format!(
            "; the ring's own calls without a virtual processor take {native:.0} ns, {:.0} times",
            old / native
        )
    };
    let times = old / limit;
    format!(
        "56 bytes there and 16 back between these two cores take {limit:.0} ns without any ring, so {times:.0} times is the most{native}"
    )
}

/// What a program says about itself in its first line.
fn said_by(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or("none".into())
}

impl Record {
    pub fn new(measured: [Measured; 2]) -> Self {
        let modules = ["kvm_pvm", "kvm_intel", "kvm_amd"];
        let module = modules.into_iter().find(|name| Path::new("/sys/module").join(name).exists());
        Self {
            machine: Machine::here(),
            kvm: module.unwrap_or("none or built in").to_owned(),
            qemu: said_by("qemu-system-x86_64", "--version"),
            terms: TERMS,
            rows: measured.iter().flat_map(rows).collect(),
            measured,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let m = &self.machine;
        let mut text = format!(
            "{} ({}), {} cores, {}, KVM: {}, {}, {}, {}\n\n",
            m.cpu, m.cpu_id, m.cores, m.kernel, self.kvm, self.qemu, m.rustc, m.date
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
