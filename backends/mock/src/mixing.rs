//! Folding bytes into a state of four words, so that it depends on each byte and on their order.

/// 32 bytes of state.
pub(crate) type State = [u64; 4];

const MULTIPLY: u64 = 0x9e37_79b9_7f4a_7c15;
const ADD: State =
    [0x2545_f491_4f6c_dd1d, 0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b];

/// A fresh state.
pub(crate) fn start(seed: u64) -> State {
    ADD.map(|add| (seed ^ add).wrapping_mul(MULTIPLY))
}

/// Folds `bytes` into `state`: four independent lanes, each a rotate, a multiply and a
/// shift a word.
#[inline]
pub(crate) fn fold(state: &mut State, bytes: &[u8]) {
    let (chunks, rest) = bytes.as_chunks::<32>();
    let mut lanes = *state;
    for chunk in chunks {
        step(&mut lanes, words(chunk));
    }
    // The length tells a tail of zeros from no tail.
    let mut last = [0; 32];
    last[..rest.len()].copy_from_slice(rest);
    step(&mut lanes, words(&last));
    lanes[0] = lanes[0].wrapping_add(bytes.len() as u64);
    *state = cross(lanes);
}

/// Folds one state into another.
#[inline]
pub(crate) fn fold_state(state: &mut State, other: State) {
    let mut lanes = *state;
    step(&mut lanes, other);
    *state = cross(lanes);
}

#[inline(always)]
fn words(chunk: &[u8; 32]) -> State {
    let (words, _) = chunk.as_chunks::<8>();
    std::array::from_fn(|i| u64::from_le_bytes(words[i]))
}

#[inline(always)]
fn step(lanes: &mut State, words: State) {
    for i in 0..4 {
        let mixed = (lanes[i].rotate_left(23) ^ words[i]).wrapping_mul(MULTIPLY);
        // A multiplication carries upwards only; the shift brings the high bits down.
        lanes[i] = (mixed ^ (mixed >> 32)).wrapping_add(ADD[i]);
    }
}

/// Lets each lane reach the others, so that bytes cannot change places between lanes.
#[inline(always)]
fn cross(lanes: State) -> State {
    let sum = lanes[0] ^ lanes[1].rotate_left(17) ^ lanes[2].rotate_left(34);
    let sum = (sum ^ lanes[3].rotate_left(51)).wrapping_mul(MULTIPLY);
    lanes.map(|lane| lane ^ (sum ^ (sum >> 29)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn folded(parts: &[&[u8]]) -> State {
        let mut state = [0; 4];
        parts.iter().for_each(|part| fold(&mut state, part));
        state
    }

    #[test]
    fn every_bit_of_every_byte_counts() {
        for len in [1, 7, 8, 31, 32, 33, 100] {
            let mut seen = HashSet::from([folded(&[&vec![0; len]])]);
            for bit in 0..len * 8 {
                let mut bytes = vec![0; len];
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(seen.insert(folded(&[&bytes])), "bit {bit} of {len} bytes");
            }
        }
    }

    #[test]
    fn order_and_length_count() {
        assert_ne!(folded(&[b"ab", b"cd"]), folded(&[b"cd", b"ab"]));
        assert_ne!(folded(&[&[0; 3]]), folded(&[&[0; 4]]));
        assert_ne!(folded(&[&[]]), folded(&[&[], &[]]));
        let (mut lanes, mut swapped) = ([0; 32], [0; 32]);
        (lanes[0], swapped[8]) = (1, 1);
        assert_ne!(folded(&[&lanes]), folded(&[&swapped]));
    }
}
