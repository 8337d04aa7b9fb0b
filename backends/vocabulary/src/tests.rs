//! What every row keeps, checked for every row.

use crate::wire::Draw;
use crate::*;
use std::collections::HashSet;

/// Enough seeds for tails of many lengths, inline and in the arena.
const SEEDS: std::ops::Range<u64> = 0..32;

fn all_samples() -> impl Iterator<Item = Sample> {
    SEEDS.flat_map(samples)
}

fn decode(bytes: &[u8]) -> Result<(), DecodeError> {
    reencode(bytes, &mut Vec::new()).map(|_| ())
}

#[test]
fn every_row_that_crosses_has_a_sample() {
    let crossing = ROWS.iter().filter(|row| row.class != Class::Local).count();
    assert_eq!(samples(1).len(), crossing);
}

#[test]
fn every_command_survives_the_wire_byte_for_byte() {
    for sample in all_samples() {
        let mut again = Vec::new();
        let row = reencode(&sample.bytes, &mut again).unwrap();
        assert_eq!((row.opcode, &again), (sample.row.opcode, &sample.bytes), "{}", row.name);
    }
}

#[test]
fn every_reply_survives_the_wire() {
    let mut replies = 0;
    crate::rows::sample_replies(&mut Draw::new(3), |row, reply, again| {
        assert_eq!(again, Ok(reply), "{}", row.name);
        replies += 1;
    });
    assert_eq!(replies, ROWS.iter().filter(|row| row.class == Class::Sync).count());
}

#[test]
fn every_truncation_and_every_extension_is_refused() {
    for sample in all_samples() {
        for len in 0..sample.bytes.len() {
            assert!(decode(&sample.bytes[..len]).is_err(), "{} at {len}", sample.row.name);
        }
        let longer = [&sample.bytes[..], &[0; 8]].concat();
        assert!(decode(&longer).is_err(), "{} with 8 bytes more", sample.row.name);
    }
}

/// Every (byte, bit) that must be zero: flags without meaning, padding between fields, behind
/// them and behind the tail.
fn reserved_bits(sample: &Sample) -> Vec<(usize, u32)> {
    let first_flag = if sample.row.tail.is_some() { 1 } else { 0 };
    let mut reserved: Vec<_> = (first_flag..8).map(|bit| (2, bit)).collect();
    let mut used: HashSet<usize> = [0, 1, 2, 4, 5, 6, 7].into();
    for field in sample.row.fields {
        used.extend(HEADER_BYTES + field.offset..HEADER_BYTES + field.offset + field.bytes);
    }
    let tail = HEADER_BYTES + sample.row.fixed_bytes();
    let tail_len = u32::from_le_bytes(*sample.bytes[4..].first_chunk().unwrap()) as usize;
    used.extend(tail..tail + tail_len);
    let padding = (0..sample.bytes.len()).filter(|at| !used.contains(at));
    reserved.extend(padding.flat_map(|at| (0..8).map(move |bit| (at, bit))));
    reserved
}

#[test]
fn every_flipped_reserved_bit_is_refused() {
    for sample in all_samples() {
        for (at, bit) in reserved_bits(&sample) {
            let mut bytes = sample.bytes.clone();
            bytes[at] ^= 1 << bit;
            assert!(decode(&bytes).is_err(), "{}: byte {at} bit {bit}", sample.row.name);
        }
    }
}

#[test]
fn a_tail_of_a_row_without_one_is_refused() {
    let ping = Ping { token: 1 };
    let mut bytes = Vec::new();
    ping.encode(&mut bytes);
    bytes[4] = 8;
    let expected = DecodeError::TailLength { function: "Ping", found: 8, expected: 0 };
    assert_eq!(Ping::decode(&bytes), Err(expected));
}

#[test]
fn a_hostile_tail_length_is_refused_without_overflow() {
    for sample in samples(5).iter().filter(|sample| sample.row.tail.is_some()) {
        for len in [u32::MAX, u32::MAX - 7, 1 << 31, 17] {
            let mut bytes = sample.bytes.clone();
            bytes[4..8].copy_from_slice(&len.to_le_bytes());
            bytes[2] |= FLAG_TAIL_IN_ARENA as u8;
            assert!(decode(&bytes).is_err(), "{} with {len}", sample.row.name);
        }
    }
}

#[test]
fn arbitrary_bytes_never_panic_and_what_decodes_encodes_back() {
    let mut draw = Draw::new(11);
    for round in 0..20_000u64 {
        let mut bytes: Vec<u8> = (0..draw.below(96)).map(|_| draw.next() as u8).collect();
        if let [opcode, high, rest @ ..] = &mut bytes[..] {
            (*opcode, *high) = ((round % 50) as u8, 0);
            rest.iter_mut().take(6).for_each(|byte| *byte &= 0x11);
        }
        let mut again = Vec::new();
        if reencode(&bytes, &mut again).is_ok() {
            assert_eq!(again, bytes);
        }
    }
}

#[test]
fn encoded_len_is_what_the_encoder_writes() {
    for len in 0..70 {
        let bytes: Vec<u8> = (1..=len).collect();
        let command = LibraryCall {
            library: 1,
            function: 2,
            stream: StreamId(3),
            arguments: Tail::Inline(&bytes),
        };
        let mut encoded = Vec::new();
        command.encode(&mut encoded);
        assert_eq!(encoded.len(), command.encoded_len());
        assert_eq!(LibraryCall::decode(&encoded), Ok(command));
    }
}

