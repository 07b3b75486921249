//! The rules that types alone do not hold: ranges, and names that refer to each other.

use softlabel_distill::Distillation;
use softlabel_results::{Calibration, Metric};

use super::{Arm, Demand, Model, Recipe, Training};

/// A broken rule: the key it is about, and for a name that nothing has, the names there are.
pub(super) struct Problem {
    /// The keys on the way, and the positions in lists.
    pub(super) path: Vec<String>,
    /// Whether it is the last key itself that is wrong, not its value.
    pub(super) is_key: bool,
    pub(super) message: String,
    pub(super) found: String,
    pub(super) candidates: Vec<String>,
}

type Checked = Result<(), Problem>;

fn broken(path: &[&str], message: impl Into<String>) -> Checked {
    Err(Problem {
        path: path.iter().map(|&part| part.to_owned()).collect(),
        is_key: false,
        message: message.into(),
        found: String::new(),
        candidates: Vec::new(),
    })
}

fn require(valid: bool, path: &[&str], message: impl Into<String>) -> Checked {
    if valid { Ok(()) } else { broken(path, message) }
}

/// A name must be one of those that there are.
fn known<'a>(
    path: &[&str],
    what: &str,
    name: &str,
    names: impl Iterator<Item = &'a String> + Clone,
) -> Checked {
    if names.clone().any(|known| known == name) {
        return Ok(());
    }
    let listed: Vec<String> = names.clone().map(|name| format!("`{name}`")).collect();
    let there_are = if listed.is_empty() { "there is none".into() } else { listed.join(", ") };
    Err(Problem {
        path: path.iter().map(|&part| part.to_owned()).collect(),
        is_key: false,
        message: format!("there is no {what} `{name}`; expected one of: {there_are}"),
        found: name.to_owned(),
        candidates: names.cloned().collect(),
    })
}

/// Names become names of files.
fn usable_name(path: &[&str], name: &str) -> Checked {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    require(
        !name.is_empty()
            && name.len() <= 100
            && !name.starts_with(['.', '-'])
            && name.chars().all(plain),
        path,
        format!(
            "the name `{name}` must be 1 to 100 of letters, digits, `_`, `-` and `.`, \
             and begin with none of the last two"
        ),
    )
}

/// The same for a name that is a key.
fn usable_key(path: &[&str], name: &str) -> Checked {
    usable_name(path, name).map_err(|problem| Problem { is_key: true, ..problem })
}

impl Recipe {
    /// Whether everything fits together.
    pub(super) fn check(&self) -> Checked {
        usable_name(&["name"], &self.name)?;
        require(
            (1..=1000).contains(&self.repeats),
            &["repeats"],
            format!("must be in 1..=1000, found {}", self.repeats),
        )?;
        let last_seed = self.seed.checked_add(self.repeats);
        // TOML has signed integers.
        require(
            last_seed.is_some_and(|last| i64::try_from(last).is_ok()),
            &["seed"],
            format!("seed + repeats must be below 2^63, found seed {}", self.seed),
        )?;
        self.training.check()?;
        require(
            (1..=1000).contains(&self.evaluation.bins),
            &["evaluation", "bins"],
            format!("must be in 1..=1000, found {}", self.evaluation.bins),
        )?;
        require(!self.models.is_empty(), &["models"], "expected at least one model")?;
        for (name, model) in &self.models {
            model.check(name)?;
        }
        require(!self.arms.is_empty(), &["arms"], "expected at least one arm")?;
        for (index, (name, arm)) in self.arms.iter().enumerate() {
            self.check_arm(index, name, arm)?;
        }
        let mut demands = self.checks.iter().enumerate();
        demands.try_for_each(|(index, demand)| self.check_demand(&index.to_string(), demand))
    }

