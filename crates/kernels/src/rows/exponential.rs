//! e^x, tanh x and ln x as polynomials.
//!
//! - e^x = 2^n·e^r with n = round(x·log₂ e) and r = x − n·ln 2, |r| ≤ ln 2 / 2; ln 2 is split in
//!   two so that n·(high part) is exact.
//!   e^r = 1 + r + r²·q(r), q of degree 4 in `f32` (relative error 3.1e-9) and 9 in `f64`
//!   (3.7e-18); with rounding the result is within about 1 ulp.
//!   Where e^x would be subnormal it is 0, and where it would overflow, or nearly, ∞.
//! - 2^x = 2^n·2^r with n = round(16x)/16, of which sixteen roots are tabled, and r = x − n, |r| ≤ 1/32;
//!   2^r = 1 + r·p(r), p of degree 5, in `f64` (7.1e-18).
//! - tanh a = a + a³·P(a²) for |a| ≤ 0.6 (4.8e-9), and 1 − 2/(e^{2|a|} + 1) with the sign of a
//!   beyond.
//! - ln x = e·ln 2 + 2s + s³·R(s²), s = (m − 1)/(m + 1), x = m·2^e with m in \[√½, √2), in `f64`
//!   (relative error 1.9e-18 before rounding).
//!   Where nine digits are enough, e·ln 2 + r·P(r), r = m − 1, m in \[¾, 3/2), P of degree 10 (6.6e-10), which does not
//!   divide.
//!
//! The coefficients are minimax ones, found by Remez' exchange in fifty digits for these
//! intervals.

/// log₂ e.
pub(crate) const LOG2_E: f64 = std::f64::consts::LOG2_E;

/// Constants for `f32`.
pub(crate) mod single {
    /// The upper 15 bits of ln 2: a product with a whole number below 2⁹ is exact.
    pub(crate) const LN2_HIGH: f32 = 0.693_145_75;
    /// The rest of ln 2.
    pub(crate) const LN2_LOW: f32 = 1.428_606_8e-6;
    /// Below this e^x would be subnormal.
    pub(crate) const LOWEST: f32 = -87.336_54;
    /// Above this e^x is given as ∞.
    pub(crate) const HIGHEST: f32 = 88.0;
    /// q: highest power first.
    pub(crate) const EXP: [f32; 5] =
        [0.001_381_458_2, 0.008_368_738, 0.041_668_39, 0.166_665_21, 0.499_999_94];
    /// P: highest power first.
    pub(crate) const TANH: [f32; 5] =
        [-0.005_665_330_7, 0.020_606_704, -0.053_730_94, 0.133_313_54, -0.333_332_8];
    /// P of a logarithm: highest power first.
    pub(crate) const LOG: [f64; 11] = [
        0.037_126_628_761_025_06,
        -0.091_122_295_987_437_15,
        0.117_615_035_714_311_99,
        -0.127_568_291_855_756_95,
        0.142_724_020_639_629_25,
        -0.166_515_981_036_121_34,
        0.199_995_369_185_305_44,
        -0.250_003_157_008_082_9,
        0.333_333_454_787_631_04,
        -0.499_999_981_427_692_4,
        0.999_999_999_711_285_4,
    ];
    /// Up to here tanh is the polynomial.
    pub(crate) const TANH_SMALL: f32 = 0.6;
    /// From here on tanh is 1.
    pub(crate) const TANH_LARGE: f32 = 10.0;
    /// 1.5·2²³: adding and subtracting it rounds to a whole number.
    pub(crate) const ROUNDER: f32 = 12_582_912.0;
}

