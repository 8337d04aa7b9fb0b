//! Seeds: inputs made of real encodings, so that the fuzzer starts deep inside.
//!
//! They are committed under `corpus/`; `tests/corpus.rs` says whether these are still the ones made here, and writes them
//! with `RINGBAR_WRITE_SEEDS=1 cargo test`.

use crate::images;
use crate::memory::{AnyLines, FreshLines, Plain};
use ringbar::handshake::{
    Grow, Grown, Hello, Message, Refusal, RefusalCode, SessionToken, Text, Version, Welcome,
};
use ringbar::layout::{HEADER_LINES, Sizes};
use ringbar::spsc::{Direction, Producer};
use ringbar_vocabulary::{ROWS, samples};

/// A seed: name and bytes.
pub type Seed = (String, Vec<u8>);

/// The seeds of a target; none for a name that is no target's.
pub fn of(target: &str) -> Vec<Seed> {
    match target {
        "attach" => attach(),
        "consume" => consume(),
        "produce" => produce(),
        "reply" => reply(),
        "arena" => arena(),
        "handshake" => handshake(),
        "commands" => commands(),
        "images" => images(),
        _ => Vec::new(),
    }
}

fn named(name: &str, parts: &[&[u8]]) -> Seed {
    (name.into(), parts.concat())
}

fn attach() -> Vec<Seed> {
    // Mode, channels - 1, shifts of the sizes, pages of arena.
    let one = [0, 0, 0b0100_1010, 1];
    let many = [0, 30, 0, 0];
    let magic = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let small = [1, 2, 0b0100_1010, 1, 0, 2];
    let raw_mode = [6, 0, 0b0100_1010, 1];
    let raw = raw_region();
    vec![
        named("one-channel", &[&one]),
        named("31-channels", &[&many]),
        named("no-magic", &[&one, &magic]),
        named("mapped-too-short", &[&small]),
        named(
            "mapped-one-page-short",
            &[&[9, 0, 0b0100_1010, 1], &(24_576_u16 / 16).to_le_bytes()],
        ),
        named("raw", &[&raw_mode, &(raw.len() as u16).to_le_bytes(), &raw]),
        named("changed-identity", &[&one, &[5, 17, 3, 5, 21, 40, 9, 30, 129]]),
        named("changed-offset", &[&one, &[4, 8, 63, 8, 9, 127, 4, 2, 1]]),
        named("running", &[&one, &[14, 16, 2, 0, 2, 16, 2, 0, 0, 0, 1, 0, 0, 0]]),
    ]
}

/// The directory page and the first lines of the channel of a real region, as bytes.
fn raw_region() -> Vec<u8> {
    use ringbar::lines::{Lines, SharedLines};
    use ringbar::os::Mapping;
    use ringbar::region;
    use ringbar::sync::Arc;
    let sizes = Sizes {
        command_lines: 8,
        reply_slots: 2,
        event_lines: 8,
        fence_words: 8,
        arena_bytes: 4096,
        arena_address: 0,
    };
    let bytes = region::region_bytes(&[sizes]) as usize;
    let mapping = Arc::new(Mapping::heap(bytes).expect("memory"));
    let terms = region::Terms { vocabulary_hash: 7, features: 0 };
    region::create(&mapping, &[sizes], terms).expect("a region");
    let line = |at: usize| SharedLines::new(&mapping, at * 64, 1).expect("inside");
    let words = (0..66).flat_map(|at| (0..8).map(move |word| (at, word)));
    words.flat_map(|(at, word)| line(at).payload(0, word).to_ne_bytes()).collect()
}

fn consume() -> Vec<Seed> {
    let raw = |name: &str, shift: u32, lengths: &[usize]| -> Seed {
        (format!("raw-{name}"), recorded(shift, lengths))
    };
    // Choice 1: a fitting tag; then its length, 16 bits.
    let mut lengths = vec![7, 7, 0, 4];
    for len in [8_u16, 56, 57, 120, 0, 300, 4096, 56] {
        lengths.push(1);
        lengths.extend(len.to_le_bytes());
        let lines = usize::from(len).div_ceil(56).max(1);
        for number in 0..lines {
            if number > 0 {
                lengths.push(1);
            }
            let words = (usize::from(len) - number * 56).min(56).div_ceil(8);
            lengths.extend(vec![number as u8; words * 8]);
        }
    }
    vec![
        raw("single-lines", 1, &[8, 56, 0, 33, 56, 56, 16]),
        raw("wrap", 3, &[300, 300, 57, 8, 112, 200]),
        raw("long", 8, &[4096, 7168]),
        ("fitting-tags".into(), lengths),
    ]
}

