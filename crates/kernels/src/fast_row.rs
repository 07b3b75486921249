//! The statistics of a row of logits in vectors, with its probabilities.
//!
//! The formulas are those of [`RowStatistics::from_logits`], which is the plain path that this one is
//! tested against; here all exponentials of a row are computed together, eight at a time, and kept.
//!
//! Numerical notes: everything is computed in `f64`.
//! e^x = 2^n·e^r with n = round(x·log₂ e) and r = x − n·ln 2, ln 2 in two parts so that n·(high part)
//! is exact, and e^r as its Taylor polynomial of degree 13, whose remainder for |r| ≤ ln 2 / 2 is
//! below 5e-18; with rounding a result is within about 1 ulp.
//! Where e^x would be subnormal it is 0.
//! A sum has eight parts, each a lane of a vector.
//!
//! The best of what the processor offers is chosen at run time; between sets of instructions results
//! differ in the last bits, on one machine they do not.

use crate::RowStatistics;

/// Numbers that are computed together.
const LANES: usize = 8;
type Lanes = [f64; LANES];

/// log₂ e, and 1.5·2⁵², adding and subtracting which rounds to a whole number.
const LOG2_E: f64 = std::f64::consts::LOG2_E;
const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// ln 2 as a number of 38 bits, a product of which with a whole number below 2¹⁴ is exact, and the
/// rest.
const LN2_HIGH: f64 = 0.693_147_180_558_298_7;
const LN2_LOW: f64 = 1.646_594_958_289_708_2e-12;
/// Below this e^x would be subnormal.
const LOWEST: f64 = -708.396_418_532_264;
/// 1/n! for n = 13, …, 0.
const RECIPROCAL_FACTORIALS: [f64; 14] = {
    let mut coefficients = [1.0; 14];
    let (mut factorial, mut n) = (1.0, 0);
    while n < 14 {
        coefficients[13 - n] = 1.0 / factorial;
        n += 1;
        factorial *= n as f64;
    }
    coefficients
};

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
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("fma")
            {
                // SAFETY: the processor has these instructions.
                #[allow(unsafe_code)]
                return unsafe { with_avx512(row, label) };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: the processor has these instructions.
                #[allow(unsafe_code)]
                return unsafe { with_avx2(row, label) };
            }
        }
        statistics::<{ cfg!(target_arch = "aarch64") }>(row, label)
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
fn with_avx512(row: &mut [f64], label: usize) -> Option<RowStatistics> {
    statistics::<true>(row, label)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2(row: &mut [f64], label: usize) -> Option<RowStatistics> {
    statistics::<true>(row, label)
}

/// a·b + c, in one rounding where that is an instruction.
#[allow(clippy::inline_always)] // Inlined into the functions that have the instructions.
#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[allow(clippy::inline_always)] // As above.
#[inline(always)]
fn exp<const FUSED: bool>(x: Lanes) -> Lanes {
    let (mut r, mut shifted, mut result) = (x, x, [RECIPROCAL_FACTORIALS[0]; LANES]);
    for i in 0..LANES {
        shifted[i] = multiply_add::<FUSED>(x[i], LOG2_E, ROUNDER);
        let n = shifted[i] - ROUNDER;
        r[i] = multiply_add::<FUSED>(-n, LN2_LOW, multiply_add::<FUSED>(-n, LN2_HIGH, x[i]));
    }
    for coefficient in &RECIPROCAL_FACTORIALS[1..] {
        for i in 0..LANES {
            result[i] = multiply_add::<FUSED>(result[i], r[i], *coefficient);
        }
    }
    for i in 0..LANES {
        // The lowest bits of `shifted` are those of n.
        let scaled = result[i].to_bits().wrapping_add(shifted[i].to_bits() << 52);
        result[i] = if x[i] < LOWEST { 0.0 } else { f64::from_bits(scaled) };
    }
    result
}

/// The larger one of two numbers neither of which is NaN.
#[allow(clippy::inline_always)] // As above.
#[inline(always)]
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

#[allow(clippy::inline_always)] // As above.
#[inline(always)]
fn statistics<const FUSED: bool>(row: &mut [f64], label: usize) -> Option<RowStatistics> {
    let label_logit = *row.get(label)?;
    let (highest, second) = leaders(row);
    if highest == f64::NEG_INFINITY {
        return None;
    }
    let top_class = first_equal(row, highest)?;

    let (mut rest, mut squares, mut weighted) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let (blocks, tail) = row.as_chunks_mut::<LANES>();
    for block in blocks {
        let mut differences = *block;
        for i in 0..LANES {
            differences[i] = block[i] - highest;
        }
        *block = exp::<FUSED>(differences);
        for i in 0..LANES {
            // Where the exponential is 0 the difference may be −∞.
            let term = differences[i] * block[i];
            weighted[i] += if block[i] == 0.0 { 0.0 } else { term };
        }
    }
    let mut last = [f64::NEG_INFINITY; LANES];
    for (to, from) in last.iter_mut().zip(&*tail) {
        *to = from - highest;
    }
    let exponentials = exp::<FUSED>(last);
    for (i, to) in tail.iter_mut().enumerate() {
        *to = exponentials[i];
        weighted[i] += if *to == 0.0 { 0.0 } else { last[i] * *to };
    }

    // The 1 of the top class would swallow the digits of the others.
    row[top_class] = 0.0;
    let (blocks, tail) = row.as_chunks::<LANES>();
    for block in blocks {
        for i in 0..LANES {
            rest[i] += block[i];
            squares[i] = multiply_add::<FUSED>(block[i], block[i], squares[i]);
        }
    }
    for (i, &value) in tail.iter().enumerate() {
        rest[i] += value;
        squares[i] = multiply_add::<FUSED>(value, value, squares[i]);
    }
    row[top_class] = 1.0;
    let [rest, squares, weighted] =
        [rest, squares, weighted].map(|lanes| lanes.iter().sum::<f64>());

    let total = 1.0 + rest;
    let share = total.recip();
    for value in row.iter_mut() {
        *value *= share;
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
#[allow(clippy::inline_always)] // As above.
#[inline(always)]
fn leaders(row: &[f64]) -> (f64, f64) {
    let (mut first, mut second) = ([f64::NEG_INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
    let (blocks, tail) = row.as_chunks::<LANES>();
    for block in blocks {
        for i in 0..LANES {
            let lower = if first[i] < block[i] { first[i] } else { block[i] };
            second[i] = larger(lower, second[i]);
            first[i] = larger(block[i], first[i]);
        }
    }
    let (mut highest, mut next) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for &value in first.iter().chain(&second).chain(tail) {
        if value > highest {
            (next, highest) = (highest, value);
        } else if value > next {
            next = value;
        }
    }
    (highest, next)
}

/// The first index of a value.
#[allow(clippy::inline_always)] // As above.
#[inline(always)]
fn first_equal(row: &[f64], value: f64) -> Option<usize> {
    let (blocks, _) = row.as_chunks::<LANES>();
    let holds = |block: &Lanes| block.iter().fold(0, |found, &x| found | u8::from(x == value)) > 0;
    let start = blocks.iter().position(holds).unwrap_or(blocks.len()) * LANES;
    Some(start + row.get(start..)?.iter().position(|&x| x == value)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    type Path = fn(&mut [f64], usize) -> Option<RowStatistics>;

    fn check(row: &[f64], label: usize) {
        let expected = RowStatistics::from_logits(row, label);
        let paths: [Path; 3] =
            [RowStatistics::from_logits_in_place, statistics::<false>, statistics::<true>];
        for path in paths {
            let mut probabilities = row.to_vec();
            let found = path(&mut probabilities, label);
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
