//! `ringbar idle-cpu`: what a daemon and a worker cost while their one client does nothing.
//!
//! Both are processes of their own, started for this; the figure is their time on a processor (user and system, as the
//! scheduler counts it) for the time that passed.

use crate::attach::{Wish, attach};
use crate::status;
use crate::units;
use clap::Args;
use ringbar_vocabulary::Ping;
use serde::Serialize;
use std::error::Error;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Options of `ringbar idle-cpu`.
#[derive(Debug, Args)]
pub struct IdleArgs {
    /// How long to measure.
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "10s")]
    time: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Idle {
    /// Seconds measured.
    pub seconds: f64,
    /// The daemon, in percent of one core.
    pub daemon_percent: f64,
    /// The worker, in percent of one core.
    pub worker_percent: f64,
    /// How often the worker blocked, a second.
    pub worker_parks_per_s: f64,
}

/// Ends its child whatever happens.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures and prints.
///
/// # Errors
/// If the daemon cannot be started or attached to.
pub fn run(args: &IdleArgs) -> Result<(), Box<dyn Error>> {
    let idle = measure(args.time)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&idle)?);
        return Ok(());
    }
    println!(
        "idle for {:.1} s: daemon {:.3} %, worker {:.3} %, together {:.3} % of a core ({:.1} blocks of the worker a second)",
        idle.seconds,
        idle.daemon_percent,
        idle.worker_percent,
        idle.daemon_percent + idle.worker_percent,
        idle.worker_parks_per_s,
    );
    Ok(())
}

fn measure(time: Duration) -> Result<Idle, Box<dyn Error>> {
    let folder = tempfile::Builder::new().prefix("ringbar-").tempdir()?;
    let socket = folder.path().join("socket");
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", "--backend", "mock", "--socket"]).arg(&socket).stdin(Stdio::null());
    let daemon = Ended(command.spawn()?);
    wait_for(&status::status_path(&socket));
    let at = attach(&socket, &Wish::default())?;
    at.call(Ping { token: 1 })?;
    // What it does after the last command is not what it does when idle.
    std::thread::sleep(Duration::from_millis(500));
    let pids = [daemon.0.id(), at.worker_pid];
    let (before, parks, start) =
        (pids.map(cpu_ns), at.client.counters().worker_parks, Instant::now());
    std::thread::sleep(time);
    let (after, seconds) = (pids.map(cpu_ns), start.elapsed().as_secs_f64());
    let parks = at.client.counters().worker_parks - parks;
    let percent = |which: usize| (after[which] - before[which]) as f64 / 1e7 / seconds;
    Ok(Idle {
        seconds,
        daemon_percent: percent(0),
        worker_percent: percent(1),
        worker_parks_per_s: parks as f64 / seconds,
    })
}

fn wait_for(path: &Path) {
    let end = Instant::now() + Duration::from_secs(5);
    while !path.exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Nanoseconds that all threads of a process have run.
pub fn cpu_ns(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_task = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    tasks.filter_map(of_task).sum()
}
