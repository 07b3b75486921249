//! The state of every metric that needs all scores: which of them were right, which wrong.
//!
//! Eight bytes a row, and nothing is ever rounded, so merging is exact: the tie groups of the whole
//! do not depend on order or parts.

use serde::{Deserialize, Serialize};

/// All scores, those of rows that were right and those of rows that were wrong.
///
/// Two are equal if they hold the same scores, in whatever order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ranking {
    right: Vec<f64>,
    wrong: Vec<f64>,
}

impl Ranking {
    pub(crate) fn add(&mut self, score: f64, right: bool) {
        // −0 becomes 0.
        if right { &mut self.right } else { &mut self.wrong }.push(score + 0.0);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.right.extend_from_slice(&other.right);
        self.wrong.extend_from_slice(&other.wrong);
    }

    pub(crate) fn samples(&self) -> u64 {
        (self.right.len() + self.wrong.len()) as u64
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// The distinct scores, ascending, each with its rows.
    pub(crate) fn tie_groups(&self) -> Vec<TieGroup> {
        let right = self.right.iter().map(|&score| (score, true));
        let wrong = self.wrong.iter().map(|&score| (score, false));
        let mut rows: Vec<(f64, bool)> = right.chain(wrong).collect();
        rows.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
        let group = |tied: &[(f64, bool)]| {
            let right = tied.iter().filter(|&&(_, right)| right).count() as u64;
            TieGroup { score: tied[0].0, right, wrong: tied.len() as u64 - right }
        };
        rows.chunk_by(|(a, _), (b, _)| a == b).map(group).collect()
    }
}

impl PartialEq for Ranking {
    fn eq(&self, other: &Self) -> bool {
        self.samples() == other.samples() && self.tie_groups() == other.tie_groups()
    }
}

/// All rows of one score, of which there is at least one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TieGroup {
    pub(crate) score: f64,
    pub(crate) right: u64,
    pub(crate) wrong: u64,
}

impl TieGroup {
    pub(crate) fn count(&self) -> u64 {
        self.right + self.wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_are_one_group_whatever_their_order() {
        let rows = [(0.5, true), (0.25, false), (0.5, false), (-0.0, true), (0.0, true)];
        let (mut forwards, mut backwards) = (Ranking::default(), Ranking::default());
        for (&(score, right), &(last_score, last_right)) in rows.iter().zip(rows.iter().rev()) {
            forwards.add(score, right);
            backwards.add(last_score, last_right);
        }
        let expected = [(0.0, 2, 0), (0.25, 0, 1), (0.5, 1, 1)];
        let expected = expected.map(|(score, right, wrong)| TieGroup { score, right, wrong });
        assert_eq!(forwards.tie_groups(), expected);
        assert_eq!(backwards.tie_groups(), expected);
        assert_eq!(forwards, backwards);
        forwards.merge(&backwards);
        assert_eq!(forwards.samples(), 10);
        assert_ne!(forwards, backwards);
        assert_eq!(forwards.tie_groups()[2].count(), 4);
        forwards.reset();
        assert_eq!(forwards.tie_groups(), []);
    }

    #[test]
    fn what_is_no_number_is_a_group_of_its_own() {
        let mut ranking = Ranking::default();
        ranking.add(f64::NAN, true);
        ranking.add(0.5, true);
        assert_eq!(ranking.tie_groups().len(), 2);
    }
}
