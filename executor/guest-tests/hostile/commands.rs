//! Attacks by commands: places, handles, and amounts.

use super::region::FLOODING;
use super::{Attack, Attacker, End, PATIENCE, Result};
use ringbar::layout::{HEADER_LINES, line};
use ringbar::lines::Lines;
use ringbar::reply::Slot;
use ringbar::sync::Ordering;
use ringbar_executor::attach::encoded;
use ringbar_session::SessionError;
use ringbar_vocabulary::{
    ArenaRef, ContextId, DevicePtr, EventCreate, EventDestroy, EventId, EventRecord, MemAlloc,
    MemAllocReply, MemFree, MemcpyDtoD, MemcpyDtoH, MemcpyHtoD, MemsetD8, ModuleId, ModuleLoad,
    ModuleUnload, ReplyBody, Status, StreamCreate, StreamDestroy, StreamId, Tail,
};
use std::time::Instant;

pub(super) const ATTACKS: &[(&str, End, Attack)] = &[
    ("H5 a block behind the arena", End::Poisoned, |a| block(a, |size| (size, 1))),
    ("H5 a block that ends just behind the arena", End::Poisoned, |a| {
        block(a, |size| (size - 8, 16))
    }),
    ("H5 a block as long as the arena that begins later", End::Poisoned, |a| {
        block(a, |size| (8, size))
    }),
    ("H5 a length that overflows", End::Poisoned, |a| block(a, |_| (8, u64::MAX))),
    ("H5 an offset that overflows", End::Poisoned, |a| block(a, |_| (u64::MAX, u64::MAX))),
    ("H5 an offset that reaches into the segment's number", End::Poisoned, |a| {
        block(a, |_| ((1 << 48) - 1, 2))
    }),
    ("H5 a segment that does not exist", End::Poisoned, |a| block(a, |_| (1 << 48, 8))),
    ("H5 blocks and copies that overlap", End::Works, overlap),
    ("H5 device memory that is not its own", End::Works, device_memory),
    ("H6 handles that were freed", End::Works, stale),
    ("H6 handles of the wrong type", End::Works, wrong_type),
    ("H6 handles of another program", End::Works, foreign),
    ("H8 giant allocations", End::Works, giant),
    ("H8 a million objects", End::Works, objects),
    ("H8 device work that nobody waits for, and nobody frees", End::Works, unawaited),
    ("H8 calls whose answers nobody takes, and nobody frees", End::Bypassed, untaken),
    ("H10 images that are refused without end", End::Works, refused_images),
];

/// Objects of a kind that a worker may have, and some more.
const OBJECTS: u32 = 1_100_000;
/// Device memory that is filled over and over, in bytes: most of what there is.
const FILLED: u64 = 48 << 20;
/// Fillings, each with an event and a fence that tell of its end.
const FILLINGS: u32 = 200;
/// Calls whose answers are not taken, each for so many bytes: many times what there is, and more than there are slots.
const CALLS: u64 = 2_000;
const CALL_BYTES: u64 = 1 << 20;
/// A fence word that no session uses: they begin with the first one.
const LAST_FENCE: u32 = 8191;
const STREAM: StreamId = StreamId::DEFAULT;

/// Commands that cannot be decoded: an unknown opcode, an opcode of another shape, reserved flags, reserved padding, too
/// short, empty.
pub(super) fn malformed() -> Vec<Vec<u8>> {
    let good = encoded(EventCreate { context: ContextId::FIRST, event: EventId(1), flags: 0 });
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let padded = {
        let mut bytes =
            encoded(MemsetD8 { dst: DevicePtr(1 << 32), count: 1, stream: STREAM, value: 1 });
        // Behind the value, which is one byte.
        if let Some(last) = bytes.last_mut() {
            *last = 1;
        }
        bytes
    };
    let short = good[..good.len() - 8].to_vec();
    vec![with(1, 0xff), with(0, 30), with(3, 0x80), with(2, 2), padded, short, Vec::new()]
}