/// What a consumer loads, in order, from a ring that an honest producer fills one record at a time.
fn recorded(shift: u32, lengths: &[usize]) -> Vec<u8> {
    const GENERATION: u16 = 7;
    let capacity = 1 << shift;
    let ring = FreshLines::new(capacity, Plain::new(capacity));
    let header = FreshLines::new(HEADER_LINES, Plain::new(HEADER_LINES));
    let lines = (AnyLines::of(&ring), AnyLines::of(&header));
    let mut producer = Producer::new(lines.0, lines.1, Direction::Commands, u32::from(GENERATION));
    let mut seed = vec![shift as u8 - 1, GENERATION.to_le_bytes()[0], 0, 4];
    for (number, &bytes) in lengths.iter().enumerate() {
        let record: Vec<u8> = (0..bytes).map(|i| (i + number) as u8).collect();
        let position = producer.push(&record).expect("the ring is empty");
        ring.with(|plain| {
            for line in 0..bytes.div_ceil(56).max(1) {
                let at = position as usize + line;
                seed.push(0);
                seed.extend(plain.word(at, 0).to_le_bytes());
                let words = bytes.saturating_sub(line * 56).min(56).div_ceil(8);
                for word in 1..=words {
                    seed.extend(plain.word(at, word).to_le_bytes());
                }
            }
        });
        let tail = producer.tail();
        header.with(|plain| *plain.word(ringbar::layout::line::COMMAND_HEAD, 0) = tail);
    }
    seed
}

fn produce() -> Vec<Seed> {
    // log2 of the lines - 1, generation, then the positions that the consumer gives: 8 and more = honest.
    let start = |shift: u8, heads: &[[u8; 3]]| {
        let heads = heads.concat();
        [&[shift - 1, 7, 0, 0, 0][..], &(heads.len() as u16).to_le_bytes(), &heads].concat()
    };
    let honest: Vec<_> = (1..=40).map(|lines| [9, lines, 0]).collect();
    // Length, kind of length, hundreds of bytes put, reply slot or not.
    let push = |bytes: u16, kind: u8| [&[5][..], &bytes.to_le_bytes(), &[kind, 255, 0]].concat();
    let pushes = [push(56, 7), push(8, 7), push(200, 7), push(0, 7)].concat();
    let batch = [&[2, 3][..], &[56, 0, 7, 100, 0, 7, 8, 0, 7, 255, 0, 7]].concat();
    let large = [push(7000, 3), push(8, 1), push(9000, 3), push(8, 2)].concat();
    vec![
        named("full", &[&start(2, &honest), &pushes, &pushes, &pushes]),
        named("batches", &[&start(5, &honest), &batch, &pushes, &batch, &batch]),
        named("large", &[&start(9, &honest), &large, &pushes, &large]),
        named("jump", &[&start(3, &[[9, 1, 0], [2, 9, 0]]), &pushes, &pushes]),
        named("back", &[&start(3, &[[9, 3, 0], [1, 1, 0]]), &pushes, &pushes, &[0, 0]]),
        named("dropped", &[&start(4, &honest), &[1, 100, 0, 7], &pushes, &[1, 200, 0, 7]]),
    ]
}

fn reply() -> Vec<Seed> {
    // Generation, position, slot, length and bytes of an honest reply; then slot, generation, position.
    let honest = [&[7, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0, 2, 16][..], &[5; 16]].concat();
    let caller = [3, 7, 0, 0, 0, 0, 40, 0];
    let answer =
        |bytes: u8| [&[1, bytes][..], &vec![9; usize::from(bytes).div_ceil(8) * 8], &[3]].concat();
    vec![
        named("answers", &[&honest, &caller, &answer(16), &[3, 3], &answer(56), &answer(0)]),
        named("one-bit-wrong", &[&honest, &caller, &answer(16), &[2, 8, 30]]),
        named("too-long", &[&honest, &caller, &[1, 60]]),
        named("raw", &[&honest, &caller, &[0, 0xd0, 7, 0, 41, 0, 0, 0, 0], &[8; 16]]),
    ]
}

fn arena() -> Vec<Seed> {
    // Requests: bytes of segment 0, further segments, then how, offset and length.
    let segments = [0, 0, 16, 2, 1, 0, 8, 63, 0, 4];
    let write = [1, 0, 16, 0, 100];
    let read = [5, 0, 10, 0, 120];
    let edge = [6, 1, 128, 1, 129];
    let anywhere = [&[0][..], &[255; 8], &[4], &[255; 8]].concat();
    // Staging: first line, lines, most blocks; then reserve, bind, retire.
    let staging = [1, 0, 63, 0, 16];
    let alloc = [0, 5, 2, 100, 3, 3];
    let reserve = [1, 1, 200, 3];
    let pinned = [2, 1, 255, 1, 30];
    let pin = [0, 2, 40, 2, 2];
    vec![
        named("requests", &[&segments, &write, &read, &edge, &write, &anywhere, &read]),
        named(
            "staging",
            &[&staging, &alloc, &reserve, &[4, 0], &alloc, &[3, 0], &reserve, &[5, 0]],
        ),
        named("staging-full", &[&staging, &alloc.repeat(30), &[3, 2], &alloc.repeat(5)]),
        named(
            "pinned",
            &[&pinned, &pin.repeat(6), &[2, 2, 1], &[2, 2, 1], &pin, &[3, 2, 0, 0, 64]],
        ),
    ]
}

