//! Attacks on the ring: positions, tags, and bytes that change while they are read.

use super::{Attack, Attacker, End, PATIENCE, Result, random, scribble};
use crate::attach::encoded;
use ringbar::layout::{HEADER_LINES, PAGE_BYTES};
use ringbar::lines::Lines;
use ringbar::sync::{AtomicBool, Ordering};
use ringbar::tag::TagSpace;
use ringbar_vocabulary::{ContextId, DevicePtr, EventCreate, EventId, MemsetD8, StreamId};

pub(super) const ATTACKS: &[(&str, End, Attack)] = &[
    ("H1 a position jumps beyond the capacity", End::Poisoned, jump),
    ("H2 a position goes back", End::Poisoned, go_back),
    ("H3 tags flap between looks", End::Any, tags_flap),
    ("H3 garbage over all control words", End::Any, garbage),
    ("H4 bytes change while they are decoded", End::Any, bytes_flap),
    ("H7 a reply slot without a call", End::Poisoned, |a| {
        forge_tag(a, |at, t| t.head(at, 8, None) | 5 << 32)
    }),
    ("H7 a kind that does not exist", End::Poisoned, |a| {
        forge_tag(a, |at, t| t.head(at, 8, None) | 3 << 13)
    }),
    ("H7 a body without a head", End::Poisoned, |a| forge_tag(a, |at, t| t.body(at, 1))),
    ("H7 a reply slot that does not exist", End::Poisoned, |a| {
        forge_tag(a, |at, t| t.head(at, 8, Some(u16::MAX)))
    }),
    ("H7 a record longer than any", End::Poisoned, |a| {
        forge_tag(a, |at, t| t.head(at, 8191, None))
    }),
    ("H7 all bits set", End::Poisoned, |a| forge_tag(a, |_, _| u64::MAX)),
];

/// An event that may be made over and over: the second time is an error of that command alone.
fn event() -> Vec<u8> {
    encoded(EventCreate { context: ContextId::FIRST, event: EventId(1), flags: 0 })
}

/// Writes a tag where the next record's head belongs.
fn forge_tag(attacker: &Attacker, tag: impl FnOnce(u64, TagSpace) -> u64) -> Result {
    let next = attacker.session.client().tail();
    let ring = attacker.ring()?;
    let tag = tag(next, attacker.tags());
    ring.store((next % ring.count() as u64) as usize, 0, tag, Ordering::Release);
    Ok(())
}

fn jump(attacker: &Attacker) -> Result {
    let capacity = attacker.ring()?.count() as u64;
    forge_tag(attacker, |next, tags| tags.head(next + 5 * capacity, 8, None))
}

fn go_back(attacker: &Attacker) -> Result {
    let record = event();
    let client = attacker.session.client();
    let capacity = attacker.ring()?.count() as u64;
    while client.tail() < 3 * capacity {
        client.post_batch(&[&record[..]; 64])?;
    }
    client.wait_executed(client.tail(), Some(PATIENCE))?;
    forge_tag(attacker, |next, tags| tags.head(next - 2 * capacity, 8, None))
}

fn tags_flap(attacker: &Attacker) -> Result {
    let (ring, tags) = (attacker.ring()?, attacker.tags());
    let mut value = 1;
    scribble(|| {
        for at in 0..64 {
            let tag = if value >> 63 == 0 { tags.head(at, 56, None) } else { random(&mut value) };
            ring.store(at as usize, 0, tag, Ordering::Release);
            (1..8).for_each(|word| ring.store(at as usize, word, value, Ordering::Relaxed));
            random(&mut value);
        }
        attacker.ring_the_bell()
    })?;
    attacker.is_over()
}

fn garbage(attacker: &Attacker) -> Result {
    let pages = attacker.attached.place.identity.arena_offset / PAGE_BYTES as u64;
    let page = |page| attacker.lines(page * PAGE_BYTES as u64, HEADER_LINES);
    let pages = (0..pages).map(page).collect::<Result<Vec<_>>>()?;
    let mut value = 7;
    scribble(|| {
        for page in &pages {
            for at in 0..page.count() * 8 {
                page.store(at / 8, at % 8, random(&mut value), Ordering::Relaxed);
            }
        }
        attacker.ring_the_bell()
    })
}

/// Good commands, whose payload another thread changes all the time, before and while the worker copies it: each is either
/// what was posted or what was scribbled, checked after it was copied, and never both.
fn bytes_flap(attacker: &Attacker) -> Result {
    let (ring, over) = (attacker.ring()?, AtomicBool::new(false));
    let flap = || {
        let mut value = 3;
        while !over.load(Ordering::Relaxed) {
            for at in 0..ring.count() {
                // Never the first word: those commands stay known ones, with fields that change.
                ring.store(at, 2 + (random(&mut value) % 6) as usize, value, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(flap);
        let work =
            MemsetD8 { dst: DevicePtr(1 << 32), count: 64, stream: StreamId::DEFAULT, value: 1 };
        let record = encoded(work);
        let done = scribble(|| match attacker.session.client().post_batch(&[&record[..]; 16]) {
            Err(error) if !error.is_final() => Err(error.into()),
            _ => Ok(()),
        });
        over.store(true, Ordering::Relaxed);
        done
    })
}
