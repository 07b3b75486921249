//! [`Teacher`]: a network, a TorchScript module, or what one of them said.

mod logits;

use std::error::Error as StdError;
use std::fmt;

use softlabel_core::Temperature;
use softlabel_posthoc::{AnyCalibrator, Calibrator, Error as CalibrationError};
use softlabel_tensor::ScriptModule;
use tch::nn::{ModuleT, VarStore};
use tch::{Device, Kind, TchError, Tensor, no_grad_guard};

pub use logits::TeacherLogits;
use logits::first_unsound;

use crate::{Error, Result, calibrated};

/// Whoever teaches: asked about a batch, it says raw logits.
///
/// | made by | from |
/// |---|---|
/// | [`module`](Self::module), [`function`](Self::function) | a network and the variables it computes with |
/// | [`script`](Self::script) | a TorchScript file |
/// | [`recorded`](Self::recorded) | anything that finds logits by sample id: a cache on disk |
/// | `Teacher::from` [`TeacherLogits`] | logits in memory |
///
/// What is known to go wrong with teachers cannot go wrong with this one:
///
/// - It does not train. A network is called with `train = false`, whatever the student does; a TorchScript file in
///   training mode cannot become a [`ScriptModule`]. A network that writes to its variables all the same, or whose
///   variables are written to from outside (batch-norm statistics, an optimizer that was given them), is an error that
///   names the variable.
/// - No gradient flows into it: it computes without recording, its variables are frozen, what it says is detached.
/// - What it says fits: one row a sample, the class count that was announced, all finite (a map that it is
///   [`calibrated`](Self::calibrated) by may make a class impossible, −∞); a NaN stops with the id of the sample.
/// - Logits that were recorded are found by sample id, so that shuffling cannot misalign them.
///
/// ```
/// use softlabel_distill::Teacher;
/// use tch::nn::{self, VarStore};
/// use tch::{Device, Kind, Tensor};
///
/// let store = VarStore::new(Device::Cpu);
/// let network = nn::seq_t()
///     .add(nn::batch_norm1d(store.root() / "norm", 3, Default::default()))
///     .add(nn::linear(store.root() / "linear", 3, 2, Default::default()))
///     .add_fn_t(|x, train| x.dropout(0.5, train));
/// let teacher = Teacher::module(store, network, 2);
///
/// let inputs = Tensor::ones([4, 3], (Kind::Float, Device::Cpu));
/// let logits = teacher.logits(&[10, 11, 12, 13], &inputs)?;
/// assert_eq!(logits, teacher.logits(&[10, 11, 12, 13], &inputs)?); // nothing is dropped, nothing moves
/// assert!(!logits.requires_grad());
/// # Ok::<(), softlabel_distill::Error>(())
/// ```
#[derive(Debug)]
pub struct Teacher {
    voice: Voice,
    classes: i64,
    /// What is done to the logits, in turn.
    steps: Vec<Step>,
}

/// What is done to logits before they are heard.
#[derive(Debug)]
enum Step {
    Divided(Temperature),
    Mapped(Box<AnyCalibrator>),
}

/// Where the logits come from.
enum Voice {
    Network(Box<Network>),
    Script(ScriptModule),
    Logits(TeacherLogits),
    Recorded(Box<Recorded>),
}

/// Looks logits up, row-major, by sample ids.
type Recorded = dyn Fn(&[usize]) -> Result<Vec<f32>, Box<dyn StdError + Send + Sync>> + Send;

/// A function and its variables.
struct Network {
    forward: Box<Forward>,
    device: Device,
    variables: Vec<Variable>,
}

/// A variable as it was when the teacher was made.
struct Variable {
    name: String,
    handle: Tensor,
    /// How often libtorch had counted a write to it.
    version: i64,
    /// Its values, if it is no weight: what batch normalization writes to its statistics is not counted.
    values: Option<Tensor>,
}

type Forward = dyn Fn(&Tensor, bool) -> Result<Tensor, TchError> + Send;

impl fmt::Debug for Voice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => {
                write!(formatter, "Network of {} variables", network.variables.len())
            }
            Self::Script(script) => script.fmt(formatter),
            Self::Logits(logits) => logits.fmt(formatter),
            Self::Recorded(_) => formatter.write_str("Recorded"),
        }
    }
}

impl From<TeacherLogits> for Teacher {
    fn from(logits: TeacherLogits) -> Self {
        let classes = logits.classes();
        Self::new(Voice::Logits(logits), classes)
    }
}

impl Teacher {
    fn new(voice: Voice, classes: i64) -> Self {
        Self { voice, classes, steps: Vec::new() }
    }

