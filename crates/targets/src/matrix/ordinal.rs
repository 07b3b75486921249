//! Soft labels for classes that have an order: SORD.
//!
//! Target of label y: q_k ∝ exp(−s·φ(r_y, r_k)), with r_k the position of class k, φ a distance and s a scale.
//! A mistake by one rank costs less than a mistake by two.
//! The larger s, the closer to one-hot; at s = ∞ it would be.
//!
//! Source: Díaz, Marathe, "Soft Labels for Ordinal Regression", CVPR 2019, equation 1; there s is part of φ.

use serde::{Deserialize, Serialize};
use softlabel_core::Error as Core;

use crate::distribution::softmax;
use crate::{ClassMatrix, Result};

/// φ, how far apart two positions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OrdinalDistance {
    /// |a − b|.
    Absolute,
    /// (a − b)².
    Squared,
}

/// Targets that fall off with the distance from the label: q_k ∝ exp(−s·φ(r_y, r_k)).
///
/// As a prior with ε = 1 this is SORD.
///
/// ```
/// use softlabel_targets::{Ordinal, OrdinalDistance};
///
/// let ordinal = Ordinal::new(OrdinalDistance::Absolute, 2.0f64.ln())?;
/// let matrix = ordinal.matrix(3)?;
/// // One rank away half as much, two ranks away a quarter.
/// assert!((matrix.as_slice()[0] - 4.0 / 7.0).abs() < 1e-15);
/// assert!((matrix.as_slice()[2] - 1.0 / 7.0).abs() < 1e-15);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[doc(alias = "SORD")]
#[derive(Debug, Clone, PartialEq)]
pub struct Ordinal {
    distance: OrdinalDistance,
    scale: f64,
    positions: Option<Vec<f64>>,
}

impl Ordinal {
    /// Classes at the positions 0, 1, 2, ….
    ///
    /// # Errors
    /// If `scale` is not positive and finite.
    pub fn new(distance: OrdinalDistance, scale: f64) -> Result<Self> {
        if scale > 0.0 && scale.is_finite() {
            return Ok(Self { distance, scale, positions: None });
        }
        let (name, expected) = ("ordinal scale", "positive and finite");
        Err(Core::OutOfRange { name, expected, found: scale }.into())
    }

    /// Classes at positions of their own, such as the ages or depths that they stand for.
    ///
    /// # Errors
    /// If there are none or one is not finite.
    pub fn with_positions(mut self, positions: Vec<f64>) -> Result<Self> {
        if positions.is_empty() {
            return Err(Core::Empty { what: "the list of class positions" }.into());
        }
        if let Some(&found) = positions.iter().find(|position| !position.is_finite()) {
            let (name, expected) = ("class position", "finite");
            return Err(Core::OutOfRange { name, expected, found }.into());
        }
        self.positions = Some(positions);
        Ok(self)
    }

    /// φ.
    pub fn distance(&self) -> OrdinalDistance {
        self.distance
    }

    /// s.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// r, where the classes have positions of their own.
    pub fn positions(&self) -> Option<&[f64]> {
        self.positions.as_deref()
    }

    /// The target of every label.
    ///
    /// # Errors
    /// If there are no classes or another number of them than of positions.
    pub fn matrix(&self, classes: usize) -> Result<ClassMatrix> {
        if classes == 0 {
            return Err(Core::Empty { what: "the list of classes" }.into());
        }
        let ranks;
        let positions = match &self.positions {
            Some(positions) if positions.len() == classes => positions,
            Some(positions) => {
                let (expected, found) = (classes.to_string(), positions.len().to_string());
                return Err(Core::mismatch("class positions", expected, found).into());
            }
            None => {
                ranks = (0..classes).map(|rank| rank as f64).collect();
                &ranks
            }
        };
        let score = |a: f64, b: f64| match self.distance {
            OrdinalDistance::Absolute => -self.scale * (a - b).abs(),
            OrdinalDistance::Squared => -self.scale * (a - b).powi(2),
        };
        let row = |&a: &f64| softmax(&positions.iter().map(|&b| score(a, b)).collect::<Vec<_>>());
        Ok(ClassMatrix::from_rows(positions.iter().flat_map(row).collect(), classes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // python3 -c "import math; e=[math.exp(-0.5*(k-1)**2) for k in range(4)]; print([x/sum(e) for x in e])"
    #[test]
    fn squared_distances_as_computed_elsewhere() {
        let matrix = Ordinal::new(OrdinalDistance::Squared, 0.5).unwrap().matrix(4).unwrap();
        let expected = [
            0.258_274_372_831_717_67,
            0.425_822_452_164_388_2,
            0.258_274_372_831_717_67,
            0.057_628_802_172_176_44,
        ];
        for (found, expected) in matrix.row(1).unwrap().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15, "{found} against {expected}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let ordinal = |scale| Ordinal::new(OrdinalDistance::Absolute, scale);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(ordinal(bad).is_err());
        }
        let ordinal = ordinal(1.0).unwrap();
        assert!(ordinal.clone().with_positions(vec![]).is_err());
        assert!(ordinal.clone().with_positions(vec![0.0, f64::NAN]).is_err());
        assert!(ordinal.matrix(0).is_err());
        assert!(ordinal.with_positions(vec![0.0, 1.0]).unwrap().matrix(3).is_err());
    }

    proptest! {
        #[test]
        fn ratios_follow_the_definition(
            positions in prop::collection::vec(-5.0..5.0, 2..8), scale in 0.1..3.0, squared: bool
        ) {
            let distance = if squared { OrdinalDistance::Squared } else { OrdinalDistance::Absolute };
            let ordinal = Ordinal::new(distance, scale).unwrap();
            let matrix = ordinal.with_positions(positions.clone()).unwrap();
            let matrix = matrix.matrix(positions.len()).unwrap();
            for (y, a) in positions.iter().enumerate() {
                let row = matrix.row(y).unwrap();
                prop_assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-14);
                for (k, b) in positions.iter().enumerate() {
                    let apart: f64 = a - b;
                    let phi = if squared { apart * apart } else { apart.abs() };
                    let expected = row[y] * (-scale * phi).exp();
                    prop_assert!((row[k] - expected).abs() <= 1e-12 * expected);
                }
            }
        }
    }
}