/// Posts a copy to a block that is none; given the arena's size, `place` answers with offset and length.
fn block(attacker: &Attacker, place: fn(u64) -> (u64, u64)) -> Result {
    let (addr, len) = place(attacker.attached.place.identity.arena_bytes);
    let copy = MemcpyDtoH { dst: ArenaRef { addr, len }, src: DevicePtr(1 << 32), stream: STREAM };
    attacker.session.client().post(&encoded(copy))?;
    Ok(())
}

/// Two views of the same bytes, and nothing else: copies see what lies there in their order.
fn overlap(attacker: &Attacker) -> Result {
    let session = &attacker.session;
    let pinned = session.pin(8192)?;
    let pattern: Vec<u8> = (0..8192_u32).map(|at| (at / 16) as u8).collect();
    session.write_pinned(&pinned, 0, &pattern)?;
    let device = session.caller()?.call(&MemAlloc { context: ContextId::FIRST, bytes: 8192 })?.at;
    let place = |at: u64| ArenaRef { addr: pinned.address + at, len: 4096 };
    for (to, from) in [(0, 0), (4096, 2048)] {
        let data = Tail::Arena(place(from));
        session.post(&MemcpyHtoD { dst: DevicePtr(device.0 + to), stream: STREAM, data })?;
    }
    session.post(&MemcpyDtoH { dst: place(1024), src: device, stream: STREAM })?;
    session.synchronise(STREAM)?;
    let mut found = vec![0; 8192];
    session.read_pinned(&pinned, 0, &mut found)?;
    let expected = [&pattern[..1024], &pattern[..4096], &pattern[5120..]].concat();
    if found != expected {
        return Err("overlapping blocks hold other bytes than were written in this order".into());
    }
    // Inside device memory the caller alone is to blame for what they hold then.
    let (dst, bytes) = (DevicePtr(device.0 + 8), 4096);
    session.post(&MemcpyDtoD { dst, src: device, bytes, stream: STREAM })?;
    Ok(session.synchronise(STREAM)?)
}

/// Posts what must fail with `status`, each, and is the fault of those commands alone.
fn refused(attacker: &Attacker, statuses: &[Status], commands: &[Vec<u8>]) -> Result {
    let client = attacker.session.client();
    attacker.works()?;
    let before = client.counters().errors;
    for command in commands {
        client.post(command)?;
    }
    client.wait_executed(client.tail(), Some(PATIENCE))?;
    let failed = client.counters().errors - before;
    if failed != commands.len() as u64 {
        return Err(format!("{failed} of {} commands failed", commands.len()).into());
    }
    match attacker.session.first_failure() {
        Some((_, status)) if statuses.contains(&status) => Ok(()),
        other => Err(format!("found the failure {other:?}, expected one of {statuses:?}").into()),
    }
}

fn device_memory(attacker: &Attacker) -> Result {
    let bytes = 4096;
    let mut caller = attacker.session.caller()?;
    let at = caller.call(&MemAlloc { context: ContextId::FIRST, bytes })?.at;
    let set =
        |dst, count| encoded(MemsetD8 { dst: DevicePtr(dst), count, stream: STREAM, value: 1 });
    let commands = [
        set(at.0, bytes + (1 << 40)),
        set(at.0, u64::MAX),
        set(u64::MAX - 7, 8),
        set(0, 8),
        // An address of the worker's own memory, as programs have them.
        set(0x7f00_0000_0000, 8),
    ];
    refused(attacker, &[Status::INVALID_VALUE, Status::ILLEGAL_ADDRESS], &commands)
}

