//! A small network of one number for every row, and its derivatives.
//!
//! a⁰ = features, aˡ = softplus(Wˡaˡ⁻¹ + bˡ) in hidden layers, o = Wᴸaᴸ⁻¹ + bᴸ
//!
//! softplus(x) = ln(1 + eˣ) is the smooth form of max(x, 0), so derivatives are continuous and vanish
//! at a minimum.
//! All numbers lie in one list: layer by layer W, row by row, then b.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};
use softlabel_core::Error as Input;

use crate::Result;

/// The network: what lies between `inputs` features and one number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    /// How many numbers every hidden layer has, from the first to the last.
    hidden: Vec<usize>,
    parameters: Vec<f64>,
}

/// What a layer made of a row: before and after the softplus.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activations {
    before: Vec<f64>,
    after: Vec<f64>,
}

impl Network {
    /// Hidden weights uniform on ±√(6/(inputs + outputs)), of Glorot and Bengio; all else 0, so that o
    /// is 0.
    pub(crate) fn new(inputs: usize, hidden: Vec<usize>, seed: u64) -> Self {
        let mut generator = ChaCha12Rng::seed_from_u64(seed);
        let mut parameters = Vec::new();
        for (from, to) in layers(inputs, &hidden) {
            let range = (6.0 / (from + to) as f64).sqrt();
            let last = parameters.len() + to * (from + 1) == count(inputs, &hidden);
            let mut draw =
                || if last { 0.0 } else { range * (2.0 * generator.random::<f64>() - 1.0) };
            parameters.extend((0..from * to).map(|_| draw()));
            parameters.extend(vec![0.0; to]);
        }
        Self { hidden, parameters }
    }

    /// The same, if it has as many parameters as it needs, and all are finite.
    pub(crate) fn checked(self, inputs: usize) -> Result<Self> {
        let (expected, found) = (count(inputs, &self.hidden), self.parameters.len());
        if found != expected {
            let what = "number of parameters of the network";
            return Err(Input::mismatch(what, expected.to_string(), found.to_string()).into());
        }
        if let Some(&found) = self.parameters.iter().find(|number| !number.is_finite()) {
            let name = "a parameter of the network";
            return Err(Input::OutOfRange { name, expected: "finite", found }.into());
        }
        Ok(self)
    }

    pub(crate) fn parameters(&self) -> &[f64] {
        &self.parameters
    }

    pub(crate) fn with_parameters(&self, parameters: Vec<f64>) -> Self {
        Self { hidden: self.hidden.clone(), parameters }
    }

    /// o; `states` keeps what [`add_gradient`](Self::add_gradient) needs of the row.
    pub(crate) fn value(
        &self,
        parameters: &[f64],
        features: &[f64],
        states: &mut Vec<Activations>,
    ) -> f64 {
        let layers = layers(features.len(), &self.hidden);
        states.resize(layers.len(), Activations::default());
        let mut rest = parameters;
        for (index, &(from, to)) in layers.iter().enumerate() {
            let (weights, after_weights) = rest.split_at(from * to);
            let (biases, after_biases) = after_weights.split_at(to);
            rest = after_biases;
            let (earlier, later) = states.split_at_mut(index);
            let input = earlier.last().map_or(features, |state| &state.after);
            let Some(state) = later.first_mut() else { break };
            let sum = |(weights, bias): (&[f64], &f64)| dot(weights, input) + bias;
            state.before.clear();
            // A chunk of no weights is none; there is always an input.
            state.before.extend(weights.chunks_exact(from).zip(biases).map(sum));
            state.after.clear();
            state.after.extend(state.before.iter().map(|x| x.max(0.0) + (-x.abs()).exp().ln_1p()));
        }
        states.last().and_then(|state| state.before.first()).copied().unwrap_or_default()
    }

