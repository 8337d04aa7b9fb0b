//! The second process of a measurement: this same executable, started again in a named role.
//!
//! A binary that measures processes calls [`serve_if_asked`] first thing in `main`. Two environment variables say
//! whether it is the second process, in which role and with which arguments; its answer is one JSON line on stdout.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Signal, set_parent_process_death_signal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cores::{Cores, pin};
use crate::error::BenchError;
use crate::spin::STALL_LIMIT;

const ROLE: &str = "RINGBAR_BENCHES_ROLE";
const ORDER: &str = "RINGBAR_BENCHES_ORDER";

/// What the second process can be asked to do.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// Its name, unique in the binary.
    pub name: &'static str,
    /// Its work: arguments in, answer out. Standard input is whatever [`Beside::stdin`] was.
    pub run: fn(Value) -> Result<Value, BenchError>,
}

#[derive(Serialize, Deserialize)]
struct Order {
    core: usize,
    arguments: Value,
}

#[derive(Serialize, Deserialize)]
enum Reply {
    Done(Value),
    Unavailable { what: String, reason: String },
    Failed(String),
}

/// If this process was started as a second process, does its role's work and says with which code to exit.
pub fn serve_if_asked(roles: &[Role]) -> Option<ExitCode> {
    let name = std::env::var(ROLE).ok()?;
    let reply = match serve(&name, roles) {
        Ok(answer) => Reply::Done(answer),
        Err(BenchError::Unavailable { what, reason }) => Reply::Unavailable { what, reason },
        Err(error) => Reply::Failed(error.to_string()),
    };
    println!("{}", serde_json::to_string(&reply).unwrap_or_default());
    Some(if matches!(reply, Reply::Done(_)) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn serve(name: &str, roles: &[Role]) -> Result<Value, BenchError> {
    let wrong = |reason: String| BenchError::Child { role: name.into(), reason };
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(BenchError::errno("asking to die with the first process"))?;
    let role = roles.iter().find(|role| role.name == name);
    let role = role.ok_or_else(|| wrong("this binary has no such role".into()))?;
    let order = std::env::var(ORDER).map_err(|error| wrong(error.to_string()))?;
    let order: Order = serde_json::from_str(&order).map_err(|error| wrong(error.to_string()))?;
    pin(order.core)?;
    (role.run)(order.arguments)
}

/// Reads a role's arguments.
///
/// # Errors
/// [`BenchError::Child`] if they are not what the role expects.
pub fn arguments<T: DeserializeOwned>(role: &str, value: Value) -> Result<T, BenchError> {
    serde_json::from_value(value)
        .map_err(|error| BenchError::Child { role: role.into(), reason: error.to_string() })
}

/// A second process to be run beside a closure.
#[derive(Debug)]
pub struct Beside<A> {
    /// Its role.
    pub role: &'static str,
    /// What the role reads with [`arguments`].
    pub arguments: A,
    /// Its standard input: a way to hand over one descriptor, a socket among them.
    pub stdin: Option<OwnedFd>,
}

impl<A: Serialize> Beside<A> {
    /// Runs `left` on the left core of this process while the role runs on the right core of the second one.
    ///
    /// # Errors
    /// The first cause: the other side's own error is preferred to the stall that it made on this side.
    pub fn run<L: Send, R: DeserializeOwned>(
        self,
        cores: Cores,
        left: impl FnOnce() -> Result<L, BenchError> + Send,
    ) -> Result<(L, R), BenchError> {
        let child = Child::spawn(self, cores.right)?;
        let left = thread::scope(|scope| {
            let left = scope.spawn(move || pin(cores.left).and_then(|()| left()));
            left.join().unwrap_or(Err(BenchError::Panicked))
        });
        match (left, child.finish()) {
            (Ok(left), Ok(right)) => Ok((left, right)),
            (Err(cause), Ok(_)) => Err(cause),
            (Err(cause), Err(_)) if !cause.is_stall() => Err(cause),
            (_, Err(cause)) => Err(cause),
        }
    }
}

struct Child {
    role: &'static str,
    process: std::process::Child,
    output: Option<JoinHandle<std::io::Result<String>>>,
}

impl Child {
    fn spawn<A: Serialize>(beside: Beside<A>, core: usize) -> Result<Self, BenchError> {
        let failed = |error: serde_json::Error| BenchError::Child {
            role: beside.role.into(),
            reason: error.to_string(),
        };
        let arguments = serde_json::to_value(&beside.arguments).map_err(failed)?;
        let order = serde_json::to_string(&Order { core, arguments }).map_err(failed)?;
        let mut process = Command::new("/proc/self/exe")
            .env(ROLE, beside.role)
            .env(ORDER, order)
            .stdin(beside.stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::piped())
            .spawn()
            .map_err(BenchError::io("starting the second process"))?;
        let output = process.stdout.take().map(|mut stdout| {
            thread::spawn(move || {
                let mut text = String::new();
                stdout.read_to_string(&mut text).map(|_| text)
            })
        });
        Ok(Self { role: beside.role, process, output })
    }

    fn finish<R: DeserializeOwned>(mut self) -> Result<R, BenchError> {
        self.wait()?;
        let text = match self.output.take().map(JoinHandle::join) {
            Some(Ok(text)) => {
                text.map_err(BenchError::io("reading the second process's answer"))?
            }
            _ => String::new(),
        };
        let answer = match serde_json::from_str(text.lines().last().unwrap_or_default()) {
            Ok(Reply::Done(answer)) => answer,
            Ok(Reply::Unavailable { what, reason }) => {
                return Err(BenchError::Unavailable { what, reason });
            }
            Ok(Reply::Failed(reason)) => return Err(self.failed(reason)),
            Err(_) => return Err(self.failed(format!("found the answer {text:?}, expected JSON"))),
        };
        serde_json::from_value(answer).map_err(|error| self.failed(error.to_string()))
    }

    /// Waits for the exit; a process that outlives every bound of its own waits is killed.
    fn wait(&mut self) -> Result<(), BenchError> {
        let deadline = Instant::now() + STALL_LIMIT + Duration::from_secs(5);
        loop {
            let exited = self
                .process
                .try_wait()
                .map_err(BenchError::io("waiting for the second process"))?;
            if exited.is_some() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.failed("it did not end and was killed".into()));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn failed(&self, reason: String) -> BenchError {
        BenchError::Child { role: self.role.into(), reason }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