fn stale(attacker: &Attacker) -> Result {
    let session = &attacker.session;
    let (stream, event) = (StreamId(4), EventId(4));
    let create = StreamCreate { context: ContextId::FIRST, stream, flags: 0, priority: 0 };
    session.post(&create)?;
    session.post(&StreamDestroy { stream })?;
    session.post(&EventCreate { context: ContextId::FIRST, event, flags: 0 })?;
    session.post(&EventDestroy { event })?;
    let kept = session.caller()?.call(&MemAlloc { context: ContextId::FIRST, bytes: 64 })?.at;
    let commands = [
        encoded(StreamDestroy { stream }),
        encoded(MemsetD8 { dst: kept, count: 64, stream, value: 1 }),
        encoded(EventDestroy { event }),
        encoded(StreamDestroy { stream: StreamId(77) }),
        encoded(ModuleUnload { module: ModuleId(4) }),
    ];
    refused(attacker, &[Status::INVALID_HANDLE], &commands)?;
    let at = session.caller()?.call(&MemAlloc { context: ContextId::FIRST, bytes: 1 << 20 })?.at;
    session.post(&MemFree { at })?;
    let commands = [
        encoded(MemFree { at }),
        encoded(MemsetD8 { dst: at, count: 1 << 20, stream: STREAM, value: 1 }),
    ];
    refused(attacker, &[Status::INVALID_HANDLE], &commands)
}

fn wrong_type(attacker: &Attacker) -> Result {
    let session = &attacker.session;
    let (stream, event) = (StreamId(4), EventId(5));
    let create = StreamCreate { context: ContextId::FIRST, stream, flags: 0, priority: 0 };
    session.post(&create)?;
    session.post(&EventCreate { context: ContextId::FIRST, event, flags: 0 })?;
    let commands = [
        encoded(EventDestroy { event: EventId(stream.0) }),
        encoded(StreamDestroy { stream: StreamId(event.0) }),
        encoded(ModuleUnload { module: ModuleId(stream.0) }),
    ];
    refused(attacker, &[Status::INVALID_HANDLE], &commands)?;
    // Both are still there.
    let before = session.client().counters().errors;
    session.post(&StreamDestroy { stream })?;
    session.post(&EventDestroy { event })?;
    attacker.works()?;
    match session.client().counters().errors - before {
        0 => Ok(()),
        count => Err(format!("{count} of two good handles were refused").into()),
    }
}

fn foreign(attacker: &Attacker) -> Result {
    let other = Attacker::new()?;
    let event = EventId(900);
    other.session.post(&EventCreate { context: ContextId::FIRST, event, flags: 0 })?;
    other.works()?;
    refused(attacker, &[Status::INVALID_HANDLE], &[encoded(EventDestroy { event })])?;
    other.session.post(&EventDestroy { event })?;
    other.works()?;
    match other.session.first_failure() {
        None => Ok(()),
        failure => Err(format!("the other program's own handle failed: {failure:?}").into()),
    }
}

fn giant(attacker: &Attacker) -> Result {
    let mut caller = attacker.session.caller()?;
    for bytes in [1 << 50, u64::MAX, 1 << 63] {
        match caller.call(&MemAlloc { context: ContextId::FIRST, bytes }) {
            Err(SessionError::Status { status: Status::OUT_OF_MEMORY, .. }) => {}
            Err(error) => return Err(format!("{bytes} bytes: {error}").into()),
            Ok(_) => return Err(format!("{bytes} bytes were given").into()),
        }
    }
    Ok(())
}

fn objects(attacker: &Attacker) -> Result {
    let client = attacker.session.client();
    let create = |event: u32| {
        let event = EventId(event);
        encoded(EventCreate { context: ContextId::FIRST, event, flags: 0 })
    };
    for first in (1..OBJECTS).step_by(64) {
        let records: Vec<_> = (first..first + 64).map(create).collect();
        let records: Vec<_> = records.iter().map(Vec::as_slice).collect();
        client.post_batch(&records)?;
    }
    client.wait_executed(client.tail(), Some(PATIENCE))?;
    match attacker.session.first_failure() {
        Some((_, Status::OUT_OF_MEMORY)) => Ok(()),
        other => Err(format!("found the failure {other:?}, expected too many objects").into()),
    }
}

