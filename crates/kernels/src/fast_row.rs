//! The statistics of a row of logits in vectors, with its probabilities.
//!
//! The formulas are those of [`RowStatistics::from_logits`], which is the plain path that this one is
//! tested against; here all exponentials of a row are computed together, eight at a time, and kept.
//!
//! Numerical notes: everything is computed in `f64`, with the vectors and the exponential of
//! [`rows`](crate::rows).
//! Where e^x would be subnormal it is 0.
//! A sum has as many parts as a vector has lanes.
//!
//! The best of what the processor offers is chosen at run time; between sets of instructions results
//! differ in the last bits, on one machine they do not.

use crate::RowStatistics;
use crate::rows::dispatch::{Instructions, Kernel};
use crate::rows::element::sealed::Launch;
use crate::rows::sweep::sweep;
use crate::rows::vector::{Lanes, MOST_LANES, Write, read_part, sum_of};

impl RowStatistics {
    /// Replaces a row of unnormalized scores z by its probabilities; the statistics of the row.
    ///
    /// The same as [`from_logits`](Self::from_logits) up to rounding, in a fraction of the time of
    /// that and a softmax.
    /// `None`, with the row as it was, if `label` is not an index of it, or if no value is above −∞.
    ///
    /// ```
    /// use softlabel_kernels::RowStatistics;
    /// let mut row = [3.0f64.ln(), 0.0];
    /// let statistics = RowStatistics::from_logits_in_place(&mut row, 1).unwrap();
    /// assert!((row[0] - 0.75).abs() < 1e-15);
    /// assert_eq!(statistics.confidence, row[0]);
    /// assert!((statistics.label_log_probability - 0.25f64.ln()).abs() < 1e-15);
    /// ```
    pub fn from_logits_in_place(row: &mut [f64], label: usize) -> Option<Self> {
        let mut statistics = None;
        f64::launch(
            Instructions::current(),
            Row { logits: row, label, statistics: &mut statistics },
        );
        statistics
    }
}

/// A row, and where its statistics go.
struct Row<'a> {
    logits: &'a mut [f64],
    label: usize,
    statistics: &'a mut Option<RowStatistics>,
}

impl Kernel<f64> for Row<'_> {
    #[inline(always)]
    fn run<V: Lanes<Scalar = f64> + Write<f64>>(self) {
        *self.statistics = statistics::<V>(self.logits, self.label);
    }
}

#[allow(unsafe_code)]
#[inline(always)]
fn statistics<V: Lanes<Scalar = f64> + Write<f64>>(
    row: &mut [f64],
    label: usize,
) -> Option<RowStatistics> {
    let label_logit = *row.get(label)?;
    let (highest, second) = leaders::<V>(row);
    if highest == f64::NEG_INFINITY {
        return None;
    }
    let top_class = first_equal::<V>(row, highest)?;
    let size = row.len();
    let at_row = row.as_mut_ptr();
    let (down, zero) = (V::splat(-highest), V::splat(0.0));
    let mut weighted = [zero; 4];
    // SAFETY: all offsets stay below the length of the row.
    unsafe {
        sweep!(size, V::LANES;
            (slot, at) {
                let difference = V::load(at_row.add(at)).add(down);
                let e = difference.exp();
                // Where the exponential is 0 the difference may be −∞.
                weighted[slot] = e.mul_add_if_nonzero(difference, weighted[slot]);
                e.store(at_row.add(at));
            }
            (slot, at, count) {
                let difference = read_part::<V, f64>(at_row.add(at), count).add(down);
                let e = difference.keep(count, f64::NEG_INFINITY).exp();
                weighted[slot] = e.mul_add_if_nonzero(difference, weighted[slot]);
                e.write_part(at_row.add(at), count);
            }
        );
    }
    // The 1 of the top class would swallow the digits of the others.
    row[top_class] = 0.0;
    let at_row = row.as_mut_ptr();
    let (mut rest, mut squares) = ([zero; 4], [zero; 4]);
    // SAFETY: as above.
    unsafe {
        sweep!(size, V::LANES;
            (slot, at) {
                let e = V::load(at_row.add(at));
                rest[slot] = rest[slot].add(e);
                squares[slot] = e.mul_add(e, squares[slot]);
            }
            (slot, at, count) {
                let e = read_part::<V, f64>(at_row.add(at), count);
                rest[slot] = rest[slot].add(e);
                squares[slot] = e.mul_add(e, squares[slot]);
            }
        );
    }
    row[top_class] = 1.0;
    let at_row = row.as_mut_ptr();
    let (rest, squares) = (sum_of(rest).sum(), sum_of(squares).sum());
    let weighted = sum_of(weighted).sum();
    let share = (1.0 + rest).recip();
    let shares = V::splat(share);
    // SAFETY: as above.
    unsafe {
        sweep!(size, V::LANES;
            (_slot, at) { V::load(at_row.add(at)).mul(shares).store(at_row.add(at)); }
            (_slot, at, count) {
                let e = read_part::<V, f64>(at_row.add(at), count);
                e.mul(shares).write_part(at_row.add(at), count);
            }
        );
    }
    let log_total = rest.ln_1p();
    let label_difference = label_logit - highest;
    Some(RowStatistics {
        label,
        top_class,
        confidence: share,
        label_probability: row[label],
        label_log_probability: label_difference - log_total,
        sum_of_squares: (1.0 + squares) * share * share,
        entropy: log_total - weighted * share,
        margin: (second - highest).exp_m1().abs() * share,
        label_gap: label_logit - if label == top_class { second } else { highest },
        log_sum_exp: Some(highest + log_total),
    })
}

