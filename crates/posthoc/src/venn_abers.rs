//! Two isotonic fits for every score, one for either label that its row may have.
//!
//! q_k = g_k / Σ_j g_j, g_k = p1_k / (1 − p0_k + p1_k)
//!
//! p0_k and p1_k: with p = softmax(z), the value at p_k of the non-decreasing least-squares fit to
//! the rows of the fit, "k" (1) against "not k" (0), and to one row more, of the same p_k, labelled
//! 0 for p0 and 1 for p1.
//! z: logits `[rows, classes]`.
//!
//! One of the two is the fit on exchangeable rows that include the new one, whence its validity:
//! whatever the scores, the expected label given the right one of p0 and p1 is that one.
//! p0 < p1, and the width p1 − p0 says how little the rows of the fit determine; g is the number
//! between that has the least regret in log-loss against the worse of the two.
//! 0 < g < 1 always: there are no zeros to clip.
//!
//! p0 and p1 rise with p_k and so does g, by steps: p0 is constant from one score of the fit up to
//! below the next, p1 from above one up to the next.
//! With two classes there is one map, g_0 = 1 − g_1, and the sum is 1 before it is divided by.
//!
//! What is defined where there is little to fit follows from the definition:
//!
//! - A class that never occurs, or alone occurs, has p0 = 0 or p1 = 1 everywhere
//!   ([`FitOutcome::OneSided`](crate::FitOutcome::OneSided)).
//! - A class with the same probability in all rows has N₊/(n + 1) and (N₊ + 1)/(n + 1) there, a class
//!   without rows p0 = 0, p1 = 1 and g = 1/2 ([`FitOutcome::Flat`](crate::FitOutcome::Flat)).
//!
//! Numerical notes: means of labels are compared as fractions of integers, so no tie is broken by
//! rounding.
//! The fits for all scores share their blocks below and above the new row, which are kept as trees
//! of what the pool-adjacent-violators algorithm had after each score; a fit costs the blocks that
//! it pools.
//!
//! Source: V. Vovk, I. Petej, V. Fedorova, "Large-scale probabilistic predictors with and without
//! guarantees of validity" (2015); V. Vovk, I. Petej, "Venn-Abers predictors" (2014).

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, Labels, Logits, Scalar};
use softlabel_kernels::softmax_in_place;

use crate::calibrator::{calibrates_rows, check_fit, map_rows};
use crate::document::{Document, Written};
use crate::isotonic::Ties;
use crate::one_vs_rest::{check_map_count, class_of, diagnostics, map_row, scores};
use crate::{FitDiagnostics, Result, Zeros};

/// p0 and p1 of one class as steps.
///
/// ```
/// use softlabel_posthoc::VennAbersSteps;
/// let steps = VennAbersSteps { lower: vec![(0.5, 0.25)], upper: vec![(0.5, 0.75)] };
/// assert_eq!(steps.bounds(0.4), (0.0, 0.75));
/// assert_eq!(steps.bounds(0.5), (0.25, 0.75));
/// assert_eq!(steps.bounds(0.6), (0.25, 1.0));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VennAbersSteps {
    /// (p, p0): from p on p0 is this, up to the next; below the first it is 0.
    pub lower: Vec<(f64, f64)>,
    /// (p, p1): up to p, and with it, p1 is this; above the last it is 1.
    pub upper: Vec<(f64, f64)>,
}

impl VennAbersSteps {
    /// (p0, p1) of a row to which the model gives the probability `p`.
    pub fn bounds(&self, p: f64) -> (f64, f64) {
        let begun = self.lower.partition_point(|&(from, _)| from <= p);
        let ended = self.upper.partition_point(|&(to, _)| to < p);
        let lower = begun.checked_sub(1).and_then(|index| self.lower.get(index));
        (lower.map_or(0.0, |&(_, p0)| p0), self.upper.get(ended).map_or(1.0, |&(_, p1)| p1))
    }

