//! `handshake`: messages of a stranger, and of ourselves.

use crate::input::Input;
use ringbar::handshake::wire::{FRAME_VERSION, MAGIC};
use ringbar::handshake::{
    Capabilities, Grow, Grown, Hello, Message, Refusal, RefusalCode, SessionToken, Text, Version,
    Welcome, decode, negotiate,
};
use ringbar::layout::Sizes;

/// Decodes the input, once as it is and once behind a good header, and a message made from it.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let descriptors = usize::from(input.byte() % 8);
    let rest = input.rest();
    strange(rest, descriptors);
    let mut input = Input::new(rest);
    let framed = framed(&mut input);
    strange(&framed, descriptors);
    for expected in [0, 1, 3] {
        strange(&framed, expected);
    }
    let ours = message(&mut Input::new(rest));
    let bytes = ours.encode();
    assert_eq!(decode(bytes.as_bytes(), ours.descriptors()).as_ref(), Ok(&ours));
    assert!(decode(bytes.as_bytes(), ours.descriptors() + 1).is_err());
}

/// True if the input, as it is, is a message with this many descriptors.
pub fn is_message(bytes: &[u8], descriptors: usize) -> bool {
    decode(bytes, descriptors).is_ok()
}

/// Arbitrary bytes: refused in words, or a message that has no other encoding.
fn strange(bytes: &[u8], descriptors: usize) {
    match decode(bytes, descriptors) {
        Ok(message) => {
            assert_eq!(message.descriptors(), descriptors);
            assert_eq!(message.encode().as_bytes(), bytes, "{message:?} has two encodings");
            answer(&message);
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let refusal = Message::Refused(error.refusal());
            let bytes = refusal.encode();
            assert_eq!(decode(bytes.as_bytes(), 0), Ok(refusal), "what we answer can be read");
        }
    }
}

/// What a side does with a message that it could read.
fn answer(message: &Message) {
    let ours = Capabilities {
        protocol: Version::OURS,
        features: 3,
        required_features: 1,
        vocabulary_hash: 0,
    };
    match message {
        Message::Hello(hello) => {
            hello.sizes.check().expect("a decoded Hello has sizes within the limits");
            if let Ok(chosen) = negotiate(hello, &ours) {
                assert_eq!(chosen.features & !(hello.features & ours.features), 0);
                assert!(chosen.protocol <= hello.protocol && chosen.protocol <= ours.protocol);
            }
        }
        Message::Welcome(welcome) => {
            let hello = Hello {
                protocol: Version::OURS,
                features: 3,
                vocabulary_hash: 0,
                sizes: Sizes::default(),
                resume: None,
                name: Text::new(""),
            };
            if let Ok(chosen) = welcome.check(&hello, 1) {
                assert_eq!((chosen.features & !3, chosen.features & 1), (0, 1));
            }
        }
        _ => {}
    }
}

/// A frame whose header is right, with the body that is there.
fn framed(input: &mut Input<'_>) -> Vec<u8> {
    const BYTES: [usize; 6] = [160, 64, 232, 24, 32, 16];
    let kind = usize::from(input.byte() % 6);
    let mut frame = Vec::with_capacity(BYTES[kind]);
    frame.extend(MAGIC.to_le_bytes());
    frame.extend((kind as u16 + 1).to_le_bytes());
    frame.extend(FRAME_VERSION.to_le_bytes());
    frame.extend((BYTES[kind] as u32).to_le_bytes());
    frame.resize(16, 0);
    frame.extend(input.bytes(BYTES[kind] - 16));
    frame.resize(BYTES[kind], 0);
    frame
}

/// A message that we could send, whatever the input.
fn message(input: &mut Input<'_>) -> Message {
    match input.byte() % 6 {
        0 => Message::Hello(hello(input)),
        1 => Message::Welcome(Welcome {
            protocol: version(input),
            features: input.u64(),
            token: SessionToken(input.array()),
            generation: input.u32().max(1),
            channel: u32::from(input.byte() % 31),
            region_bytes: pages(input),
            worker_pid: input.u32(),
        }),
        2 => Message::Refused(refusal(input)),
        3 => Message::Grow(Grow { bytes: pages(input) }),
        4 => Message::Grown(Grown { segment: 1 + u32::from(input.byte() % 63), len: pages(input) }),
        _ => Message::Bye,
    }
}

/// Version 1 of anything: only our major can be decoded.
fn version(input: &mut Input<'_>) -> Version {
    Version { major: Version::OURS.major, minor: input.u16() }
}

/// Whole pages, 1 to 2^28 of them: at most 1 TiB.
fn pages(input: &mut Input<'_>) -> u64 {
    4096 * (1 + u64::from(input.u32() >> 4))
}

fn hello(input: &mut Input<'_>) -> Hello {
    let sizes = Sizes {
        command_lines: 2 << (input.byte() % 16),
        reply_slots: 1 << (input.byte() % 11),
        event_lines: 2 << (input.byte() % 16),
        fence_words: 8 << (input.byte() % 14),
        arena_bytes: 4096 * u64::from(input.u32() >> 4),
        arena_address: 4096 * (input.u64() >> 12),
    };
    Hello {
        protocol: version(input),
        features: input.u64(),
        vocabulary_hash: input.u64(),
        sizes,
        resume: (input.byte() & 1 == 1).then(|| SessionToken(input.array())),
        name: Text::new(&String::from_utf8_lossy(input.bytes(80))),
    }
}

fn refusal(input: &mut Input<'_>) -> Refusal {
    use RefusalCode::*;
    let codes = [
        Version,
        Vocabulary,
        Features,
        Limits,
        Credentials,
        Busy,
        Reaping,
        UnknownSession,
        Malformed,
        Internal,
    ];
    let code = codes[usize::from(input.byte()) % codes.len()];
    let after_ms = input.u32();
    Refusal::retry_after(code, &String::from_utf8_lossy(input.bytes(250)), after_ms)
}
