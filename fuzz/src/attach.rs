//! `attach`: a region of a hostile host, as a client finds it.

use crate::input::Input;
use ringbar::arena::Arena;
use ringbar::client::{ArenaPlan, Client, ClientConfig, ClientPark, Limits};
use ringbar::hub::Park;
use ringbar::layout::{CHANNELS_MAX, PAGE_BYTES, Sizes};
use ringbar::lines::{Lines, SharedLines};
use ringbar::os::{Mapping, NoDoorbell};
use ringbar::region::{self, Channel, Expect, Place, State, Terms};
use ringbar::spin::SpinBudget;
use ringbar::sync::{Arc, Ordering};
use ringbar::wake::WakeMode;
use std::time::Duration;

/// Bytes of the mapping, at most.
const BYTES_MAX: usize = 1 << 19;

/// Looks at every channel of the region that the input describes, and attaches to each that passes.
pub fn run(data: &[u8]) {
    attached(data);
}

/// The same; returns how many channels could be attached to.
pub fn attached(data: &[u8]) -> usize {
    let mut input = Input::new(data);
    let Some(mapping) = region(&mut input) else { return 0 };
    let want = Expect { vocabulary_hash: 7, features: 0, generation: None };
    let inspected =
        (0..CHANNELS_MAX + 2).filter_map(|index| match region::inspect(&mapping, index, want) {
            Ok(place) => Some(place),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                None
            }
        });
    inspected.filter(|&place| open(&mapping, place)).count()
}

/// A region that is what the input says: a good one or zeros, then raw bytes at its start, then changed words.
fn region(input: &mut Input<'_>) -> Option<Arc<Mapping>> {
    let mode = input.byte();
    let channels = sizes(input);
    let whole = region::region_bytes(&channels) as usize;
    let bytes = if mode & 1 == 0 { whole } else { usize::from(input.u16()) * 16 };
    let mapping = Arc::new(Mapping::heap(bytes.min(BYTES_MAX)).ok()?);
    if mode & 2 == 0 {
        copy_region(&mapping, &channels, u64::from(mode));
    }
    if mode & 8 != 0 {
        // A host that lies about the region's size only as far as the mapping allows.
        store(&mapping, 2, mapping.len() as u64);
    }
    if mode & 4 != 0 {
        let raw = usize::from(input.u16());
        scribble_bytes(&mapping, input.bytes(raw));
    }
    scribble_words(&mapping, input);
    Some(mapping)
}

/// As much as fits of a good region with these channels.
fn copy_region(mapping: &Arc<Mapping>, channels: &[Sizes], features: u64) {
    let terms = Terms { vocabulary_hash: 7, features };
    let bytes = region::region_bytes(channels) as usize;
    let good = Arc::new(Mapping::heap(bytes).expect("memory"));
    let places = region::create(&good, channels, terms).expect("a region");
    store_words(mapping, &good, 0..PAGE_BYTES / 8);
    for place in places {
        Channel::open(&good, place).expect("what was created opens").offer(1);
        let first = place.offset as usize / 8;
        store_words(mapping, &good, first..first + 64);
    }
}

fn store_words(to: &Arc<Mapping>, from: &Arc<Mapping>, words: std::ops::Range<usize>) {
    words.for_each(|word| store(to, word, load(from, word)));
}

/// Up to 31 small channels.
fn sizes(input: &mut Input<'_>) -> Vec<Sizes> {
    let count = 1 + usize::from(input.byte()) % CHANNELS_MAX;
    let shifts = input.byte();
    let sizes = Sizes {
        command_lines: 2 << (shifts & 7),
        reply_slots: 1 << (shifts >> 3 & 3),
        event_lines: 2 << (shifts >> 5),
        fence_words: 8,
        arena_bytes: u64::from(input.byte() % 4) * PAGE_BYTES as u64,
        arena_address: 0,
    };
    vec![sizes; count.min(BYTES_MAX / sizes.channel_bytes() as usize)]
}

fn scribble_bytes(mapping: &Arc<Mapping>, bytes: &[u8]) {
    for (index, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
        store(mapping, index, u64::from_le_bytes(*word));
    }
}

