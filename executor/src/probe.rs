//! `ringbar probe`: attaches to a running daemon like any client and takes each step of the protocol once, so that a set-up
//! that does not work shows where.

use crate::attach::{Attachment, Wish, attach, encoded};
use crate::cli::SocketArgs;
use crate::failpoints::{self, Failpoint, Point};
use clap::Args;
use comfy_table::{Table, presets};
use ringbar::handshake::{Deadline, Message, TransportError};
use ringbar_vocabulary::*;
use serde::Serialize;
use std::error::Error;
use std::time::{Duration, Instant};

/// Longest wait for any one step.
const STEP_LIMIT: Duration = Duration::from_secs(10);
const BULK_BYTES: usize = 1 << 20;
/// A fence word and the value that the probe waits for there.
const FENCE: (u32, u64) = (0, 1);

/// Options of `ringbar probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// End this client at a step of the protocol.
    #[arg(long, value_name = "NAME[:TIMES][=ACTION]", hide = true)]
    failpoint: Option<Failpoint>,
}

/// One step and what it took.
#[derive(Debug, Serialize)]
struct Step {
    name: &'static str,
    took_us: f64,
}

struct Steps(Vec<Step>);

impl Steps {
    fn take<T, E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Box<dyn Error>> {
        let start = Instant::now();
        let done = step().map_err(|error| format!("{name}: {error}"))?;
        self.0.push(Step { name, took_us: start.elapsed().as_secs_f64() * 1e6 });
        Ok(done)
    }
}

/// Probes the daemon.
///
/// # Errors
/// The step that failed, and why.
pub fn run(args: &ProbeArgs) -> Result<(), Box<dyn Error>> {
    args.failpoint.into_iter().for_each(failpoints::arm);
    let steps = probe(args)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&steps.0)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(["step", "took"]);
    table
        .add_rows(steps.0.iter().map(|step| [step.name.into(), format!("{:.1} us", step.took_us)]));
    println!("{table}");
    Ok(())
}

fn probe(args: &ProbeArgs) -> Result<Steps, Box<dyn Error>> {
    let mut steps = Steps(Vec::new());
    let socket = args.socket.path()?;
    let at = steps
        .take("attach", || attach(&socket, &Wish { name: "probe".into(), ..Wish::default() }))?;
    steps.take("call", || at.call(Init { flags: 0 }))?;
    failpoints::hit(Point::ClientAnswered);
    steps.take("post", || post(&at))?;
    steps.take("call without waiting", || call_without_waiting(&at))?;
    steps.take("bulk to the device and back", || bulk(&at))?;
    steps.take("grow the arena", || at.grow(BULK_BYTES as u64))?;
    failpoints::hit(Point::ClientGrown);
    steps.take("close", || close(&at))?;
    Ok(steps)
}

fn close(at: &Attachment) -> Result<(), TransportError> {
    at.client.close();
    failpoints::hit(Point::ClientClosed);
    match at.connection.send(&Message::Bye, &[], Deadline::after(STEP_LIMIT)) {
        // The worker saw the close first and is gone already.
        Err(TransportError::Closed { .. }) => Ok(()),
        other => other,
    }
}

fn post(at: &Attachment) -> Result<(), ringbar::Error> {
    let command = encoded(EventCreate { context: ContextId::FIRST, event: EventId(1), flags: 0 });
    let position = at.client.post_with(command.len(), |room| {
        let (begin, end) = command.split_at(command.len() / 2);
        room.put(begin);
        failpoints::hit(Point::ClientWriting);
        room.put(end);
    })?;
    failpoints::hit(Point::ClientPosted);
    at.client.wait_executed(position + 1, Some(STEP_LIMIT))
}

/// A call whose caller may be gone before the reply comes.
fn call_without_waiting(at: &Attachment) -> Result<(), ringbar::Error> {
    let mut caller = at.client.caller()?;
    let command = encoded(Ping { token: 7 });
    if failpoints::is_armed(Point::ClientCalled) {
        let sent = caller.call_with(command.len(), |room| room.put(&command), Some(Duration::ZERO));
        drop(sent);
        failpoints::hit(Point::ClientCalled);
    }
    caller.call(&command).map(drop)
}

fn bulk(at: &Attachment) -> Result<(), Box<dyn Error>> {
    let data: Vec<u8> = (0..BULK_BYTES).map(|i| (i * 31 / 8) as u8).collect();
    let device = at.call(MemAlloc { context: ContextId::FIRST, bytes: BULK_BYTES as u64 })?.at;
    let stream = StreamId::DEFAULT;
    let staged = at.client.stage(BULK_BYTES as u64)?;
    staged.write(0, &data)?;
    failpoints::hit(Point::ClientStaged);
    let place = ArenaRef { addr: staged.address(), len: staged.len() };
    let position = at.post(MemcpyHtoD { dst: device, stream, data: Tail::Arena(place) })?;
    at.client.wait_executed(position + 1, Some(STEP_LIMIT))?;
    staged.write(0, &vec![0; BULK_BYTES])?;
    at.post(MemcpyDtoH { dst: place, src: device, stream })?;
    at.post(Fence { stream, index: FENCE.0, value: FENCE.1 })?;
    at.client.wait_fence(FENCE.0, FENCE.1, Some(STEP_LIMIT))?;
    let mut back = vec![0; BULK_BYTES];
    staged.read(0, &mut back)?;
    if back != data {
        return Err("the bytes that came back are not those that were sent".into());
    }
    match at.client.first_post_error() {
        None => Ok(()),
        Some((position, status)) => {
            Err(format!("the command at {position}: {}", Status(status)).into())
        }
    }
}
