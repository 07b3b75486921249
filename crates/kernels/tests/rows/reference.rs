//! The formula, one class after the other in `f64` with compensated sums.

use std::fmt::Debug;

use half::{bf16, f16};
use softlabel_kernels::CompensatedSum;
use softlabel_kernels::rows::{
    Dense, DenseRows, Element, Masses, MassesBy, Options, Scale, Second, SecondShare, Target,
};

/// What the tests ask of an element.
pub trait Number: Element + Debug + PartialEq {
    /// The distance of 1 to the next number.
    const EPSILON: f64;
    /// Below this numbers are not as dense.
    const SMALLEST: f64;
    fn of(value: f64) -> Self;
    fn get(self) -> f64;
    fn bits(self) -> u64;
}

macro_rules! number {
    ($type:ident, $of:expr, $smallest:expr) => {
        impl Number for $type {
            const EPSILON: f64 = $type::EPSILON_F64;
            const SMALLEST: f64 = $smallest;
            fn of(value: f64) -> Self {
                $of(value)
            }
            fn get(self) -> f64 {
                self.into()
            }
            fn bits(self) -> u64 {
                self.to_bits().into()
            }
        }
    };
}

trait Precision {
    const EPSILON_F64: f64;
}
impl Precision for f32 {
    const EPSILON_F64: f64 = 1.0 / (1u64 << 23) as f64;
}
impl Precision for f64 {
    const EPSILON_F64: f64 = f64::EPSILON;
}
impl Precision for bf16 {
    const EPSILON_F64: f64 = 1.0 / 128.0;
}
impl Precision for f16 {
    const EPSILON_F64: f64 = 1.0 / 1024.0;
}
#[allow(clippy::cast_possible_truncation)]
fn single(value: f64) -> f32 {
    value as f32
}
number!(f32, single, 1.2e-38);
number!(f64, std::convert::identity, 2.3e-308);
number!(bf16, bf16::from_f64, 1.2e-38);
number!(f16, f16::from_f64, 6.2e-5);

/// Small repeatable random numbers: splitmix64.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// In [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.bits() % limit as u64).unwrap()
    }
    /// Roughly normal: the sum of twelve.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
    pub fn numbers<T: Number>(&mut self, count: usize, spread: f64) -> Vec<T> {
        (0..count).map(|_| T::of(spread * self.normal())).collect()
    }
    pub fn units<T: Number>(&mut self, count: usize) -> Vec<T> {
        (0..count).map(|_| T::of(self.unit())).collect()
    }
    pub fn labels(&mut self, count: usize, classes: usize) -> Vec<i64> {
        (0..count).map(|_| i64::try_from(self.below(classes)).unwrap()).collect()
    }
}

#[derive(Debug, Clone)]
pub enum OwnedMasses<A> {
    All(Masses<A>),
    Class(Vec<Masses<A>>),
    Row(Vec<Masses<A>>),
}