/// Words of the directory, of the first pages, or anywhere: set, or one bit changed.
fn scribble_words(mapping: &Arc<Mapping>, input: &mut Input<'_>) {
    while !input.is_empty() {
        let how = input.byte();
        let at = usize::from(input.byte());
        let word = match how % 4 {
            0 => at,
            // The first words of a page: a channel's identity, if one begins there.
            1 => at / 16 * (PAGE_BYTES / 8) + at % 16,
            2 => PAGE_BYTES / 8 + at,
            _ => at * 256 + usize::from(input.byte()),
        };
        let value = match how / 4 % 4 {
            0 => input.u64(),
            1 => load(mapping, word) ^ 1 << (input.byte() % 64),
            2 => load(mapping, word).wrapping_add(u64::from(input.byte())).wrapping_sub(128),
            _ => u64::from(input.byte()) << (input.byte() % 64),
        };
        store(mapping, word, value);
    }
}

fn at(mapping: &Arc<Mapping>, word: usize) -> Option<SharedLines> {
    SharedLines::new(mapping, word / 8 * 64, 1)
}

fn load(mapping: &Arc<Mapping>, word: usize) -> u64 {
    at(mapping, word).map_or(0, |line| line.load(0, word % 8, Ordering::Relaxed))
}

fn store(mapping: &Arc<Mapping>, word: usize, value: u64) {
    if let Some(line) = at(mapping, word) {
        line.store(0, word % 8, value, Ordering::Relaxed);
    }
}

/// An accepted place opens, lies inside, and can be used without a worker. True if its state let a client attach.
fn open(mapping: &Arc<Mapping>, place: Place) -> bool {
    check_geometry(mapping, place);
    let channel = Channel::open(mapping, place).expect("an accepted place opens");
    let id = place.identity;
    let arena = mapping
        .subrange((place.offset + id.arena_offset) as usize, id.arena_bytes as usize)
        .expect("an accepted arena is inside");
    let (state, generation) = channel.host_state();
    let expected = matches!(state, State::Offered | State::Running);
    let client = Client::attach(ClientConfig {
        channel,
        generation,
        arena: Arc::new(Arena::new(arena)),
        plan: ArenaPlan::default(),
        doorbell: Arc::new(NoDoorbell),
        park: Box::new(NobodyThere),
        wake: WakeMode::Fence,
        spin: SpinBudget::new(Duration::ZERO),
        limits: Limits::default(),
        heartbeat: None,
    });
    assert_eq!(client.is_ok(), expected, "{state:?}");
    if let Ok(client) = client {
        use_without_worker(&client);
    }
    expected
}

fn use_without_worker(client: &Client) {
    // Whatever these answer, they answer, and nothing panics.
    let _ = client.post(b"hello");
    let _ = client.post_batch(&[&[1; 100], &[2; 300]]);
    let _ = client.executed();
    let _ = client.stage(64).map(|staged| staged.write(0, &[3; 64]));
    let _ = client.pin(4096, 4096);
    let _ = client.poll_event(<[u8]>::len);
    let _ = client.wait_event(Some(Duration::ZERO));
    let _ = client.first_post_error();
    let _ = client.fence(7);
    let _ = client.counters().lines_waiting();
    let _ = client.health();
}

/// Every part lies in the channel, the channel in the mapping, and no two parts touch the same page.
fn check_geometry(mapping: &Arc<Mapping>, place: Place) {
    let id = place.identity;
    let page = PAGE_BYTES as u64;
    let sizes = id.sizes();
    sizes.check().expect("accepted sizes are within the limits");
    let line = |lines: u32| u64::from(lines) * 64;
    let parts = [
        (0, page),
        (id.command_offset, line(sizes.command_lines)),
        (id.reply_offset, line(sizes.reply_slots)),
        (id.event_offset, line(sizes.event_lines)),
        (id.fence_offset, u64::from(sizes.fence_words) * 8),
        (id.arena_offset, sizes.arena_bytes),
    ];
    for (index, &(start, len)) in parts.iter().enumerate() {
        let next = parts.get(index + 1).map_or(id.channel_bytes, |&(next, _)| next);
        assert!(start.is_multiple_of(page) && start + len <= next, "{parts:?}");
    }
    assert!(place.offset >= page && place.offset.is_multiple_of(page));
    assert!(
        place.offset.checked_add(id.channel_bytes).is_some_and(|end| end <= mapping.len() as u64)
    );
}

/// A peer that is known to be gone, so that no wait lasts.
struct NobodyThere;

impl Park for NobodyThere {
    fn park(&self, _: Duration) {}
}

impl ClientPark for NobodyThere {
    fn peer_gone(&self) -> bool {
        true
    }
}
