//! A guest program that breaks every rule it can break from inside a virtual machine: classes H1 to H13 of the protocol's
//! hostile client, on the real BAR. Its own channel is poisoned at most; the host serves the next program as if nothing
//! had been.

mod commands;
mod region;
mod ring;

use ringbar::directory;
use ringbar::error::ChannelError;
use ringbar::guest::{Attached, Bulk, GuestConfig, Waiting};
use ringbar::layout::{HEADER_LINES, PAGE_BYTES};
use ringbar::lines::{Lines, SharedLines};
use ringbar::os::{Doorbell, Mapping};
use ringbar::sync::{Arc, Ordering};
use ringbar::tag::TagSpace;
use ringbar_session::{Session, SessionConfig};
use ringbar_vocabulary::{Init, Ping};
use std::error::Error;
use std::time::{Duration, Instant};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(60);
/// How long bytes are scribbled over at random.
const SCRIBBLING: Duration = Duration::from_millis(300);

/// What an attack must have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The channel was poisoned.
    Poisoned,
    /// The channel still works.
    Works,
    /// All was answered. Its own session cannot go on: the attack went past it.
    Bypassed,
    /// Its end hangs on luck: what was scribbled at random may be anything.
    Any,
}

type Attack = fn(&Attacker) -> Result;

/// One program with a channel and all of the region.
struct Attacker {
    session: Session,
    attached: Attached,
    region: Arc<Mapping>,
}

/// Runs all attacks, each by a fresh program's session.
pub fn run() -> Result {
    let mut poisoned = 0;
    let attacks = ring::ATTACKS.iter().chain(commands::ATTACKS).chain(region::ATTACKS);
    for &(name, end, attack) in attacks {
        let attacker = Attacker::new()?;
        let done = attack(&attacker).and_then(|()| match end {
            End::Poisoned => attacker.is_poisoned(),
            End::Works => attacker.works(),
            End::Any | End::Bypassed => Ok(()),
        });
        done.map_err(|error| format!("{name}: {error}"))?;
        poisoned += u32::from(end == End::Poisoned);
        attacker.session.close();
        let chance = if end == End::Any { ", by chance poisoned or not" } else { "" };
        println!("survived: {name}{chance}");
    }
    for bytes in commands::malformed() {
        let attacker = Attacker::new()?;
        attacker.session.client().post(&bytes)?;
        attacker.is_poisoned().map_err(|error| format!("the command {bytes:x?}: {error}"))?;
        poisoned += 1;
        attacker.session.close();
    }
    println!("survived: H5, H7 malformed commands");
    let last = Attacker::new()?;
    last.works()?;
    last.session.close();
    println!("{poisoned} channels poisoned");
    Ok(())
}

/// Writes over the directory and the control words of all channels. Only a host that writes both anew, from what it knows by
/// itself, serves the next boot.
pub fn wreck() -> Result {
    let attacker = Attacker::new()?;
    let found = &attacker.attached.device.directory;
    let control = attacker.attached.place.identity.arena_offset as usize;
    let spans = (0..found.channels).map(|channel| Ok(found.span(channel)?.offset as usize));
    let spans = spans.collect::<Result<Vec<_>>>()?;
    let places = spans.iter().map(|&at| (at, control)).chain([(0, PAGE_BYTES)]);
    let mut value = 11;
    for (at, bytes) in places {
        for page in (at..at + bytes).step_by(PAGE_BYTES) {
            let lines = SharedLines::new(&attacker.region, page, HEADER_LINES);
            let lines = lines.ok_or("outside the region")?;
            for at in 0..lines.count() * 8 {
                lines.store(at / 8, at % 8, random(&mut value), Ordering::Relaxed);
            }
        }
    }
    attacker.bell(None)?.ring()?;
    // It cannot even leave.
    std::mem::forget(attacker);
    Ok(())
}

impl Attacker {
    fn new() -> Result<Self> {
        // All of the region through one file: the kernel refuses two memory types for the same page.
        let guest = GuestConfig {
            waiting: Waiting::Polling,
            bulk: Bulk::Uncached,
            patience: PATIENCE,
            ..GuestConfig::from_env()?
        };
        let session = Session::connect_guest(&guest, SessionConfig::default())?;
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

    /// What was scribbled at random ends a channel by its own rules, if it ends it.
    fn is_poisoned_or_works(&self) -> Result {
        if self.works().is_ok() { Ok(()) } else { self.is_poisoned() }
    }

    fn works(&self) -> Result {
        let reply = self.session.caller()?.call(&Ping { token: 9 })?;
        if reply.token == 9 { Ok(()) } else { Err("another reply".into()) }
    }
}

/// Numbers that look random.
fn random(value: &mut u64) -> u64 {
    *value = value.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *value >> (*value & 31)
}

/// Until the time for scribbling is over.
fn scribble(mut once: impl FnMut() -> Result) -> Result {
    let end = Instant::now() + SCRIBBLING;
    while Instant::now() < end {
        once()?;
    }
    Ok(())
}
