//! The rules that types alone do not hold: ranges, and names that refer to each other.

use softlabel_losses::{AnyLoss, CrossEntropy};
use softlabel_posthoc::Method;
use softlabel_results::{Calibration, Metric};

use super::calibrate::NAME;
use super::{
    Arm, ClassBias, Demand, Distill, Fit, Loss, Model, Recipe, SaveFeatures, TeacherSource,
    Training,
};

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

pub(super) type Checked = Result<(), Problem>;

fn broken(path: &[&str], message: impl Into<String>) -> Checked {
    Err(Problem {
        path: path.iter().map(|&part| part.to_owned()).collect(),
        is_key: false,
        message: message.into(),
        found: String::new(),
        candidates: Vec::new(),
    })
}

pub(super) fn require(valid: bool, path: &[&str], message: impl Into<String>) -> Checked {
    if valid { Ok(()) } else { broken(path, message) }
}

/// A name must be one of those that there are.
fn known(
    path: &[&str],
    what: &str,
    name: &str,
    names: impl Iterator<Item: AsRef<str>> + Clone,
) -> Checked {
    if names.clone().any(|known| known.as_ref() == name) {
        return Ok(());
    }
    let listed: Vec<String> = names.clone().map(|name| format!("`{}`", name.as_ref())).collect();
    let there_are = if listed.is_empty() { "there is none".into() } else { listed.join(", ") };
    Err(Problem {
        path: path.iter().map(|&part| part.to_owned()).collect(),
        is_key: false,
        message: format!("there is no {what} `{name}`; expected one of: {there_are}"),
        found: name.to_owned(),
        candidates: names.map(|name| name.as_ref().to_owned()).collect(),
    })
}

/// Characters of a name of a file, which disks bound.
const LONGEST_NAME: usize = 100;

/// Names become names of files.
fn usable_name(path: &[&str], name: &str) -> Checked {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    require(
        !name.is_empty()
            && name.len() <= LONGEST_NAME
            && !name.starts_with(['.', '-'])
            && name.chars().all(plain),
        path,
        format!(
            "the name `{name}` must be 1 to {LONGEST_NAME} of letters, digits, `_`, `-` and `.`, \
             and begin with none of the last two"
        ),
    )
}

