//! The whole experiment: every arm for every seed, and what it leaves in the run folder.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use softlabel_core::{Error as ValueError, Logits};
use softlabel_data::{Data, SavedPredictions, predictions::Origin};
use softlabel_metrics::Predictions;
use softlabel_posthoc::{AnyCalibrator, Calibrator, FitOutcome};
use softlabel_results::{
    Calibration, DatasetSummary, DegenerateFit, RunFolder, SplitSizes, Summary, Timing,
};
use softlabel_tensor::to_logits;
use tch::{Device, Tensor};

use crate::calibration::{FitOf, temperature};
use crate::class_bias::{ChosenBias, biased};
use crate::event::Event;
use crate::features::features;
use crate::lesson::Lesson;
use crate::model::Network;
use crate::objective::check_loss;
use crate::recipe::{Arm, Distill, Fit, Recipe};
use crate::record::Record;
use crate::samples::{Part, Samples};
use crate::table::{Score, checks, comparisons, rows};
use crate::tally::{errors, lesson};
use crate::threads::LibtorchThreads;
use crate::training::Training;
use crate::{Error, Result};

/// A recipe with its data, ready to run.
#[derive(Debug)]
pub struct Experiment {
    recipe: Recipe,
    data: Data,
    device: Device,
    sizes: SplitSizes,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Every number of the table.
    pub summary: Summary,
    /// How long each training took.
    pub timings: Vec<Timing>,
}

impl Experiment {
    /// Reads the data and checks all that can be checked before training; writes nothing.
    ///
    /// `data_root` is where data sets without a path of their own are looked for.
    ///
    /// # Errors
    /// Data that are missing, broken or cannot be split; a model that does not fit the images.
    pub fn prepare(recipe: Recipe, data_root: Option<&Path>, device: Device) -> Result<Self> {
        let data = recipe.data.source.load(data_root)?;
        let classes = data.pool().classes();
        if classes < 2 {
            let (name, expected) = ("number of classes", "at least 2");
            return Err(ValueError::OutOfRange { name, expected, found: classes as f64 }.into());
        }
        let samples = Samples::new(&data, &recipe.data, recipe.seed, device)?;
        let training = Training { recipe: &recipe, samples: &samples, seed: recipe.seed, device };
        for (name, arm) in &recipe.arms {
            training.network(&arm.model)?;
            check_loss(name, &arm.loss, (data.pool().len(), classes), device)?;
            let named = arm.class_bias.iter().map(|bias| ("class_bias", &bias.class));
            let saved = arm.save_features.iter().flat_map(|features| &features.classes);
            let mut named = named.chain(saved.map(|class| ("save_features", class)));
            if let Some((name, &class)) = named.find(|(_, class)| **class >= classes) {
                let expected = "a class of the data";
                return Err(ValueError::OutOfRange { name, expected, found: class as f64 }.into());
            }
            let omitted = arm.omit_classes.iter().find(|&&class| class >= classes);
            if let Some(&class) = omitted.or(arm.omit_classes.get(classes - 1)) {
                let (name, expected) = ("omit_classes", "classes of the data, and not all of them");
                return Err(ValueError::OutOfRange { name, expected, found: class as f64 }.into());
            }
        }
        for model in recipe.models.keys() {
            if !recipe.arms.values().any(|arm| arm.model == *model) {
                tracing::warn!(model, "no arm has this model");
            }
        }
        let sizes = SplitSizes {
            train: samples.train.subset.len(),
            validation: samples.validation.subset.len(),
            test: samples.test.subset.len(),
        };
        let experiment = Self { recipe, data, device, sizes };
        let recipe = &experiment.recipe;
        let training = Training { recipe, samples: &samples, seed: recipe.seed, device };
        for (name, arm) in &recipe.arms {
            if let Some(distill) = &arm.distill {
                let key = format!("arms.{name}.distill");
                let named = |source| Error::Loss { key, source: Box::new(source) };
                experiment.check_teaching(&training, name, distill).map_err(named)?;
                experiment.warn_of_leaks(name, distill);
            }
        }
        Ok(experiment)
    }

