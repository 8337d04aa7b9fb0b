//! What the figures are to reach, judged from one run; what is missed is said with the limit that was measured beside it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::table::shown;
use crate::candidate::{Measure, Sides};
use crate::eventfd;
use crate::limits::{EXCHANGE, FETCHED_AHEAD, TAGGED};
use crate::rotation::{Results, Row};

type Key = (Measure, &'static str, &'static str);

const BARE: Key = (Measure::OneWay, "ringbar", "bare");
const CALL: Key = (Measure::RoundTrip, "ringbar", "bare call");
const STREAM: Key = (Measure::OneWay, "limit", FETCHED_AHEAD);
const LINES: Key = (Measure::OneWay, "limit", TAGGED);
const NO_RING: Key = (Measure::RoundTrip, "limit", EXCHANGE);
const POLLED: Key = (Measure::Wake, "limit", eventfd::POLLED);

/// What is compared with what, the most that the ratio may be, and what limits it.
const AIMS: [(&str, Key, Key, f64, Key); 8] = [
    ("one way / rtrb push/pop", BARE, (Measure::OneWay, "rtrb", "push/pop"), 0.60, LINES),
    ("one way / stream32", BARE, (Measure::Stream32, "limit", "this machine"), 1.0, STREAM),
    (
        "batch of 32 / rtrb chunks of 32",
        (Measure::Batch32, "ringbar", "bare"),
        (Measure::Batch32, "rtrb", "chunks of 32"),
        0.80,
        LINES,
    ),
    ("call / rtrb pair", CALL, (Measure::RoundTrip, "rtrb", "push/pop"), 0.65, NO_RING),
    (
        "call / ping-pong on two lines",
        CALL,
        (Measure::PingpongTwoLine, "limit", "this machine"),
        0.65,
        NO_RING,
    ),
    ("armed / unarmed", (Measure::OneWay, "ringbar", "armed"), BARE, 1.6, BARE),
    (
        "armed / fenced",
        (Measure::OneWay, "ringbar", "armed"),
        (Measure::OneWay, "ringbar", "fenced"),
        0.125,
        BARE,
    ),
    (
        "wake / raw eventfd wake",
        (Measure::Wake, "ringbar", "parked"),
        (Measure::Wake, "eventfd", "raw wake"),
        1.15,
        POLLED,
    ),
];

/// One of the figures, between threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aim {
    /// What is compared with what.
    pub what: String,
    /// Our ns.
    pub ours_ns: f64,
    /// The ns of what it is compared with.
    pub against_ns: f64,
    /// The most that the first may be of the second.
    pub at_most: f64,
    /// What limits it, as measured in the same run.
    pub limit: String,
    /// The ns of that.
    pub limit_ns: f64,
}

impl Aim {
    /// Ours as a share of what it is compared with.
    pub fn ratio(&self) -> f64 {
        self.ours_ns / self.against_ns
    }

    /// Whether it is reached.
    pub fn is_met(&self) -> bool {
        self.ratio() <= self.at_most
    }

    /// The least that the ratio can be, if the limit holds.
    pub fn bound(&self) -> f64 {
        self.limit_ns / self.against_ns
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, ours_ns, against_ns, at_most, limit, limit_ns } = self;
        let (ratio, ours, against) = (self.ratio(), shown(*ours_ns), shown(*against_ns));
        write!(out, "{what}: {ours} / {against} ns = {ratio:.2}, at most {at_most}: ")?;
        if self.is_met() {
            return out.write_str("met");
        }
        let (of_limit, limit_ns) = (self.ours_ns / self.limit_ns, shown(*limit_ns));
        let bound = self.bound();
        write!(out, "missed. Limit: {limit}, {limit_ns} ns, ")?;
        if bound <= *at_most {
            write!(out, "hence {bound:.2} is possible: open work, not a bound")
        } else if of_limit < 1.0 {
            write!(out, "would be {bound:.2}; ringbar takes {of_limit:.2} of even that")
        } else {
            write!(out, "hence at least {bound:.2}; ringbar takes {of_limit:.2} of the limit")
        }
    }
}

/// All aims whose figures the run has.
pub fn aims(results: &Results) -> Vec<Aim> {
    let figure = |key: Key| results.rows.iter().find(|row| is(row, key)).and_then(Row::counted);
    let aim = |&(what, ours, against, at_most, limit): &(&str, Key, Key, f64, Key)| {
        Some(Aim {
            what: what.into(),
            ours_ns: figure(ours)?,
            against_ns: figure(against)?,
            at_most,
            limit: format!("{} {}", limit.1, limit.2),
            limit_ns: figure(limit)?,
        })
    };
    AIMS.iter().filter_map(aim).collect()
}

fn is(row: &Row, (measure, peer, variant): Key) -> bool {
    let identity = &row.identity;
    identity.sides == Sides::Threads
        && (identity.measure, identity.peer.as_str(), identity.variant.as_str())
            == (measure, peer, variant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::Candidate;

    fn aim(ours_ns: f64, limit_ns: f64) -> Aim {
        let limit = "limit x".into();
        Aim { what: "a / b".into(), ours_ns, against_ns: 100.0, at_most: 0.65, limit, limit_ns }
    }

    #[test]
    fn a_missed_aim_names_its_limit_and_the_bound_that_follows() {
        assert_eq!(aim(60.0, 90.0).to_string(), "a / b: 60.0 / 100 ns = 0.60, at most 0.65: met");
        let bounded = aim(99.0, 90.0).to_string();
        assert!(
            bounded.ends_with(
                "limit x, 90.0 ns, hence at least 0.90; ringbar takes 1.10 of the limit"
            ),
            "{bounded}"
        );
        let better = aim(81.0, 90.0).to_string();
        assert!(better.ends_with("would be 0.90; ringbar takes 0.90 of even that"), "{better}");
        let open = aim(99.0, 50.0).to_string();
        assert!(open.ends_with("0.50 is possible: open work, not a bound"), "{open}");
    }

    #[test]
    fn every_aim_names_candidates_that_exist() {
        let all: Vec<Candidate> = crate::candidates();
        for (what, ours, against, _, limit) in AIMS {
            for (measure, peer, variant) in [ours, against, limit] {
                if peer == "rtrb" && cfg!(not(feature = "peers")) {
                    continue;
                }
                let found = all.iter().any(|candidate| {
                    let identity = &candidate.identity;
                    (identity.measure, identity.peer.as_str(), identity.variant.as_str())
                        == (measure, peer, variant)
                        && identity.sides == Sides::Threads
                });
                assert!(found, "{what}: no {peer} {variant} in {measure:?}");
            }
        }
    }
}
