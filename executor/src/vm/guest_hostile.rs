//! A guest program that breaks every rule it can break from inside a virtual machine: classes H1 to H13 of the protocol's
//! hostile client, on the real BAR. Its own channel is poisoned at most; the host serves the next program as if nothing
//! had been.

use crate::attach::encoded;
use ringbar::directory::{self, Nonce};
use ringbar::error::ChannelError;
use ringbar::guest::{Attached, Bulk, GuestConfig};
use ringbar::layout::{HEADER_LINES, PAGE_BYTES, directory_line, line};
use ringbar::lines::{Lines, SharedLines};
use ringbar::os::{Doorbell, Mapping};
use ringbar::sync::{Arc, Ordering};
use ringbar::tag::TagSpace;
use ringbar_session::{Session, SessionConfig};
use ringbar_vocabulary::{
    ArenaRef, ContextId, DevicePtr, EventCreate, EventId, Init, MemAlloc, MemcpyDtoH, Ping, Status,
    StreamDestroy, StreamId,
};
use std::error::Error;
use std::time::{Duration, Instant};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(60);
/// How long bytes are scribbled over at random.
const SCRIBBLING: Duration = Duration::from_millis(300);
/// Doorbells of a storm.
const STORM: u32 = 50_000;
/// Commands that nobody waits for, and claims for taken channels.
const FLOOD: u32 = 5_000;

/// One program with a channel and all of the region.
struct Attacker {
    session: Session,
    attached: Attached,
    region: Arc<Mapping>,
}

/// Runs all attacks, each by a fresh program's session.
pub fn run() -> Result {
    type Attack = fn(&Attacker) -> Result;
    let attacks: [(&str, Attack); 12] = [
        ("H1 a position jumps", jump),
        ("H2 a position goes back", go_back),
        ("H3, H4 tags and bytes flap", flap),
        ("H5 places outside the arena", outside),
        ("H6 stale handles", stale),
        ("H7 unknown opcodes", unknown),
        ("H8 submits without reaping, giant allocations", flood),
        ("H9 a doorbell storm", storm),
        ("H10 claims without end", claims),
        ("H11 holes everywhere", holes),
        ("H12 rewritten magic, version, sizes", rewrite),
        ("H13 claims that are never taken up", never_attach),
    ];
    for (name, attack) in attacks {
        let attacker = Attacker::new()?;
        attack(&attacker).map_err(|error| format!("{name}: {error}"))?;
        attacker.session.close();
        println!("survived: {name}");
    }
    let last = Attacker::new()?;
    last.works()?;
    last.session.close();
    Ok(())
}

impl Attacker {
    fn new() -> Result<Self> {
        let config = SessionConfig { patience: PATIENCE, ..SessionConfig::default() };
        // All of the region through one file: the kernel refuses two memory types for the same page.
        let guest =
            GuestConfig { interrupts: false, bulk: Bulk::Uncached, ..GuestConfig::from_env()? };
        let session = Session::connect_guest(&guest, config)?;
        session.caller()?.call(&Init { flags: 0 })?;
        let attached = session.attached().cloned().ok_or("not attached over a device")?;
        let bytes = attached.device.directory.region_bytes;
        let region = Arc::new(attached.device.control.map(0, bytes)?);
        Ok(Self { session, attached, region })
    }

    /// Lines of the attacker's own channel.
    fn lines(&self, offset: u64, count: usize) -> Result<SharedLines> {
        let at = self.attached.place.offset + offset;
        Ok(SharedLines::new(&self.region, at as usize, count).ok_or("outside the region")?)
    }

    fn ring(&self) -> Result<SharedLines> {
        let id = self.attached.place.identity;
        self.lines(id.command_offset, 1 << id.command_shift)
    }

    fn tags(&self) -> TagSpace {
        let shift = self.attached.place.identity.command_shift;
        TagSpace::new(self.attached.generation, shift.into())
    }

    fn bell(&self, channel: Option<usize>) -> Result<Arc<dyn Doorbell>> {
        let vectors = directory::doorbells(&self.attached.device.directory.lines);
        let vector = channel.map_or(directory::CLAIMS_VECTOR, |c| directory::vector(c, vectors));
        Ok(self.attached.device.bells.bell(vectors, vector)?)
    }