    /// Says so if the test samples of some seeds are among those that a teacher was trained on for another.
    fn warn_of_leaks(&self, arm: &str, distill: &Distill) {
        let splits_differ = self.recipe.repeats > 1 && self.data.test().is_none();
        if splits_differ && distill.teacher.teaches_other_seeds() {
            tracing::warn!(
                arm,
                "one teacher for all seeds: what it was trained on is test data of other seeds, \
                 so that the scores of its students are too good"
            );
        }
    }

    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The data.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Samples in each split; the same for every seed.
    pub fn sizes(&self) -> SplitSizes {
        self.sizes
    }

    /// How many trainings a run takes: arms × seeds.
    pub fn trainings(&self) -> usize {
        self.recipe.arms.len() * self.recipe.seeds().len()
    }

    /// Runs everything, seeds side by side on `threads` threads. Writes the recipe, a line of `metrics.jsonl` an event,
    /// predictions, calibrators and, last, `summary.json`; tells the observer of every event.
    ///
    /// With as many seeds as threads each training has one thread, and the numbers are the same for any `threads`;
    /// with fewer seeds libtorch shares the threads out, and adds in another order.
    ///
    /// # Errors
    /// A training that diverges, a fit that is impossible, a folder that cannot be written. What was written by then
    /// stays.
    pub fn run(
        &self,
        folder: &RunFolder,
        threads: NonZeroUsize,
        observer: &mut dyn FnMut(&Event),
    ) -> Result<Outcome> {
        let recipe = &self.recipe;
        folder.write(&folder.recipe(), recipe.to_toml()?.as_bytes())?;
        let seeds = recipe.seeds();
        let mut record = Record::default();
        let mut observe = |event: &Event| {
            record.take(event);
            observer(event);
        };
        let finished = self.run_seeds(&seeds, folder, threads, &mut observe)?;
        let (mut scores, mut timings, mut changed_labels) = (Vec::new(), Vec::new(), Vec::new());
        for seed in finished {
            scores.push(seed.scores);
            timings.extend(seed.timings);
            changed_labels.push(seed.changed_labels);
        }
        let rows = rows(&scores)?;
        // A rate of 0 is no noise.
        let noise = recipe.data.noise.as_ref().filter(|_| changed_labels.iter().any(|&c| c > 0.0));
        let summary = Summary {
            schema: Summary::SCHEMA.to_owned(),
            name: recipe.name.clone(),
            description: recipe.description.clone(),
            arms: record.arms(recipe, &seeds),
            seeds,
            dataset: DatasetSummary {
                name: self.data.pool().name().to_owned(),
                classes: self.data.pool().classes(),
                samples: self.sizes,
                fingerprint: self.fingerprint(),
                label_noise: noise.map(ToString::to_string),
                changed_labels,
            },
            bins: recipe.evaluation.bins,
            comparisons: comparisons(recipe, &rows),
            checks: checks(&recipe.checks, &rows),
            rows,
        };
        folder.write_json(&folder.summary(), &summary)?;
        Ok(Outcome { summary, timings })
    }

    /// Runs the seeds on a few workers; results are in the order of the seeds. After an error no seed is begun.
    fn run_seeds(
        &self,
        seeds: &[u64],
        folder: &RunFolder,
        threads: NonZeroUsize,
        observer: &mut dyn FnMut(&Event),
    ) -> Result<Vec<SeedOutcome>> {
        let workers = threads.get().min(seeds.len());
        let _threads = LibtorchThreads::set(threads.get() / workers.max(1));
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        let (sender, events) = mpsc::channel();
        let observed = thread::scope(|scope| {
            for _ in 0..workers {
                let sender = sender.clone();
                scope.spawn(|| {
                    let sender = sender;
                    while let Some((index, &seed)) = claim(&next, seeds) {
                        let result = self.run_seed(seed, folder, &sender);
                        if result.is_err() {
                            next.store(seeds.len(), Ordering::Relaxed);
                        }
                        results
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push((index, result));
                    }
                });
            }
            drop(sender);
            let observe = |event: Event| {
                observer(&event);
                folder.append_metrics(&event)
            };
            let observed = events.iter().try_for_each(observe);
            if observed.is_err() {
                next.store(seeds.len(), Ordering::Relaxed);
            }
            observed
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(index, _)| *index);
        let results = results.into_iter().map(|(_, result)| result).collect::<Result<_>>()?;
        observed?;
        Ok(results)
    }

    fn run_seed(
        &self,
        seed: u64,
        folder: &RunFolder,
        events: &mpsc::Sender<Event>,
    ) -> Result<SeedOutcome> {
        let (recipe, device) = (&self.recipe, self.device);
        let samples = Samples::new(&self.data, &recipe.data, seed, device)?;
        let training = Training { recipe, samples: &samples, seed, device };
        let mut run = SeedRun {
            experiment: self,
            folder,
            events,
            training: &training,
            scores: Vec::new(),
            timings: Vec::new(),
        };
        run.arms()?;
        let SeedRun { scores, timings, .. } = run;
        Ok(SeedOutcome { scores, timings, changed_labels: samples.changed_labels() })
    }

    /// Fingerprint of all pixels and labels, the test set's after the pool's if there is one.
    pub fn fingerprint(&self) -> String {
        let pool = self.data.pool().fingerprint().to_string();
        match self.data.test() {
            None => pool,
            Some(test) => format!("{pool}+{}", test.fingerprint()),
        }
    }
}

/// A trained network, and what it says of each split.
struct Trained {
    network: Rc<Network>,
    train: Tensor,
    validation: Tensor,
    test: Tensor,
}

/// The next seed that nobody has begun.
fn claim<'a>(next: &AtomicUsize, seeds: &'a [u64]) -> Option<(usize, &'a u64)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    seeds.get(index).map(|seed| (index, seed))
}

