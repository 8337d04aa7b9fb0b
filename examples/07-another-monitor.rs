//! A monitor of one's own: the host makes a region in a sealed memfd and waits for claims; a program of the guest attaches by
//! the descriptors alone, as a monitor would hand them to it. What lies between them in a real VM is that the monitor backs a
//! PCI BAR with the memfd and connects the eventfds to doorbell register and interrupts.
//!
//! `cargo run -p ringbar-examples --example 07-another-monitor` prints
//!
//! ```text
//! host: a region of 1048576 bytes with 2 channels
//! guest: channel 0 in generation 1, waiting by interrupts
//! guest: 7 squared is 49
//! guest: 9 squared is 81
//! host: the program left after 2 commands
//! ```
#![forbid(unsafe_code)]

use ringbar::directory::{self, Assignments, Request};
use ringbar::guest::{self, Device, GuestConfig};
use ringbar::layout::{PAGE_BYTES, Sizes};
use ringbar::link::Options;
use ringbar::os::{EventFd, EventFdDoorbell, Mapping};
use ringbar::park::PolledBlock;
use ringbar::region::{self, Channel, Expect, Terms};
use ringbar::reply::Ticket;
use ringbar::spin::SpinBudget;
use ringbar::wake::WakeMode;
use ringbar::worker::{Next, Worker, WorkerConfig};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

type Anything = Box<dyn Error + Send + Sync>;

/// Both sides must speak the same commands: here "a number, to be squared".
const VOCABULARY: u64 = 0x7371_7561_7265_0001;
/// Memory of the device, a power of two as BARs have.
const BYTES: usize = 1 << 20;
/// Doorbells in each direction: one for claims, one a channel.
const VECTORS: u16 = 3;

fn main() -> Result<(), Anything> {
    let (memory, fd) = Mapping::memfd_create("region", BYTES)?;
    let bells = || -> std::io::Result<Vec<_>> { (0..VECTORS).map(|_| EventFd::new()).collect() };
    let (to_host, to_guest) = (bells()?, bells()?);
    let host = Host::make(Arc::new(memory), to_guest.clone())?;
    let serving = std::thread::spawn(move || host.serve());
    program(Device::from_parts("my monitor's device", fd, to_host, to_guest)?)?;
    let commands = serving.join().map_err(|_| "the host panicked")??;
    println!("host: the program left after {commands} commands");
    Ok(())
}

/// What a program of the guest does; with QEMU's device `Device::find` takes the place of `Device::from_parts`.
fn program(device: Device) -> Result<(), Anything> {
    let want = Expect { vocabulary_hash: VOCABULARY, ..Expect::default() };
    let (client, attached) =
        guest::attach(&device, &GuestConfig::default(), want, Options::default())?;
    let waiting = if attached.interrupts { "interrupts" } else { "polling" };
    let (channel, generation) = (attached.channel, attached.generation);
    println!("guest: channel {channel} in generation {generation}, waiting by {waiting}");
    let mut caller = client.caller()?;
    for number in [7_u64, 9] {
        let reply = caller.call(&number.to_le_bytes())?;
        println!("guest: {number} squared is {}", u64::from_le_bytes(reply.try_into()?));
    }
    drop(caller);
    client.close();
    Ok(())
}

struct Host {
    memory: Arc<Mapping>,
    channels: Vec<Channel>,
    to_guest: Vec<EventFd>,
}

impl Host {
    fn make(memory: Arc<Mapping>, to_guest: Vec<EventFd>) -> Result<Self, Anything> {
        let sizes = Sizes { arena_bytes: 16 * PAGE_BYTES as u64, ..Sizes::default() };
        let terms = Terms { vocabulary_hash: VOCABULARY, features: 0 };
        let places = region::create(&memory, &[sizes; 2], terms)?;
        directory::set_doorbells(&region::directory_lines(&memory)?, VECTORS);
        println!("host: a region of {BYTES} bytes with {} channels", places.len());
        let channels = places.into_iter().map(|place| Channel::open(&memory, place));
        let channels = channels.collect::<Result<_, _>>()?;
        Ok(Self { memory, channels, to_guest })
    }

    /// Assigns a channel to the first program that asks for one, and serves it until it leaves.
    fn serve(self) -> Result<u32, Anything> {
        let lines = region::directory_lines(&self.memory)?;
        let mut assignments = Assignments::new(lines.clone(), self.channels.len());
        loop {
            // Programs take a host without a heartbeat for dead.
            directory::beat(&lines);
            let asked = assignments.requests().find_map(|(channel, request)| match request {
                Request::Asked(nonce) => Some((channel, nonce)),
                _ => None,
            });
            if let Some((channel, nonce)) = asked {
                self.channels[channel].offer(1);
                let worker = self.worker(channel)?;
                assignments.assign(channel, nonce);
                return square(worker);
            }
            // A host of many would wait for `to_host[0]`.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn worker(&self, index: usize) -> Result<Worker<PolledBlock>, Anything> {
        let channel = self.channels[index].clone();
        let place = channel.place;
        let start = (place.offset + place.identity.arena_offset) as usize;
        let arena = self.memory.subrange(start, place.identity.arena_bytes as usize)?;
        let bell = &self.to_guest[usize::from(directory::vector(index, VECTORS))];
        let block = PolledBlock::new(&channel, Duration::from_secs(5));
        let config = WorkerConfig {
            channel,
            generation: 1,
            arena: Arc::new(ringbar::arena::Arena::new(arena)),
            doorbell: Arc::new(EventFdDoorbell(bell.clone())),
            wake: WakeMode::Fence,
            spin: SpinBudget::default(),
            relook: Duration::from_millis(50),
        };
        Ok(Worker::start(config, block)?)
    }
}

/// Squares numbers until the program leaves, or dies.
fn square(mut worker: Worker<PolledBlock>) -> Result<u32, Anything> {
    let completions = worker.completions().clone();
    let mut commands = 0;
    loop {
        match worker.next()? {
            Next::Command(record) => {
                commands += 1;
                let number = u64::from_le_bytes(record.bytes.try_into()?);
                let squared = number.wrapping_mul(number).to_le_bytes();
                if let Some(slot) = record.reply_slot {
                    completions.reply(Ticket { slot, position: record.position }, &squared);
                }
            }
            Next::Idle => {}
            Next::ClientGone => return Ok(commands),
        }
    }
}