    /// Adds `slope`, a derivative by o, times the derivatives of o by all parameters.
    pub(crate) fn add_gradient(
        &self,
        parameters: &[f64],
        features: &[f64],
        states: &[Activations],
        slope: f64,
        gradient: &mut [f64],
    ) {
        // By what a layer has before its softplus, from the last to the first.
        let mut slopes = vec![slope];
        let mut end = parameters.len();
        for (index, &(from, to)) in layers(features.len(), &self.hidden).iter().enumerate().rev() {
            let begin = end - to * (from + 1);
            let weights = &parameters[begin..begin + from * to];
            let (by_weight, by_bias) = gradient[begin..end].split_at_mut(from * to);
            let below = index.checked_sub(1).and_then(|below| states.get(below));
            let input = below.map_or(features, |state| &state.after);
            for ((sums, bias), slope) in by_weight.chunks_exact_mut(from).zip(by_bias).zip(&slopes)
            {
                for (sum, x) in sums.iter_mut().zip(input) {
                    *sum += slope * x;
                }
                *bias += slope;
            }
            if let Some(state) = below {
                let mut next = vec![0.0; from];
                for (weights, slope) in weights.chunks_exact(from).zip(&slopes) {
                    for (sum, weight) in next.iter_mut().zip(weights) {
                        *sum += slope * weight;
                    }
                }
                for (slope, x) in next.iter_mut().zip(&state.before) {
                    *slope /= 1.0 + (-x).exp();
                }
                slopes = next;
            }
            end = begin;
        }
    }

    /// λ Σ W² over hidden layers; its derivatives are added.
    pub(crate) fn add_decay(
        &self,
        inputs: usize,
        strength: f64,
        parameters: &[f64],
        gradient: &mut [f64],
    ) -> f64 {
        let (mut begin, mut sum) = (0, 0.0);
        for (from, to) in layers(inputs, &self.hidden).into_iter().take(self.hidden.len()) {
            let end = begin + from * to;
            for (slope, weight) in gradient[begin..end].iter_mut().zip(&parameters[begin..end]) {
                sum += strength * weight * weight;
                *slope += 2.0 * strength * weight;
            }
            begin = end + to;
        }
        sum
    }
}

/// What goes into every layer and comes out of it.
fn layers(inputs: usize, hidden: &[usize]) -> Vec<(usize, usize)> {
    let from = std::iter::once(&inputs).chain(hidden);
    from.copied().zip(hidden.iter().copied().chain([1])).collect()
}

fn count(inputs: usize, hidden: &[usize]) -> usize {
    let size = |(from, to): (usize, usize)| to.saturating_mul(from.saturating_add(1));
    layers(inputs, hidden).into_iter().map(size).fold(0, usize::saturating_add)
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By central differences.
    #[test]
    fn derivatives_are_those_of_the_value() {
        for hidden in [vec![], vec![3], vec![4, 3], vec![2, 3, 2]] {
            let features = [0.5, -1.5, 2.0];
            let network = Network::new(3, hidden, 7);
            let mut generator = ChaCha12Rng::seed_from_u64(1);
            let parameters: Vec<f64> = network
                .parameters()
                .iter()
                .map(|_| 2.0 * generator.random::<f64>() - 1.0)
                .collect();
            let mut states = Vec::new();
            let value = |parameters: &[f64], states: &mut Vec<Activations>| {
                network.value(parameters, &features, states)
            };
            value(&parameters, &mut states);
            let mut gradient = vec![0.0; parameters.len()];
            network.add_gradient(&parameters, &features, &states, 2.0, &mut gradient);
            let decay = network.add_decay(3, 0.1, &parameters, &mut gradient);
            assert!(decay >= 0.0);
            for (index, slope) in gradient.iter().enumerate() {
                let at = |step: f64| {
                    let mut moved = parameters.clone();
                    moved[index] += step;
                    let mut unused = vec![0.0; moved.len()];
                    2.0 * value(&moved, &mut Vec::new())
                        + network.add_decay(3, 0.1, &moved, &mut unused)
                };
                let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((slope - expected).abs() < 1e-8, "{index}: {slope}, {expected}");
            }
        }
    }

    #[test]
    fn it_begins_at_zero_and_is_the_same_for_a_seed() {
        let network = Network::new(4, vec![5, 5], 3);
        assert_eq!(network.parameters().len(), 5 * 5 + 5 * 6 + 6);
        assert_eq!(network, Network::new(4, vec![5, 5], 3));
        assert_ne!(network, Network::new(4, vec![5, 5], 4));
        let value = network.value(network.parameters(), &[1.0, 2.0, 3.0, 4.0], &mut Vec::new());
        assert_eq!(value, 0.0);
    }
}
