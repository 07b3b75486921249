//! Distillation by review: a teacher's level is compared with the student's own and all deeper ones, fused.

use tch::Tensor;
use tch::nn::{BatchNorm, BatchNormConfig, ModuleT, Path, batch_norm2d};

use super::adapter::{Convolution, maps, wrong};
use super::{STUDENT, TEACHER, matched};
use crate::Result;

/// The hierarchical context loss of one level: squared differences of the maps and of their means over 4×4, 2×2 and 1
/// parts of the image, weighed 1, ½, ¼, ⅛ and divided by the sum of the weights that were used.
///
/// A pyramid level as high as the map itself or higher is left out, with its weight halved on only when it is used, as
/// in the authors' code.
///
/// # Errors
/// Features that are no floats, are empty, are not of four axes, differ in shape, or lie on different devices.
///
/// Source: Chen, Liu, Zhao, Jia, "Distilling Knowledge via Knowledge Review", 2021.
///
/// ```
/// use softlabel_distill::feature::hierarchical_context;
/// use tch::Tensor;
/// // 2×2: the map itself, and its mean: (1² + 1²)/4 and half of 0.
/// let student = Tensor::from_slice(&[1.0f64, -1.0, 0.0, 0.0]).view((1, 1, 2, 2));
/// let loss = hierarchical_context(&student, &student.zeros_like())?;
/// assert_eq!(f64::try_from(loss)?, 0.5 / 1.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "HCL")]
pub fn hierarchical_context(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let (student, teacher) = matched(student, teacher)?;
    let shape = student.size();
    let &[_, _, height, _] = shape.as_slice() else {
        let expected = "[samples, channels, height, width]".to_owned();
        return Err(wrong(STUDENT, expected, shape));
    };
    if teacher.size() != shape {
        return Err(wrong(TEACHER, format!("{shape:?} as the student's"), teacher.size()));
    }
    let mut loss = student.f_mse_loss(&teacher, tch::Reduction::Mean)?;
    let (mut weight, mut total) = (1.0, 1.0);
    for parts in [4, 2, 1].into_iter().filter(|&parts| parts < height) {
        weight /= 2.0;
        total += weight;
        let pool = |features: &Tensor| features.f_adaptive_avg_pool2d([parts, parts]);
        let level = pool(&student)?.f_mse_loss(&pool(&teacher)?, tch::Reduction::Mean)?;
        loss = loss.f_add(&level.f_mul_scalar(weight)?)?;
    }
    Ok(loss.f_div_scalar(total)?)
}

/// The sum over levels of [`hierarchical_context`] between the teacher's level and the student's, fused with all deeper
/// ones by attention.
///
/// From the deepest level up, x is the student's level after a 1×1 convolution to `middle` channels and batch
/// normalization, y what the level below came to, brought to its size; two maps of attention a, b = σ(conv(\[x, y\]))
/// fuse them into a·x + b·y, which goes up, and after a 3×3 convolution and batch normalization is compared with the
/// teacher's. All weights are variables of the path.
///
/// The paper weighs it by 0.6 to 8, warmed up over 20 epochs.
///
/// Source: Chen, Liu, Zhao, Jia, "Distilling Knowledge via Knowledge Review", 2021 (ABF and HCL).
///
/// ```
/// use softlabel_distill::feature::ReviewFusion;
/// use tch::{Device, Kind, Tensor, nn::VarStore};
///
/// let store = VarStore::new(Device::Cpu);
/// let review = ReviewFusion::new(&store.root(), &[(3, 4), (5, 8)], 6)?; // student and teacher, shallow first
/// let options = (Kind::Float, Device::Cpu);
/// let student = [Tensor::ones([2, 3, 8, 8], options), Tensor::ones([2, 5, 4, 4], options)];
/// let teacher = [Tensor::ones([2, 4, 8, 8], options), Tensor::ones([2, 8, 4, 4], options)];
/// let fused = review.fuse(&student, false)?;
/// assert_eq!((fused[0].size(), fused[1].size()), (teacher[0].size(), teacher[1].size()));
/// assert!(f64::try_from(review.forward(&student, &teacher, true)?)? > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("ReviewKD", "ABF"))]
#[derive(Debug)]
pub struct ReviewFusion {
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    channels: (i64, i64),
    enter: (Convolution, BatchNorm),
    /// None at the deepest level, which has nothing to be fused with.
    attention: Option<Convolution>,
    leave: (Convolution, BatchNorm),
}

