//! What the cost of a post is made of: writing the record, and, where the other side has looked at the line already, fetching
//! that back.

use ringbar::layout::Sizes;
use ringbar::link::{self, Options};
use ringbar::region::Terms;
use ringbar::worker::Next;
use ringbar_benches::cores::Cores;
use ringbar_benches::drive::Plan;
use ringbar_benches::limits::Limit;
use ringbar_benches::stats::median;
use ringbar_session::RingSink;
use ringbar_vocabulary::{Command, FunctionId, LaunchKernel, StreamId, Tail, VOCABULARY_HASH};
use serde_json::{Value, json};
use std::error::Error;
use std::time::Instant;

/// The name of these figures.
pub const LIMITS: &str = "limits";
/// Posts of one measurement: with three lines each they fill a seventh of the ring.
const POSTS: u32 = 200;
const MEASUREMENTS: usize = 501;
/// Parameters of the median launch of the recording: three lines with the rest of it.
const PARAM_BYTES: usize = 104;

/// Both, in ns: a post by a thread that also reads the ring, so that its processor has all lines; and half a round trip of one
/// line between the two cores.
pub fn limits() -> Result<Value, Box<dyn Error>> {
    let terms = Terms { vocabulary_hash: VOCABULARY_HASH, features: 0 };
    let (client, mut worker) = link::pair(Sizes::default(), terms, Options::default())?;
    let params = [7; PARAM_BYTES];
    let launch = LaunchKernel {
        function: FunctionId(1),
        grid: [1; 3],
        block: [1; 3],
        shared_bytes: 0,
        stream: StreamId(1),
        params: Tail::Inline(&params),
    };
    let mut posts = Vec::with_capacity(MEASUREMENTS);
    for _ in 0..MEASUREMENTS {
        let start = Instant::now();
        for _ in 0..POSTS {
            let launch = std::hint::black_box(&launch);
            client.post_with(launch.encoded_len(), |room| launch.encode(&mut RingSink(room)))?;
        }
        posts.push(start.elapsed().as_nanos() as f64 / f64::from(POSTS));
        for _ in 0..POSTS {
            let Next::Command(_) = worker.next()? else { return Err("a post was lost".into()) };
        }
    }
    let plan = Plan::of(50_000);
    let round_trip = Limit::PingpongOneLine.between_threads(plan, Cores::first_two()?)?;
    Ok(json!({ "post_at_hand_ns": median(posts), "line_ns": round_trip / 2.0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_a_producer_are_measured() {
        let limits = limits().unwrap();
        for name in ["post_at_hand_ns", "line_ns"] {
            assert!(limits[name].as_f64().is_some_and(|ns| ns > 0.0), "{limits}");
        }
    }
}
