//! Masked generative distillation.

use tch::nn::Path;
use tch::{Kind, Tensor};

use super::adapter::{Convolution, maps, wrong};
use crate::Result;

/// ‖G(m ⊙ A(s)) − t‖² / N: from what is left of the student's features when positions are masked, all of the teacher's
/// are generated.
///
/// A is a 1×1 convolution to the teacher's channels if they differ, G a 3×3 convolution, ReLU, and another one; their
/// weights are variables of the path. m is 1 for positions that are kept and 0 for the others: the caller draws it, a
/// sample and position at a time, with a share of about half to two thirds masked; this crate draws nothing.
///
/// The sum is over channels and positions, as in the paper, which weighs it by 2·10⁻⁵ for detectors and 7·10⁻⁵ for
/// classifiers.
///
/// Source: Yang et al., "Masked Generative Distillation", 2022.
///
/// ```
/// use softlabel_distill::feature::MaskedGeneration;
/// use tch::{Device, Kind, Tensor, nn::VarStore};
///
/// let store = VarStore::new(Device::Cpu);
/// let loss = MaskedGeneration::new(&store.root(), 3, 2)?;
/// let options = (Kind::Float, Device::Cpu);
/// let (student, teacher) = (Tensor::ones([2, 3, 4, 4], options), Tensor::ones([2, 2, 4, 4], options));
/// // Of nothing, nothing is generated: biases begin at 0.
/// let value = loss.forward(&student, &teacher, &Tensor::zeros([2, 1, 4, 4], (Kind::Bool, Device::Cpu)))?;
/// assert_eq!(f64::try_from(value)?, 32.0); // 2 channels · 16 positions
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "MGD")]
#[derive(Debug)]
pub struct MaskedGeneration {
    align: Option<Convolution>,
    generate: [Convolution; 2],
    channels: (i64, i64),
}

impl MaskedGeneration {
    /// For a student and a teacher of so many channels.
    ///
    /// # Errors
    /// libtorch's, for channels below 1.
    pub fn new(path: &Path<'_>, student: i64, teacher: i64) -> Result<Self> {
        let differ = student != teacher;
        let align = || Convolution::new(&(path / "align"), student, teacher, 1, true);
        let layer = |name: &str| Convolution::new(&(path / name), teacher, teacher, 3, true);
        let generate = [layer("first")?, layer("second")?];
        let align = differ.then(align).transpose()?;
        Ok(Self { align, generate, channels: (student, teacher) })
    }

    /// The loss of a batch, `kept` being a bool tensor `[N, 1, H, W]`; differentiable in the student and the variables.
    ///
    /// # Errors
    /// Features that are no floats, are empty, are not `[N, C, H, W]` with these channels, differ in N, H or W, or lie
    /// on different devices; a mask of another shape or dtype.
    pub fn forward(&self, student: &Tensor, teacher: &Tensor, kept: &Tensor) -> Result<Tensor> {
        const MASK: &str = "mask of kept positions";
        let (student, teacher) = maps(student, teacher, self.channels)?;
        let found = kept.f_kind()?;
        if found != Kind::Bool {
            let error = softlabel_tensor::Error::Kind { what: MASK, expected: "bool", found };
            return Err(error.into());
        }
        let size = teacher.size();
        let expected = [size[0], 1, size[2], size[3]];
        if kept.size() != expected {
            return Err(wrong(MASK, format!("{expected:?}"), kept.size()));
        }
        softlabel_tensor::check_same_device(kept, &student, MASK)?;
        let aligned = match &self.align {
            Some(align) => align.forward(&student)?,
            None => student,
        };
        let masked = aligned.f_masked_fill(&kept.f_logical_not()?, 0.0)?;
        let [first, second] = &self.generate;
        let generated = second.forward(&first.forward(&masked)?.f_relu()?)?;
        let squares = generated.f_sub(&teacher)?.f_square()?;
        Ok(squares.f_sum(squares.f_kind()?)?.f_div_scalar(size[0])?)
    }
}
