//! A region on a DAX device, both sides of it in this guest: the road of a region that comes without a PCI function, over
//! memory that the guest maps cached. Nobody can be rung, so both sides poll.

use ringbar::arena::Arena;
use ringbar::directory::{self, Assignments, Request};
use ringbar::guest::{self, GuestConfig};
use ringbar::layout::Sizes;
use ringbar::link::Options;
use ringbar::os::{Mapping, NoDoorbell, PeerTrust};
use ringbar::park::PolledBlock;
use ringbar::region::{self, Channel, Expect, Place, Terms};
use ringbar::reply::Ticket;
use ringbar::spin::SpinBudget;
use ringbar::sync::Arc;
use ringbar::wake::WakeMode;
use ringbar::worker::{Next, Worker, WorkerConfig};
use std::error::Error;
use std::time::Duration;

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Where the arena is mapped on both sides: high up, where no loader or allocator puts anything.
const ARENA_ADDRESS: u64 = 0x6f00_0000_0000;
/// The device.
const PATH: &str = "/dev/dax0.0";
const TERMS: Terms = Terms { vocabulary_hash: 0xda, features: 0 };
const ARENA_BYTES: u64 = 2 << 20;
/// Bytes through the arena and back.
const BULK_BYTES: usize = 1 << 20;
const CALLS: u64 = 200;
const LOOK: Duration = Duration::from_millis(1);

/// Makes the region, serves it from a thread, and attaches to it as any guest program does.
pub fn run() -> Result {
    let memory = Arc::new(Mapping::file(PATH, PeerTrust::Own)?);
    let sizes =
        Sizes { arena_bytes: ARENA_BYTES, arena_address: ARENA_ADDRESS, ..Sizes::default() };
    let place = *region::create(&memory, &[sizes], TERMS)?.first().ok_or("no channel")?;
    let host = std::thread::spawn(move || serve(&memory, place));
    let done = attach();
    let commands = host.join().map_err(|_| "the host panicked")??;
    println!("the host took {commands} commands");
    done
}

fn attach() -> Result {
    let want = Expect { vocabulary_hash: TERMS.vocabulary_hash, ..Expect::default() };
    let config = GuestConfig { patience: Duration::from_secs(60), ..GuestConfig::parse(PATH)? };
    let (client, attached) = guest::connect(&config, want, Options::default())?;
    let (control, bulk) = (attached.control, attached.bulk);
    println!("attached over {}, control {control}, bulk {bulk}", attached.device.name);
    if !attached.arena_at_address || !bulk.is_cached() {
        return Err("the arena is not at its address, or not cached".into());
    }
    let mut caller = client.caller()?;
    for call in 0..CALLS {
        if caller.call(&call.to_le_bytes())? != call.to_le_bytes() {
            return Err("another reply".into());
        }
    }
    let staged = client.stage(BULK_BYTES as u64)?;
    let bytes: Vec<u8> = (0..BULK_BYTES).map(|at| (at % 251) as u8).collect();
    staged.write(0, &bytes)?;
    let mut back = vec![0; BULK_BYTES];
    staged.read(0, &mut back)?;
    drop((staged, caller));
    client.close();
    if back == bytes { Ok(()) } else { Err("other bytes than were written".into()) }
}

/// Serves the first program that asks, until it leaves.
fn serve(memory: &Arc<Mapping>, place: Place) -> Result<u64> {
    let lines = region::directory_lines(memory)?;
    let channel = Channel::open(memory, place)?;
    let mut assignments = Assignments::new(lines.clone(), 1);
    let nonce = loop {
        directory::beat(&lines);
        let asked = assignments.requests().find_map(|(_, request)| match request {
            Request::Asked(nonce) => Some(nonce),
            _ => None,
        });
        match asked {
            Some(nonce) => break nonce,
            None => std::thread::sleep(LOOK),
        }
    };
    channel.offer(1);
    let worker = worker(memory, channel, place)?;
    assignments.assign(0, nonce);
    echo(worker)
}

fn worker(memory: &Arc<Mapping>, channel: Channel, place: Place) -> Result<Worker<PolledBlock>> {
    let start = (place.offset + place.identity.arena_offset) as usize;
    let arena = memory.subrange(start, place.identity.arena_bytes as usize)?;
    let block = PolledBlock::new(&channel, Duration::from_secs(60));
    let config = WorkerConfig {
        channel,
        generation: 1,
        arena: Arc::new(Arena::new(arena)),
        doorbell: Arc::new(NoDoorbell),
        wake: WakeMode::Polled,
        spin: SpinBudget::default(),
        relook: LOOK,
    };
    Ok(Worker::start(config, block)?)
}

fn echo(mut worker: Worker<PolledBlock>) -> Result<u64> {
    let completions = worker.completions().clone();
    let mut commands = 0;
    loop {
        match worker.next()? {
            Next::Command(record) => {
                commands += 1;
                if let Some(slot) = record.reply_slot {
                    completions.reply(Ticket { slot, position: record.position }, record.bytes);
                }
            }
            Next::Idle => {}
            Next::ClientGone => return Ok(commands),
        }
    }
}