/// Constants for `f64`.
pub(crate) mod double {
    /// The upper 38 bits of ln 2: a product with a whole number below 2¹⁴ is exact.
    pub(crate) const LN2_HIGH: f64 = 0.693_147_180_558_298_7;
    /// The rest of ln 2.
    pub(crate) const LN2_LOW: f64 = 1.646_594_958_289_708_2e-12;
    /// Below this e^x would be subnormal.
    pub(crate) const LOWEST: f64 = -708.396_418_532_264;
    /// Above this e^x is given as ∞.
    pub(crate) const HIGHEST: f64 = 709.0;
    /// q: highest power first.
    pub(crate) const EXP: [f64; 10] = [
        2.499_990_831_748_42e-8,
        2.763_026_838_246_009_7e-7,
        2.755_758_701_744_868e-6,
        2.480_149_306_602_626_6e-5,
        0.000_198_412_695_057_398_2,
        0.001_388_888_894_363_463_7,
        0.008_333_333_333_494_86,
        0.041_666_666_666_530_27,
        0.166_666_666_666_664_13,
        0.500_000_000_000_001_1,
    ];
    /// p: highest power first.
    pub(crate) const POWER: [f64; 6] = [
        0.000_154_042_116_993_352_25,
        0.001_333_382_023_281_516_2,
        0.009_618_129_102_053_624,
        0.055_504_108_651_954_584,
        0.240_226_506_959_101_67,
        0.693_147_180_559_946_8,
    ];
    /// 2^(i/16).
    pub(crate) const SIXTEENTHS: [f64; 16] = [
        1.0,
        1.044_273_782_427_413_8,
        1.090_507_732_665_257_7,
        1.138_788_634_756_691_6,
        1.189_207_115_002_721,
        1.241_857_812_073_484,
        1.296_839_554_651_009_6,
        1.354_255_546_936_892_7,
        std::f64::consts::SQRT_2,
        1.476_826_145_939_499_3,
        1.542_210_825_407_940_7,
        1.610_490_331_949_254_3,
        1.681_792_830_507_429,
        1.756_252_160_373_299_5,
        1.834_008_086_409_342_4,
        1.915_206_561_397_147_4,
    ];
    /// 1.5·2⁴⁸: adding and subtracting it rounds to a sixteenth.
    pub(crate) const SIXTEENTHS_ROUNDER: f64 = 422_212_465_065_984.0;
    /// 1.5·2⁵²: adding and subtracting it rounds to a whole number.
    pub(crate) const ROUNDER: f64 = 6_755_399_441_055_744.0;
    /// R: highest power first.
    pub(super) const LOG: [f64; 7] = [
        0.147_345_861_601_460_18,
        0.153_205_048_480_278_55,
        0.181_832_970_655_107_37,
        0.222_222_040_684_256_63,
        0.285_714_286_844_893_25,
        0.399_999_999_997_009_36,
        0.666_666_666_666_668_5,
    ];
}

/// e^x in `f32`, as written above, without instructions of any processor.
#[inline(always)]
pub(crate) fn exp_single(x: f32) -> f32 {
    use single::{EXP, HIGHEST, LN2_HIGH, LN2_LOW, LOWEST, ROUNDER};
    #[allow(clippy::cast_possible_truncation)]
    let shifted = x * LOG2_E as f32 + ROUNDER;
    let n = shifted - ROUNDER;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut q = EXP[0];
    for coefficient in &EXP[1..] {
        q = q * r + coefficient;
    }
    let p = 1.0 + (r + r * r * q);
    // The lowest bits of `shifted` are those of n.
    let scaled = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    let result = if x < LOWEST { 0.0 } else { scaled };
    let result = if x > HIGHEST { f32::INFINITY } else { result };
    if x.is_nan() { x } else { result }
}

/// e^x in `f64`, as written above, without instructions of any processor.
#[inline(always)]
pub(crate) fn exp_double(x: f64) -> f64 {
    use double::{EXP, HIGHEST, LN2_HIGH, LN2_LOW, LOWEST, ROUNDER};
    let shifted = x * LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut q = EXP[0];
    for coefficient in &EXP[1..] {
        q = q * r + coefficient;
    }
    let p = 1.0 + (r + r * r * q);
    let scaled = f64::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 52));
    let result = if x < LOWEST { 0.0 } else { scaled };
    let result = if x > HIGHEST { f64::INFINITY } else { result };
    if x.is_nan() { x } else { result }
}