    /// A network, and the store of the variables it computes with, which are frozen for good.
    ///
    /// # Panics
    /// Asking it panics if the module does: tch's own modules do where libtorch refuses an input. [`function`] is for
    /// those that return errors.
    ///
    /// [`function`]: Self::function
    pub fn module(store: VarStore, module: impl ModuleT + 'static, classes: i64) -> Self {
        Self::function(store, classes, move |inputs, train| Ok(module.forward_t(inputs, train)))
    }

    /// A function of a batch of inputs and of whether it is to train, which is always false.
    pub fn function(
        mut store: VarStore,
        classes: i64,
        forward: impl Fn(&Tensor, bool) -> Result<Tensor, TchError> + Send + 'static,
    ) -> Self {
        let mut variables: Vec<Variable> = store
            .variables()
            .into_iter()
            .map(|(name, handle)| Variable {
                version: handle.f_internal_version().unwrap_or_default(),
                values: (!handle.requires_grad()).then(|| handle.copy()),
                name,
                handle,
            })
            .collect();
        store.freeze();
        variables.sort_by(|a, b| a.name.cmp(&b.name));
        let network = Network { forward: Box::new(forward), device: store.device(), variables };
        Self::new(Voice::Network(Box::new(network)), classes)
    }

    /// A TorchScript module whose `forward` takes a batch of inputs.
    pub fn script(module: ScriptModule, classes: i64) -> Self {
        Self::new(Voice::Script(module), classes)
    }

