//! The summary that `RINGBAR_STATS` asks for: one line of JSON a process, appended when it exits.
//!
//! A process that ends by a signal or `_exit` leaves none, as with every handler of `atexit`.

use crate::exports::Class;
use crate::{exports, fork, session};
use ringbar::counters::Counters;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// Names the file.
const VARIABLE: &str = "RINGBAR_STATS";

/// Has the summary written at exit, if the environment asks for one.
pub(crate) fn at_exit() {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    // SAFETY: the handler takes nothing, and the library stays loaded until the process ends.
    let refused = unsafe { libc::atexit(write_at_exit) };
    if refused != 0 {
        tracing::warn!("no statistics will be written: the system takes no more exit handlers");
    }
}

extern "C" fn write_at_exit() {
    // The parent writes its own; a copy of its numbers would be counted twice.
    if fork::is_dead_copy() {
        return;
    }
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    if let Err(error) = append(Path::new(&path), &summary()) {
        tracing::warn!(%error, path = %path.display(), "the statistics could not be written");
    }
}

/// One write, so that lines of processes that exit together do not mix.
fn append(path: &Path, line: &Value) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// What this process did so far.
pub fn summary() -> Value {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name).unwrap_or_default();
    let call = |name: &str, class: Class, count: u64| json!({ "name": name, "class": class.name(), "count": count });
    let calls = exports::calls().into_iter();
    let calls: Vec<_> =
        calls.map(|(export, count)| call(export.name, export.class, count)).collect();
    let runtime = exports::runtime_calls().into_iter();
    let runtime: Vec<_> = runtime.map(|(name, class, count)| call(name, class, count)).collect();
    let unsupported: Vec<_> = exports::unsupported_calls()
        .into_iter()
        .map(|(name, count)| json!({ "name": name, "count": count }))
        .collect();
    let session = session::live().ok().map(|live| &live.session);
    let (counts, channel) =
        session.map(|session| (session.counts(), session.client().counters())).unwrap_or_default();
    json!({
        "pid": std::process::id(),
        "program": program.to_string_lossy(),
        "calls": calls,
        "runtime_calls": runtime,
        "unsupported": unsupported,
        "htod_bytes": counts.htod_bytes,
        "dtoh_bytes": counts.dtoh_bytes,
        "image_bytes": counts.image_bytes,
        "image_bytes_known": counts.image_bytes_known,
        "channel": channel_counts(&channel),
    })
}

fn channel_counts(counters: &Counters) -> Value {
    json!({
        "lines_submitted": counters.lines_submitted,
        "commands_submitted": counters.commands_submitted,
        "batches": counters.batches,
        "client_bells": counters.client_bells,
        "client_parks": counters.client_parks,
        "full_waits": counters.full_waits,
        "arena_waits": counters.arena_waits,
        "client_bytes": counters.client_bytes,
        "executed": counters.executed,
        "retired": counters.retired,
        "commands_executed": counters.commands_executed,
        "replies": counters.replies,
        "worker_bells": counters.worker_bells,
        "worker_parks": counters.worker_parks,
        "empty_wakes": counters.empty_wakes,
        "worker_bytes": counters.worker_bytes,
        "errors": counters.errors,
        "events_lost": counters.events_lost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_appends_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats");
        for pid in [1, 2] {
            append(&path, &json!({ "pid": pid })).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"pid\":1}\n{\"pid\":2}\n");
    }

    #[test]
    fn a_process_without_a_session_has_a_summary_of_zeros() {
        let summary = summary();
        assert_eq!(summary["pid"], std::process::id());
        assert_eq!(summary["channel"]["commands_submitted"], 0);
        assert_eq!(summary["htod_bytes"], 0);
    }
}
