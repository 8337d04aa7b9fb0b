//! The digest.

use super::*;

fn of(commands: &[(u64, &[u8], &[u8])]) -> u64 {
    let mut digest = Digest::new();
    commands.iter().for_each(|(opcode, inline, bulk)| digest.push_command(*opcode, inline, bulk));
    digest.value()
}

#[test]
fn order_opcode_and_every_byte_count() {
    let base = of(&[(1, b"ab", b"cd"), (2, b"", b"")]);
    assert_eq!(base, of(&[(1, b"ab", b"cd"), (2, b"", b"")]));
    for other in [
        of(&[(2, b"", b""), (1, b"ab", b"cd")]),
        of(&[(3, b"ab", b"cd"), (2, b"", b"")]),
        of(&[(1, b"aX", b"cd"), (2, b"", b"")]),
        of(&[(1, b"ab", b"cX"), (2, b"", b"")]),
        of(&[(1, b"abc", b"d"), (2, b"", b"")]),
        of(&[(1, b"ab", b"cd")]),
    ] {
        assert_ne!(base, other);
    }
}

#[test]
fn memory_counts_too() {
    let mut one = Digest::new();
    one.push_memory(b"ab");
    one.push_memory(b"");
    let mut other = Digest::new();
    other.push_memory(b"");
    other.push_memory(b"ab");
    assert_ne!(one.value(), other.value());
}
