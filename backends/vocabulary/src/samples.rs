//! Well-formed commands with arbitrary contents: seeds for fuzzers, input for tests.

use crate::wire::Draw;
use crate::{ArenaRef, ROWS, Row, Tail};

/// One encoded command.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The command's row.
    pub row: &'static Row,
    /// The command's bytes.
    pub bytes: Vec<u8>,
}

/// One command of each row that crosses the ring, its contents drawn from `seed`. About one tail
/// in four is in the arena.
pub fn samples(seed: u64) -> Vec<Sample> {
    let mut all = Vec::new();
    crate::rows::sample_all(&mut Draw::new(seed), |row, bytes| all.push(Sample { row, bytes }));
    all
}

pub(crate) fn tail_bytes(draw: &mut Draw) -> Vec<u8> {
    let len = draw.below(40) as usize;
    (0..len).map(|_| draw.next() as u8).collect()
}

pub(crate) fn tail<'a>(bytes: &'a [u8], draw: &mut Draw) -> Tail<'a> {
    if draw.below(4) == 0 {
        return Tail::Arena(ArenaRef { addr: draw.next(), len: draw.next() });
    }
    Tail::Inline(bytes)
}

/// A libFuzzer dictionary: the opcode of each row as the bytes of a header.
pub fn fuzz_dictionary() -> String {
    let lines = ROWS.iter().map(|row| {
        let [low, high] = row.opcode.to_le_bytes();
        format!("{}=\"\\x{low:02x}\\x{high:02x}\\x00\\x00\"\n", row.method)
    });
    lines.collect()
}
