//! Bulk bytes through the arena, and a fence that says when they were used.
//!
//! `cargo run -p ringbar-examples --example 05-bulk-and-fences` prints
//!
//! ```text
//! 64 MiB went through 8 MiB of staging; checksum 0x1fffffc00000 on both sides
//! ```
#![forbid(unsafe_code)]

use ringbar::layout::Sizes;
use ringbar::link::{self, Options};
use ringbar::park::FdBlock;
use ringbar::region::Terms;
use ringbar::worker::{Next, Worker};
use std::error::Error;

const PIECE: usize = 1 << 20;
const PIECES: u64 = 64;
const DONE: u32 = 0;

fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .chunks_exact(8)
        .fold(0, |sum, word| sum.wrapping_add(word.try_into().map_or(0, u64::from_le_bytes)))
}

/// A command is the arena address of one piece.
fn consume(mut worker: Worker<FdBlock>) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let completions = worker.completions().clone();
    let mut piece = vec![0; PIECE];
    let (mut sum, mut seen) = (0_u64, 0);
    loop {
        match worker.next()? {
            Next::Command(record) => {
                let address = u64::from_le_bytes(record.bytes.try_into()?);
                completions.arena().read(address, &mut piece)?;
                sum = sum.wrapping_add(checksum(&piece));
                seen += 1;
                completions.fence(DONE, seen)?;
            }
            Next::Idle => continue,
            Next::ClientGone => return Ok(sum),
        }
        // The piece is in private memory now: let the client reuse its room at once.
        worker.publish_soon();
    }
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let (client, worker) = link::pair(Sizes::default(), Terms::default(), Options::default())?;
    let worker = std::thread::spawn(move || consume(worker));
    let mut ours = 0_u64;
    for number in 0..PIECES {
        let words = (0..PIECE as u64 / 8).map(|i| number * (PIECE as u64 / 8) + i);
        let piece: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        ours = ours.wrapping_add(checksum(&piece));
        let staged = client.stage(PIECE as u64)?; // waits while 8 MiB are in flight
        staged.write(0, &piece)?;
        let position = client.post(&staged.address().to_le_bytes())?;
        staged.posted(position);
    }
    client.wait_fence(DONE, PIECES, None)?;
    client.close();
    let theirs = worker.join().map_err(|_| "the worker panicked")??;
    assert_eq!(ours, theirs);
    let staging = client.staging_bytes() >> 20;
    println!("64 MiB went through {staging} MiB of staging; checksum {theirs:#x} on both sides");
    Ok(())
}