    /// Logits that were recorded: `rows` finds those of some sample ids, row-major `[ids.len(), K]`.
    ///
    /// ```
    /// use softlabel_distill::Teacher;
    /// use tch::{Device, Kind, Tensor};
    ///
    /// let teacher = Teacher::recorded(2, |ids| {
    ///     ids.iter().map(|&id| if id < 100 { Ok([id as f32, 1.0]) } else { Err("no such sample".into()) })
    ///         .collect::<Result<Vec<_>, _>>().map(|rows| rows.concat())
    /// });
    /// let inputs = Tensor::zeros([2, 5], (Kind::Float, Device::Cpu)); // not looked at
    /// let logits = teacher.logits(&[7, 3], &inputs)?;
    /// assert_eq!(Vec::<f32>::try_from(logits.view(-1))?, [7.0, 1.0, 3.0, 1.0]);
    /// assert_eq!(teacher.logits(&[7, 300], &inputs).unwrap_err().to_string(), "teacher: no such sample");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recorded(
        classes: i64,
        rows: impl Fn(&[usize]) -> Result<Vec<f32>, Box<dyn StdError + Send + Sync>> + Send + 'static,
    ) -> Self {
        Self::new(Voice::Recorded(Box::new(rows)), classes)
    }

    /// The same teacher, its logits divided by a temperature that was fitted on held-out data, on top of any earlier
    /// one: what it says is then calibrated before a student hears it.
    ///
    /// # Errors
    /// If both temperatures together are none.
    pub fn scaled(mut self, temperature: Temperature) -> Result<Self> {
        match self.steps.last_mut() {
            Some(Step::Divided(earlier)) => {
                let product = earlier.get() * temperature.get();
                *earlier = Temperature::new(product).map_err(softlabel_tensor::Error::from)?;
            }
            _ => self.steps.push(Step::Divided(temperature)),
        }
        Ok(self)
    }

    /// The same teacher as a map makes it that was fitted on held-out data, on top of any earlier one: its
    /// log-probabilities, see [`calibrated`](crate::calibrated()), in the place of its logits.
    ///
    /// Temperature scaling leaves [`scaled`](Self::scaled) logits. A map that keeps zeros may make a class impossible,
    /// −∞; [`Distillation::check_impossible`](crate::Distillation::check_impossible) says whether a loss can bear it.
    /// What was recorded in memory is mapped here and now, anything else whenever it is asked for.
    ///
    /// # Errors
    /// [`ClassCount`](CalibrationError::ClassCount) for a map of another number of classes.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_distill::Teacher;
    /// use softlabel_posthoc::Method;
    /// use tch::{Device, Kind, Tensor};
    ///
    /// // Half of the labels are right where it says 9 to 1.
    /// let held_out = Logits::new([9f64.ln(), 0.0].repeat(2), 2)?;
    /// let map = "isotonic".parse::<Method>()?.fit(&held_out, &Labels::new(&[0, 1], 2)?)?;
    /// let teacher = Teacher::recorded(2, |ids| Ok([9f32.ln(), 0.0].repeat(ids.len()))).calibrated(map)?;
    /// let logits = teacher.logits(&[7], &Tensor::zeros([1, 5], (Kind::Float, Device::Cpu)))?;
    /// assert!((logits.double_value(&[0, 0]) - 0.5f64.ln()).abs() < 1e-6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn calibrated(mut self, map: AnyCalibrator) -> Result<Self> {
        let found = usize::try_from(self.classes).unwrap_or_default();
        if map.classes() != found {
            return Err(CalibrationError::ClassCount { expected: map.classes(), found }.into());
        }
        if let AnyCalibrator::Temperature(scaling) = &map {
            return self.scaled(scaling.temperature());
        }
        if let (Voice::Logits(logits), []) = (&self.voice, &self.steps[..]) {
            return Ok(logits.calibrated(&map)?.into());
        }
        self.steps.push(Step::Mapped(Box::new(map)));
        Ok(self)
    }

    /// K, the number of classes.
    pub fn classes(&self) -> i64 {
        self.classes
    }

    /// The logits of a batch, `[n, K]`, in f32 (f64 stays f64): detached, finite, on the device of the inputs; raw, or
    /// what temperatures and maps make of them.
    ///
    /// Sample ids find what was recorded, and name the sample if something is wrong with its logits; inputs `[n, ..]`
    /// are what a network computes from, and say to anything else how many samples there are and where the logits are
    /// wanted.
    ///
    /// # Errors
    /// - [`Error::TeacherBatch`] if there are not as many inputs as ids, or as many rows as either.
    /// - [`Error::TeacherClasses`] if the logits have another shape than `[n, K]`.
    /// - [`Error::TeacherDevice`] if a network lies elsewhere than its inputs.
    /// - [`Error::TeacherNotFinite`] with the id of the first sample of which it says a NaN or an infinity.
    /// - [`Error::TeacherChanged`] if a variable was written to since the teacher was made.
    /// - [`Error::MissingSample`], [`Error::UnknownSample`] or [`Error::Recorded`] if a sample was not recorded.
    /// - libtorch's, where a network refuses its inputs.
    pub fn logits(&self, ids: &[usize], inputs: &Tensor) -> Result<Tensor> {
        let _guard = no_grad_guard();
        let (device, samples) = (inputs.device(), ids.len() as i64);
        let found = inputs.size().first().copied().unwrap_or_default();
        if found != samples {
            return Err(Error::TeacherBatch { what: "inputs", samples, found });
        }
        let same_device = |teacher: Device| {
            if teacher == device {
                return Ok(());
            }
            Err(Error::TeacherDevice { teacher, inputs: device })
        };
        let logits = match &self.voice {
            Voice::Network(network) => {
                same_device(network.device)?;
                network.check()?;
                let logits = (network.forward)(&inputs.f_detach()?, false)?;
                network.check()?;
                logits
            }
            Voice::Script(script) => {
                same_device(script.device())?;
                script.forward(&inputs.f_detach()?)?
            }
            Voice::Logits(logits) => {
                same_device(logits.device())?;
                logits.rows(ids)?
            }
            Voice::Recorded(rows) => {
                let rows = rows(ids).map_err(Error::Recorded)?;
                let shape = [samples, self.classes];
                if rows.len() as i64 != samples * self.classes {
                    let found = rows.len() as i64 / self.classes.max(1);
                    return Err(Error::TeacherBatch { what: "rows of logits", samples, found });
                }
                Tensor::f_from_slice(&rows)?.f_reshape(shape)?.f_to_device(device)?
            }
        };
        self.checked(&logits, ids)
    }

    fn checked(&self, logits: &Tensor, ids: &[usize]) -> Result<Tensor> {
        let (samples, classes) = (ids.len() as i64, self.classes);
        match logits.size().as_slice() {
            &[found, k] if k == classes && found != samples => {
                return Err(Error::TeacherBatch { what: "rows of logits", samples, found });
            }
            &[_, k] if k == classes => {}
            found => return Err(Error::TeacherClasses { classes, found: found.to_vec() }),
        }
        let kind = if logits.f_kind()? == Kind::Double { Kind::Double } else { Kind::Float };
        let mut logits = logits.f_detach()?.f_to_kind(kind)?;
        let mut zeros = matches!(&self.voice, Voice::Logits(logits) if logits.may_have_zeros());
        let sound = |logits: Tensor, zeros| match first_unsound(&logits, zeros)? {
            Some(row) => Err(Error::TeacherNotFinite { sample: ids[row] }),
            None => Ok(logits),
        };
        for step in &self.steps {
            logits = match step {
                Step::Divided(temperature) if *temperature == Temperature::ONE => logits,
                Step::Divided(temperature) => logits.f_mul_scalar(temperature.inverse())?,
                Step::Mapped(map) => calibrated(&sound(logits, zeros)?, map.as_ref())?,
            };
            zeros |= matches!(step, Step::Mapped(_));
        }
        sound(logits, zeros)
    }
}

impl Network {
    /// Whether all variables are as they were.
    fn check(&self) -> Result<()> {
        for Variable { name, handle, version, values } in &self.variables {
            let written = handle.f_internal_version()? != *version;
            let same = |values: &Tensor| handle.f_equal(values);
            if written || !values.as_ref().map_or(Ok(true), same)? {
                return Err(Error::TeacherChanged { variable: name.clone() });
            }
        }
        Ok(())
    }
}