#[derive(Debug, Clone)]
pub enum OwnedDense<A> {
    None,
    Vector(Vec<A>),
    Matrix(Vec<A>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bf16(Vec<bf16>),
    F16(Vec<f16>),
    Mask(Vec<bool>),
}

#[derive(Debug, Clone)]
pub struct OwnedSecond<A> {
    pub labels: Vec<i64>,
    pub one: Option<A>,
    pub rows: Vec<A>,
}

/// Everything that a call is given.
#[derive(Debug, Clone)]
pub struct Case<T: Number>
where
    T::Sum: Number,
{
    pub logits: Vec<T>,
    pub rows: usize,
    pub classes: usize,
    pub spatial: usize,
    pub labels: Option<Vec<i64>>,
    pub masses: OwnedMasses<T::Sum>,
    pub dense: OwnedDense<T::Sum>,
    pub weights: Option<Vec<T::Sum>>,
    pub second: Option<OwnedSecond<T::Sum>>,
    pub ignore_index: Option<i64>,
    pub ignored: Option<Vec<bool>>,
    pub options: Options,
    pub scales: Option<Vec<T::Sum>>,
    pub scale: f64,
}

pub fn masses<A: Number>(label: f64, uniform: f64, dense: f64) -> Masses<A> {
    Masses { label: A::of(label), uniform: A::of(uniform), dense: A::of(dense) }
}

/// What the formula gives for one row.
pub struct Truth {
    pub loss: f64,
    pub log_sum_exp: f64,
    pub correct: bool,
    /// What there is to say of each class.
    pub classes: Vec<TruthOfClass>,
    /// The largest of what is added up in the loss.
    pub size: f64,
    /// Σ |t_k| and what a z-loss adds to W: W is exact to an ε of this.
    pub steepest: f64,
}

pub struct TruthOfClass {
    pub probability: f64,
    /// The sizes of the terms of t_k.
    pub size: f64,
    pub logit: f64,
    pub gradient: f64,
    pub steepness: f64,
}

impl<T: Number> Case<T>
where
    T::Sum: Number,
{
    /// Labels with all mass, random logits.
    pub fn new(rows: usize, classes: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        Case {
            logits: random.numbers(rows * classes, 3.0),
            rows,
            classes,
            spatial: 1,
            labels: Some(random.labels(rows, classes)),
            masses: OwnedMasses::All(masses(1.0, 0.0, 0.0)),
            dense: OwnedDense::None,
            weights: None,
            second: None,
            ignore_index: None,
            ignored: None,
            options: Options::default(),
            scales: None,
            scale: 1.0,
        }
    }

    /// With label smoothing.
    pub fn smoothed(rows: usize, classes: usize, epsilon: f64, seed: u64) -> Self {
        let masses = masses(1.0 - epsilon, epsilon / classes as f64, 0.0);
        Case { masses: OwnedMasses::All(masses), ..Case::new(rows, classes, seed) }
    }

    pub fn target(&self) -> Target<'_, T::Sum> {
        Target {
            labels: self.labels.as_deref(),
            masses: match &self.masses {
                OwnedMasses::All(masses) => MassesBy::All(*masses),
                OwnedMasses::Class(masses) => MassesBy::Class(masses),
                OwnedMasses::Row(masses) => MassesBy::Row(masses),
            },
            dense: match &self.dense {
                OwnedDense::None => Dense::None,
                OwnedDense::Vector(values) => Dense::Vector(values),
                OwnedDense::Matrix(values) => Dense::Matrix(values),
                OwnedDense::F32(values) => Dense::Rows(DenseRows::F32(values)),
                OwnedDense::F64(values) => Dense::Rows(DenseRows::F64(values)),
                OwnedDense::Bf16(values) => Dense::Rows(DenseRows::Bf16(values)),
                OwnedDense::F16(values) => Dense::Rows(DenseRows::F16(values)),
                OwnedDense::Mask(values) => Dense::Rows(DenseRows::Mask(values)),
            },
            class_weights: self.weights.as_deref(),
            second: self.second.as_ref().map(|second| Second {
                labels: &second.labels,
                share: second.one.map_or(SecondShare::Rows(&second.rows), SecondShare::One),
            }),
            ignore_index: self.ignore_index,
            ignored: self.ignored.as_deref(),
            tolerance: None,
        }
    }