    /// p1 / (1 − p0 + p1).
    fn merged(&self, p: f64) -> f64 {
        let (lower, upper) = self.bounds(p);
        upper / (1.0 - lower + upper)
    }

    /// Why these are no steps of this kind.
    fn check(&self) -> Result<()> {
        for list in [&self.lower, &self.upper] {
            let outside = |value: &f64| !(0.0..=1.0).contains(value);
            if let Some(found) = list.iter().flat_map(|&(p, g)| [p, g]).find(outside) {
                let name = "a number of a step";
                return Err(Input::OutOfRange { name, expected: "in [0, 1]", found }.into());
            }
            let falls = |pair: &&[(f64, f64)]| pair[1].0 <= pair[0].0 || pair[1].1 < pair[0].1;
            if let Some(pair) = list.windows(2).find(falls) {
                let (name, found) = ("a step", pair[1].0);
                let expected = "right of the step before it, and not below";
                return Err(Input::OutOfRange { name, expected, found }.into());
            }
        }
        // Between two steps p0 ≤ p1 is what it is at one of them.
        for &(p, _) in self.lower.iter().chain(&self.upper) {
            let (lower, found) = self.bounds(p);
            if lower > found || found == 0.0 || lower == 1.0 {
                let name = "p1 at a step";
                let expected = "positive and at least p0, which is below 1";
                return Err(Input::OutOfRange { name, expected, found }.into());
            }
        }
        Ok(())
    }
}

/// The inductive Venn-Abers predictor of every class, merged to one probability and renormalized:
/// q_k ∝ p1_k / (1 − p0_k + p1_k).
///
/// p0_k and p1_k are what an isotonic fit gives the row if it is added to the rows of the fit as
/// "not k" and as "k"; [`bounds`](Self::bounds) has them.
/// With two classes there is one map, and q_0 = 1 − q_1.
/// The top class of a row may change, and rows that p tells apart may become ties.
/// No class that can be has the probability 0.
///
/// # Little data
/// What the definition gives: wide bounds. A class without rows in the fit has p0 = 0, p1 = 1.
///
/// # Source
/// V. Vovk, I. Petej, V. Fedorova, "Large-scale probabilistic predictors with and without guarantees
/// of validity" (2015).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, VennAbers};
///
/// // The same score in three rows, two of them of class 1.
/// let logits = Logits::new([0.0f32, 1.0].repeat(3), 2)?;
/// let map = VennAbers::fit(&logits, &Labels::new(&[1, 1, 0], 2)?)?;
/// assert_eq!(map.bounds(&logits)?[1], (0.5, 0.75));
/// let calibrated = map.apply(&logits)?;
/// assert!((calibrated.as_slice()[1].exp() - 0.6).abs() < 1e-15);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
#[doc(alias("IVAP", "inductive Venn-Abers predictor"))]
pub struct VennAbers {
    /// One a class, but a single one (of class 1) for two classes.
    steps: Vec<VennAbersSteps>,
    classes: usize,
    diagnostics: Option<FitDiagnostics>,
}

