//! The coverage page of a library: what of it is exported, implemented, and found equal beside NVIDIA's own.

use crate::Export;
use std::collections::BTreeSet;
use std::path::Path;

/// A library's page.
pub struct Page<'a> {
    /// Its headline.
    pub title: &'a str,
    /// From what it is written, and how.
    pub origin: &'a str,
    /// What a reader must know for the table.
    pub notes: &'a str,
    /// Every exported function.
    pub exports: &'a [Export],
    /// The heading of the column of what lies below a function.
    pub below_title: &'a str,
    /// What lies below a function: commands, or functions of another library.
    pub below: &'a dyn Fn(&Export) -> Vec<&'static str>,
    /// What a function lacks to be implemented though it has a row.
    pub lacks: &'a dyn Fn(&Export) -> Vec<&'static str>,
    /// The version of CUDA before which nobody looked: functions that are at least so old are given it with a "≤".
    pub oldest: i32,
    /// What is said of the names that are not implemented.
    pub missing: &'a str,
    /// The functions that were found equal, one a line.
    pub equal: &'a str,
}

/// What is said of every library.
const EQUAL: &str = "Equal means: in the differential programs, run on NVIDIA's library and on this one on a machine with a GPU \
     (`.ci/gpu run`),\nno line about it differed but for those that `declared.tsv` gives a reason for.";
const ARGUMENTS: &str = "An argument is a value unless it says `in` or `out`; `T[count]` is as many of T as the argument `count` says, where `count` may\n\
     be what decides the size (an attribute, a function). `text` ends with a zero byte, an `image` says its own length.";

impl Page<'_> {
    /// A version as people write it: 12.4.
    fn version(&self, since: i32) -> String {
        let before = if since <= self.oldest { "≤ " } else { "" };
        format!("{before}{}.{}", since / 1000, since % 1000 / 10)
    }

    fn row(&self, export: &Export, equal: bool) -> String {
        let arguments: Vec<String> = export.arguments.iter().map(|one| one.text()).collect();
        let columns = [
            export.name.to_owned(),
            variant(export),
            self.version(export.since),
            export.class.name().to_owned(),
            arguments.join(", "),
            (self.below)(export).join(", "),
            if equal { "yes" } else { "" }.to_owned(),
        ];
        format!("| {} |\n", columns.join(" | "))
    }

    /// The page.
    pub fn text(&self) -> String {
        let equal: BTreeSet<&str> =
            self.equal.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let (implemented, missing): (Vec<&Export>, Vec<&Export>) =
            self.exports.iter().partition(|one| one.implemented && (self.lacks)(one).is_empty());
        let tested = implemented.iter().filter(|export| equal.contains(export.name)).count();
        let rows = implemented.iter().map(|one| self.row(one, equal.contains(one.name)));
        let (passing, stubs): (Vec<&Export>, Vec<&Export>) =
            missing.into_iter().partition(|export| export.implemented);
        let mut parts = vec![
            format!("# {}", self.title),
            self.origin.to_owned(),
            format!(
                "| exported | implemented | compared with NVIDIA's library, and equal |\n|---|---|---|\n| {} | {} | {tested} |",
                self.exports.len(),
                implemented.len()
            ),
            self.notes.to_owned(),
            EQUAL.to_owned(),
            ARGUMENTS.to_owned(),
            format!(
                "| function | variant of | since | class | arguments | {} | equal |\n|---|---|---|---|---|---|---|\n{}",
                self.below_title,
                rows.collect::<String>().trim_end()
            ),
        ];
        if !passing.is_empty() {
            let rows = passing
                .iter()
                .map(|one| format!("| {} | {} |\n", one.name, (self.lacks)(one).join(", ")));
            parts.push("## Exported, answered by a function that is not implemented".to_owned());
            parts.push(
                "| function | not implemented |\n|---|---|\n".to_owned()
                    + rows.collect::<String>().trim_end(),
            );
        }
        parts.push("## Exported, not implemented".to_owned());
        parts.push(self.missing.to_owned());
        parts.push(stubs.iter().map(|export| export.name).collect::<Vec<_>>().join(", "));
        parts.join("\n\n") + "\n"
    }

    /// Holds the page at `path` to what it must be; with `RINGBAR_WRITE_COVERAGE` set, writes it anew first.
    ///
    /// # Panics
    /// If the page there is old, or cannot be written.
    pub fn check(&self, path: &Path) {
        let text = self.text();
        if std::env::var_os("RINGBAR_WRITE_COVERAGE").is_some() {
            std::fs::write(path, &text).expect("the page can be written");
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == text,
            "{} is old: run this test with RINGBAR_WRITE_COVERAGE=1 and commit the page",
            path.display()
        );
    }
}

/// Which function this is a version or a spelling of, if its symbol is not the function's own name.
fn variant(export: &Export) -> String {
    let own = if export.per_thread { ", own default stream" } else { "" };
    match export.function {
        Some(function) if function != export.name => format!("{function}{own}"),
        _ => String::new(),
    }
}
