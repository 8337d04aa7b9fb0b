//! `ringbar-guest-tests figures`: what calls out of this guest cost over the ring, and over the old way.
//!
//! Under QEMU the registers of the old way are those of a PCI serial port whose other end the monitor has connected to a
//! socket; a call is one byte.

use clap::Args;
use ringbar::guest::GuestConfig;
use ringbar_benches::calls::{Bench, OldCall};
use ringbar_benches::exchange;
use ringbar_session::{Session, SessionConfig};
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
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Options of `figures`.
#[derive(Debug, Args)]
pub struct FiguresArgs {
    /// Calls of each kind.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    calls: u64,
    /// Measure the old way too, over a PCI serial port.
    #[arg(long)]
    old: bool,
    /// Measure what bounds a call too, over a second function whose memory a thread of the host answers in.
    #[arg(long)]
    limit: bool,
    /// Print JSON too, in one line.
    #[arg(long)]
    json: bool,
}

/// Measures and prints, one figure a line.
///
/// # Errors
/// If there is no channel, or no serial port.
pub fn run(args: &FiguresArgs) -> Result<(), Box<dyn Error>> {
    let session = Session::connect_guest(&GuestConfig::from_env()?, SessionConfig::default())?;
    let memory = session.attached().map(|attached| (attached.control, attached.bulk));
    if let Some((control, bulk)) = memory {
        println!("figure: memory: control {control}, bulk {bulk}");
    }
    let mut port = args.old.then(SerialPort::open).transpose()?;
    let mut call = |call: u64| port.as_ref().map_or(Ok(()), |port| port.call(call as u8));
    let old: Option<&mut OldCall<'_>> = if args.old { Some(&mut call) } else { None };
    let figures = Bench::prepare(&session, args.calls)?.run(&std::thread::sleep, old)?;
    port.take();
    print!("{figures}");
    if args.json {
        println!("figures: {}", serde_json::to_string(&figures)?);
    }
    if args.limit {
        println!("limit: {}", serde_json::to_string(&exchange::measure(args.calls)?)?);
    }
    session.close();
    Ok(())
}

/// The file by which the serial port's registers are read and written, each access one instruction in the kernel.
struct SerialPort(File);

impl SerialPort {
    fn open() -> Result<Self, Box<dyn Error>> {
        Ok(Self(File::options().read(true).write(true).open(serial_port()?)?))
    }

    fn status(&self) -> std::io::Result<u8> {
        let mut byte = [0];
        self.0.read_exact_at(&mut byte, STATUS)?;
        Ok(byte[0])
    }

    /// One byte there and back through the trapped registers.
    fn call(&self, sent: u8) -> Result<(), Box<dyn Error>> {
        let start = Instant::now();
        while self.status()? & MAY_SEND == 0 {}
        self.0.write_all_at(&[sent], DATA)?;
        while self.status()? & RECEIVED == 0 {
            if start.elapsed() > PATIENCE {
                return Err("no answer on the serial port within 5 s".into());
            }
        }
        let mut answer = [0];
        self.0.read_exact_at(&mut answer, DATA)?;
        if answer != [sent] {
            return Err(format!("found the answer {answer:?}, expected {sent}").into());
        }
        Ok(())
    }
}

fn serial_port() -> Result<PathBuf, Box<dyn Error>> {
    for entry in std::fs::read_dir("/sys/bus/pci/devices")?.flatten() {
        let word = |name| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        if (word("vendor").trim(), word("device").trim()) == SERIAL {
            return Ok(entry.path().join("resource0"));
        }
    }
    Err("found no PCI serial port; try: -chardev socket,id=old,path=PATH -device pci-serial,chardev=old".into())
}