impl VennAbers {
    /// Prepares both isotonic fits for every score and class.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are no rows, fewer rows than classes, not one
    /// label a row, or labels of another number of classes;
    /// [`Error::ImpossibleLabel`](crate::Error::ImpossibleLabel) if a label has the logit −∞.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::VennAbers;
    ///
    /// let logits = Logits::new(&[2.0f32, 0.0, 0.0, 2.0], 2)?;
    /// let map = VennAbers::fit(&logits, &Labels::new(&[0, 1], 2)?)?;
    /// assert_eq!(map.bounds(&logits)?[3], (0.5, 1.0));
    /// assert!(VennAbers::fit(&logits, &Labels::new(&[0], 2)?).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<T: Scalar>(logits: &Logits<'_, T>, labels: &Labels) -> Result<Self> {
        check_fit(logits, labels)?;
        let (steps, fits) = scores(logits, labels, softmax_in_place)?
            .into_iter()
            .map(|scores| {
                let ties = Ties::of(scores);
                (steps(&ties), ties.fit)
            })
            .unzip();
        let mut map = Self { steps, classes: logits.classes(), diagnostics: None };
        let after = map.calibrated(logits)?;
        map.diagnostics = Some(diagnostics(logits, labels, &after, fits)?);
        Ok(map)
    }

    /// The map with given steps, for `classes` classes.
    ///
    /// `steps` has one entry a class, but for two classes a single one, that of class 1.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if `classes` is 0, if there are more or fewer entries,
    /// if steps do not come in order, if one falls, if a number is outside \[0, 1\], if p0 is above p1
    /// or 1, or p1 is 0.
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// use softlabel_posthoc::{Calibrator, VennAbers, VennAbersSteps};
    /// let steps = VennAbersSteps { lower: vec![(0.5, 0.5)], upper: vec![(0.5, 0.75)] };
    /// let map = VennAbers::from_steps(2, vec![steps])?;
    /// let calibrated = map.apply(&Logits::new(&[0.0f32, 0.0], 2)?)?;
    /// assert!((calibrated.as_slice()[1].exp() - 0.6).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_steps(classes: usize, steps: Vec<VennAbersSteps>) -> Result<Self> {
        Self::from_parts(classes, steps, None)
    }

    fn from_parts(
        classes: usize,
        steps: Vec<VennAbersSteps>,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        check_map_count(classes, steps.len())?;
        steps.iter().try_for_each(VennAbersSteps::check)?;
        Ok(Self { steps, classes, diagnostics })
    }

    /// p0 and p1 as steps: one entry a class, but for two classes a single one, that of class 1.
    pub fn steps(&self) -> &[VennAbersSteps] {
        &self.steps
    }

    /// (p0, p1) for every row and class, row by row: the probabilities of single classes against the
    /// rest, not renormalized.
    ///
    /// A class that cannot be (logit −∞) has (0, 0), one that alone can be (1, 1).
    ///
    /// # Errors
    /// [`Error::ClassCount`](crate::Error::ClassCount) if the logits are of another number of
    /// classes.
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// use softlabel_posthoc::{VennAbers, VennAbersSteps};
    /// let map = VennAbers::from_steps(2, vec![VennAbersSteps::default()])?;
    /// assert_eq!(map.bounds(&Logits::new(&[0.0f32, 3.0], 2)?)?, [(0.0, 1.0); 2]);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn bounds<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<Vec<(f64, f64)>> {
        let probabilities = map_rows(logits, self.classes, softmax_in_place)?;
        let mut bounds = Vec::with_capacity(probabilities.len());
        let rows = probabilities.chunks_exact(self.classes);
        for (row, logits) in rows.zip(logits.matrix().iter()) {
            let possible = |class: usize| logits[class].into() > f64::NEG_INFINITY;
            let several = (0..self.classes).filter(|&class| possible(class)).count() > 1;
            bounds.extend((0..self.classes).map(|class| match (possible(class), several) {
                (false, _) => (0.0, 0.0),
                (true, false) => (1.0, 1.0),
                (true, true) if class_of(0, self.classes) == 0 => {
                    self.steps[class].bounds(row[class])
                }
                (true, true) => {
                    let (lower, upper) = self.steps[0].bounds(row[1]);
                    if class == 1 { (lower, upper) } else { (1.0 - upper, 1.0 - lower) }
                }
            }));
        }
        Ok(bounds)
    }

    fn calibrated<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<Vec<f64>> {
        let value = |map: usize, p: f64| self.steps[map].merged(p);
        map_rows(logits, self.classes, |row| map_row(row, Zeros::Keep, value))
    }
}

calibrates_rows!(VennAbers);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    steps: Vec<VennAbersSteps>,
}