/// Work that takes the device a while, with an event and a fence word for each piece. That it is all done is looked at once, at
/// the end; memory and events are left to the host.
fn unawaited(attacker: &Attacker) -> Result {
    let session = &attacker.session;
    let dst = session.caller()?.call(&MemAlloc { context: ContextId::FIRST, bytes: FILLED })?.at;
    for round in 1..=FILLINGS {
        let event = EventId(round);
        let value = round as u8;
        session.post(&EventCreate { context: ContextId::FIRST, event, flags: 0 })?;
        session.post(&MemsetD8 { dst, count: FILLED, stream: STREAM, value })?;
        let (index, value) = (LAST_FENCE, round.into());
        session.post(&EventRecord { event, stream: STREAM, flags: 0, index, value })?;
    }
    let client = session.client();
    client.wait_fence(LAST_FENCE, FILLINGS.into(), Some(PATIENCE))?;
    let mut back = [0; 64];
    session.memcpy_dtoh(&mut back, DevicePtr(dst.0 + FILLED - 64), STREAM)?;
    match session.first_failure() {
        None if back == [FILLINGS as u8; 64] => Ok(()),
        failure => Err(format!("found {:?} and the failure {failure:?}", &back[..8]).into()),
    }
}

/// Writes calls straight into the ring, whose answers the host writes over each other: memory is given until there is none, and
/// nobody knows where it lies.
fn untaken(attacker: &Attacker) -> Result {
    let (ring, tags) = (attacker.ring()?, attacker.tags());
    let header = attacker.lines(0, HEADER_LINES)?;
    let id = attacker.attached.place.identity;
    let slots = 1 << id.reply_shift;
    let (first, capacity) = (attacker.session.client().tail(), ring.count() as u64);
    let replies = || attacker.session.client().counters().replies;
    let before = replies();
    let call = encoded(MemAlloc { context: ContextId::FIRST, bytes: CALL_BYTES });
    let released = || header.load(line::COMMAND_HEAD, 0, Ordering::Acquire);
    let wait_until_released = |position: u64| -> Result {
        let end = Instant::now() + PATIENCE;
        while released() < position {
            if Instant::now() > end {
                return Err(
                    format!("{} lines are released, expected {position}", released()).into()
                );
            }
            attacker.ring_the_bell()?;
            std::thread::yield_now();
        }
        Ok(())
    };
    for position in first..first + CALLS {
        wait_until_released((position + 1).saturating_sub(capacity))?;
        let at = (position % capacity) as usize;
        for (word, bytes) in call.chunks_exact(8).enumerate() {
            let bytes = bytes.try_into()?;
            ring.store(at, word + 1, u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        let slot = (position % slots) as u16;
        ring.store(at, 0, tags.head(position, call.len(), Some(slot)), Ordering::Release);
    }
    let last = first + CALLS;
    wait_until_released(last)?;
    attacker.until_bypassed("not every call was answered", || replies() - before >= CALLS)?;
    let answers = attacker.lines(id.reply_offset, slots as usize)?;
    let mut answer = [0; 56];
    let mut slot = Slot::new(((last - 1) % slots) as u16, attacker.attached.generation);
    let bytes = slot.take(&answers, last - 1, &mut answer)?.ok_or("the last call has no answer")?;
    match MemAllocReply::decode(&answer[..bytes])? {
        Err(Status::OUT_OF_MEMORY) => Ok(()),
        other => Err(format!("found the last answer {other:?}, expected no memory").into()),
    }
}

/// Each is refused by the worker with a line in its log, or would be.
fn refused_images(attacker: &Attacker) -> Result {
    let mut caller = attacker.session.caller()?;
    let (end, mut refused) = (Instant::now() + FLOODING, 0);
    let load = ModuleLoad {
        context: ContextId::FIRST,
        module: ModuleId(9),
        image: Tail::Inline(b"\x7fELF, or so it says"),
    };
    while Instant::now() < end || refused < 1_000 {
        match caller.call(&load) {
            Err(SessionError::Status { status: Status::INVALID_IMAGE, .. }) => refused += 1,
            other => return Err(format!("found {other:?}, expected an invalid image").into()),
        }
    }
    Ok(())
}