#[test]
fn a_launch_leaves_room_for_parameters_in_one_line() {
    assert_eq!(HEADER_BYTES + <LaunchKernel<'_> as Command>::FIXED_BYTES, 48);
}

#[test]
fn the_wire_form_of_a_launch_is_as_documented() {
    let command = LaunchKernel {
        function: FunctionId(0x0a0b_0c0d),
        grid: [1, 2, 3],
        block: [4, 5, 6],
        shared_bytes: 7,
        stream: StreamId(8),
        params: Tail::Inline(&[9; 3]),
    };
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    let words = [0x0a0b_0c0d, 1, 2, 3, 4, 5, 6, 7, 8, 0u32];
    let fixed: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let expected = [&[23, 0, 0, 0, 3, 0, 0, 0][..], &fixed, &[9, 9, 9, 0, 0, 0, 0, 0]].concat();
    assert_eq!(bytes, expected);
}

#[test]
fn an_unknown_opcode_is_named() {
    let bytes = [0xff, 0xff, 0, 0, 0, 0, 0, 0];
    let expected_max = ROWS.len() as u16;
    let expected = DecodeError::UnknownOpcode { found: 0xffff, expected_max };
    assert_eq!(decode(&bytes), Err(expected));
    assert!(decode(&[0; 8]).is_err(), "opcode 0 is none");
}

#[test]
fn a_local_row_is_refused_by_name() {
    let row = Row::by_cuda_name("cuStreamSynchronize").unwrap();
    let bytes = u64::from(row.opcode).to_le_bytes();
    let expected = DecodeError::LocalOpcode { function: "StreamSynchronize", found: row.opcode };
    assert_eq!(decode(&bytes), Err(expected));
}

#[test]
fn no_two_rows_share_an_opcode_a_name_or_a_cuda_function() {
    let mut seen = HashSet::new();
    for row in ROWS {
        let names = [row.name, row.method].into_iter().chain(row.cuda.iter().copied());
        for name in names.map(str::to_owned).chain([row.opcode.to_string()]) {
            assert!(seen.insert(name.clone()), "{name} occurs twice");
        }
        assert_eq!(Row::by_opcode(row.opcode).unwrap().name, row.name);
    }
}

#[test]
fn the_hash_changes_with_anything_in_a_row() {
    static OTHER: [FieldRow; 1] =
        [FieldRow { name: "x", ty: "u32", direction: Direction::In, offset: 0, bytes: 4 }];
    let changes: [fn(&mut Row); 9] = [
        |row| row.opcode += 1,
        |row| row.name = "Other",
        |row| row.method = "other",
        |row| row.cuda = &["cuOther"],
        |row| row.class = Class::Local,
        |row| row.since += 10,
        |row| row.fields = &OTHER,
        |row| row.tail = Some("other"),
        |row| row.reply = &OTHER,
    ];
    for at in 0..ROWS.len() {
        for (number, change) in changes.iter().enumerate() {
            let mut rows = ROWS.to_vec();
            change(&mut rows[at]);
            let same = number == 4 && ROWS[at].class == Class::Local;
            assert_eq!(hash_rows(&rows) == VOCABULARY_HASH, same, "{} {number}", ROWS[at].name);
        }
    }
    assert_ne!(hash_rows(&ROWS[1..]), VOCABULARY_HASH);
}

#[test]
fn a_failure_carries_its_status_and_nothing_else() {
    let reply = Reply::new::<MemAllocReply>(Err(Status::OUT_OF_MEMORY));
    let (bytes, len) = reply.to_bytes();
    assert_eq!(reply.words(), [2, 0]);
    assert_eq!(MemAllocReply::decode(&bytes[..len]), Ok(Err(Status::OUT_OF_MEMORY)));
}

#[test]
fn a_reply_with_reserved_bits_or_too_few_bytes_is_refused() {
    let (bytes, len) = Reply::new(Ok(PingReply { token: u64::MAX })).to_bytes();
    for short in 0..len {
        assert!(PingReply::decode(&bytes[..short]).is_err());
    }
    for at in (4..8).chain(len..bytes.len()) {
        let mut bytes = bytes;
        bytes[at] = 1;
        assert!(PingReply::decode(&bytes).is_err(), "byte {at}");
    }
    assert_eq!(PingReply::decode(&bytes), Ok(Ok(PingReply { token: u64::MAX })));
}

#[test]
fn a_command_without_a_method_is_unsupported_by_name() {
    struct Nothing(Vec<&'static str>);
    impl Handler<()> for Nothing {
        fn unsupported(&mut self, _: &mut (), row: &'static Row) -> Status {
            self.0.push(row.name);
            Status::NOT_SUPPORTED
        }
    }
    let mut handler = Nothing(Vec::new());
    let samples = samples(2);
    for sample in &samples {
        match dispatch(&mut handler, &mut (), &sample.bytes).unwrap() {
            Done::Posted(result) => assert_eq!(result, Err(Status::NOT_SUPPORTED)),
            Done::Replied(reply) => assert_eq!(reply.status(), Status::NOT_SUPPORTED),
        }
    }
    assert!(handler.0.iter().copied().eq(samples.iter().map(|sample| sample.row.name)));
}

#[test]
fn the_coverage_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/COVERAGE.md");
    if std::env::var_os("RINGBAR_WRITE_COVERAGE").is_some() {
        std::fs::write(path, coverage_markdown()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap();
    assert!(
        page == coverage_markdown(),
        "COVERAGE.md is old: run this test with RINGBAR_WRITE_COVERAGE=1 and commit the page"
    );
}

#[test]
fn the_fuzz_dictionary_has_every_row() {
    let dictionary = fuzz_dictionary();
    assert_eq!(dictionary.lines().count(), ROWS.len());
    assert!(dictionary.contains("launch_kernel=\"\\x17\\x00\\x00\\x00\""));
}
