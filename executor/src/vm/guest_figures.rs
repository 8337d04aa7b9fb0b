//! `ringbar vm figures`, hidden: what calls out of a guest cost over the ring, and over the old way.
//!
//! The old way is one register access that traps into the monitor, which passes the call over a unix socket to a mediator
//! process and the answer back, one call outstanding. Its registers are those of a PCI serial port whose other end the
//! monitor has connected to a socket; a call is one byte, which flatters it.

use clap::Args;
use ringbar::guest::GuestConfig;
use ringbar::link::Options;
use ringbar_session::{Session, SessionConfig};
use ringbar_vocabulary::{ContextId, Init, MemAlloc, MemsetD8, Ping, StreamId};
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Vendor and device of QEMU's PCI serial port.
const SERIAL: (&str, &str) = ("0x1b36", "0x0002");
/// Its data register, and its line status.
const DATA: u64 = 0;
const STATUS: u64 = 5;
/// Status bits: a byte was received, and one may be sent.
const RECEIVED: u8 = 1;
const MAY_SEND: u8 = 1 << 5;
/// Commands behind one doorbell.
const BATCH: u64 = 64;
/// Bytes of one copy.
const COPY_BYTES: usize = 256 << 10;

/// Options of `ringbar vm figures`.
#[derive(Debug, Args)]
pub struct FiguresArgs {
    /// Calls of each kind.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    calls: u64,
    /// Measure the old way too, over a PCI serial port.
    #[arg(long)]
    old: bool,
}

/// Measures and prints, one figure a line.
///
/// # Errors
/// If there is no channel, or no serial port.
pub fn run(args: &FiguresArgs) -> Result<(), Box<dyn Error>> {
    let config = SessionConfig { options: Options::default(), ..SessionConfig::default() };
    let session = Session::connect_guest(&GuestConfig::from_env()?, config)?;
    session.caller()?.call(&Init { flags: 0 })?;
    if let Some(attached) = session.attached() {
        println!("figure: memory: control {}, bulk {}", attached.control, attached.bulk);
    }
    let ring = round_trips(&session, args.calls)?;
    if args.old {
        let old = old_way(args.calls.min(500))?;
        println!("figure: the old way: {} ns a call", old.as_nanos());
        println!("figure: the ring is {:.0} times faster", old.as_secs_f64() / ring.as_secs_f64());
    }
    batches(&session, args.calls / BATCH)?;
    copies(&session)?;
    session.close();
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn round_trips(session: &Session, calls: u64) -> Result<Duration, Box<dyn Error>> {
    let mut caller = session.caller()?;
    for token in 0..calls / 10 {
        caller.call(&Ping { token })?;
    }
    let bells = session.client().counters().client_bells;
    let mut times = Vec::with_capacity(calls as usize);
    for token in 0..calls {
        let start = Instant::now();
        caller.call(&Ping { token })?;
        times.push(start.elapsed());
    }
    let bells = session.client().counters().client_bells - bells;
    let time = median(times);
    println!(
        "figure: round trip, host polling: {} ns; {bells} doorbells in {calls} calls",
        time.as_nanos()
    );
    Ok(time)
}

/// The file by which the serial port's registers are read and written, each access one instruction in the kernel.
fn serial_port() -> Result<PathBuf, Box<dyn Error>> {
    for entry in std::fs::read_dir("/sys/bus/pci/devices")?.flatten() {
        let word = |name| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        if (word("vendor").trim(), word("device").trim()) == SERIAL {
            return Ok(entry.path().join("resource0"));
        }
    }
    Err("found no PCI serial port; try: -chardev socket,id=old,path=PATH -device pci-serial,chardev=old".into())
}

/// One byte there and back through the trapped registers of a serial port.
fn old_way(calls: u64) -> Result<Duration, Box<dyn Error>> {
    let ports = File::options().read(true).write(true).open(serial_port()?)?;
    let status = || -> std::io::Result<u8> {
        let mut byte = [0];
        ports.read_exact_at(&mut byte, STATUS)?;
        Ok(byte[0])
    };
    let mut times = Vec::with_capacity(calls as usize);
    for call in 0..calls {
        let (sent, start) = ([call as u8], Instant::now());
        while status()? & MAY_SEND == 0 {}
        ports.write_all_at(&sent, DATA)?;
        while status()? & RECEIVED == 0 {
            if start.elapsed() > Duration::from_secs(5) {
                return Err("no answer on the serial port within 5 s".into());
            }
        }
        let mut answer = [0];
        ports.read_exact_at(&mut answer, DATA)?;
        times.push(start.elapsed());
        if answer != sent {
            return Err(format!("found the answer {answer:?}, expected {sent:?}").into());
        }
    }
    Ok(median(times))
}

/// Commands behind one doorbell, against a doorbell for each: the pause lets the worker fall asleep before each burst.
fn batches(session: &Session, rounds: u64) -> Result<(), Box<dyn Error>> {
    let at = session.caller()?.call(&MemAlloc { context: ContextId::FIRST, bytes: 4096 })?.at;
    let work = MemsetD8 { dst: at, value: 1, count: 64, stream: StreamId::DEFAULT };
    let burst = |commands: u64| -> Result<(Duration, u64), Box<dyn Error>> {
        let (mut times, before) = (Vec::new(), session.client().counters().client_bells);
        for _ in 0..rounds.max(16) {
            std::thread::sleep(Duration::from_millis(3));
            let start = Instant::now();
            let mut last = 0;
            for _ in 0..commands {
                last = session.post(&work)?;
            }
            while session.client().counters().executed <= last {
                std::hint::spin_loop();
            }
            times.push(start.elapsed());
        }
        Ok((median(times), session.client().counters().client_bells - before))
    };
    let (one, one_bells) = burst(1)?;
    let (many, many_bells) = burst(BATCH)?;
    let each = many / BATCH as u32;
    println!(
        "figure: worker asleep: {} ns for 1 command and doorbell, {} ns a command for {BATCH} behind one ({:.1} times less); {one_bells} and {many_bells} doorbells in {} bursts each",
        one.as_nanos(),
        each.as_nanos(),
        one.as_secs_f64() / each.as_secs_f64(),
        rounds.max(16)
    );
    Ok(())
}

/// A copy into the arena against one into this program's own memory.
fn copies(session: &Session) -> Result<(), Box<dyn Error>> {
    let block = session.pin(COPY_BYTES as u64)?;
    let (source, mut target) = (vec![7_u8; COPY_BYTES], vec![0_u8; COPY_BYTES]);
    let (mut device, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let start = Instant::now();
        session.write_pinned(&block, 0, &source)?;
        device.push(start.elapsed());
        let start = Instant::now();
        std::hint::black_box(&mut target).copy_from_slice(std::hint::black_box(&source));
        memory.push(start.elapsed());
    }
    let (device, memory) = (median(device), median(memory));
    println!(
        "figure: copy of {COPY_BYTES} bytes: {} ns into the device, {} ns into own memory: {:.2} of its rate",
        device.as_nanos(),
        memory.as_nanos(),
        memory.as_secs_f64() / device.as_secs_f64()
    );
    Ok(())
}
