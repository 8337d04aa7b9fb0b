//! Results as a table, as JSON and as a plot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::rotation::{Outcome, Results, Row};

mod aims;
mod plot;
mod table;

pub use aims::{Aim, aims};
pub use plot::plot;
pub use table::table;

/// What stands under every table, plot and record: without it the figures cannot be compared.
pub const TERMS: &str = "A message is one cache line: peers carry 64 bytes of payload in it, ringbar 56 and a tag. All \
    payload is written, read and checked; 1,024 slots; the same two cores; one pause after an empty poll. A wake is one \
    way, from before the doorbell to after the sleeper's return. A rotation's figure is the median of its samples. What counts \
    is the median of the rotations; for a peer whose rotations differ by more than 1.4 times the median of its faster state: \
    its fastest three or more rotations within 1.4 times of one another.";

/// Results with the machine they belong to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Where and when.
    pub machine: Machine,
    /// How to read the figures: [`TERMS`].
    pub terms: String,
    /// What the figures are to reach, and whether they do.
    #[serde(default)]
    pub aims: Vec<Aim>,
    /// The figures.
    #[serde(flatten)]
    pub results: Results,
}

impl Record {
    /// Results of this machine, today.
    pub fn new(results: Results) -> Self {
        let aims = aims(&results);
        Self { machine: Machine::here(), terms: TERMS.into(), aims, results }
    }

    /// The record as indented JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self)
            .unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    /// The record as text: the machine, the table, the terms, and what the figures reach.
    pub fn text(&self) -> String {
        let aims: String = self.aims.iter().map(|aim| format!("{aim}\n")).collect();
        let table = table(&self.results);
        format!("{}\n\n{table}\n\n{}\n\n{aims}", self.headline(), self.footing())
    }

    /// One line about the machine.
    pub fn headline(&self) -> String {
        let Machine { cpu, cpu_id, cores, kernel, virtual_machine, rustc, date } = &self.machine;
        let host = if *virtual_machine { "virtual machine" } else { "bare machine" };
        format!("{cpu} ({cpu_id}), {cores} cores, {host}, {kernel}, {rustc}, {date}")
    }

    /// What the canary said, and the terms.
    pub fn footing(&self) -> String {
        let (canary, settings) = (&self.results.canary, &self.results.settings);
        let placement = match serde_json::to_value(canary.placement) {
            Ok(serde_json::Value::String(name)) => name,
            _ => String::new(),
        };
        format!(
            "Placement {placement}: canary {:.1} ns (median {:.1}, {:.1} to {:.1}); {} of {} samples dropped because it moved. \
             {} rotations of {} samples of {} ms; cores {} and {}; {:.0} s.\n{}",
            canary.usual_ns,
            canary.median_ns,
            canary.min_ns,
            canary.max_ns,
            canary.dropped,
            canary.samples,
            settings.rotations,
            settings.samples,
            settings.sample_ms,
            settings.cores.left,
            settings.cores.right,
            self.results.elapsed_s,
            self.terms,
        )
    }

    /// Writes `SLUG.txt`, `SLUG.json` and `SLUG.svg` into a folder, which is created if it is missing, and returns their
    /// paths. A record of the same machine and day is replaced.
    ///
    /// # Errors
    /// The file system's answer.
    pub fn write_into(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::create_dir_all(folder)?;
        let slug = self.machine.slug();
        let files = [("txt", self.text()), ("json", self.json() + "\n"), ("svg", plot(self))];
        files
            .into_iter()
            .map(|(extension, content)| {
                let path = folder.join(format!("{slug}.{extension}"));
                fs::write(&path, content).map(|()| path)
            })
            .collect()
    }
}

/// What a reader must know about a row beside its figures.
fn remarks(row: &Row) -> String {
    let mut remarks = Vec::new();
    match &row.outcome {
        Outcome::Measured(summary) if summary.counted != summary.median => {
            remarks.push("its faster state counts".into());
        }
        Outcome::Measured(_) => (),
        Outcome::AllDropped => remarks.push("no figure: the placement kept changing".into()),
        Outcome::Unavailable { reason } => remarks.push(format!("cannot run here: {reason}")),
        Outcome::Failed { reason } => remarks.push(format!("FAILED: {reason}")),
    }
    if row.dropped > 0 {
        remarks.push(format!("{} of {} samples dropped", row.dropped, row.samples));
    }
    if !row.identity.note.is_empty() {
        remarks.push(row.identity.note.clone());
    }
    remarks.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::{Candidate, Identity, Measure};
    use crate::cores::Cores;
    use crate::error::BenchError;
    use crate::rotation::{Settings, run};

    fn record() -> Record {
        let measured = Identity::new("steady <&>", "x", Measure::OneWay);
        let absent = Identity::new("absent", "y", Measure::OneWay);
        let ours = Identity::new("ringbar", "z", Measure::RoundTrip).payload(56);
        let candidates = vec![
            Candidate::new(measured, |_, _| Ok(123_456.0)),
            Candidate::new(absent, |_, _| Err(BenchError::unavailable("absent", "no such call"))),
            Candidate::new(ours, |_, _| Ok(456_789.0)),
        ];
        let settings = Settings::quick(Cores::first_two().unwrap());
        Record::new(run(candidates, &settings, |_, _| ()).unwrap())
    }

    #[test]
    fn a_record_survives_json() {
        let record = record();
        assert_eq!(serde_json::from_str::<Record>(&record.json()).unwrap(), record);
    }

    #[test]
    fn the_text_names_what_could_not_run_and_why() {
        let text = record().text();
        assert!(
            text.contains("absent") && text.contains("cannot run here: no such call"),
            "{text}"
        );
        assert!(text.contains("ringbar 56 and a tag"), "{text}");
    }

    #[test]
    fn a_record_is_three_files_named_by_machine_and_date() {
        let folder = std::env::temp_dir().join(format!("ringbar-record-{}", std::process::id()));
        let record = record();
        let paths = record.write_into(&folder).unwrap();
        let names: Vec<_> = paths
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        let slug = record.machine.slug();
        assert_eq!(names, ["txt", "json", "svg"].map(|kind| format!("{slug}.{kind}")));
        assert!(paths.iter().all(|path| fs::metadata(path).unwrap().len() > 100));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_plot_escapes_names_and_closes_every_tag() {
        let svg = plot(&record());
        assert!(svg.contains("steady &lt;&amp;&gt;"), "{svg}");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    }
}