impl ReviewFusion {
    /// For levels of so many channels, of the student and of the teacher, the shallowest first.
    ///
    /// # Errors
    /// libtorch's, for channels below 1.
    pub fn new(path: &Path<'_>, levels: &[(i64, i64)], middle: i64) -> Result<Self> {
        let level = |(index, &channels): (usize, &(i64, i64))| -> Result<Level> {
            let path = path / format!("level-{index}");
            let norm = |name: &str, to| batch_norm2d(&path / name, to, BatchNormConfig::default());
            let (enter, leave) = (&path / "enter", &path / "leave");
            let attention = || Convolution::new(&(&path / "attention"), 2 * middle, 2, 1, true);
            let is_deepest = index + 1 == levels.len();
            Ok(Level {
                channels,
                enter: (
                    Convolution::new(&enter, channels.0, middle, 1, false)?,
                    norm("enter-norm", middle),
                ),
                attention: (!is_deepest).then(attention).transpose()?,
                leave: (
                    Convolution::new(&leave, middle, channels.1, 3, false)?,
                    norm("leave-norm", channels.1),
                ),
            })
        };
        Ok(Self { levels: levels.iter().enumerate().map(level).collect::<Result<_>>()? })
    }

    /// The fused features, one tensor a level, with the teacher's channels. `train` is for batch normalization.
    ///
    /// # Errors
    /// Another number of levels, or features that are not `[N, C, H, W]` with a level's channels.
    pub fn fuse(&self, student: &[Tensor], train: bool) -> Result<Vec<Tensor>> {
        self.check_levels(student.len(), STUDENT)?;
        let mut below: Option<Tensor> = None;
        let mut fused = Vec::new();
        for (level, features) in self.levels.iter().zip(student).rev() {
            let shape = features.size();
            let (height, width) = match *shape.as_slice() {
                [_, channels, height, width] if channels == level.channels.0 => (height, width),
                _ => {
                    let expected = format!("[samples, {}, height, width]", level.channels.0);
                    return Err(wrong(STUDENT, expected, shape));
                }
            };
            let (convolution, norm) = &level.enter;
            let mut x = norm.forward_t(&convolution.forward(features)?, train);
            if let (Some(attention), Some(below)) = (&level.attention, &below) {
                let y = below.f_upsample_nearest2d([height, width], None, None)?;
                let both = Tensor::f_cat(&[&x, &y], 1)?;
                let weights = attention.forward(&both)?.f_sigmoid()?;
                let share = |index, of: &Tensor| of.f_mul(&weights.f_narrow(1, index, 1)?);
                x = share(0, &x)?.f_add(&share(1, &y)?)?;
            }
            let (convolution, norm) = &level.leave;
            fused.push(norm.forward_t(&convolution.forward(&x)?, train));
            below = Some(x);
        }
        fused.reverse();
        Ok(fused)
    }

    /// The loss of a batch; differentiable in the student and the variables.
    ///
    /// # Errors
    /// As [`fuse`](Self::fuse), and teacher features that are no floats, are empty, differ in N, H or W from the
    /// student's of their level, or lie on another device.
    pub fn forward(&self, student: &[Tensor], teacher: &[Tensor], train: bool) -> Result<Tensor> {
        self.check_levels(student.len(), STUDENT)?;
        self.check_levels(teacher.len(), TEACHER)?;
        let pairs = self.levels.iter().zip(student.iter().zip(teacher));
        let pairs = pairs.map(|(level, (student, teacher))| maps(student, teacher, level.channels));
        let (student, teacher): (Vec<_>, Vec<_>) =
            pairs.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let losses = self.fuse(&student, train)?;
        let losses = losses.iter().zip(&teacher).map(|(fused, t)| hierarchical_context(fused, t));
        let losses = losses.collect::<Result<Vec<_>>>()?;
        let kind = losses[0].f_kind()?;
        Ok(Tensor::f_stack(&losses, 0)?.f_sum(kind)?)
    }

    fn check_levels(&self, found: usize, what: &'static str) -> Result<()> {
        if found == self.levels.len() && found > 0 {
            return Ok(());
        }
        let expected = format!("{} levels, at least one", self.levels.len());
        Err(wrong(what, expected, vec![found as i64]))
    }
}