    fn ring_the_bell(&self) -> Result {
        Ok(self.bell(Some(self.attached.channel))?.ring()?)
    }

    /// The next line of the ring, as if it held the head of another position.
    fn forge(&self, position: impl FnOnce(u64, u64) -> u64) -> Result {
        let next = self.session.client().tail();
        let ring = self.ring()?;
        let capacity = ring.count() as u64;
        let tag = self.tags().head(position(next, capacity), 8, None);
        ring.store((next % capacity) as usize, 0, tag, Ordering::Release);
        self.is_poisoned()
    }

    fn is_poisoned(&self) -> Result {
        self.ring_the_bell()?;
        match self.session.client().wait_fence(0, u64::MAX, Some(PATIENCE)) {
            Err(ChannelError::Poisoned { .. }) => Ok(()),
            Err(error) => Err(format!("found {error}, expected a poisoned channel").into()),
            Ok(()) => Err("a fence that nobody reaches was reached".into()),
        }
    }

    /// The channel is over, whatever the reason.
    fn is_over(&self) -> Result {
        self.ring_the_bell()?;
        match self.session.client().wait_fence(0, u64::MAX, Some(PATIENCE)) {
            Err(error) if error.is_final() => Ok(()),
            other => Err(format!("found {other:?}, expected the end of the channel").into()),
        }
    }

    fn works(&self) -> Result {
        let reply = self.session.caller()?.call(&Ping { token: 9 })?;
        if reply.token == 9 { Ok(()) } else { Err("another reply".into()) }
    }
}

fn jump(attacker: &Attacker) -> Result {
    attacker.forge(|next, capacity| next + 5 * capacity)
}

fn go_back(attacker: &Attacker) -> Result {
    let event = EventCreate { context: ContextId::FIRST, event: EventId(1), flags: 0 };
    let record = encoded(event);
    let client = attacker.session.client();
    let capacity = attacker.ring()?.count() as u64;
    while client.tail() < 3 * capacity {
        client.post_batch(&[&record[..]; 64])?;
    }
    client.wait_executed(client.tail(), Some(PATIENCE))?;
    attacker.forge(|next, capacity| next - 2 * capacity)
}

/// Numbers that look random.
fn random(value: &mut u64) -> u64 {
    *value = value.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *value >> (*value & 31)
}

fn flap(attacker: &Attacker) -> Result {
    let (ring, tags) = (attacker.ring()?, attacker.tags());
    let (end, mut value) = (Instant::now() + SCRIBBLING, 1);
    while Instant::now() < end {
        for at in 0..64 {
            let tag = if value >> 63 == 0 { tags.head(at, 56, None) } else { random(&mut value) };
            ring.store(at as usize, 0, tag, Ordering::Release);
            (1..8).for_each(|word| ring.store(at as usize, word, value, Ordering::Relaxed));
            random(&mut value);
        }
        attacker.ring_the_bell()?;
    }
    attacker.is_over()
}

fn outside(attacker: &Attacker) -> Result {
    let dst = ArenaRef { addr: u64::MAX, len: u64::MAX };
    let copy = MemcpyDtoH { dst, src: DevicePtr(1 << 32), stream: StreamId::DEFAULT };
    attacker.session.client().post(&encoded(copy))?;
    attacker.is_poisoned()
}

fn stale(attacker: &Attacker) -> Result {
    let position = attacker.session.post(&StreamDestroy { stream: StreamId(4) })?;
    attacker.works()?;
    match attacker.session.first_failure() {
        Some((at, Status::INVALID_HANDLE)) if at == position => attacker.works(),
        other => Err(format!("found the failure {other:?}, expected an invalid handle").into()),
    }
}

fn unknown(attacker: &Attacker) -> Result {
    let event = EventCreate { context: ContextId::FIRST, event: EventId(1), flags: 0 };
    let mut bytes = encoded(event);
    bytes[1] = 0xff;
    attacker.session.client().post(&bytes)?;
    attacker.is_poisoned()
}

