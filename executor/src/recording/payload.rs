//! Payload bytes from a seed, generated before anything is timed.

use super::{Plan, PlannedStep};

/// Distance between the inline payloads of neighbouring rows, so that each row has bytes of its own.
const INLINE_STRIDE_BYTES: usize = 8;
/// Rows after which inline payloads repeat: 8 MiB of them.
const INLINE_SLOTS_MAX: usize = 1 << 20;
/// Bulk payloads start at multiples of a cache line, as large host buffers do.
const BULK_STRIDE_BYTES: usize = 64;
/// Room beyond the largest bulk payload, so that the largest ones differ too.
const BULK_SLACK_BYTES: usize = 1 << 20;
/// The most bulk bytes that are generated, unless one step alone needs more.
const BULK_BYTES_MAX: usize = 256 << 20;
/// Pieces of one copy count as rows this far apart.
const PIECE_STRIDE_ROWS: u64 = 7_919;
/// Odd, so that multiplying by it visits every slot once.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The bytes that the steps of one plan carry.
///
/// Two buffers of pseudo-random bytes are generated; a step's payload is a slice of one of them, at an offset that follows from
/// its row, so asking for it costs nothing. Rows have different bytes; they repeat only after 1,048,576 rows (inline), or when
/// the bulk buffer has no further cache line to start at. The bulk buffer is as large as all bulk bytes of the plan, at most
/// 256 MiB: beyond that, slices overlap. A copy larger than one piece of the plan is several steps, each a slice of its own.
///
/// The bytes depend on the seed and the plan alone.
#[derive(Debug, Clone)]
pub struct Payloads {
    inline: Generated,
    bulk: Generated,
    inline_slots: usize,
}

impl Payloads {
    /// Generates the bytes for `plan`; up to about 264 MiB with the default limits of a plan, the same for the same seed.
    pub fn new(seed: u64, plan: &Plan) -> Self {
        let steps = || plan.steps().iter();
        let inline_max = steps().map(|step| step.step.inline_bytes()).max().unwrap_or(0);
        let bulk_max = steps().map(|step| step.step.h2d_bytes()).max().unwrap_or(0);
        let total = steps().fold(0_usize, |sum, step| sum.saturating_add(step.step.h2d_bytes()));
        let rows = steps().next_back().map_or(0, |step| step.row as usize + 1);
        let inline_slots = rows.clamp(1, INLINE_SLOTS_MAX);
        let inline_bytes = inline_max + inline_slots * INLINE_STRIDE_BYTES;
        let bulk_bytes = match bulk_max {
            0 => 0,
            _ => total.min(BULK_BYTES_MAX).max(bulk_max + BULK_SLACK_BYTES),
        };
        Self {
            inline: Generated::new(seed, inline_bytes),
            bulk: Generated::new(!seed, bulk_bytes),
            inline_slots,
        }
    }

    /// The bytes that `step` carries in its command; `step.step.inline_bytes()` many.
    ///
    /// Empty for a step of another plan that needs more than was generated.
    pub fn inline(&self, step: &PlannedStep) -> &[u8] {
        let start = (step.row as usize % self.inline_slots) * INLINE_STRIDE_BYTES;
        self.inline.slice(start, step.step.inline_bytes())
    }

    /// The bytes that `step` copies to the device; `step.step.h2d_bytes()` many.
    ///
    /// Empty for a step of another plan that needs more than was generated.
    pub fn bulk(&self, step: &PlannedStep) -> &[u8] {
        let bytes = step.step.h2d_bytes();
        let room = self.bulk.bytes().saturating_sub(bytes) / BULK_STRIDE_BYTES;
        // The largest power of two of starts, so that SPREAD visits each once.
        let slots = 1_u64 << (room as u64 + 1).ilog2();
        let part = u64::from(step.row) + u64::from(step.piece) * PIECE_STRIDE_ROWS;
        let place = part.wrapping_mul(SPREAD) & (slots - 1);
        self.bulk.slice(place as usize * BULK_STRIDE_BYTES, bytes)
    }

    /// Bytes generated in all.
    pub fn generated_bytes(&self) -> usize {
        self.inline.bytes() + self.bulk.bytes()
    }
}

/// Pseudo-random bytes that begin at a cache line.
#[derive(Debug, Clone)]
struct Generated {
    /// Longer than what is handed out, by less than a line.
    bytes: Vec<u8>,
    /// Where the first line begins.
    start: usize,
}

impl Generated {
    fn new(seed: u64, len: usize) -> Self {
        if len == 0 {
            return Self { bytes: Vec::new(), start: 0 };
        }
        let mut bytes = vec![0; len.next_multiple_of(8) + BULK_STRIDE_BYTES];
        let start = bytes.as_ptr().align_offset(BULK_STRIDE_BYTES).min(BULK_STRIDE_BYTES);
        for (counter, word) in (0_u64..).zip(bytes[start..].as_chunks_mut::<8>().0) {
            *word = splitmix(seed, counter).to_le_bytes();
        }
        Self { bytes, start }
    }

    /// Bytes that can be handed out, a multiple of 8.
    fn bytes(&self) -> usize {
        self.bytes.len().saturating_sub(BULK_STRIDE_BYTES)
    }

    fn slice(&self, start: usize, len: usize) -> &[u8] {
        let start = self.start + start;
        self.bytes.get(start..start.saturating_add(len)).unwrap_or_default()
    }
}

/// The `counter`-th word of the SplitMix64 sequence of `seed`.
fn splitmix(seed: u64, counter: u64) -> u64 {
    let word = seed.wrapping_add(counter.wrapping_add(1).wrapping_mul(SPREAD));
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
