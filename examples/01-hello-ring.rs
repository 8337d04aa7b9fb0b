//! The bare ring: a producer and a consumer over memory of this process.
//!
//! `cargo run -p ringbar-examples --example 01-hello-ring` prints
//!
//! ```text
//! hello
//! ring
//! the ring is full: the ring has room for 0 of 1 lines; wait until the consumer has released 3
//! 7 lines were used so far
//! ```
#![forbid(unsafe_code)]

use ringbar::layout::HEADER_LINES;
use ringbar::lines::SharedLines;
use ringbar::os::mapping::Mapping;
use ringbar::spsc::{Consumer, Direction, Producer};
use std::error::Error;
use std::sync::Arc;

fn lines(count: usize) -> Result<SharedLines, Box<dyn Error>> {
    let mapping = Arc::new(Mapping::heap(count * 64)?);
    SharedLines::new(&mapping, 0, count).ok_or_else(|| "lines must be a power of two".into())
}

fn main() -> Result<(), Box<dyn Error>> {
    let (ring, header) = (lines(4)?, lines(HEADER_LINES)?);
    let mut producer = Producer::new(ring.clone(), header.clone(), Direction::Commands, 1);
    let mut consumer = Consumer::new(ring, header, Direction::Commands, 1, 0);

    // A batch becomes visible at once.
    let mut batch = producer.batch();
    batch.push(b"hello")?;
    batch.push(b"ring")?;
    batch.commit();
    while let Some(record) = consumer.pop()? {
        println!("{}", String::from_utf8_lossy(record.bytes));
    }

    // Four lines of 56 bytes. What does not fit is an error that says what to wait for, never a wait.
    for bytes in [0, 56, 2 * 56] {
        producer.push(&vec![0; bytes])?;
    }
    if let Err(full) = producer.push(b"one too many") {
        println!("the ring is full: {full}");
    }
    while consumer.pop()?.is_some() {}
    consumer.release();
    producer.push(b"fits again")?;
    println!("{} lines were used so far", producer.tail());
    Ok(())
}