    fn check_arm(&self, index: usize, name: &str, arm: &Arm) -> Checked {
        let at = |key: &'static [&'static str]| [&["arms", name], key].concat();
        usable_key(&at(&[]), name)?;
        known(&at(&["model"]), "model", &arm.model, self.models.keys())?;
        let earlier = self.arms.keys().take(index);
        if let Some(baseline) = &arm.compare_with {
            known(&at(&["compare_with"]), "earlier arm", baseline, earlier.clone())?;
        }
        for (position, calibration) in arm.calibrate.iter().enumerate() {
            require(
                *calibration != Calibration::None
                    && !arm.calibrate[..position].contains(calibration),
                &["arms", name, "calibrate", &position.to_string()],
                format!(
                    "`{}` does not belong here: expected `temperature` or `platt`, each at most once",
                    calibration.name()
                ),
            )?;
        }
        let mut fits = !arm.calibrate.is_empty();
        if let Some(distill) = &arm.distill {
            known(&at(&["distill", "teacher"]), "earlier arm", &distill.teacher, earlier)?;
            require(
                distill.teacher_calibration != Calibration::Platt,
                &at(&["distill", "teacher_calibration"]),
                "expected `none` or `temperature`: Platt scaling leaves no logits to teach",
            )?;
            fits |= distill.teacher_calibration != Calibration::None;
            let (soft, hard) = (distill.soft_weight, distill.hard_weight);
            let temperature = distill.temperature.get();
            require(
                (0.01..=1000.0).contains(&temperature),
                &at(&["distill", "temperature"]),
                format!("must be in [0.01, 1000], found {temperature:?}"),
            )?;
            for (weight, key) in [(soft, "soft_weight"), (hard, "hard_weight")] {
                require(
                    (0.0..=1e6).contains(&weight),
                    &[&["arms", name, "distill"], &[key][..]].concat(),
                    format!("must be in [0, 1000000], found {weight:?}"),
                )?;
            }
            require(
                hard > 0.0 || arm.loss.smoothing.is_none(),
                &at(&["loss", "smoothing"]),
                "does nothing: distill.hard_weight is 0, so the labels do not count",
            )?;
            if let Err(error) = Distillation::new(distill.temperature, soft, hard) {
                return broken(&at(&["distill", "soft_weight"]), error.to_string());
            }
        }
        require(
            !fits || self.data.split.validation() > 0.0,
            &["data", "split", "validation"],
            format!("must be above 0, found 0: arm `{name}` fits a calibration on it"),
        )
    }

    fn check_demand(&self, index: &str, demand: &Demand) -> Checked {
        let at = |key| ["checks", index, key];
        known(&at("arm"), "arm", &demand.arm, self.arms.keys())?;
        let there = demand.calibration == Calibration::None
            || self.arms[&demand.arm].calibrate.contains(&demand.calibration);
        require(
            there,
            &at("calibration"),
            format!("arm `{}` is not calibrated by {}", demand.arm, demand.calibration.name()),
        )?;
        require(
            demand.metric != Metric::Temperature || demand.calibration == Calibration::Temperature,
            &at("metric"),
            "only a row with `calibration = \"temperature\"` has a temperature",
        )?;
        for (key, bound) in [("at_least", demand.at_least), ("at_most", demand.at_most)] {
            require(
                bound.is_none_or(f64::is_finite),
                &at(key),
                format!("must be finite, found {}", bound.unwrap_or_default()),
            )?;
        }
        require(
            demand.at_least.is_some() || demand.at_most.is_some(),
            &["checks", index],
            "expected `at_least`, `at_most` or both",
        )?;
        let (least, most) =
            (demand.at_least.unwrap_or(f64::MIN), demand.at_most.unwrap_or(f64::MAX));
        require(
            least <= most,
            &at("at_least"),
            format!("must not be above `at_most`, which is {most}, found {least}"),
        )
    }
}

impl Training {
    fn check(&self) -> Checked {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        require(
            (1..=1_000_000).contains(&self.epochs),
            &["training", "epochs"],
            format!("must be in 1..=1000000, found {}", self.epochs),
        )?;
        require(
            (1..=1_000_000).contains(&self.batch_size),
            &["training", "batch_size"],
            format!("must be in 1..=1000000, found {}", self.batch_size),
        )?;
        require(
            positive(self.learning_rate),
            &["training", "learning_rate"],
            format!("must be positive and finite, found {:?}", self.learning_rate),
        )?;
        require(
            self.weight_decay == 0.0 || positive(self.weight_decay),
            &["training", "weight_decay"],
            format!("must be finite and not negative, found {:?}", self.weight_decay),
        )?;
        require(
            (0.0..1.0).contains(&self.momentum),
            &["training", "momentum"],
            format!("must be in [0, 1), found {:?}", self.momentum),
        )
    }
}

impl Model {
    fn check(&self, name: &str) -> Checked {
        usable_key(&["models", name], name)?;
        for (key, widths) in [("hidden", &self.hidden), ("convolutions", &self.convolutions)] {
            for (index, width) in widths.iter().enumerate() {
                require(
                    (1..=65_536).contains(width),
                    &["models", name, key, &index.to_string()],
                    format!("a width must be in 1..=65536, found {width}"),
                )?;
            }
        }
        Ok(())
    }
}
