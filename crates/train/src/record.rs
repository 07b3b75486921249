//! What the summary says of each arm beside its rows, gathered from the events of a run.

use std::collections::HashMap;

use softlabel_results::{Arm, Calibration, Errors, Lesson, Statistic, Taught};

use crate::Event;
use crate::recipe::Recipe;

/// Gathers events, of all arms and seeds.
#[derive(Debug, Default)]
pub(crate) struct Record {
    trained: HashMap<(String, u64), Trained>,
}

/// What is known of an arm for a seed.
#[derive(Debug, Clone, Default)]
struct Trained {
    kept_mass: Option<f64>,
    class_bias: Option<f64>,
    training: Wrong,
    test: Wrong,
    lessons: Vec<Learned>,
}

/// Samples that are wrong.
#[derive(Debug, Clone, Default)]
struct Wrong {
    samples: usize,
    errors: usize,
    by_class: Vec<usize>,
    samples_by_class: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Learned {
    temperature: f64,
    wrong_class_mass: f64,
    class_dispersion: f64,
}

impl Record {
    /// Takes an event, if it says something of an arm.
    pub(crate) fn take(&mut self, event: &Event) {
        match event {
            Event::Epoch { arm, seed, kept_mass, .. } => {
                self.of(arm, *seed).kept_mass = *kept_mass;
            }
            Event::TrainedAlready { arm, seed, as_arm, .. } => {
                let kept_mass = self.of(as_arm, *seed).kept_mass;
                self.of(arm, *seed).kept_mass = kept_mass;
            }
            Event::ClassBias { arm, seed, bias, .. } => {
                self.of(arm, *seed).class_bias = Some(*bias);
            }
            Event::Errors { arm, seed, split, samples, errors, by_class, samples_by_class } => {
                let wrong = Wrong {
                    samples: *samples,
                    errors: *errors,
                    by_class: by_class.clone(),
                    samples_by_class: samples_by_class.clone(),
                };
                let trained = self.of(arm, *seed);
                let of_split =
                    if *split == "train" { &mut trained.training } else { &mut trained.test };
                *of_split = wrong;
            }
            Event::Lesson { arm, seed, temperature, wrong_class_mass, class_dispersion } => {
                let learned = Learned {
                    temperature: *temperature,
                    wrong_class_mass: *wrong_class_mass,
                    class_dispersion: *class_dispersion,
                };
                self.of(arm, *seed).lessons.push(learned);
            }
            _ => {}
        }
    }

    fn of(&mut self, arm: &str, seed: u64) -> &mut Trained {
        self.trained.entry((arm.to_owned(), seed)).or_default()
    }

    /// What is known of each arm, over the seeds.
    pub(crate) fn arms(&self, recipe: &Recipe, seeds: &[u64]) -> Vec<Arm> {
        let arms = recipe.arms.iter();
        let arm = |(name, arm): (&String, &crate::recipe::Arm)| {
            let of = |seed: &u64| self.trained.get(&(name.clone(), *seed));
            let trained: Vec<&Trained> = seeds.iter().filter_map(of).collect();
            let taught = arm.distill.as_ref().map(|distill| Taught {
                teachers: distill.teacher.titles(),
                calibration: distill
                    .teacher_calibration
                    .as_ref()
                    .map_or(Calibration::NONE, |fit| fit.calibration.clone()),
                temperature: distill.temperatures(),
                soft_weight: distill.soft_weights(),
                hard_weight: distill.hard_weights(),
                kept_mass: known(trained.iter().map(|trained| trained.kept_mass)),
            });
            Arm {
                name: name.clone(),
                taught,
                training_errors: errors(&trained, |trained| &trained.training),
                test_errors: errors(&trained, |trained| &trained.test),
                class_bias: known(trained.iter().map(|trained| trained.class_bias)),
                lessons: lessons(&trained),
            }
        };
        arms.map(arm).collect()
    }
}

/// A number over the seeds, if it is there.
fn known(values: impl Iterator<Item = Option<f64>>) -> Option<Statistic> {
    let values: Vec<f64> = values.flatten().collect();
    (!values.is_empty()).then(|| Statistic::of(values))
}

fn errors(trained: &[&Trained], split: fn(&Trained) -> &Wrong) -> Errors {
    let wrong = || trained.iter().map(|trained| split(trained));
    let classes = wrong().map(|wrong| wrong.by_class.len()).max().unwrap_or_default();
    let over = |of: &dyn Fn(&Wrong) -> f64| Statistic::of(wrong().map(of).collect());
    let by_class = |of: fn(&Wrong) -> &[usize]| -> Vec<Statistic> {
        let count = |class: usize| over(&|w| of(w).get(class).map_or(0.0, |&count| count as f64));
        (0..classes).map(count).collect()
    };
    Errors {
        samples_by_class: by_class(|wrong| &wrong.samples_by_class),
        by_class: by_class(|wrong| &wrong.by_class),
        count: over(&|wrong| wrong.errors as f64),
        share: over(&|wrong| wrong.errors as f64 / wrong.samples as f64),
    }
}

/// Lessons of the same temperature, which come in the same order for every seed.
fn lessons(trained: &[&Trained]) -> Vec<Lesson> {
    let Some(first) = trained.first() else { return Vec::new() };
    let lesson = |(index, Learned { temperature, .. }): (usize, &Learned)| {
        let over = |of: fn(&Learned) -> f64| {
            Statistic::of(trained.iter().filter_map(|t| t.lessons.get(index)).map(of).collect())
        };
        Lesson {
            temperature: *temperature,
            wrong_class_mass: over(|learned| learned.wrong_class_mass),
            class_dispersion: over(|learned| learned.class_dispersion),
        }
    };
    first.lessons.iter().enumerate().map(lesson).collect()
}
