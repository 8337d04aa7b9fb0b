//! The competitors, each as candidates of a run.
//!
//! All queues hold 1,024 slots, all messages carry 64 bytes (ringbar's 56 and a tag), both sides sit on the same two
//! cores, and an empty poll is followed by one `pause`. Where a peer offers blocking calls instead, that is a variant
//! of its own.

use crate::candidate::{Candidate, Identity, Measure};
use crate::error::BenchError;
use crate::process::Role;
use crate::side::{Pair, Receive, Transmit};

mod crossbeam;
mod eventfd;
mod gil;
mod iceoryx;
mod ringbuf;
mod rtrb;
mod socket;
mod std_channel;
mod uring;

/// Words of a peer's message: 64 bytes.
const WORDS: usize = 8;

/// A message in a queue: one cache line, aligned, so that each slot is a line.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Default)]
struct Line([u64; WORDS]);

/// Both ways to use the two ends of a bounded channel: without waiting, and blocking.
macro_rules! channel {
    ($Sender:ident, $Receiver:ident) => {
        impl Transmit<WORDS> for Polled<$Sender<Line>> {
            #[inline(always)]
            fn send(&mut self, words: &[u64; WORDS]) -> Result<(), Stalled> {
                spin_until(|| self.0.try_send(Line(*words)).ok())
            }
        }

        impl Receive<WORDS> for Polled<$Receiver<Line>> {
            #[inline(always)]
            fn receive(&mut self, take: impl FnOnce(&[u64; WORDS])) -> Result<(), Stalled> {
                take(&spin_until(|| self.0.try_recv().ok())?.0);
                Ok(())
            }
        }

        impl Transmit<WORDS> for Blocking<$Sender<Line>> {
            #[inline(always)]
            fn send(&mut self, words: &[u64; WORDS]) -> Result<(), Stalled> {
                self.0.send(Line(*words)).map_err(|_| Stalled)
            }
        }

        impl Receive<WORDS> for Blocking<$Receiver<Line>> {
            #[inline(always)]
            fn receive(&mut self, take: impl FnOnce(&[u64; WORDS])) -> Result<(), Stalled> {
                take(&self.0.recv().map_err(|_| Stalled)?.0);
                Ok(())
            }
        }
    };
}
use channel;

/// All peers, all variants, all measures.
pub fn candidates() -> Vec<Candidate> {
    let groups = [
        crossbeam::candidates(),
        std_channel::candidates(),
        rtrb::candidates(),
        ringbuf::candidates(),
        gil::candidates(),
        eventfd::candidates(),
        socket::candidates(),
        uring::candidates(),
        iceoryx::candidates(),
    ];
    groups.into_iter().flatten().collect()
}

/// What the second process can do for these peers.
pub fn roles() -> Vec<Role> {
    iceoryx::ROLES.to_vec()
}

/// One way over a queue, and round trips over a pair of them.
fn queue<T, R>(
    peer: &str,
    variant: &str,
    open: impl Fn() -> Result<(T, R), BenchError> + Copy + 'static,
) -> Vec<Candidate>
where
    T: Transmit<WORDS> + Send,
    R: Receive<WORDS> + Send,
{
    let identity = |measure| Identity::new(peer, variant, measure);
    let open_pair = move || {
        let (requests, replies) = (open()?, open()?);
        let left = Pair { outgoing: requests.0, incoming: replies.1 };
        Ok((left, Pair { outgoing: replies.0, incoming: requests.1 }))
    };
    vec![
        Candidate::one_way(identity(Measure::OneWay), open),
        Candidate::round_trip(identity(Measure::RoundTrip), open_pair),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::Sides;
    use crate::cores::Cores;
    use crate::drive::Plan;

    #[test]
    fn every_peer_of_one_process_carries_an_intact_payload() {
        let cores = Cores::first_two().unwrap();
        let mut ran = 0;
        for mut candidate in candidates() {
            if candidate.identity.sides == Sides::Processes {
                continue; // a test binary has no roles: tests/peers.rs runs these through the real binary
            }
            match candidate.sample(Plan { warm_up: 64, timed: 4_096 }, cores) {
                Ok(figure) => assert!(figure > 0.0, "{}", candidate.identity),
                Err(BenchError::Unavailable { .. }) if candidate.identity.peer == "io_uring" => (),
                Err(error) => {
                    panic!("{} {:?}: {error}", candidate.identity, candidate.identity.measure)
                }
            }
            ran += 1;
        }
        assert!(ran >= 20, "only {ran} candidates ran");
    }

    #[test]
    fn no_two_candidates_share_a_name() {
        let mut names: Vec<Identity> = candidates().into_iter().map(|c| c.identity).collect();
        let count = names.len();
        names.sort();
        names.dedup_by(|a, b| (a.measure, &a.peer, &a.variant) == (b.measure, &b.peer, &b.variant));
        assert_eq!(names.len(), count);
    }
}
