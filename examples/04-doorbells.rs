//! When doorbells are rung: not while the worker is awake, once when it sleeps.
//!
//! `cargo run -p ringbar-examples --example 04-doorbells` prints, with numbers of your machine,
//!
//! ```text
//! wake-up by an asymmetric barrier (membarrier)
//! a burst of 100000 posts: 1 doorbells, 99999 suppressed
//! 20 posts, 5 ms apart: 20 doorbells, the worker slept 21 times
//! ```
#![forbid(unsafe_code)]

use ringbar::layout::Sizes;
use ringbar::link::{self, Options};
use ringbar::region::Terms;
use ringbar::wake::WakeMode;
use ringbar::worker::Next;
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let features = link::features_here();
    match link::wake_mode(features) {
        WakeMode::Asymmetric => println!("wake-up by an asymmetric barrier (membarrier)"),
        _ => println!("wake-up by full fences: this kernel has no membarrier for us"),
    }
    let terms = Terms { vocabulary_hash: 0, features };
    let (client, mut worker) = link::pair(Sizes::default(), terms, Options::default())?;
    let worker = std::thread::spawn(move || {
        loop {
            match worker.next()? {
                Next::Command(_) | Next::Idle => {}
                Next::ClientGone => return Ok::<_, ringbar::Error>(()),
            }
        }
    });

    for i in 0..100_000_u64 {
        client.post(&i.to_le_bytes())?;
    }
    client.wait_executed(client.tail(), None)?;
    let burst = client.counters();
    let (rung, suppressed) = (burst.client_bells, burst.bells_suppressed());
    println!("a burst of 100000 posts: {rung} doorbells, {suppressed} suppressed");

    for i in 0..20_u64 {
        std::thread::sleep(Duration::from_millis(5));
        client.post(&i.to_le_bytes())?;
    }
    client.wait_executed(client.tail(), None)?;
    let end = client.counters();
    let rung = end.client_bells - burst.client_bells;
    let slept = end.worker_parks - burst.worker_parks;
    println!("20 posts, 5 ms apart: {rung} doorbells, the worker slept {slept} times");
    client.close();
    worker.join().map_err(|_| "the worker panicked")??;
    Ok(())
}