impl Written for VennAbers {
    const METHOD: &'static str = "venn_abers";
    type Parameters = Parameters;

    fn parameters(&self) -> Parameters {
        Parameters { steps: self.steps.clone() }
    }

    fn restore(
        classes: usize,
        parameters: Parameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        Self::from_parts(classes, parameters.steps, fit)
    }
}

/// How many rows are of the class, of how many.
#[derive(Clone, Copy)]
struct Share {
    positives: u64,
    rows: u64,
}

impl Share {
    fn joined(self, other: Self) -> Self {
        Self { positives: self.positives + other.positives, rows: self.rows + other.rows }
    }

    /// The share of rows that are not of the class.
    fn mirrored(self) -> Self {
        Self { positives: self.rows - self.positives, rows: self.rows }
    }

    fn at_least(self, other: Self) -> bool {
        u128::from(self.positives) * u128::from(other.rows)
            >= u128::from(other.positives) * u128::from(self.rows)
    }

    fn value(self) -> f64 {
        self.positives as f64 / self.rows as f64
    }
}

/// The last block of the fit to the points up to one, and the point at which the block before ends.
#[derive(Clone, Copy)]
struct Block {
    share: Share,
    before: Option<usize>,
}

/// For every point the last block of the isotonic fit to it and those before it.
fn last_blocks(points: &[Share]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::with_capacity(points.len());
    for (index, &share) in points.iter().enumerate() {
        let start = Block { share, before: index.checked_sub(1) };
        blocks.push(pooled(&blocks, start));
    }
    blocks
}

/// `block`, pooled with those before it that do not lie below.
fn pooled(blocks: &[Block], mut block: Block) -> Block {
    while let Some(before) = block.before.map(|index| blocks[index])
        && before.share.at_least(block.share)
    {
        block = Block { share: before.share.joined(block.share), before: before.before };
    }
    block
}

/// For every point the value of the isotonic fit to all points and one row more at this, not of the
/// class.
fn lower(points: &[Share]) -> Vec<Share> {
    let mirrored: Vec<Share> = points.iter().rev().map(|share| share.mirrored()).collect();
    let (below, above) = (last_blocks(points), last_blocks(&mirrored));
    let value = |(index, &point): (usize, &Share)| {
        let mut share = point.joined(Share { positives: 0, rows: 1 });
        let mut left = index.checked_sub(1);
        let mut right = (points.len() - 1 - index).checked_sub(1);
        loop {
            let rows = share.rows;
            let grown = pooled(&below, Block { share, before: left });
            (share, left) = (grown.share, grown.before);
            let grown = pooled(&above, Block { share: share.mirrored(), before: right });
            (share, right) = (grown.share.mirrored(), grown.before);
            if share.rows == rows {
                return share;
            }
        }
    };
    points.iter().enumerate().map(value).collect()
}

/// p0 and p1 at every score, those of equal value as one step.
fn steps(ties: &Ties) -> VennAbersSteps {
    let points: Vec<Share> = ties
        .counts
        .iter()
        .map(|&(positives, rows)| Share { positives: positives as u64, rows: rows as u64 })
        .collect();
    let mirrored: Vec<Share> = points.iter().rev().map(|share| share.mirrored()).collect();
    let p0 = lower(&points).into_iter().map(Share::value);
    // As an added row of the class is one that is not, once all is mirrored.
    let p1 = lower(&mirrored).into_iter().rev().map(|share| share.mirrored().value());
    let mut lower: Vec<(f64, f64)> = ties.scores.iter().copied().zip(p0).collect();
    lower.dedup_by(|next, kept| next.1 == kept.1);
    let mut upper: Vec<(f64, f64)> = ties.scores.iter().copied().zip(p1).rev().collect();
    upper.dedup_by(|next, kept| next.1 == kept.1);
    upper.reverse();
    VennAbersSteps { lower, upper }
}
