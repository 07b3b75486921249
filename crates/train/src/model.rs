//! Networks: convolutions, then fully connected layers, ReLU between all.
//!
//! Of an image that has one label, each convolution halves height and width, and what is left is one row.
//! Of a map, whose pixels have labels, convolutions keep height and width, and every pixel that counts is a row: the fully
//! connected layers are what 1×1 convolutions would be.
//!
//! Initial weights and biases are drawn from U(−1/√fan_in, 1/√fan_in), as PyTorch's layers do by default,
//! from a stream of our own: the same seed gives the same weights on every machine.

use rand::{Rng, RngExt};
use softlabel_data::ImageShape;
use softlabel_distill::LinearHead;
use tch::{Device, Tensor};

use crate::maps::Images;
use crate::recipe::Model;
use crate::{Error, Result};

/// The most weights a network may have: with gradients and an optimizer's memory some 2 GB.
const LARGEST: usize = 100_000_000;

/// A network with its weights.
#[derive(Debug)]
pub(crate) struct Network {
    convolutions: Vec<Layer>,
    hidden: Vec<Layer>,
    output: Layer,
    /// Share of the outputs of each hidden layer that a training step drops.
    dropout: f64,
    /// Whether each pixel is a row.
    of_maps: bool,
}

/// What a network is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input {
    pub(crate) image: ImageShape,
    /// Whether each pixel has a label.
    pub(crate) is_map: bool,
}

/// What a network makes of images.
pub(crate) struct Forward {
    /// What comes out of each convolution, `[n, channels, height, width]`, and of each hidden layer, `[n, width]`; before
    /// anything is dropped.
    pub(crate) layers: Vec<Tensor>,
    /// What the last layer sees, `[n, D]`.
    pub(crate) features: Tensor,
    /// `[n, K]`.
    pub(crate) logits: Tensor,
}

#[derive(Debug)]
struct Layer {
    weight: Tensor,
    bias: Tensor,
}

impl Layer {
    fn new(shape: &[usize], device: Device, random: &mut impl Rng) -> Result<Self> {
        let fan_in: usize = shape[1..].iter().product();
        let bound = (fan_in as f64).sqrt().recip();
        let mut parameter = |shape: &[usize]| -> Result<Tensor> {
            let draw = |_| f32_from(random.random_range(-bound..bound));
            let values: Vec<f32> = (0..shape.iter().product()).map(draw).collect();
            let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
            let tensor = Tensor::f_from_slice(&values)?.f_view(shape.as_slice())?;
            Ok(tensor.f_to_device(device)?.f_detach_copy()?.f_set_requires_grad(true)?)
        };
        Ok(Self { weight: parameter(shape)?, bias: parameter(&shape[..1])? })
    }

    fn shallow_clone(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.shallow_clone() }
    }

    fn linear(&self, input: &Tensor) -> Result<Tensor> {
        Ok(input.f_linear(&self.weight, Some(&self.bias))?)
    }

    /// 3×3 with the size kept, then ReLU.
    fn convolve(&self, input: &Tensor) -> Result<Tensor> {
        Ok(input.f_conv2d(&self.weight, Some(&self.bias), 1, 1, 1, 1)?.f_relu()?)
    }
}

/// How many weights a layer has, biases aside.
fn weights(shape: &[usize]) -> usize {
    shape.iter().fold(1, |product, &size| product.saturating_mul(size))
}

/// Weights are single precision.
#[allow(clippy::cast_possible_truncation)]
fn f32_from(value: f64) -> f32 {
    value as f32
}

impl Network {
    /// Builds the network for images of a shape.
    pub(crate) fn new(
        name: &str,
        model: &Model,
        Input { image, is_map }: Input,
        classes: usize,
        device: Device,
        random: &mut impl Rng,
    ) -> Result<Self> {
        let ImageShape { mut channels, mut height, mut width } = image;
        let mut convolutions = Vec::new();
        for &output in &model.convolutions {
            convolutions.push([output, channels, 3, 3]);
            (channels, height, width) = (output, height / 2, width / 2);
        }
        if is_map {
            (height, width) = (1, 1);
        }
        let mut features = channels.saturating_mul(height).saturating_mul(width);
        if features == 0 {
            return Err(Error::ImageTooSmall {
                model: name.to_owned(),
                convolutions: convolutions.len(),
                height: image.height,
                width: image.width,
            });
        }
        let mut hidden = Vec::new();
        for &output in &model.hidden {
            hidden.push([output, features]);
            features = output;
        }
        let output = [classes, features];
        let shapes = convolutions.iter().map(|shape| &shape[..]);
        let shapes = shapes.chain(hidden.iter().chain([&output]).map(|shape| &shape[..]));
        let found = shapes.map(weights).fold(0, usize::saturating_add);
        if found > LARGEST {
            let (model, limit) = (name.to_owned(), LARGEST);
            let ImageShape { channels, height, width } = image;
            return Err(Error::ModelTooLarge { model, limit, found, channels, height, width });
        }
        let mut layer = |shape: &[usize]| Layer::new(shape, device, random);
        Ok(Self {
            convolutions: convolutions.iter().map(|shape| layer(shape)).collect::<Result<_>>()?,
            hidden: hidden.iter().map(|shape| layer(shape)).collect::<Result<_>>()?,
            output: layer(&output)?,
            dropout: model.dropout,
            of_maps: is_map,
        })
    }

