//! The state of every metric that needs all scores: which of them were right, which wrong.
//!
//! Eight bytes a row, sixteen where rows have weights, and nothing is ever rounded, so merging is
//! exact: the tie groups of the whole do not depend on order or parts.

use serde::{Deserialize, Serialize};

use crate::Weight;

/// All scores, those of rows that were right and those of rows that were wrong.
///
/// Two are equal if they hold the same scores, in whatever order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ranking {
    right: Scores,
    wrong: Scores,
}

/// Scores with their weights.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "State", into = "State")]
struct Scores {
    values: Vec<f64>,
    /// One a score, or none at all if all are 1.
    weights: Vec<f64>,
}

/// What is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    values: Vec<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    weights: Vec<f64>,
}

impl TryFrom<State> for Scores {
    type Error = softlabel_core::Error;

    fn try_from(State { values, weights }: State) -> softlabel_core::Result<Self> {
        if !weights.is_empty() && weights.len() != values.len() {
            let [expected, found] = [&values, &weights].map(|of| of.len().to_string());
            return Err(softlabel_core::Error::mismatch("weights of scores", expected, found));
        }
        weights.iter().try_for_each(|&weight| Weight::new(weight).map(drop))?;
        Ok(Self { values, weights })
    }
}

impl From<Scores> for State {
    fn from(Scores { values, weights }: Scores) -> Self {
        Self { values, weights }
    }
}

impl Scores {
    fn push(&mut self, score: f64, weight: f64) {
        if weight != 1.0 || !self.weights.is_empty() {
            self.weights.resize(self.values.len(), 1.0);
            self.weights.push(weight);
        }
        self.values.push(score);
    }

    fn merge(&mut self, other: &Self) {
        if !(self.weights.is_empty() && other.weights.is_empty()) {
            self.weights.resize(self.values.len(), 1.0);
            self.weights.extend(other.weighted().map(|(_, weight)| weight));
        }
        self.values.extend_from_slice(&other.values);
    }

    fn weighted(&self) -> impl Iterator<Item = (f64, f64)> {
        let weights = self.weights.iter().copied().chain(std::iter::repeat(1.0));
        self.values.iter().copied().zip(weights)
    }
}

impl Ranking {
    pub(crate) fn add(&mut self, score: f64, right: bool, weight: Weight) {
        // −0 becomes 0.
        if right { &mut self.right } else { &mut self.wrong }.push(score + 0.0, weight.get());
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.right.merge(&other.right);
        self.wrong.merge(&other.wrong);
    }

    pub(crate) fn samples(&self) -> u64 {
        (self.right.values.len() + self.wrong.values.len()) as u64
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// The distinct scores, ascending, each with its rows.
    pub(crate) fn tie_groups(&self) -> Vec<TieGroup> {
        let right = self.right.weighted();
        // A weight is positive: its sign can say that the row was wrong.
        let wrong = self.wrong.weighted().map(|(score, weight)| (score, -weight));
        let mut rows: Vec<(f64, f64)> = right.chain(wrong).collect();
        rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        tie_groups_of(rows)
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
    /// The number of rows.
    pub(crate) rows: u64,
    /// The number of rows that are wrong.
    pub(crate) wrong_rows: u64,
    /// The weights of the rows that are right.
    pub(crate) right: f64,
    /// The weights of the rows that are wrong.
    pub(crate) wrong: f64,
    /// Σ w².
    pub(crate) squares: f64,
}

impl TieGroup {
    /// The weights of all rows.
    pub(crate) fn mass(&self) -> f64 {
        self.right + self.wrong
    }
}

/// Groups of rows by ascending score; a negative weight means that the row was wrong.
pub(crate) fn tie_groups_of(rows: impl IntoIterator<Item = (f64, f64)>) -> Vec<TieGroup> {
    let mut groups: Vec<TieGroup> = Vec::new();
    for (score, weight) in rows {
        if groups.last().is_none_or(|group| group.score != score) {
            let (rows, wrong_rows, right, wrong, squares) = (0, 0, 0.0, 0.0, 0.0);
            groups.push(TieGroup { score, rows, wrong_rows, right, wrong, squares });
        }
        if let Some(group) = groups.last_mut() {
            group.rows += 1;
            group.squares += weight * weight;
            if weight < 0.0 {
                group.wrong_rows += 1;
                group.wrong -= weight;
            } else {
                group.right += weight;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_are_one_group_whatever_their_order() {
        let rows = [(0.5, true), (0.25, false), (0.5, false), (-0.0, true), (0.0, true)];
        let (mut forwards, mut backwards) = (Ranking::default(), Ranking::default());
        for (&(score, right), &(last_score, last_right)) in rows.iter().zip(rows.iter().rev()) {
            forwards.add(score, right, Weight::ONE);
            backwards.add(last_score, last_right, Weight::ONE);
        }
        let expected = [(0.0, 2, 0), (0.25, 0, 1), (0.5, 1, 1)];
        let found = |ranking: &Ranking| -> Vec<(f64, u64, u64)> {
            let groups = ranking.tie_groups();
            groups.iter().map(|g| (g.score, g.rows - g.wrong_rows, g.wrong_rows)).collect()
        };
        assert_eq!(found(&forwards), expected);
        assert_eq!(found(&backwards), expected);
        assert_eq!(forwards, backwards);
        forwards.merge(&backwards);
        assert_eq!(forwards.samples(), 10);
        assert_ne!(forwards, backwards);
        assert_eq!(forwards.tie_groups()[2].mass(), 4.0);
        forwards.reset();
        assert_eq!(forwards.tie_groups(), []);
    }

    #[test]
    fn what_is_no_number_is_a_group_of_its_own() {
        let mut ranking = Ranking::default();
        ranking.add(f64::NAN, true, Weight::ONE);
        ranking.add(0.5, true, Weight::ONE);
        assert_eq!(ranking.tie_groups().len(), 2);
    }

    #[test]
    fn weights_that_come_late_are_kept() {
        let (mut first, mut second) = (Ranking::default(), Ranking::default());
        first.add(0.5, true, Weight::ONE);
        second.add(0.5, true, Weight::new(2.0).unwrap());
        first.merge(&second);
        let group = first.tie_groups()[0];
        assert_eq!((group.rows, group.right, group.squares), (2, 3.0, 5.0));
        let json = serde_json::to_string(&first).unwrap();
        assert_eq!(serde_json::from_str::<Ranking>(&json).unwrap(), first);
        assert!(serde_json::from_str::<Scores>(r#"{"values":[1.0],"weights":[1,2]}"#).is_err());
    }
}