fn flood(attacker: &Attacker) -> Result {
    let mut caller = attacker.session.caller()?;
    if caller.call(&MemAlloc { context: ContextId::FIRST, bytes: 1 << 50 }).is_ok() {
        return Err("a petabyte was given".into());
    }
    for event in 0..FLOOD {
        let event = EventId(1 + event);
        attacker.session.post(&EventCreate { context: ContextId::FIRST, event, flags: 0 })?;
    }
    attacker.works()
}

fn storm(attacker: &Attacker) -> Result {
    let bells = [attacker.bell(None)?, attacker.bell(Some(attacker.attached.channel))?];
    for _ in 0..STORM {
        bells.iter().try_for_each(|bell| bell.ring())?;
    }
    attacker.works()
}

/// Claims for a channel that is taken: its own.
fn claims(attacker: &Attacker) -> Result {
    let lines = &attacker.attached.device.directory.lines;
    let bell = attacker.bell(None)?;
    let mut value = 3;
    for _ in 0..FLOOD {
        if let Some(nonce) = Nonce::new(random(&mut value)) {
            directory::claim(lines, attacker.attached.channel, nonce);
            bell.ring()?;
        }
    }
    attacker.works()
}

/// A guest cannot punch holes into the host's memory; zeros over all control words are what a hole would be.
fn holes(attacker: &Attacker) -> Result {
    let id = attacker.attached.place.identity;
    let event = EventCreate { context: ContextId::FIRST, event: EventId(1), flags: 0 };
    attacker.session.post(&event)?;
    for page in (id.command_offset..id.arena_offset).step_by(PAGE_BYTES) {
        let lines = attacker.lines(page, HEADER_LINES)?;
        for at in 0..lines.count() {
            (0..8).for_each(|word| lines.store(at, word, 0, Ordering::Relaxed));
        }
    }
    // Nothing is published after a hole, so the worker sees an empty ring, or a violation where it had read on.
    let client = attacker.session.client();
    match client.wait_executed(client.tail() + 1, Some(Duration::from_millis(500))) {
        Err(ChannelError::Deadline { .. }) => Ok(()),
        Err(error) if error.is_final() => Ok(()),
        other => Err(format!("found {other:?}, expected silence or the end of the channel").into()),
    }
}

/// Rewrites what the host wrote once; the host has private copies. The directory is put back: other programs of this VM
/// read it.
fn rewrite(attacker: &Attacker) -> Result {
    let directory = &attacker.attached.device.directory.lines;
    let header = attacker.lines(0, HEADER_LINES)?;
    let entry = directory_line::ENTRIES + attacker.attached.channel;
    let places = [
        (directory, 0, 0..4),
        (directory, entry, 0..2),
        (&header, line::IDENTITY, 0..8),
        (&header, line::GEOMETRY, 0..8),
    ];
    let mut old = Vec::new();
    for (lines, at, words) in places {
        for word in words {
            old.push((lines, at, word, lines.load(at, word, Ordering::Relaxed)));
            lines.store(at, word, u64::MAX, Ordering::Relaxed);
        }
    }
    attacker.ring_the_bell()?;
    attacker.bell(None)?.ring()?;
    let result = (0..100).try_for_each(|_| attacker.works());
    for (lines, at, word, value) in old {
        lines.store(at, word, value, Ordering::Relaxed);
    }
    result
}

/// Claims all channels that are free and attaches to none: the host takes them back by itself.
fn never_attach(attacker: &Attacker) -> Result {
    let found = &attacker.attached.device.directory;
    let bell = attacker.bell(None)?;
    let mut claimed = 0;
    while let Some(channel) = directory::seems_free(&found.lines, found.channels) {
        let nonce = Nonce::new(77 + channel as u64).ok_or("no nonce")?;
        directory::claim(&found.lines, channel, nonce);
        bell.ring()?;
        claimed += 1;
    }
    if claimed == 0 {
        return Err("no channel was free to be claimed".into());
    }
    let end = Instant::now() + PATIENCE;
    while directory::seems_free(&found.lines, found.channels).is_none() {
        if Instant::now() > end {
            return Err(
                format!("{claimed} channels claimed and never taken up are still taken").into()
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    attacker.works()
}