    /// The same network with the same weights in memory.
    pub(crate) fn shallow_clone(&self) -> Self {
        let all = |layers: &[Layer]| layers.iter().map(Layer::shallow_clone).collect();
        Self {
            convolutions: all(&self.convolutions),
            hidden: all(&self.hidden),
            output: self.output.shallow_clone(),
            dropout: self.dropout,
            of_maps: self.of_maps,
        }
    }

    /// Layers and logits of images `[n, channels, height, width]`.
    pub(crate) fn forward<'a>(&self, images: impl Into<Images<'a>>) -> Result<Forward> {
        let (layers, features) = self.below(images, Ok)?;
        Ok(Forward { layers, logits: self.output.linear(&features)?, features })
    }

    /// The same in a training step, which drops some of the outputs of hidden layers and scales the others up.
    pub(crate) fn forward_training<'a>(
        &self,
        images: impl Into<Images<'a>>,
        random: &mut impl Rng,
    ) -> Result<Forward> {
        let (layers, features) = self.below_training(images, random)?;
        Ok(Forward { layers, logits: self.output.linear(&features)?, features })
    }

    /// What the last layer sees of images, `[n, D]`.
    pub(crate) fn features<'a>(&self, images: impl Into<Images<'a>>) -> Result<Tensor> {
        Ok(self.below(images, Ok)?.1)
    }

    /// The same in a training step.
    pub(crate) fn features_training<'a>(
        &self,
        images: impl Into<Images<'a>>,
        random: &mut impl Rng,
    ) -> Result<Tensor> {
        Ok(self.below_training(images, random)?.1)
    }

    /// The last layer, on what it sees.
    pub(crate) fn head<'a>(&'a self, features: &'a Tensor) -> LinearHead<'a> {
        let Layer { weight, bias } = &self.output;
        LinearHead { hidden: features, weight, bias: Some(bias) }
    }

    fn below_training<'a>(
        &self,
        images: impl Into<Images<'a>>,
        random: &mut impl Rng,
    ) -> Result<(Vec<Tensor>, Tensor)> {
        if self.dropout == 0.0 {
            return self.below(images, Ok);
        }
        let keep = 1.0 - self.dropout;
        self.below(images, |features| {
            let mut draw = |_| if random.random_bool(keep) { f32_from(keep.recip()) } else { 0.0 };
            let mask: Vec<f32> = (0..features.numel()).map(&mut draw).collect();
            let mask = Tensor::f_from_slice(&mask)?.f_view(features.size().as_slice())?;
            Ok(features.f_mul(&mask.f_to_device(features.device())?)?)
        })
    }

    /// The weights of the last layer, `[K, D]`: a template a class.
    pub(crate) fn templates(&self) -> &Tensor {
        &self.output.weight
    }

    /// What comes out of the layers below the last, and what that sees.
    fn below<'a>(
        &self,
        images: impl Into<Images<'a>>,
        mut drop: impl FnMut(Tensor) -> Result<Tensor>,
    ) -> Result<(Vec<Tensor>, Tensor)> {
        let mut layers = Vec::new();
        let Images { tensor, counted } = images.into();
        let mut features = tensor.shallow_clone();
        for layer in &self.convolutions {
            features = layer.convolve(&features)?;
            if !self.of_maps {
                features = features.f_max_pool2d(2, 2, 0, 1, false)?;
            }
            layers.push(features.shallow_clone());
        }
        features = if self.of_maps {
            features.f_permute([0, 2, 3, 1].as_slice())?.f_flatten(0, 2)?
        } else {
            features.f_flatten(1, -1)?
        };
        if let Some(counted) = counted {
            features = counted.rows(&features)?;
        }
        for layer in &self.hidden {
            features = layer.linear(&features)?.f_relu()?;
            layers.push(features.shallow_clone());
            features = drop(features)?;
        }
        Ok((layers, features))
    }

    /// Logits of any number of images, without gradients, a thousand or so at a time; of maps, a million pixels or so.
    pub(crate) fn predict<'a>(&self, images: impl Into<Images<'a>>) -> Result<Tensor> {
        const CHUNK: i64 = 1024;
        const PIXELS: i64 = 1 << 20;
        let _guard = tch::no_grad_guard();
        let Images { tensor, counted } = images.into();
        let of_image: i64 = tensor.size().iter().skip(2).product();
        let chunk = if self.of_maps { (PIXELS / of_image.max(1)).clamp(1, CHUNK) } else { CHUNK };
        let chunks = tensor.f_split(chunk, 0)?;
        let logits = chunks.iter().map(|chunk| Ok(self.forward(chunk)?.logits));
        let logits = Tensor::f_cat(&logits.collect::<Result<Vec<_>>>()?, 0)?;
        counted.map_or_else(|| Ok(logits.shallow_clone()), |counted| counted.rows(&logits))
    }

    /// All weights and biases, in a fixed order.
    pub(crate) fn parameters(&self) -> Vec<Tensor> {
        let layers = self.convolutions.iter().chain(&self.hidden).chain([&self.output]);
        layers
            .flat_map(|layer| [layer.weight.shallow_clone(), layer.bias.shallow_clone()])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use softlabel_data::seed;
    use tch::Kind;

    use super::*;

    const IMAGE: Input =
        Input { image: ImageShape { channels: 1, height: 8, width: 8 }, is_map: false };

    fn network(hidden: &[usize], convolutions: &[usize]) -> Result<Network> {
        let model =
            Model { hidden: hidden.into(), convolutions: convolutions.into(), dropout: 0.0 };
        Network::new("m", &model, IMAGE, 10, Device::Cpu, &mut seed::stream(1, seed::INIT))
    }

    #[test]
    fn logits_have_the_shape_of_the_classes() {
        let images = Tensor::ones([1030, 1, 8, 8], (Kind::Float, Device::Cpu));
        for (hidden, convolutions) in [(&[][..], &[][..]), (&[5, 4], &[]), (&[7], &[3, 2])] {
            let network = network(hidden, convolutions).unwrap();
            assert_eq!(network.predict(&images).unwrap().size(), [1030, 10]);
            assert_eq!(network.parameters().len(), 2 * (hidden.len() + convolutions.len() + 1));
        }
    }

    /// Of maps every pixel is a row, and what is fully connected is what a 1×1 convolution would be.
    #[test]
    fn pixels_are_rows_and_layers_on_them_convolutions() {
        let model = Model { hidden: vec![6], convolutions: vec![4, 5], dropout: 0.0 };
        let image = ImageShape { channels: 2, height: 3, width: 5 };
        let input = Input { image, is_map: true };
        let mut random = seed::stream(1, seed::INIT);
        let network = Network::new("m", &model, input, 3, Device::Cpu, &mut random).unwrap();
        let images = Tensor::randn([7, 2, 3, 5], (Kind::Float, Device::Cpu));
        let weights = network.parameters();
        let mut expected = images.shallow_clone();
        for (index, layer) in weights.chunks(2).enumerate() {
            let is_last = index == 3;
            let kernel = if index < 2 { 3 } else { 1 };
            let size = layer[0].size();
            let weight = layer[0].view([size[0], size[1], kernel, kernel]);
            expected = expected.conv2d(&weight, Some(&layer[1]), 1, kernel / 2, 1, 1);
            expected = if is_last { expected } else { expected.relu() };
        }
        let found = network.predict(&images).unwrap();
        assert_eq!(found.size(), [7 * 15, 3]);
        for (map, pixel, class) in [(0, 0, 0), (3, 7, 1), (6, 14, 2), (2, 4, 0), (2, 5, 0)] {
            let expected = expected.double_value(&[map, class, pixel / 5, pixel % 5]);
            let found = found.double_value(&[map * 15 + pixel, class]);
            assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
        }
    }

    #[test]
    fn weights_follow_the_seed_and_stay_in_their_bound() {
        let (a, b) = (network(&[32], &[]).unwrap(), network(&[32], &[]).unwrap());
        for (a, b) in a.parameters().iter().zip(b.parameters()) {
            assert_eq!(f64::try_from((a - b).abs().max()).unwrap(), 0.0);
        }
        let largest = f64::try_from(a.parameters()[0].abs().max()).unwrap();
        assert!(largest <= 0.125 && largest > 0.12, "{largest}"); // 1/√64
    }

    #[test]
    fn dropout_keeps_the_mean_and_drops_in_training_only() {
        let model = Model { hidden: vec![4000], convolutions: Vec::new(), dropout: 0.25 };
        let mut random = seed::stream(1, "dropout");
        let network = Network::new("m", &model, IMAGE, 10, Device::Cpu, &mut random).unwrap();
        let images = Tensor::ones([1, 1, 8, 8], (Kind::Float, Device::Cpu));
        let mut sums = (0.0, 0.0);
        for _ in 0..200 {
            sums.0 +=
                f64::try_from(network.forward(&images).unwrap().logits.get(0).get(3)).unwrap();
            let dropped = network.forward_training(&images, &mut random).unwrap().logits;
            sums.1 += f64::try_from(dropped.get(0).get(3)).unwrap();
        }
        assert!((sums.0 - sums.1).abs() / 200.0 < 0.05, "{sums:?}");
        assert_ne!(sums.0, sums.1);
    }

    #[test]
    fn what_would_not_fit_into_memory_is_an_error() {
        let error = network(&[65_536, 65_536], &[]).unwrap_err();
        let expected = "model `m`: expected at most 100000000 weights for images of 1×8×8, \
                        found 4299816960";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn images_that_vanish_are_an_error() {
        let error = network(&[], &[4, 4, 4, 4]).unwrap_err();
        assert_eq!(error.to_string(), "model `m`: 4 convolutions halve images of 8×8 to nothing");
    }
}
