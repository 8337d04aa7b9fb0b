//! Medians, extremes and the rule for bistable candidates.

use serde::{Deserialize, Serialize};

/// Largest ratio between two rotations of a candidate at which they still count as one state.
pub const BISTABLE_SPREAD: f64 = 1.4;

/// Rotations that make a state.
pub const BISTABLE_ROTATIONS: usize = 3;

/// The middle value; of an even number of values the mean of the two middle ones. NaN for none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n.is_multiple_of(2) => (values[n / 2 - 1] + values[n / 2]) / 2.0,
        n => values[n / 2],
    }
}

/// The largest group of values of which the largest is at most `ratio` times the smallest; of equals the lowest.
pub fn densest(mut values: Vec<f64>, ratio: f64) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    let group_from = |first: usize| {
        let end = values.partition_point(|value| *value <= values[first] * ratio);
        &values[first..end]
    };
    let groups = (0..values.len()).rev().map(group_from);
    groups.max_by_key(|group| group.len()).unwrap_or_default().to_vec()
}

/// Which figure of a candidate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// The median of the rotations: ringbar's own figures, and the machine's limits.
    Median,
    /// Of a bistable candidate the median of its faster state: a peer is not to lose by an unlucky one.
    FasterState,
}

/// The figures of one candidate over a run, in its measure's unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The figure that counts, see [`Counts`].
    pub counted: f64,
    /// Median of the rotations' medians.
    pub median: f64,
    /// Smallest kept sample.
    pub min: f64,
    /// Largest kept sample.
    pub max: f64,
    /// `max / min` of the rotations' medians.
    pub spread: f64,
    /// Whether the spread between rotations exceeds [`BISTABLE_SPREAD`] over at least [`BISTABLE_ROTATIONS`] rotations.
    pub bistable: bool,
    /// The median of each rotation that kept a sample.
    pub rotations: Vec<f64>,
}

impl Summary {
    /// Sums up the kept samples, one list a rotation. `None` if no sample was kept.
    pub fn of(kept: &[Vec<f64>], counts: Counts) -> Option<Self> {
        let rotations: Vec<f64> =
            kept.iter().filter(|samples| !samples.is_empty()).cloned().map(median).collect();
        let (best, worst) = extremes(&rotations)?;
        let all: Vec<f64> = kept.concat();
        let (min, max) = extremes(&all)?;
        let spread = worst / best;
        let bistable = spread > BISTABLE_SPREAD && rotations.len() >= BISTABLE_ROTATIONS;
        let median = median(rotations.clone());
        let counted = match counts {
            Counts::FasterState if bistable => faster_state(rotations.clone()).unwrap_or(median),
            _ => median,
        };
        Some(Self { counted, median, min, max, spread, bistable, rotations })
    }
}

/// The median of the fastest rotations that make a state.
fn faster_state(mut rotations: Vec<f64>) -> Option<f64> {
    rotations.sort_by(f64::total_cmp);
    let state_from = |first: usize| {
        let end = rotations.partition_point(|value| *value <= rotations[first] * BISTABLE_SPREAD);
        &rotations[first..end]
    };
    let states = (0..rotations.len()).map(state_from);
    states
        .filter(|state| state.len() >= BISTABLE_ROTATIONS)
        .map(|state| median(state.to_vec()))
        .next()
}

fn extremes(values: &[f64]) -> Option<(f64, f64)> {
    let min = values.iter().copied().min_by(f64::total_cmp)?;
    let max = values.iter().copied().max_by(f64::total_cmp)?;
    Some((min, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_of_the_sorted_values() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(vec![9.0, 1.0, 5.0, 7.0]), 6.0);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn the_densest_group_is_neither_the_fastest_nor_the_widest_spread() {
        let canaries = vec![900.0, 31.0, 68.0, 4_000.0, 70.0, 30.0, 66.0, 71.0, 250.0, 32.0];
        assert_eq!(densest(canaries, 1.5), [66.0, 68.0, 70.0, 71.0]);
        assert_eq!(densest(vec![2.0, 100.0, 101.0, 1.9], 1.5), [1.9, 2.0]);
        assert_eq!(densest(vec![], 1.5), [0.0; 0]);
    }

    #[test]
    fn a_steady_candidate_counts_with_its_median() {
        let kept = [vec![4.0, 4.1], vec![3.9], vec![4.4, 9.0, 4.2]];
        for counts in [Counts::Median, Counts::FasterState] {
            let summary = Summary::of(&kept, counts).unwrap();
            assert!(!summary.bistable);
            assert_eq!((summary.counted, summary.min, summary.max), (4.05, 3.9, 9.0));
        }
    }

    #[test]
    fn a_bistable_peer_counts_with_the_median_of_its_faster_state_and_ours_with_that_of_all() {
        let kept = [8.9, 3.9, 8.8, 8.7, 3.7, 1.0, 3.8, 8.9].map(|figure| vec![figure]);
        let counted = |counts| Summary::of(&kept, counts).unwrap().counted;
        assert_eq!((counted(Counts::FasterState), counted(Counts::Median)), (3.8, 6.3));
    }

    #[test]
    fn two_rotations_are_too_few_to_make_a_state() {
        assert!(!Summary::of(&[vec![8.9], vec![3.7]], Counts::FasterState).unwrap().bistable);
        let apart = [1.0, 2.0, 4.0].map(|figure| vec![figure]);
        assert_eq!(Summary::of(&apart, Counts::FasterState).unwrap().counted, 2.0);
    }

    #[test]
    fn a_rotation_without_a_kept_sample_does_not_count() {
        assert_eq!(Summary::of(&[vec![], vec![2.0]], Counts::Median).unwrap().rotations, [2.0]);
        assert_eq!(Summary::of(&[vec![], vec![]], Counts::Median), None);
    }
}