/// ln x of a positive normal number; −∞ for 0, NaN for NaN, ∞ for ∞.
///
/// Without branches, so that a loop over lanes becomes vectors.
#[inline(always)]
pub(crate) fn ln(x: f64) -> f64 {
    // The bits of √½: what lies above them, up to √2, has the exponent 0.
    const ROOT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    let above = x.to_bits().wrapping_sub(ROOT_HALF);
    // The exponent as a float, through the bits of 1.5·2⁵² + exponent.
    let exponent = above.cast_signed() >> 52;
    let counter = double::ROUNDER.to_bits().wrapping_add(exponent.cast_unsigned());
    let exponent = f64::from_bits(counter) - double::ROUNDER;
    let significand = f64::from_bits((above & 0x000f_ffff_ffff_ffff).wrapping_add(ROOT_HALF));
    let s = (significand - 1.0) / (significand + 1.0);
    let square = s * s;
    let mut r = double::LOG[0];
    for coefficient in &double::LOG[1..] {
        r = r * square + coefficient;
    }
    let small = 2.0 * s + s * square * r;
    let result = exponent * double::LN2_HIGH + (small + exponent * double::LN2_LOW);
    let result = if x < f64::INFINITY { result } else { x };
    if x == 0.0 { f64::NEG_INFINITY } else { result }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::dispatch::{Instructions, Kernel, with_cpu_features};
    use crate::rows::element::Element;
    use crate::rows::element::sealed::Launch;
    use crate::rows::vector::{Lanes, Write};

    /// Powers of two of some products.
    struct Powers<'a> {
        values: &'a [f64; 800],
        factor: f64,
        results: &'a mut [f64; 800],
    }

    impl Kernel<f64> for Powers<'_> {
        #[inline(always)]
        fn run<V: Lanes<Scalar = f64> + Write<f64>>(self) {
            let factor = V::splat(self.factor);
            let chunks = self.values.chunks(V::LANES).zip(self.results.chunks_mut(V::LANES));
            for (values, results) in chunks {
                // SAFETY: vectors of 2, 4 or 8 fill 800 numbers.
                #[allow(unsafe_code)]
                unsafe {
                    let [power] = V::powers_of_two([V::load(values.as_ptr())], [factor]);
                    power.store(results.as_mut_ptr());
                }
            }
        }
    }

    #[test]
    fn powers_of_two_are_within_two_units_and_the_rounding_of_the_product() {
        let powers = |values: &[f64; 800], factor| {
            let mut all = Vec::new();
            for features in ["avx512", "avx2", "portable"] {
                let mut powers = [f64::NAN; 800];
                let kernel = Powers { values, factor, results: &mut powers };
                let launch = || f64::launch(Instructions::current(), kernel);
                if with_cpu_features(features, launch).is_some() {
                    all.push(powers);
                }
            }
            all
        };
        let factor = 1.25; // products are exact
        let values = std::array::from_fn(|i| (i as f64 - 790.0) / 256.0 * (1.0 + i as f64 * 0.25));
        for powers in powers(&values, factor) {
            for (x, power) in values.map(|value| value * factor).into_iter().zip(powers) {
                let truth = x.exp2();
                // Where there is no table the product is multiplied by ln 2 first.
                let bound = 4.5e-16 + x.abs() * 1.2e-16;
                assert!((power / truth - 1.0).abs() < bound, "2^{x}: {power} for {truth}");
            }
        }
        let mut values = [0.0; 800];
        values[..6].copy_from_slice(&[-1100.0, -1e9, -1e12, 1030.0, f64::NAN, -1.0]);
        for powers in powers(&values, 1.0) {
            assert_eq!(powers[..4], [0.0, 0.0, 0.0, f64::INFINITY]);
            assert!(powers[4].is_nan());
            assert_eq!(powers[6], 1.0);
            assert!((powers[5] - 0.5).abs() < 1e-15);
        }
    }

    /// Logarithms and reciprocals of some totals, as an arithmetic needs them.
    struct Totals<'a> {
        values: &'a [f64; 64],
        logarithms: &'a mut [f64; 64],
        reciprocals: &'a mut [f64; 64],
    }

    impl<T: Element> Kernel<T> for Totals<'_> {
        #[inline(always)]
        fn run<V: Lanes<Scalar = T::Sum> + Write<T>>(self) {
            for at in (0..64).step_by(V::LANES) {
                // SAFETY: vectors of 4, 8 or 16 fill 64 numbers.
                #[allow(unsafe_code)]
                unsafe {
                    V::logarithms(
                        self.values.as_ptr().add(at),
                        self.logarithms.as_mut_ptr().add(at),
                        self.reciprocals.as_mut_ptr().add(at),
                    );
                }
            }
        }
    }

    fn check_totals<T: Element + Launch>(bound: f64) {
        let mut totals: [f64; 64] = std::array::from_fn(|i| 1.0 + 1e-9 * 1.7f64.powi(i as i32));
        totals[40..44].copy_from_slice(&[0.5, 0.75, 1.5, 3.0e38]);
        totals[61..].copy_from_slice(&[0.0, f64::INFINITY, f64::NAN]);
        for features in ["avx512", "avx2", "portable"] {
            let (mut logarithms, mut reciprocals) = ([0.0; 64], [0.0; 64]);
            let kernel = Totals {
                values: &totals,
                logarithms: &mut logarithms,
                reciprocals: &mut reciprocals,
            };
            let launch = || T::launch(Instructions::current(), kernel);
            if with_cpu_features(features, launch).is_none() {
                continue;
            }
            for (i, total) in totals[..61].iter().enumerate() {
                let (logarithm, truth) = (logarithms[i], total.ln());
                let error = (logarithm - truth).abs();
                assert!(error <= bound * truth.abs(), "ln {total}: {logarithm} for {truth}");
                let error = (reciprocals[i] * total - 1.0).abs();
                assert!(error <= bound, "1/{total}: {}", reciprocals[i]);
            }
            assert_eq!(logarithms[61..63], [f64::NEG_INFINITY, f64::INFINITY]);
            assert!(logarithms[63].is_nan());
        }
    }

    #[test]
    fn logarithms_of_totals_have_the_digits_that_the_arithmetic_needs() {
        // A hundredth of what rounding to f32 makes of them.
        check_totals::<f32>(7e-10);
        check_totals::<half::bf16>(7e-10);
        check_totals::<f64>(5e-16);
    }

    #[test]
    fn logarithm_agrees_with_the_standard_library() {
        let mut x = 1e-300;
        while x < 1e300 {
            let (ours, theirs): (f64, f64) = (ln(x), x.ln());
            assert!((ours - theirs).abs() <= 4e-16 * theirs.abs().max(1e-3), "ln {x}: {ours}");
            x *= 1.003_7;
        }
        for k in 0..10_000 {
            let x = 1.0 + f64::from(k) * 1e-4;
            assert!((ln(x) - x.ln()).abs() <= 4e-16 * x.ln().max(f64::from(k.min(1)) * 1e-4));
        }
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(0.0), f64::NEG_INFINITY);
        assert_eq!(ln(f64::INFINITY), f64::INFINITY);
        assert!(ln(f64::NAN).is_nan());
    }

    #[test]
    fn exponentials_are_within_an_ulp_or_so() {
        let mut x = 0.0f32;
        while x > single::LOWEST {
            let truth = f64::from(x).exp();
            assert!((f64::from(exp_single(x)) / truth - 1.0).abs() < 1.3e-7, "e^{x}");
            x -= 0.001_7;
        }
        let mut x = 0.0f64;
        while x > double::LOWEST {
            assert!((exp_double(x) / x.exp() - 1.0).abs() < 4.5e-16, "e^{x}");
            x -= 0.013_7;
        }
        for x in [-87.4, -104.0, -1e9, f32::NEG_INFINITY] {
            assert_eq!(exp_single(x), 0.0);
            assert_eq!(exp_double(10.0 * f64::from(x)), 0.0);
        }
        assert_eq!((exp_single(0.0), exp_double(0.0)), (1.0, 1.0));
        for x in [88.1f32, 89.5, 150.0, 355.0, 1e9, f32::MAX, f32::INFINITY] {
            assert_eq!(exp_single(x), f32::INFINITY);
            assert_eq!(exp_double(10.0 * f64::from(x)), f64::INFINITY);
        }
        assert!((f64::from(exp_single(88.0)) / 88f64.exp() - 1.0).abs() < 1.3e-7);
        assert!((exp_double(709.0) / 709f64.exp() - 1.0).abs() < 4.5e-16);
        assert!(exp_single(f32::NAN).is_nan() && exp_double(f64::NAN).is_nan());
    }
}