/// The largest value of a row and the largest of the others; −∞, the largest of nothing, if there
/// are none.
#[allow(unsafe_code)]
#[inline(always)]
fn leaders<V: Lanes<Scalar = f64>>(row: &[f64]) -> (f64, f64) {
    let lowest = V::splat(f64::NEG_INFINITY);
    let (mut first, mut second) = ([lowest; 4], [lowest; 4]);
    let from = row.as_ptr();
    // SAFETY: all offsets stay below the length of the row.
    unsafe {
        sweep!(row.len(), V::LANES;
            (slot, at) {
                let value = V::load(from.add(at));
                second[slot] = second[slot].max(first[slot].min(value));
                first[slot] = first[slot].max(value);
            }
            (slot, at, count) {
                let value = read_part::<V, f64>(from.add(at), count).keep(count, f64::NEG_INFINITY);
                second[slot] = second[slot].max(first[slot].min(value));
                first[slot] = first[slot].max(value);
            }
        );
    }
    let (mut highest, mut next) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for vector in first.into_iter().chain(second) {
        let mut lanes = [f64::NEG_INFINITY; MOST_LANES];
        // SAFETY: no vector has more lanes.
        unsafe { vector.store(lanes.as_mut_ptr()) }
        for &value in &lanes[..V::LANES] {
            if value > highest {
                (next, highest) = (highest, value);
            } else if value > next {
                next = value;
            }
        }
    }
    (highest, next)
}

/// The first index of a value.
#[allow(unsafe_code)]
#[inline(always)]
fn first_equal<V: Lanes<Scalar = f64>>(row: &[f64], value: f64) -> Option<usize> {
    let wanted = V::splat(value);
    let mut start = 0;
    while start + V::LANES <= row.len() {
        // SAFETY: a whole vector is left.
        if unsafe { V::load(row.as_ptr().add(start)) }.any_equal(wanted) {
            break;
        }
        start += V::LANES;
    }
    Some(start + row.get(start..)?.iter().position(|&x| x == value)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::with_cpu_features;

    fn assert_close(found: &RowStatistics, expected: &RowStatistics) {
        assert_eq!((found.label, found.top_class), (expected.label, expected.top_class));
        for (what, x, y, tolerance) in [
            ("confidence", found.confidence, expected.confidence, 4e-16),
            ("label probability", found.label_probability, expected.label_probability, 4e-16),
            (
                "label log-probability",
                found.label_log_probability,
                expected.label_log_probability,
                1e-15 * expected.label_log_probability.abs().max(1.0),
            ),
            ("squares", found.sum_of_squares, expected.sum_of_squares, 1e-15),
            ("entropy", found.entropy, expected.entropy, 1e-14),
            ("margin", found.margin, expected.margin, 1e-15),
            ("gap", found.label_gap, expected.label_gap, 0.0),
        ] {
            assert!(x == y || (x - y).abs() <= tolerance, "{what}: {x}, not {y}");
        }
    }

    fn check(row: &[f64], label: usize) {
        let expected = RowStatistics::from_logits(row, label);
        for features in ["avx512", "avx2", "portable", "neon"] {
            let mut probabilities = row.to_vec();
            let found = with_cpu_features(features, || {
                RowStatistics::from_logits_in_place(&mut probabilities, label)
            });
            // Features that the processor does not have are left out.
            let Some(found) = found else { continue };
            let Some(expected) = expected else {
                assert_eq!(found, None);
                assert_eq!(probabilities, row);
                continue;
            };
            assert_close(&found.unwrap(), &expected);
            let mut softmax = row.to_vec();
            crate::softmax_in_place(&mut softmax);
            for (p, q) in probabilities.iter().zip(&softmax) {
                // In either path an exponential within 1 ulp, a sum of up to 40 of them, a quotient.
                assert!((p - q).abs() <= 2e-15 * q.max(1e-300) + 1e-307, "{p}, not {q}");
            }
        }
    }

    #[test]
    fn edges() {
        const MASKED: f64 = f64::NEG_INFINITY;
        check(&[1.0], 0);
        check(&[1000.0, 998.0, MASKED], 1);
        check(&[MASKED; 9], 1);
        check(&[0.0; 17], 16);
        check(&[80.0, 0.0], 0);
        check(&[0.0, 2.0f64.powi(-60)], 0);
        check(&[MASKED, MASKED, 1.0], 0);
        check(&[f64::MAX, f64::MIN], 1);
        check(&[1.0, 2.0], 2);
        check(&[], 0);
        let mut row = vec![3.0; 8];
        row.extend([5.0, 5.0]);
        check(&row, 9);
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_path(
            row in prop::collection::vec(
                prop_oneof![8 => -40.0..40.0f64, 1 => Just(f64::NEG_INFINITY), 1 => -3000.0..0.0f64],
                1..40,
            ),
            pick in any::<prop::sample::Index>(),
        ) {
            check(&row, pick.index(row.len()));
        }
    }
}
