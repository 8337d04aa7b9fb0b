//! The `peers` binary from outside: a short run of everything, the second processes among them.

#![forbid(unsafe_code)]

use std::process::{Command, Output};

use serde_json::Value;

fn peers(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_peers")).args(arguments).output().unwrap()
}

fn json_of(arguments: &[&str]) -> Value {
    let output = peers(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether a row has a figure, or lost its only sample to a moved placement, which is no fault of the candidate.
fn ran(row: &Value) -> bool {
    row["status"] == "all_dropped" || row["counted"].as_f64().is_some_and(|figure| figure > 0.0)
}

#[test]
fn a_quick_run_accounts_for_every_candidate() {
    let record = json_of(&["--quick", "--sample-ms", "1", "--json"]);
    let rows = record["rows"].as_array().unwrap();
    let listed = String::from_utf8(peers(&["--list"]).stdout).unwrap();
    assert_eq!(rows.len(), listed.lines().count());
    for row in rows {
        let is_kernel_feature = row["peer"] == "io_uring" || row["peer"] == "iceoryx2";
        let is_named = is_kernel_feature && row["status"] == "unavailable" && row["reason"] != "";
        assert!(ran(row) || is_named, "{row}");
    }
}

#[test]
fn every_competitor_takes_part() {
    let listed = String::from_utf8(peers(&["--list"]).stdout).unwrap();
    let names = [
        "ArrayQueue",
        "crossbeam-channel",
        "rtrb push/pop",
        "rtrb chunks",
        "ringbuf push/pop",
        "ringbuf slices",
        "gil",
        "sync_channel",
        "iceoryx2",
        "unix socket",
        "eventfd a message",
        "io_uring NOP",
        "limit",
        "eventfd raw wake",
    ];
    for name in names {
        assert!(listed.contains(name), "{name} is missing from:\n{listed}");
    }
}

#[test]
fn the_limits_and_the_raw_wake_run_between_processes() {
    let record = json_of(&["--quick", "--only", "processes", "--json"]);
    let rows = record["rows"].as_array().unwrap();
    let own = rows.iter().filter(|row| row["peer"] == "limit" || row["variant"] == "raw wake");
    let own: Vec<&Value> = own.collect();
    assert_eq!(own.len(), 7);
    assert!(own.into_iter().all(ran), "{record}");
}

#[test]
fn an_unknown_name_is_an_error_that_says_where_the_names_are() {
    let output = peers(&["--only", "no such transport"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--list"));
}
