//! Variational information distillation.

use softlabel_tensor::Error as TensorError;
use tch::Tensor;
use tch::nn::Path;

use super::adapter::{Convolution, maps};
use crate::Result;

/// Added to every variance.
const LEAST_VARIANCE: f64 = 1e-5;

/// The mean over all elements of ½·((t − μ(s))²/σ² + ln σ²): how likely the teacher's features are to a Gaussian whose
/// mean is guessed from the student's, and whose variance σ² = ln(1 + eᵖ) + 10⁻⁵, one a channel, is trained.
///
/// μ is three 1×1 convolutions with ReLU between. Its weights, and p as `scale`, are variables of the path: they are
/// trained if the optimizer is made from its store, with the student. (In one well-known library the variances are not
/// among the trained parameters, and stay where they began.) Channels that cannot be guessed get a large variance and
/// cost little.
///
/// Features are `[N, C, H, W]`. The papers weigh it by 1.
///
/// Source: Ahn et al., "Variational Information Distillation for Knowledge Transfer", 2019.
///
/// ```
/// use softlabel_distill::feature::VariationalInformation;
/// use tch::{Device, Kind, Tensor, nn::VarStore};
///
/// let store = VarStore::new(Device::Cpu);
/// let loss = VariationalInformation::new(&store.root(), 3, 2, 5.0)?;
/// let student = Tensor::ones([1, 3, 2, 2], (Kind::Float, Device::Cpu));
/// // Of what it guesses exactly there is half the logarithm of the variance left.
/// let guessed = loss.guess(&student)?;
/// let value = f64::try_from(loss.forward(&student, &guessed)?)?;
/// assert!((value - 0.5 * 5f64.ln()).abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "VID")]
#[derive(Debug)]
pub struct VariationalInformation {
    layers: [Convolution; 3],
    scale: Tensor,
    channels: (i64, i64),
}

impl VariationalInformation {
    /// For a student and a teacher of so many channels; variances begin at `variance`, which the authors take as 5.
    ///
    /// # Errors
    /// A variance that is not above 10⁻⁵ and finite; libtorch's, for channels below 1.
    pub fn new(path: &Path<'_>, student: i64, teacher: i64, variance: f64) -> Result<Self> {
        if !(variance > LEAST_VARIANCE && variance.is_finite()) {
            let (name, expected) = ("variance", "above 1e-5 and finite");
            let error = softlabel_core::Error::OutOfRange { name, expected, found: variance };
            return Err(TensorError::from(error).into());
        }
        let layer = |name: &str, from| Convolution::new(&(path / name), from, teacher, 1, false);
        let layers =
            [layer("first", student)?, layer("second", teacher)?, layer("third", teacher)?];
        let scale = path.f_var(
            "scale",
            &[teacher],
            tch::nn::Init::Const((variance - LEAST_VARIANCE).exp_m1().ln()),
        )?;
        Ok(Self { layers, scale, channels: (student, teacher) })
    }

    /// μ of the student's features.
    ///
    /// # Errors
    /// libtorch's, where they do not fit.
    pub fn guess(&self, student: &Tensor) -> Result<Tensor> {
        let [first, second, third] = &self.layers;
        third.forward(&second.forward(&first.forward(student)?.f_relu()?)?.f_relu()?)
    }

    /// The variance of each channel of the teacher.
    ///
    /// # Errors
    /// libtorch's.
    pub fn variances(&self) -> Result<Tensor> {
        Ok(self.scale.f_softplus()?.f_add_scalar(LEAST_VARIANCE)?)
    }

    /// The loss of a batch; differentiable in the student and in the variables.
    ///
    /// # Errors
    /// Features that are no floats, are empty, are not `[N, C, H, W]` with these channels, differ in N, H or W, or lie
    /// on different devices.
    pub fn forward(&self, student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
        let (student, teacher) = maps(student, teacher, self.channels)?;
        let variance = self.variances()?.f_view([1, -1, 1, 1])?;
        let square = teacher.f_sub(&self.guess(&student)?)?.f_square()?;
        let both = square.f_div(&variance)?.f_add(&variance.f_log()?)?;
        Ok(both.f_mean(both.f_kind()?)?.f_mul_scalar(0.5)?)
    }
}
