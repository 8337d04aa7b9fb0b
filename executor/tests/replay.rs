//! `ringbar replay` as its users run it: the binary, real worker processes, all transports.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const HEADER: &str = "gap_ns,thread,call,class,inline_bytes,bulk_bytes,dir\n";

/// A small recording: two threads, launches, copies both ways, waits.
const ROWS: &str = "\
0,3,cudaMalloc,sync,16,0,-
10,3,cudaMemcpyAsync,post,48,1500000,h2d
10,7,cudaLaunchKernel,post,92,0,-
10,3,cudaLaunchKernel,post,3500,0,-
10,7,cublasGemmEx,post,120,0,-
10,3,cudaMemcpyAsync,sync,48,300000,d2h
10,7,cudnnBackendGetAttribute,sync,40,0,-
10,7,cudaHostAlloc,sync,16,0,-
10,7,cudaMemcpyAsync,post,48,500,d2h
10,3,cudaStreamSynchronize,sync,16,0,-
";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("room on the disk");
        path
    }
}

fn replay(recording: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringbar"));
    command.arg("replay").arg(recording).args(options).output().expect("the binary runs")
}

fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("JSON alone on the standard output")
}

#[test]
fn every_transport_gives_the_same_digest_and_the_same_memory() {
    let folder = Folder::new();
    let recording = folder.file("small.csv", &(HEADER.to_string() + ROWS));
    let rows: Vec<Value> = ["ring", "doorbell", "socket", "direct"]
        .iter()
        .map(|transport| {
            let options = ["--transport", transport, "--rounds", "4", "--json"];
            let report = json(&replay(&recording, &options));
            assert_eq!(report["threads"], 2);
            report["rows"][0].clone()
        })
        .collect();
    for row in &rows {
        assert!(row["digest"].is_string(), "{row}");
        assert_eq!(row["digest"], rows[0]["digest"], "{row}");
        assert_eq!(row["commands"], 40, "{row}");
        assert_eq!(row["memory_checked"], row["transport"] != "direct", "{row}");
        assert_eq!(row["worker_cpu_ns"].is_u64(), row["transport"] != "direct", "{row}");
    }
    assert!(rows[1]["doorbells_per_1000"].as_f64().expect("a number") >= 2000.0);
}

#[test]
fn the_seed_decides_the_digest() {
    let folder = Folder::new();
    let recording = folder.file("small.csv", &(HEADER.to_string() + ROWS));
    let digest = |seed| {
        let options = ["--transport", "direct", "--rounds", "1", "--seed", seed, "--json"];
        json(&replay(&recording, &options))["rows"][0]["digest"].clone()
    };
    assert_eq!(digest("5"), digest("5"));
    assert_ne!(digest("5"), digest("6"));
}

#[test]
fn a_shipped_recording_is_found_by_name_and_replayed_at_its_pace() {
    let output = replay(Path::new("mlp-cuda-graph"), &["--pace", "recorded", "--json"]);
    let report = json(&output);
    assert_eq!((&report["paced"], &report["rows"][0]["rounds"]), (&true.into(), &1.into()));
    let (elapsed, recorded) = (&report["rows"][0]["elapsed_ns"], &report["recorded_ns"]);
    let shortened = report["pauses_shortened_ns"].as_u64().expect("a number");
    let least = recorded.as_u64().expect("a number") - shortened;
    // The last calls are local, and are not waited for.
    assert!(elapsed.as_u64().expect("a number") > least / 2);
}

#[test]
fn a_malformed_recording_is_refused_with_line_and_column_and_exit_code_2() {
    let folder = Folder::new();
    let wrong = ROWS.replace("cublasGemmEx,post", "cublasGemmEx,posted");
    let recording = folder.file("wrong.csv", &(HEADER.to_string() + &wrong));
    let output = replay(&recording, &["--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let errors = String::from_utf8_lossy(&output.stderr);
    for part in ["wrong.csv", "line 6", "column 4", "posted", "local, post, sync"] {
        assert!(errors.contains(part), "{errors}");
    }
}

#[test]
fn a_recording_that_is_not_there_is_refused_with_the_shipped_names() {
    let output = replay(Path::new("no-such-recording"), &[]);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("llama-1b-eager-decode"), "{errors}");
}

#[test]
fn the_table_shows_what_was_measured() {
    let folder = Folder::new();
    let recording = folder.file("small.csv", &(HEADER.to_string() + ROWS));
    let output = replay(&recording, &["--rounds", "2"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    for part in
        ["commands/s", "producer ns", "doorbells per 1,000", "digest", "as without transport"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(output.stderr.is_empty(), "no progress bar where there is no terminal");
}

#[test]
fn a_daemon_that_runs_already_is_used_when_it_is_named() {
    let folder = Folder::new();
    let recording = folder.file("small.csv", &(HEADER.to_string() + ROWS));
    let daemon = ringbar_executor::embedded::Embedded::start(|config| {
        config.worker_program = env!("CARGO_BIN_EXE_ringbar").into();
    });
    let daemon = daemon.expect("a daemon");
    let socket = daemon.socket().to_str().expect("a plain path");
    let over = json(&replay(&recording, &["--connect", socket, "--rounds", "2", "--json"]));
    let direct = json(&replay(&recording, &["--transport", "direct", "--rounds", "2", "--json"]));
    assert_eq!(over["rows"][0]["digest"], direct["rows"][0]["digest"]);
    let output = replay(&recording, &["--connect", socket, "--transport", "socket"]);
    assert_eq!(output.status.code(), Some(2), "only the ring reaches a daemon");
}

#[test]
fn a_worker_that_cannot_be_started_is_an_error_and_not_a_hang() {
    for transport in ["ring", "doorbell", "socket"] {
        let options = ["--transport", transport, "--worker-program", "/bin/false"];
        let output = replay(Path::new("mlp-cuda-graph"), &options);
        assert_eq!(output.status.code(), Some(1), "{transport}");
        assert!(!output.stderr.is_empty(), "{transport}");
    }
}