/// What one seed came to.
struct SeedOutcome {
    scores: Vec<Score>,
    timings: Vec<Timing>,
    changed_labels: f64,
}

/// A seed under way.
struct SeedRun<'a> {
    experiment: &'a Experiment,
    folder: &'a RunFolder,
    events: &'a mpsc::Sender<Event>,
    training: &'a Training<'a>,
    scores: Vec<Score>,
    timings: Vec<Timing>,
}

impl SeedRun<'_> {
    /// Whoever listens may have stopped listening; the reason is reported where the listening is done.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// All arms, teachers before their students.
    fn arms(&mut self) -> Result<()> {
        let training = self.training;
        let arms = &training.recipe.arms;
        let mut lessons: HashMap<&str, Lesson> = HashMap::new();
        let mut trained: Vec<(&str, &Arm, Trained)> = Vec::new();
        for (index, (name, arm)) in arms.iter().enumerate() {
            let started = Instant::now();
            let before = trained.iter().position(|(_, earlier, _)| earlier.trains_as(arm));
            let at = if let Some(at) = before {
                let (as_arm, epochs) = (trained[at].0.to_owned(), training.recipe.epochs());
                let (arm, seed) = (name.clone(), training.seed);
                self.tell(Event::TrainedAlready { arm, seed, as_arm, epochs });
                at
            } else {
                trained.push((name, arm, self.train(name, arm, &lessons)?));
                trained.len() - 1
            };
            let run = ArmRun { name, arm, training };
            let said = &trained[at].2;
            self.save_features(&run, &said.network)?;
            let bias = self.class_bias(&run, said)?;
            let [logits, validation, test] =
                [&said.train, &said.validation, &said.test].map(|logits| biased(bias, logits));
            let logits = logits?;
            let maps = self.judge(&run, &logits, &validation?, &test?)?;
            if run.is_teacher() {
                let network = Rc::clone(&said.network);
                lessons.insert(name, Lesson { network, bias, logits, maps });
            }
            let seconds = started.elapsed().as_secs_f64();
            self.timings.push(Timing { arm: name.clone(), seed: training.seed, seconds });
            // A network is kept for as long as an arm to come is trained like it.
            trained.retain(|(_, done, _)| arms.values().skip(index + 1).any(|a| a.trains_as(done)));
        }
        Ok(())
    }

    /// Trains an arm, from what its teacher left if it has one.
    fn train(&self, name: &str, arm: &Arm, lessons: &HashMap<&str, Lesson>) -> Result<Trained> {
        let training = self.training;
        let epochs = training.recipe.training.epochs;
        self.tell(Event::Training { arm: name.to_owned(), seed: training.seed, epochs });
        let (part, moved) = (&training.samples.train, arm.shift.is_some());
        let mut of_arm = |teacher: &str, wanted: Option<&Fit>| {
            let unknown = || Error::NoArm { arm: teacher.to_owned(), arms: Vec::new() };
            let lesson = lessons.get(teacher).ok_or_else(unknown)?;
            Ok((lesson.teacher(part, wanted, moved)?, Some(Rc::clone(&lesson.network))))
        };
        let mut mentor = None;
        if let Some(distill) = &arm.distill {
            let of_arm =
                mentor.insert(self.experiment.mentor(training, name, distill, &mut of_arm)?);
            if let Some(fit) = &distill.teacher_calibration {
                let of = FitOf { arm: name, seed: training.seed };
                for (teacher, map) in &of_arm.calibrators {
                    self.record_fit(of, Some(*teacher), fit, map)?;
                }
            }
        }
        let network = training.run(name, arm, mentor, &|event| self.tell(event))?;
        let predict = |part: &Part| training.predict(name, epochs, &network, part);
        let samples = training.samples;
        let (train, validation) = (predict(&samples.train)?, predict(&samples.validation)?);
        let test = predict(&samples.test)?;
        Ok(Trained { network: Rc::new(network), train, validation, test })
    }

    /// Chooses the constant of a class, if the arm has one.
    fn class_bias(&self, arm: &ArmRun<'_>, said: &Trained) -> Result<Option<ChosenBias>> {
        let Some(settings) = &arm.arm.class_bias else { return Ok(None) };
        let labels = arm.training.samples.validation.subset.labels();
        let chosen = ChosenBias::choose(settings, &said.validation, labels)?;
        let (name, seed, bias) = (arm.name.to_owned(), arm.training.seed, chosen.bias);
        let (errors_before, errors_after) = chosen.errors;
        self.tell(Event::ClassBias { arm: name, seed, bias, errors_before, errors_after });
        Ok(Some(chosen))
    }

    /// Keeps what the last layer sees of some samples, if the arm is to.
    fn save_features(&self, arm: &ArmRun<'_>, network: &Network) -> Result<()> {
        let Some(settings) = &arm.arm.save_features else { return Ok(()) };
        let samples = arm.training.samples;
        for (split, part) in [("train", &samples.train), ("test", &samples.test)] {
            let features = features(arm.origin(split), settings, network, part)?;
            let path =
                self.folder.predictions(arm.name, arm.training.seed, &format!("features-{split}"));
            self.folder.write(&path, &features.to_bytes()?)?;
        }
        Ok(())
    }

    /// Saves what a trained arm predicts, fits its calibrators on the validation split, and judges each on the test
    /// split. Returns the fitted maps.
    fn judge(
        &mut self,
        arm: &ArmRun<'_>,
        train: &Tensor,
        validation: &Tensor,
        test: &Tensor,
    ) -> Result<HashMap<Calibration, AnyCalibrator>> {
        let samples = arm.training.samples;
        let train = arm.predictions("train", train, &samples.train)?;
        let train = train.with_observed_labels(samples.observed.clone())?;
        let validation = arm.predictions("validation", validation, &samples.validation)?;
        let test = arm.predictions("test", test, &samples.test)?;
        for predictions in [&train, &validation, &test] {
            let Origin { arm, seed, split } = predictions.origin();
            let path = self.folder.predictions(arm, *seed, split);
            self.folder.write(&path, &predictions.to_bytes()?)?;
        }
        self.tell(errors(&train));
        self.tell(errors(&test));
        for temperature in arm.temperatures() {
            self.tell(lesson(&train, temperature)?);
        }
        self.score(arm, &Calibration::NONE, &test, test.logits(), None, None)?;
        let of = FitOf { arm: arm.name, seed: arm.training.seed };
        let mut maps = HashMap::new();
        for fit in arm.fits() {
            let map = of.fit(fit, validation.logits(), validation.labels())?;
            let degenerate = self.record_fit(of, None, fit, &map)?;
            if arm.arm.shown(&fit.calibration).is_some() {
                let calibrated = map.apply(test.logits());
                let calibrated = calibrated.map_err(|source| of.error(fit, source))?;
                let temperature = temperature(&map);
                self.score(arm, &fit.calibration, &test, &calibrated, temperature, degenerate)?;
            }
            maps.insert(fit.calibration.clone(), map);
        }
        Ok(maps)
    }

    fn score(
        &mut self,
        arm: &ArmRun<'_>,
        calibration: &Calibration,
        test: &SavedPredictions,
        predictions: &impl Predictions,
        temperature: Option<f64>,
        degenerate: Option<DegenerateFit>,
    ) -> Result<()> {
        let bins = arm.training.recipe.evaluation.bins;
        let calibration = calibration.clone();
        let score = Score::new(
            arm.name,
            calibration.clone(),
            predictions,
            test.labels(),
            bins,
            temperature,
        )?
        .with_degenerate_fit(degenerate);
        let (arm, seed, metrics) = (arm.name.to_owned(), arm.training.seed, score.metrics.clone());
        self.tell(Event::Score { arm, seed, calibration, metrics });
        self.scores.push(score);
        Ok(())
    }

    /// Saves a map that was fitted to what an arm, or one of its teachers from outside, says, and tells of its fit;
    /// returns how it ended, if the data did not determine the map.
    fn record_fit(
        &self,
        of: FitOf<'_>,
        teacher: Option<usize>,
        fit: &Fit,
        map: &AnyCalibrator,
    ) -> Result<Option<DegenerateFit>> {
        let (FitOf { arm, seed }, name) = (of, fit.calibration.name());
        let json = map.to_json().map_err(|source| of.error(fit, source))?;
        let path = match teacher {
            None => self.folder.calibrator(arm, seed, name),
            Some(teacher) => self.folder.teacher_calibrator(arm, seed, teacher, name),
        };
        self.folder.write(&path, json.as_bytes())?;
        let Some(diagnostics) = map.diagnostics() else { return Ok(None) };
        self.tell(Event::Fit {
            arm: arm.to_owned(),
            seed,
            calibration: fit.calibration.clone(),
            teacher,
            nll_before: diagnostics.nll_before,
            nll_after: diagnostics.nll_after,
            iterations: diagnostics.iterations,
            converged: diagnostics.outcome.converged(),
            temperature: temperature(map),
        });
        let outcome = degenerate(diagnostics.outcome).map(str::to_owned);
        Ok(outcome.map(|outcome| DegenerateFit { seed, outcome }))
    }
}