/// A map has a name that no other is mistaken for: that of its method, unless that is too long, or one of its own that
/// is none of a method.
fn check_fit(path: &[&str], fit: &Fit) -> Checked {
    let name = fit.calibration.name();
    if !fit.has_own_name() {
        return require(
            name.len() <= LONGEST_NAME,
            path,
            format!("`{name}` is too long for the name of a file: give the map a `name`"),
        );
    }
    let path = [path, &[NAME]].concat();
    usable_name(&path, name)?;
    let lower = name.to_ascii_lowercase();
    require(
        lower != Calibration::NONE.name() && lower.parse::<Method>().is_err(),
        &path,
        format!("`{name}` is the name of a method: expected one of the map's own"),
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
            self.check_maps(name, arm)?;
            require(
                self.data.noise.is_none() || arm.loss.soft_labels.is_none(),
                &["arms", name, "loss", "soft_labels"],
                "stands in the place of the labels that `data.noise` changes: expected one of the two",
            )?;
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
            known(&at(&["compare_with"]), "earlier arm", baseline, earlier)?;
        }
        for (position, fit) in arm.calibrate.iter().enumerate() {
            let index = position.to_string();
            let path = ["arms", name, "calibrate", &index];
            check_fit(&path, fit)?;
            let mut earlier = arm.calibrate[..position].iter();
            let map = fit.calibration.name();
            require(
                !earlier.any(|earlier| earlier == fit || fit.is_mistaken_for(earlier)),
                &path,
                format!("there is a map `{map}` already: give one of the two a `name` of its own"),
            )?;
        }
        require(
            arm.shift.is_none_or(|pixels| (1..=64).contains(&pixels)),
            &at(&["shift"]),
            format!("must be in 1..=64, found {}", arm.shift.unwrap_or_default()),
        )?;
        if let Some(ClassBias { from, to, step, .. }) = arm.class_bias {
            let finite = [from, to, step].iter().all(|value| value.is_finite());
            require(
                finite && step > 0.0 && from <= to && (to - from) / step <= 10_000.0,
                &at(&["class_bias"]),
                format!(
                    "expected from ≤ to and step > 0, at most 10000 steps apart, \
                     found {from:?} to {to:?} by {step:?}"
                ),
            )?;
        }
        if let Some(SaveFeatures { classes, samples }) = &arm.save_features {
            let once = |(index, class): (usize, &usize)| !classes[..index].contains(class);
            require(
                !classes.is_empty() && classes.iter().enumerate().all(once),
                &at(&["save_features", "classes"]),
                format!("expected classes, each at most once, found {classes:?}"),
            )?;
            require(*samples > 0, &at(&["save_features", "samples"]), "must be above 0, found 0")?;
        }
        arm.loss.check(name)?;
        if arm.fuse_last_layer {
            self.check_fused(name, arm)?;
        }
        let mut fits = !arm.calibrate.is_empty() || arm.class_bias.is_some();
        if let Some(distill) = &arm.distill {
            self.check_distill(index, name, arm, distill)?;
            fits |= distill.teacher_calibration.is_some();
        }
        require(
            !fits || self.data.split.validation() > 0.0,
            &["data", "split", "validation"],
            format!("must be above 0, found 0: arm `{name}` fits a calibration on it"),
        )
    }

    /// The last layer and the loss are one only where nothing else looks at the logits.
    fn check_fused(&self, name: &str, arm: &Arm) -> Checked {
        let path = ["arms", name, "fuse_last_layer"];
        let Loss { online_smoothing, zipf_smoothing, .. } = &arm.loss;
        require(
            arm.loss.is_cross_entropy() && online_smoothing.is_none() && zipf_smoothing.is_none(),
            &path,
            "expected cross-entropy alone: terms, `online_smoothing` and `zipf_smoothing` need the logits",
        )?;
        let Some(distill) = &arm.distill else { return Ok(()) };
        let is_biased = |teacher: &str| self.arms[teacher].class_bias.is_some();
        require(
            matches!(&distill.teacher, TeacherSource::Arm(teacher) if !is_biased(teacher))
                && distill.teacher_calibration.is_none(),
            &path,
            "expected an earlier arm as the teacher, neither calibrated nor with a `class_bias`: \
             no other has a last layer",
        )?;
        let of_samples = distill.of_samples().iter().any(|(_, file)| file.is_some());
        require(
            distill.top_k.is_none() && distill.features.is_empty() && !of_samples,
            &path,
            "does not go with `top_k`, `features` or numbers of single samples",
        )
    }

    fn check_distill(&self, index: usize, name: &str, arm: &Arm, distill: &Distill) -> Checked {
        let at = |key: &'static [&'static str]| [&["arms", name], key].concat();
        let earlier = self.arms.keys().take(index);
        for teacher in distill.teacher.arms() {
            known(&at(&["distill", "teacher"]), "earlier arm", teacher, earlier.clone())?;
        }
        for model in distill.teacher.models() {
            known(&at(&["distill", "teacher"]), "model", model, self.models.keys())?;
        }
        let peers = matches!(distill.teacher, TeacherSource::Peers(_));
        let is_simple = arm.loss.is_cross_entropy() && !arm.loss.is_of_single_samples();
        require(
            !peers || (is_simple && distill.top_k.is_none()),
            &at(&["distill", "teacher"]),
            "peers learn from a cross-entropy of the labels and from all that the others say: \
             they do not go with other losses, nor with `top_k`",
        )?;
        for (key, file) in distill.of_samples() {
            let path = [&["arms", name, "distill"], &[key][..]].concat();
            require(
                file.is_none() || !peers,
                &path,
                "does not go with peers, who have no number of a sample's own",
            )?;
            require(
                file.is_none() || distill.top_k.is_none(),
                &path,
                "does not go with `top_k`, which has one number for all samples",
            )?;
        }
        require(
            distill.sample_temperatures.is_none()
                || !matches!(distill.teacher, TeacherSource::Several { .. }),
            &at(&["distill", "sample_temperatures"]),
            "does not go with several teachers, whose probabilities are averaged at one temperature",
        )?;
        require(
            distill.features.is_empty() || matches!(distill.teacher, TeacherSource::Arm(_)),
            &at(&["distill", "features"]),
            "expected an earlier arm as the teacher: no other has layers",
        )?;
        for (index, term) in distill.features.iter().enumerate() {
            let index = index.to_string();
            let path = ["arms", name, "distill", "features", &index];
            if let Some((key, message)) = term.problem() {
                return broken(&[&path[..], &[key]].concat(), message);
            }
        }
        if let Some(fit) = &distill.teacher_calibration {
            self.check_teacher_fit(&at(&["distill", "teacher_calibration"]), index, distill, fit)?;
        }
        if let Some((key, range, found)) = distill.out_of_range() {
            let message = format!("must be in {range}, found {found:?}");
            return broken(&[&["arms", name, "distill"], &[key][..]].concat(), message);
        }
        require(
            !distill.weighs_nothing(),
            &at(&["distill", "soft_weight"]),
            "soft_weight and hard_weight must be finite, not negative and not both 0",
        )?;
        let ignored = arm.loss.keys().find(|_| distill.leaves_labels_out());
        require(
            ignored.is_none(),
            &[&at(&["loss"]), &[ignored.unwrap_or_default()][..]].concat(),
            "does nothing: distill.hard_weight is 0, so the labels do not count",
        )?;
        require(
            arm.shift.is_none() || !distill.teacher.is_recorded(),
            &at(&["shift"]),
            "does not go with this teacher, who was asked about the images as they are: \
             expected an earlier arm, who looks at what the student sees",
        )?;
        require(
            !arm.loss.is_mixed(),
            &at(if arm.loss.mixup.is_some() { &["loss", "mixup"] } else { &["loss", "cutmix"] }),
            "does not go with `distill`: the teacher says nothing of mixed images",
        )?;
        Ok(())
    }

    /// The map of the teachers of the arm at `index`.
    fn check_teacher_fit(
        &self,
        path: &[&str],
        index: usize,
        distill: &Distill,
        fit: &Fit,
    ) -> Checked {
        require(
            distill.teacher.has_logits(),
            path,
            "does nothing: this teacher has no logits of its own to be calibrated",
        )?;
        let is_run = |source: &TeacherSource| matches!(source, TeacherSource::Run { .. });
        let of_run = distill.teacher.each().iter().any(is_run);
        require(
            !distill.teacher.teaches_other_seeds() || (self.repeats == 1 && !of_run),
            path,
            "does not go with one teacher for several seeds: it was trained on samples that other seeds hold out",
        )?;
        check_fit(path, fit)?;
        for teacher in distill.teacher.arms() {
            let earlier = self.arms.values().take(index).filter_map(|arm| arm.distill.as_ref());
            let earlier = earlier.filter(|earlier| earlier.has_teacher(teacher));
            let earlier = earlier.filter_map(|earlier| earlier.teacher_calibration.as_ref());
            let mut of_teacher = self.arms[teacher].calibrate.iter().chain(earlier);
            require(
                !of_teacher.any(|other| fit.is_mistaken_for(other)),
                path,
                format!(
                    "arm `{teacher}` has another map `{}`: give this one a `name` of its own",
                    fit.calibration.name()
                ),
            )?;
        }
        Ok(())
    }

    fn check_demand(&self, index: &str, demand: &Demand) -> Checked {
        let at = |key| ["checks", index, key];
        known(&at("arm"), "arm", &demand.arm, self.arms.keys())?;
        let arm = &self.arms[&demand.arm];
        let maps = arm.calibrate.iter().map(|fit| fit.calibration.name());
        let maps = std::iter::once(Calibration::NONE.name()).chain(maps);
        let what = format!("row of arm `{}` with calibration", demand.arm);
        known(&at("calibration"), &what, demand.calibration.name(), maps)?;
        let by_temperature = |fit: &Fit| fit.method == Method::Temperature;
        require(
            demand.metric != Metric::Temperature
                || arm.shown(&demand.calibration).is_some_and(by_temperature),
            &at("metric"),
            "only a row with the method `temperature` as its `calibration` has a temperature",
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

/// What terms do not see.
const OF_CROSS_ENTROPY: [&str; 7] = [
    "smoothing",
    "online_smoothing",
    "class_weights",
    "mean_over",
    "z_loss",
    "softcap",
    "logit_scale",
];

impl Loss {
    /// Whether there is a weight, and what is of the cross-entropy has one.
    fn check_weight(&self, arm: &str) -> Checked {
        let at = |key| ["arms", arm, "loss", key];
        require(
            self.weights().any(|weight| !weight.is_zero()),
            &at("weight"),
            "must not be 0 where no term has a weight other than 0",
        )?;
        // An ε a sample is part of the target, which LogitNorm's cross-entropy takes, too.
        let of_samples = self.smoothing.of_samples().is_some();
        let of_cross_entropy = self
            .keys()
            .find(|key| OF_CROSS_ENTROPY.contains(key) && !(of_samples && *key == "smoothing"));
        require(
            !self.weight.is_zero() || of_cross_entropy.is_none(),
            &at(of_cross_entropy.unwrap_or_default()),
            "does nothing: it is of the cross-entropy, whose weight is 0",
        )
    }

    /// Whether its parts go together.
    fn check(&self, arm: &str) -> Checked {
        let at = |key| ["arms", arm, "loss", key];
        self.check_weight(arm)?;
        for (key, is_there) in [
            ("online_smoothing", self.online_smoothing.is_some()),
            ("zipf_smoothing", self.zipf_smoothing.is_some()),
            ("spatial_smoothing", self.spatial_smoothing.is_some()),
        ] {
            require(
                !is_there || self.soft_labels.is_none(),
                &at("soft_labels"),
                format!(
                    "does not go with `{key}`, which is made of labels: expected one of the two"
                ),
            )?;
            require(
                !is_there || self.smoothing.is_none(),
                &at(key),
                "stands in the place of `smoothing`: expected one of the two",
            )?;
            require(
                !is_there || !self.is_mixed(),
                &at(key),
                "does not go with `mixup` or `cutmix`: expected samples of one label",
            )?;
        }
        require(
            self.online_smoothing.is_none() || self.zipf_smoothing.is_none(),
            &at("zipf_smoothing"),
            "stands in the place of `online_smoothing`: expected one of the two",
        )?;
        require(
            self.spatial_smoothing.is_none()
                || (self.online_smoothing.is_none() && self.zipf_smoothing.is_none()),
            &at("spatial_smoothing"),
            "stands in the place of `online_smoothing` and `zipf_smoothing`: expected one of them",
        )?;
        for (key, is_there) in [
            ("mixup", self.mixup.is_some()),
            ("cutmix", self.cutmix.is_some()),
            ("disturb_label", self.disturb_label.is_some()),
        ] {
            require(
                !is_there || self.soft_labels.is_none(),
                &at("soft_labels"),
                format!(
                    "stands in the place of the labels that `{key}` changes: expected one of the two"
                ),
            )?;
        }
        let of_samples = self.smoothing.of_samples().is_some();
        require(
            !of_samples || self.soft_labels.is_none(),
            &["arms", arm, "loss", "smoothing", "epsilon"],
            "a file with a number for each sample does not go with `soft_labels`: \
             expected one number for all",
        )?;
        require(
            !of_samples || !self.is_mixed(),
            &["arms", arm, "loss", "smoothing", "epsilon"],
            "a file with a number for each sample does not go with `mixup` or `cutmix`",
        )?;
        let bad = |weight: &&f64| !(**weight >= 0.0 && weight.is_finite());
        if let Some(weight) = self.class_weights.iter().flatten().find(bad) {
            let message = format!("a weight must be finite and not negative, found {weight:?}");
            return broken(&at("class_weights"), message);
        }
        require(
            self.class_weights.iter().all(|weights| weights.iter().any(|&weight| weight > 0.0)),
            &at("class_weights"),
            "expected at least one weight above 0",
        )?;
        let base = CrossEntropy::new;
        for (key, tried) in [
            ("z_loss", self.z_loss.map(|value| base().with_z_loss(value))),
            ("softcap", self.softcap.map(|value| base().with_softcap(value))),
            ("logit_scale", self.logit_scale.map(|value| base().with_logit_scale(value))),
        ] {
            if let Some(Err(error)) = tried {
                return broken(&at(key), error.to_string());
            }
        }
        for (index, term) in self.terms.iter().enumerate() {
            require(
                !(matches!(term.loss, AnyLoss::CorrectnessRanking(_)) && self.is_mixed()),
                &["arms", arm, "loss", "terms", &index.to_string()],
                "does not go with `mixup` or `cutmix`: a mixed sample is neither right nor wrong",
            )?;
        }
        Ok(())
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
        require(
            (0.0..1.0).contains(&self.dropout),
            &["models", name, "dropout"],
            format!("must be in [0, 1), found {:?}", self.dropout),
        )?;
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