fn handshake() -> Vec<Seed> {
    let hello = Hello {
        protocol: Version::OURS,
        features: 3,
        vocabulary_hash: 0,
        sizes: Sizes::default(),
        resume: Some(SessionToken([7; 16])),
        name: Text::new("a client"),
    };
    let welcome = Welcome {
        protocol: Version::OURS,
        features: 1,
        token: SessionToken([9; 16]),
        generation: 4,
        channel: 30,
        region_bytes: 1 << 20,
        worker_pid: 4711,
    };
    let stranger = Hello { resume: None, name: Text::new(""), ..hello.clone() };
    let refusal = Refusal::retry_after(RefusalCode::Reaping, "wait", 250);
    let messages = [
        ("hello", Message::Hello(hello)),
        ("stranger", Message::Hello(stranger)),
        ("welcome", Message::Welcome(welcome)),
        ("refused", Message::Refused(refusal)),
        ("grow", Message::Grow(Grow { bytes: 1 << 30 })),
        ("grown", Message::Grown(Grown { segment: 63, len: 4096 })),
        ("bye", Message::Bye),
    ];
    let mut seeds = Vec::new();
    for (index, (name, message)) in messages.iter().enumerate() {
        let encoded = message.encode();
        let bytes = encoded.as_bytes();
        seeds.push(named(name, &[&[message.descriptors() as u8], bytes]));
        // The body alone, for the target's own header.
        let kind = [0, 0, 1, 2, 3, 4, 5][index];
        seeds.push(named(&format!("{name}-body"), &[&[0, kind], &bytes[16..]]));
    }
    seeds
}

/// Real images from nvcc, as they are and in fat binaries of the target's own making.
fn images() -> Vec<Seed> {
    let (cubin, fat, ptx) = (images::CUBIN, images::FAT, images::PTX);
    // Count of entries - 1; of each its kind, capability, packing, length in units of 16 bytes.
    let entry = |kind: u8, sm: u8, packing: u8, image: &[u8]| {
        let units = (image.len().div_ceil(16) as u16).to_le_bytes();
        let mut entry = [&[kind, sm, packing][..], &units, image].concat();
        entry.resize(5 + image.len().next_multiple_of(16), 0);
        entry
    };
    let small = b".version 8.0\n.target sm_90\n.visible .entry k(.param .u64 a, .param .align 4 .b8 b[12])\n.maxntid 64\n{ ret; }\n.const .align 4 .u32 c[2] = {1, 2};\n";
    vec![
        named("cubin", &[&[0], cubin]),
        named("fat", &[&[0], fat]),
        named("ptx", &[&[0], ptx]),
        named("small-ptx", &[&[0], small]),
        named("two-entries", &[&[1, 1], &entry(1, 90, 0, small), &entry(1, 80, 1, small)]),
        named("packed-ptx", &[&[1, 0], &entry(1, 90, 1, ptx)]),
        named("wrong-length", &[&[1, 0], &entry(1, 90, 2, small)]),
    ]
}

fn commands() -> Vec<Seed> {
    let one = [1, 2].into_iter().flat_map(|seed| {
        samples(seed).into_iter().map(move |sample| {
            named(&format!("{}-{seed}", sample.row.method), &[&[0], &sample.bytes])
        })
    });
    one.chain([("session".into(), session())]).collect()
}

/// Init, two allocations, a module with all kernels, a stream, copies, a launch, a fence, a digest.
fn session() -> Vec<u8> {
    let row = |method: &str| {
        let at = ROWS.iter().position(|row| row.method == method).expect("a row");
        at as u8
    };
    let plain = |method: &str, fields: &[u8]| [&[row(method)][..], fields, &[0]].concat();
    [
        &[1, 1, 0][..],
        &plain("init", &[0]),
        &plain("mem_alloc", &[0, 1, 3, 0, 8]),
        &plain("mem_alloc", &[0, 1, 3, 0, 4]),
        &plain("stream_create", &[0, 1, 0, 0]),
        // A tail comes before the fields.
        &[row("module_load"), 0, 0, 1, 0],
        &[row("function_lookup"), 2, 1, 1, 0, 0, 8, 0, 0],
        &[row("function_lookup"), 2 | 4 << 4, 1, 2, 0, 0, 8, 0, 0],
        &[row("memcpy_htod"), 6, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 1, 0],
        &plain("memset_d32", &[0, 0, 16, 0, 14]),
        &plain("memcpy_dtod", &[1, 0, 0, 0, 32, 0]),
        &[row("launch_kernel"), 5, 5, 0, 0, 9, 9, 9, 0, 2, 0, 0, 0],
        &plain("event_create", &[0, 1, 0]),
        &plain("event_record", &[1, 1, 0, 4, 2]),
        &plain("stream_wait_event", &[0, 1, 0]),
        &plain("fence", &[1, 2, 2]),
        &plain("memcpy_dtoh", &[0, 0, 4, 0, 0, 0, 0]),
        &plain("library_query", &[2, 0, 0]),
        &plain("memory_digest", &[]),
        &plain("stats", &[]),
        &plain("mem_free", &[0, 0]),
        &plain("mem_get_info", &[0]),
    ]
    .concat()
}
