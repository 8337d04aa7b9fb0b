//! `ringbar run --stats`: what crossed between a program and its executor, as the program's libraries counted it.
//!
//! Every process of the program appends one JSON line when it ends.

use super::error::RunError;
use crate::status::CounterStatus;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// What one process did.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct ProcessStats {
    pid: u32,
    program: String,
    calls: Vec<CallCount>,
    runtime_calls: Vec<CallCount>,
    unsupported: Vec<UnsupportedCount>,
    htod_bytes: u64,
    dtoh_bytes: u64,
    image_bytes: u64,
    image_bytes_known: u64,
    channel: CounterStatus,
}

/// How often one function was called.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct CallCount {
    name: String,
    class: String,
    count: u64,
}

/// How often a function was called that has no behaviour yet.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct UnsupportedCount {
    name: String,
    count: u64,
}

/// By name: class and count.
type Calls = BTreeMap<String, (String, u64)>;

/// What all processes of a program did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    processes: Vec<ProcessStats>,
    calls: Calls,
    /// Calls of the runtime, which itself calls the functions of the driver that are among `calls`.
    runtime_calls: Calls,
    unsupported: BTreeMap<String, u64>,
}

impl Stats {
    /// Reads what the processes left at `path`; nothing there means that none of them used CUDA.
    ///
    /// # Errors
    /// [`RunError::Statistics`] if it is no such text.
    pub fn read(path: &Path) -> Result<Self, RunError> {
        let wrong = |reason: String| RunError::Statistics { path: path.to_owned(), reason };
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|error| wrong(error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let mut stats = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            stats.add(serde_json::from_str(line)?);
        }
        Ok(stats)
    }

    fn add(&mut self, process: ProcessStats) {
        for (sums, calls) in
            [(&mut self.calls, &process.calls), (&mut self.runtime_calls, &process.runtime_calls)]
        {
            for call in calls {
                sums.entry(call.name.clone()).or_insert((call.class.clone(), 0)).1 += call.count;
            }
        }
        for call in &process.unsupported {
            *self.unsupported.entry(call.name.clone()).or_default() += call.count;
        }
        self.processes.push(process);
    }

    fn sum(&self, what: impl Fn(&ProcessStats) -> u64) -> u64 {
        self.processes.iter().map(what).sum()
    }

    fn of_class(&self, class: &str) -> u64 {
        self.calls.values().filter(|(found, _)| found == class).map(|(_, count)| count).sum()
    }

    /// Functions by count, the most called first.
    fn functions(title: &str, calls: &Calls) -> Table {
        let mut rows: Vec<_> = calls.iter().collect();
        rows.sort_by_key(|(_, (_, count))| std::cmp::Reverse(*count));
        let mut table = table([title, "class", "calls"]);
        for (name, (class, count)) in rows {
            table.add_row([name.clone(), class.clone(), count.to_string()]);
        }
        right(table, 2)
    }

    /// What it cost to cross.
    fn crossing(&self) -> Table {
        let commands = self.sum(|p| p.channel.commands_submitted);
        let bells = self.sum(|p| p.channel.client_bells);
        let mut table = table(["what crossed", "count"]);
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_string(), value]);
        };
        for class in ["local", "post", "sync"] {
            row(&format!("calls of class {class}"), self.of_class(class).to_string());
        }
        row("commands", commands.to_string());
        row("publications", self.sum(|p| p.channel.batches).to_string());
        row("doorbells to the worker", bells.to_string());
        let rate = CounterStatus::per_1000(bells, commands);
        row("doorbells for 1,000 commands", format!("{rate:.2}"));
        row("doorbells to the program", self.sum(|p| p.channel.worker_bells).to_string());
        row("command bytes", self.sum(|p| p.channel.client_bytes).to_string());
        row("bytes to the device", self.sum(|p| p.htod_bytes).to_string());
        row("bytes from the device", self.sum(|p| p.dtoh_bytes).to_string());
        row("bytes of images that were sent", self.sum(|p| p.image_bytes).to_string());
        row("bytes of images known already", self.sum(|p| p.image_bytes_known).to_string());
        row("waits that blocked a thread", self.sum(|p| p.channel.client_parks).to_string());
        row("waits for room in the ring", self.sum(|p| p.channel.full_waits).to_string());
        row("waits for room in the arena", self.sum(|p| p.channel.arena_waits).to_string());
        row("posted calls that failed", self.sum(|p| p.channel.errors).to_string());
        row("unsupported calls", self.unsupported.values().sum::<u64>().to_string());
        right(table, 1)
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        // A console that does not know its width would break every word.
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    table
}

fn right(mut table: Table, column: usize) -> Table {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

impl fmt::Display for Stats {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.processes.is_empty() {
            return write!(
                out,
                "ringbar run: no process of the program used CUDA; likely cause: it has the runtime linked in statically \
                 (nvcc's default; try -cudart shared), or it cleared the environment"
            );
        }
        if !self.runtime_calls.is_empty() {
            let table = Self::functions("function of the runtime", &self.runtime_calls);
            writeln!(out, "{table}")?;
        }
        writeln!(out, "{}", Self::functions("function", &self.calls))?;
        if !self.unsupported.is_empty() {
            let mut unsupported = table(["not supported yet", "calls"]);
            for (name, count) in &self.unsupported {
                unsupported.add_row([name.clone(), count.to_string()]);
            }
            writeln!(out, "{}", right(unsupported, 1))?;
        }
        writeln!(out, "{}", self.crossing())?;
        let names = self.processes.iter().map(|p| format!("{} ({})", p.program, p.pid));
        write!(out, "Processes that used CUDA: {}", names.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = concat!(
        r#"{"pid":7,"program":"add","calls":[{"name":"cuLaunchKernel","class":"post","count":40},"#,
        r#"{"name":"cuCtxGetDevice","class":"local","count":2}],"htod_bytes":64,"#,
        r#""runtime_calls":[{"name":"cudaLaunchKernel","class":"post","count":40}],"#,
        r#""channel":{"commands_submitted":1000,"client_bells":3}}"#,
        "\n\n",
        r#"{"pid":8,"program":"child","calls":[{"name":"cuLaunchKernel","class":"post","count":2}],"#,
        r#""unsupported":[{"name":"cuFoo","count":5}],"channel":{"commands_submitted":1000}}"#,
        "\n"
    );

    #[test]
    fn counts_of_all_processes_are_added_by_function_and_class() {
        let stats = Stats::parse(TWO).unwrap();
        assert_eq!(stats.calls["cuLaunchKernel"], ("post".into(), 42));
        assert_eq!((stats.of_class("post"), stats.of_class("local")), (42, 2));
        let text = stats.to_string();
        for part in [
            "function of the runtime",
            "cudaLaunchKernel",
            "cuFoo",
            "1.50",
            "add (7)",
            "child (8)",
            "2000",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn a_program_that_left_nothing_is_told_the_likely_cause() {
        let folder = tempfile::tempdir().unwrap();
        let stats = Stats::read(&folder.path().join("none")).unwrap();
        assert!(stats.to_string().contains("-cudart shared"));
    }

    #[test]
    fn a_text_of_another_kind_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats");
        std::fs::write(&path, "{\"calls\": 3}\n").unwrap();
        let error = Stats::read(&path).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}
