//! Attacks on the ring: positions, tags, and bytes that change while they are read.

use super::{Attack, Attacker, End, PATIENCE, Result, random, scribble};
use ringbar::layout::{HEADER_LINES, PAGE_BYTES};
use ringbar::lines::Lines;
use ringbar::sync::{AtomicBool, AtomicU64, Ordering};
use ringbar::tag::TagSpace;
use ringbar_executor::attach::encoded;
use ringbar_vocabulary::{
    ContextId, DevicePtr, EventCreate, EventDestroy, EventId, MemsetD8, StreamId,
};
use std::time::Instant;

pub(super) const ATTACKS: &[(&str, End, Attack)] = &[
    ("H1 a position jumps beyond the capacity", End::Poisoned, jump),
    ("H2 a position goes back", End::Poisoned, go_back),
    ("H3 tags flap between looks", End::Any, tags_flap),
    ("H3 garbage over all control words", End::Any, garbage),
    ("H4 bytes change while they are decoded", End::Any, bytes_flap),
    (
        "H4 a word changes between two commands, of which each is one or the other",
        End::Works,
        word_flaps,
    ),
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
    })?;
    attacker.is_poisoned_or_works()
}

/// The word of a command that says in which context an event is made, and under which number.
const EVENT_WORD: usize = 2;
/// Commands in a batch: one line each, every other one makes an event, and the next one destroys it.
const BATCH: u64 = 64;
/// Commands that are to have changed while they were posted, if the time for it suffices: of so many, one at least shows a word that
/// is loaded twice.
const CHANGED: u64 = 1_000;
const GOOD: EventId = EventId(10);
const NEVER: EventId = EventId(11);

/// Another thread changes one word of each command all the time: from a context that there is and one event, to a context that
/// there is not and another event. So that other event is never made, unless some command was checked by one load of the word
/// and executed by another.
fn word_flaps(attacker: &Attacker) -> Result {
    let session = &attacker.session;
    let client = session.client();
    let (ring, over) = (attacker.ring()?, AtomicBool::new(false));
    let make = |context, event| encoded(EventCreate { context, event, flags: 0 });
    let word = |bytes: &[u8]| -> Result<u64> {
        let bytes = bytes.get(8 * (EVENT_WORD - 1)..8 * EVENT_WORD).ok_or("a short command")?;
        Ok(u64::from_le_bytes(bytes.try_into()?))
    };
    let (good, bad) = (make(ContextId::FIRST, GOOD), make(ContextId(77), NEVER));
    let words = [word(&bad)?, word(&good)?];
    let destroy = encoded(EventDestroy { event: GOOD });
    let batch: Vec<&[u8]> = (0..BATCH / 2).flat_map(|_| [&good[..], &destroy[..]]).collect();
    let (first, before) = (client.tail(), client.counters().errors);
    let next = AtomicU64::new(first);
    let flap = || {
        while !over.load(Ordering::Relaxed) {
            let next = next.load(Ordering::Relaxed);
            // All of them one, then all the other: each lasts while the batch is read.
            for word in words {
                for position in (next..next + BATCH).step_by(2) {
                    let at = (position % ring.count() as u64) as usize;
                    ring.store(at, EVENT_WORD, word, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(flap);
        let end = Instant::now() + PATIENCE;
        // However few a slow machine gets through in a while.
        let seen = || (client.counters().errors - before) / 2;
        let mut done = Ok(());
        while done.is_ok() && seen() < CHANGED && Instant::now() < end {
            next.store(client.tail(), Ordering::Relaxed);
            done = client.post_batch(&batch);
            done = done.and_then(|()| client.wait_executed(client.tail(), Some(PATIENCE)));
        }
        over.store(true, Ordering::Relaxed);
        done
    })?;
    // Where the event was not made it is not destroyed either: that command fails as well.
    let (made, failed) = (client.tail() - first, client.counters().errors - before);
    println!("H4: {} of {} commands changed while they were posted", failed / 2, made / 2);
    if failed % 2 != 0 || failed == 0 || failed == made {
        return Err(
            format!("{failed} of {made} commands failed: they were not one or the other").into()
        );
    }
    session.post(&EventDestroy { event: NEVER })?;
    attacker.works()?;
    match client.counters().errors - before - failed {
        1 => Ok(()),
        _ => Err("a command was checked by one load of a word and executed by another".into()),
    }
}