    pub fn gradient_scale(&self) -> Scale<'_, T::Sum> {
        self.scales.as_deref().map_or(Scale::All(T::Sum::of(self.scale)), Scale::Rows)
    }

    pub fn element(&self, row: usize, class: usize) -> usize {
        let (n, s) = (row / self.spatial, row % self.spatial);
        (n * self.classes + class) * self.spatial + s
    }

    pub fn is_ignored(&self, row: usize) -> bool {
        let by_label = self.ignore_index.is_some()
            && self.labels.as_ref().map(|labels| labels[row]) == self.ignore_index;
        by_label || self.ignored.as_ref().is_some_and(|ignored| ignored[row])
    }

    fn label(&self, row: usize) -> Option<usize> {
        self.labels.as_ref().map(|labels| usize::try_from(labels[row]).unwrap())
    }

    /// t_k of a row that counts, and the sum of the sizes of its terms.
    fn mass(&self, row: usize, class: usize) -> (f64, f64) {
        let ([spread, label], [spread_size, label_size]) =
            self.mass_of(row, class, self.label(row));
        let Some(second) = &self.second else { return (spread + label, spread_size + label_size) };
        let share = second.one.map_or_else(|| second.rows[row].get(), Number::get);
        let second = usize::try_from(second.labels[row]).unwrap();
        let ([other_spread, other_label], [other_spread_size, other_label_size]) =
            self.mass_of(row, class, Some(second));
        let blend = |a: f64, b: f64| (1.0 - share) * a + share * b;
        let size = |a: f64, b: f64| (1.0 + share.abs()) * a + share.abs() * b;
        let is_by_label = matches!(self.masses, OwnedMasses::Class(_))
            || matches!(self.dense, OwnedDense::Matrix(_));
        let (spread, spread_size) = if is_by_label {
            (blend(spread, other_spread), size(spread_size, other_spread_size))
        } else {
            (spread, spread_size)
        };
        let label_size = size(label_size, other_label_size);
        (spread + blend(label, other_label), spread_size + label_size)
    }

    /// What a label alone leads to: w_k·(u + s·d_k) and m·[k = y], and the sizes of their terms.
    fn mass_of(&self, row: usize, class: usize, label: Option<usize>) -> ([f64; 2], [f64; 2]) {
        let masses = match &self.masses {
            OwnedMasses::All(masses) => *masses,
            OwnedMasses::Class(masses) => masses[label.unwrap()],
            OwnedMasses::Row(masses) => masses[row],
        };
        let at = self.element(row, class);
        let dense = match &self.dense {
            OwnedDense::None => 0.0,
            OwnedDense::Vector(values) => values[class].get(),
            OwnedDense::Matrix(values) => values[label.unwrap() * self.classes + class].get(),
            OwnedDense::F32(values) => values[at].get(),
            OwnedDense::F64(values) => values[at].get(),
            OwnedDense::Bf16(values) => values[at].get(),
            OwnedDense::F16(values) => values[at].get(),
            OwnedDense::Mask(values) => f64::from(u8::from(values[at])),
        };
        let weight = self.weights.as_ref().map_or(1.0, |weights| weights[class].get());
        let (uniform, dense) = (masses.uniform.get(), masses.dense.get() * dense);
        let spread = weight * (uniform + dense);
        let spread_size = weight.abs() * (uniform.abs() + dense.abs());
        let label = if label == Some(class) { masses.label.get() } else { 0.0 };
        ([spread, label], [spread_size, label.abs()])
    }

    pub fn truth(&self, row: usize) -> Truth {
        let Options { scale, softcap, z_loss } = self.options;
        let logits: Vec<f64> = (0..self.classes)
            .map(|class| {
                let scaled = scale * self.logits[self.element(row, class)].get();
                softcap.map_or(scaled, |cap| cap * (scaled / cap).tanh())
            })
            .collect();
        let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total = sum(logits.iter().map(|z| (z - highest).exp()));
        let log_sum_exp = highest + total.ln();
        let (targets, sizes): (Vec<f64>, Vec<f64>) =
            (0..self.classes).map(|class| self.mass(row, class)).unzip();
        let total_mass = sum(targets.iter().copied());
        let held = || targets.iter().zip(&logits).filter(|(t, _)| **t != 0.0);
        let loss = sum(held().map(|(t, z)| t * ((highest - z) + total.ln())))
            + z_loss * log_sum_exp * log_sum_exp;
        let slope = total_mass + 2.0 * z_loss * log_sum_exp;
        let held_sizes =
            || sizes.iter().zip(targets.iter().zip(&logits)).filter(|of| *of.1.0 != 0.0);
        let size = sum(held_sizes().map(|(size, (_, z))| (size * z).abs()))
            .max(sum(sizes.iter().copied()) * log_sum_exp.abs().max(1.0))
            .max(z_loss * log_sum_exp * log_sum_exp)
            .max(loss.abs())
            .max(1.0);
        let label = self.label(row);
        let classes = logits
            .iter()
            .zip(targets.iter().zip(&sizes))
            .map(|(&logit, (&mass, &size))| {
                let probability = (logit - highest).exp() / total;
                let steepness = softcap.map_or(1.0, |cap| 1.0 - (logit / cap).powi(2));
                let gradient = (slope * probability - mass) * steepness * scale;
                TruthOfClass { probability, size, logit, gradient, steepness }
            })
            .collect();
        let scaled = |class| scale * self.logits[self.element(row, class)].get();
        let correct = label.is_some_and(|label| {
            (0..self.classes).all(|class| {
                if class < label {
                    scaled(class) < scaled(label)
                } else {
                    scaled(class) <= scaled(label)
                }
            })
        });
        let steepest = sum(sizes.iter().copied()) + (2.0 * z_loss * log_sum_exp).abs();
        Truth { loss, log_sum_exp, correct, classes, size, steepest }
    }
}

pub fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let mut sum = 0.0;
    let mut compensated = CompensatedSum::default();
    for value in values {
        sum += value;
        compensated.add(value);
    }
    if sum.is_finite() { compensated.value() } else { sum }
}