/// How a fit ended that the data did not determine.
fn degenerate(outcome: FitOutcome) -> Option<&'static str> {
    match outcome {
        FitOutcome::Converged => None,
        FitOutcome::Separable => Some("every prediction is right"),
        FitOutcome::WorseThanUniform => Some("no better than chance"),
        FitOutcome::Flat => Some("all scores are equal"),
        FitOutcome::OneSided => Some("a class is missing"),
        FitOutcome::IterationLimit => Some("the search ended before a minimum"),
        _ => Some("the data do not determine it"),
    }
}

/// An arm of one seed.
struct ArmRun<'a> {
    name: &'a str,
    arm: &'a Arm,
    training: &'a Training<'a>,
}

impl ArmRun<'_> {
    fn students(&self) -> impl Iterator<Item = &Distill> {
        let arms = self.training.recipe.arms.values();
        arms.filter_map(|arm| arm.distill.as_ref()).filter(|distill| distill.has_teacher(self.name))
    }

    fn is_teacher(&self) -> bool {
        self.students().next().is_some()
    }

    /// 1, and the temperatures at which it teaches.
    fn temperatures(&self) -> Vec<f64> {
        let mut temperatures = vec![1.0];
        for temperature in self.students().filter_map(Distill::constant_temperature) {
            if !temperatures.contains(&temperature) {
                temperatures.push(temperature);
            }
        }
        temperatures
    }

    /// What is fitted: what the table shows, and what a student wants of its teacher.
    fn fits(&self) -> Vec<&Fit> {
        let mut fits: Vec<&Fit> = self.arm.calibrate.iter().collect();
        for fit in self.students().filter_map(|distill| distill.teacher_calibration.as_ref()) {
            if !fits.contains(&fit) {
                fits.push(fit);
            }
        }
        fits
    }

    fn predictions(&self, split: &str, logits: &Tensor, part: &Part) -> Result<SavedPredictions> {
        let logits: Logits<'static, f32> = to_logits(logits)?;
        let (labels, ids) = (part.subset.labels().clone(), part.subset.row_ids().to_vec());
        Ok(SavedPredictions::new(self.origin(split), logits, labels, ids)?)
    }

    fn origin(&self, split: &str) -> Origin {
        Origin { arm: self.name.to_owned(), seed: self.training.seed, split: split.to_owned() }
    }
}
