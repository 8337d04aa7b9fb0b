use super::super::message::samples;
use super::super::text::TextError;
use super::*;

fn bytes_of(message: &Message) -> Vec<u8> {
    message.encode().as_bytes().to_vec()
}

/// A good Hello with some bytes replaced.
fn hello_with(at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes_of(&Message::Hello(samples::hello()));
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

#[test]
fn every_message_survives_the_wire() {
    for message in samples::all() {
        let bytes = bytes_of(&message);
        assert_eq!(decode(&bytes, message.descriptors()), Ok(message));
    }
}

#[test]
fn every_refusal_code_survives_the_wire() {
    for code in REFUSAL_CODES {
        let message = Message::Refused(Refusal::new(code, &code.to_string()));
        assert_eq!(decode(&bytes_of(&message), 0), Ok(message));
    }
}

#[test]
fn a_hello_has_the_bytes_that_the_documents_name() {
    let bytes = bytes_of(&Message::Hello(samples::hello()));
    assert_eq!(bytes.len(), 160);
    assert_eq!(bytes[..16], *b"RBHS\x01\0\x01\0\xa0\0\0\0\0\0\0\0");
    assert_eq!(bytes[16..20], [1, 0, 0, 0], "protocol 1.0");
    assert_eq!(bytes[24..32], [8, 7, 6, 5, 4, 3, 2, 1], "little-endian");
    assert_eq!(bytes[80..96], [7; 16], "the token to resume");
    assert_eq!(bytes[96..106], *b"a client\0\0");
}

#[test]
fn what_decodes_encodes_back_to_the_same_bytes() {
    // Every byte of every message, changed to every value: refused, or exactly another message.
    for message in samples::all() {
        let good = bytes_of(&message);
        for at in 0..good.len() {
            // Miri is too slow for all of them.
            for value in (0..=u8::MAX).step_by(if cfg!(miri) { 51 } else { 1 }) {
                let mut bytes = good.clone();
                bytes[at] = value;
                if let Ok(found) = decode(&bytes, message.descriptors()) {
                    assert_eq!(bytes_of(&found), bytes, "byte {at} = {value} of {message:?}");
                }
            }
        }
    }
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    for message in samples::all() {
        let mut long = bytes_of(&message);
        long.extend([0; 300]);
        let right = message.encode().as_bytes().len();
        for len in (0..long.len()).filter(|&len| len != right) {
            let error = decode(&long[..len], message.descriptors()).unwrap_err();
            let fits =
                matches!(error, HandshakeError::Short { .. } | HandshakeError::Length { .. });
            assert!(fits, "{error}");
        }
    }
}

#[test]
fn random_bytes_behind_a_good_header_never_panic() {
    const ROUNDS: usize = if cfg!(miri) { 20 } else { 2_000 };
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut decoded = 0;
    for message in samples::all() {
        for _ in 0..ROUNDS {
            let mut bytes = bytes_of(&message);
            for byte in &mut bytes[16..] {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *byte = (state >> 56) as u8;
            }
            decoded += usize::from(decode(&bytes, message.descriptors()).is_ok());
        }
    }
    assert!(decoded >= ROUNDS, "at least a Bye decodes whatever follows its header");
}

#[test]
fn a_wrong_number_of_descriptors_is_refused() {
    for message in samples::all() {
        for found in (0..5).filter(|&found| found != message.descriptors()) {
            let error = decode(&bytes_of(&message), found).unwrap_err();
            let (kind, expected) = (message.name(), message.descriptors());
            assert_eq!(error, HandshakeError::Descriptors { kind, found, expected });
        }
    }
}

#[test]
fn strangers_are_told_by_their_first_bytes() {
    let refused = |at, new: &[u8]| decode(&hello_with(at, new), 0).unwrap_err();
    assert_eq!(refused(0, b"GET "), HandshakeError::Magic { found: 0x2054_4547 });
    assert_eq!(refused(4, &[9, 0]), HandshakeError::Kind { found: 9 });
    assert_eq!(refused(4, &[0, 0]), HandshakeError::Kind { found: 0 });
    assert_eq!(refused(6, &[2, 0]), HandshakeError::FrameVersion { found: 2 });
    assert_eq!(refused(12, &[5]), HandshakeError::Reserved { kind: "Hello", found: 5 });
    assert_eq!(refused(20, &[1]), HandshakeError::Reserved { kind: "Hello", found: 1 });
    assert_eq!(decode(b"RBHS", 0), Err(HandshakeError::Short { found: 4 }));
}

#[test]
fn a_hello_of_another_major_is_told_by_its_version_even_if_nothing_else_can_be_read() {
    let mut future = hello_with(16, &[2, 0, 7, 0]);
    future[6] = 9; // another frame version
    future.truncate(40); // another length
    let found = Version { major: 2, minor: 7 };
    let error = decode(&future, 4).unwrap_err();
    assert_eq!(error, HandshakeError::Protocol { found, expected: Version::OURS });
    let refusal = error.refusal();
    assert_eq!(refusal.code, RefusalCode::Version);
    assert!(refusal.text.as_str().contains("2.7"), "{refusal}");
}

#[test]
fn sizes_beyond_the_limits_are_refused_by_name() {
    let refused = |at, new: &[u8]| decode(&hello_with(at, new), 0).unwrap_err();
    let names = ["command lines", "reply slots", "event lines", "fence words"];
    for (at, name) in (40..).step_by(4).zip(names) {
        for value in [0_u32, 3, 1 << 31] {
            let error = refused(at, &value.to_le_bytes());
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(error.refusal().code, RefusalCode::Limits);
        }
    }
    assert!(refused(56, &u64::MAX.to_le_bytes()).to_string().contains("arena bytes"));
    assert!(refused(64, &[1]).to_string().contains("arena address"));
}

#[test]
fn a_resume_flag_is_one_or_zero_and_without_it_there_is_no_token() {
    let refused = |at, new: &[u8]| decode(&hello_with(at, new), 0).unwrap_err();
    assert!(matches!(refused(72, &[2]), HandshakeError::Value { found: 2, .. }));
    assert!(matches!(refused(72, &[0]), HandshakeError::Reserved { found: 7, .. }));
}

#[test]
fn texts_of_a_peer_are_refused_if_they_could_garble_a_log() {
    let error = decode(&hello_with(96, b"\x1b[2J"), 0).unwrap_err();
    let source = TextError::Control { found: 0x1b };
    assert_eq!(error, HandshakeError::Text { field: "Hello: name", source });
}

#[test]
fn numbers_of_the_executor_are_checked_too() {
    let refused = |message: Message, at: usize, new: &[u8]| {
        let mut bytes = bytes_of(&message);
        bytes[at..at + new.len()].copy_from_slice(new);
        let error = decode(&bytes, message.descriptors()).unwrap_err();
        assert!(matches!(error, HandshakeError::Value { .. }), "{error}");
    };
    let welcome = || Message::Welcome(samples::welcome());
    refused(welcome(), 20, &[0; 4]); // generation 0
    refused(welcome(), 40, &[31]); // channel 31
    refused(welcome(), 32, &[0; 8]); // no region
    refused(welcome(), 32, &[1]); // not whole pages
    let grown = || Message::Grown(Grown { segment: 1, len: 4096 });
    refused(grown(), 16, &[0]); // segment 0 is the region's own
    refused(grown(), 16, &[64]);
    refused(grown(), 24, &[0; 8]);
    refused(Message::Grow(Grow { bytes: 4096 }), 16, &u64::MAX.to_le_bytes());
}

#[test]
fn unknown_refusal_codes_are_refused() {
    for code in [0_u16, 11, u16::MAX] {
        let mut bytes = bytes_of(&Message::Refused(Refusal::new(RefusalCode::Busy, "")));
        bytes[16..18].copy_from_slice(&code.to_le_bytes());
        assert_eq!(decode(&bytes, 0), Err(HandshakeError::RefusalCode { found: code }));
    }
}

#[test]
fn a_session_token_is_random_compared_whole_and_never_printed() {
    let (first, second) = (SessionToken::random().unwrap(), SessionToken::random().unwrap());
    assert_ne!(first, second);
    let mut other = first;
    other.0[15] ^= 1;
    assert_ne!(first, other);
    assert_eq!(first, SessionToken(first.0));
    assert_eq!(format!("{:?}", SessionToken([0x41; 16])), "SessionToken(..)");
}
