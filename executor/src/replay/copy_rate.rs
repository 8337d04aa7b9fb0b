//! What this machine's memory gives one thread: the figure beside which bulk transfers are read.

use std::time::Instant;

const BLOCK_BYTES: usize = 256 << 20;
const COPIES: usize = 5;

/// Bytes a second of one thread that copies blocks of 256 MiB from memory to memory; the median of five copies.
pub fn single_thread_bytes_per_s() -> f64 {
    let from: Vec<u8> = (0..BLOCK_BYTES).map(|at| at as u8).collect();
    let mut to = vec![1; BLOCK_BYTES];
    let mut rates: Vec<f64> = (0..COPIES).map(|_| copy(&mut to, &from)).collect();
    rates.sort_by(f64::total_cmp);
    rates[COPIES / 2]
}

fn copy(to: &mut [u8], from: &[u8]) -> f64 {
    let start = Instant::now();
    to.copy_from_slice(std::hint::black_box(from));
    std::hint::black_box(&mut *to);
    BLOCK_BYTES as f64 / start.elapsed().as_secs_f64()
}
