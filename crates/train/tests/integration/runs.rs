//! What a run does and leaves behind.

use std::fs;
use std::num::NonZeroUsize;

use softlabel_data::SavedPredictions;
use softlabel_results::{Calibration, Existing, Metric, RunFolder};
use softlabel_train::{Error, Event, Experiment, Recipe};
use tch::Device;
use tempfile::tempdir;

use crate::{edited, run};

/// Small enough to train in no time.
const TINY: &str = r#"
name = "tiny"
seed = 3
[data]
source = { dataset = "digits" }
split = { validation = 0.2, test = 0.25 }
[training]
epochs = 2
batch_size = 64
learning_rate = 0.01
[models.small]
hidden = [8]
[arms.hard]
model = "small"
calibrate = ["temperature", "platt"]
"#;

#[test]
fn an_arm_that_is_not_taught_anything_is_the_arm_without_a_teacher() {
    let student = "[arms.student]\nmodel = \"small\"\n\
        distill = { teacher = \"hard\", temperature = 4, soft_weight = 0, hard_weight = 1 }\n";
    let folder = tempdir().unwrap();
    let (run, ..) = run(&(TINY.to_owned() + student), folder.path()).unwrap();
    for split in ["train", "validation", "test"] {
        let read = |arm| SavedPredictions::read(&run.predictions(arm, 3, split)).unwrap();
        // Bit for bit: same start, same batches, same steps.
        assert_eq!(read("student").logits(), read("hard").logits(), "{split}");
    }
}

#[test]
fn another_model_or_loss_gives_other_predictions() {
    let others = "[models.other]\nhidden = [8]\n[arms.other]\nmodel = \"other\"\n\
        [arms.smoothed]\nmodel = \"small\"\n\
        loss.smoothing = { epsilon = 0.1, convention = \"mixture\" }\n";
    let folder = tempdir().unwrap();
    let (run, ..) = run(&(TINY.to_owned() + others), folder.path()).unwrap();
    let read = |arm| SavedPredictions::read(&run.predictions(arm, 3, "test")).unwrap();
    assert_ne!(read("other").logits(), read("hard").logits());
    assert_ne!(read("smoothed").logits(), read("hard").logits());
}

#[test]
fn the_observer_hears_of_everything_in_order_and_so_does_the_file() {
    let folder = tempdir().unwrap();
    let (run, outcome, events) = run(TINY, folder.path()).unwrap();
    let words = |event: &Event| match event {
        Event::Training { arm, seed, epochs } => format!("training {arm} {seed} {epochs}"),
        Event::Epoch { epoch, epochs, validation, train_loss, .. } => {
            assert!(train_loss.is_finite() && validation.is_some());
            format!("epoch {epoch} of {epochs}")
        }
        Event::Fit { calibration, nll_before, nll_after, converged, temperature, .. } => {
            assert!(*converged && nll_after < nll_before);
            format!("fit {} {}", calibration.name(), temperature.is_some())
        }
        Event::Score { calibration, metrics, .. } => {
            format!("score {} {}", calibration.name(), metrics.len())
        }
        Event::Errors { split, samples, errors, .. } => {
            assert!(errors < samples);
            format!("errors {split} {samples}")
        }
        Event::Lesson { temperature, wrong_class_mass, class_dispersion, .. } => {
            assert!(*wrong_class_mass > 0.0 && *class_dispersion > 0.0);
            format!("lesson {temperature}")
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        events.iter().map(words).collect::<Vec<_>>(),
        [
            "training hard 3 2",
            "epoch 1 of 2",
            "epoch 2 of 2",
            "errors train 989",
            "errors test 449",
            "lesson 1",
            "score none 6",
            "fit temperature true",
            "score temperature 7",
            "fit platt false",
            "score platt 6",
        ]
    );
    let lines = fs::read_to_string(run.metrics()).unwrap();
    assert_eq!(lines.lines().count(), events.len());
    assert!(lines.lines().next().unwrap().starts_with(r#"{"event":"training","arm":"hard""#));

    // What was told is what is summarized.
    let row = outcome.summary.row("hard", &Calibration::TEMPERATURE).unwrap();
    let told = events.iter().find_map(|event| match event {
        Event::Score { calibration, metrics, .. } if *calibration == Calibration::TEMPERATURE => {
            Some(metrics)
        }
        _ => None,
    });
    for (metric, value) in told.unwrap() {
        assert_eq!(row.metrics.get(*metric).unwrap().values, [*value], "{metric:?}");
    }
    assert_eq!(outcome.timings.len(), 1);
    assert_eq!(run.read_summary().unwrap(), outcome.summary);
}

#[test]
fn no_validation_split_no_validation() {
    let text = edited(TINY, "validation = 0.2", "validation = 0");
    let text = edited(&text, "calibrate = [\"temperature\", \"platt\"]", "");
    let folder = tempdir().unwrap();
    let (run, outcome, events) = run(&text, folder.path()).unwrap();
    assert!(events.iter().all(|e| !matches!(e, Event::Epoch { validation: Some(_), .. })));
    assert_eq!(outcome.summary.dataset.samples.validation, 0);
    let saved = SavedPredictions::read(&run.predictions("hard", 3, "validation")).unwrap();
    assert!(saved.labels().is_empty());
}

#[test]
fn an_arm_is_compared_with_its_baseline_raw_and_calibrated() {
    let other = "[arms.other]\nmodel = \"small\"\ncalibrate = [\"temperature\"]\n\
        compare_with = \"hard\"\nloss.smoothing = { epsilon = 0.1, convention = \"mixture\" }\n";
    let folder = tempdir().unwrap();
    let text = edited(TINY, "seed = 3", "seed = 3\nrepeats = 2") + other;
    let (_, outcome, _) = run(&text, folder.path()).unwrap();
    let summary = outcome.summary;
    let pairs: Vec<_> =
        summary.comparisons.iter().map(|c| (c.baseline.as_str(), c.candidate.as_str())).collect();
    assert_eq!(
        pairs,
        [
            ("hard", "hard + temperature"),
            ("hard", "hard + platt"),
            ("hard", "other"),
            ("other", "other + temperature"),
            ("hard + temperature", "other"),
            ("hard + temperature", "other + temperature"),
        ]
    );
    for comparison in &summary.comparisons {
        let row = |title: &String| summary.rows.iter().find(|row| row.title() == *title).unwrap();
        let (before, after) = (row(&comparison.baseline), row(&comparison.candidate));
        for difference in &comparison.differences {
            let values = |row: &softlabel_results::Row| {
                row.metrics.get(difference.metric).unwrap().values.clone()
            };
            let change: Vec<f64> =
                values(after).iter().zip(values(before)).map(|(a, b)| a - b).collect();
            let sign = if difference.metric == Metric::Accuracy { 1.0 } else { -1.0 };
            let count =
                |wanted: fn(f64) -> bool| change.iter().filter(|c| wanted(sign * **c)).count();
            assert_eq!(difference.change.values, change);
            assert_eq!(difference.better, count(|gain| gain > 0.0));
            assert_eq!(difference.worse, count(|gain| gain < 0.0));
        }
    }
}

/// Training must end in an error that the pattern names, before or after the loss can tell.
fn check_diverges(old: &str, new: &str, expected: &str) {
    let text = edited(TINY, old, new);
    let text = edited(&text, "seed = 3", "seed = 3\nrepeats = 3");
    let folder = tempdir().unwrap();
    let error = run(&text, folder.path()).unwrap_err();
    assert!(
        matches!(&error, Error::Diverged { arm, seed: 3, .. } | Error::NotFinite { arm, seed: 3, .. } if arm == "hard"),
        "{error:?}"
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn training_that_diverges_names_arm_seed_and_epoch() {
    check_diverges(
        "learning_rate = 0.01",
        "learning_rate = 1e30\noptimizer = \"sgd\"",
        "arm `hard`, seed 3: the loss is NaN in epoch 1: training diverged (a smaller training.learning_rate?)",
    );
}

#[test]
fn training_that_diverges_in_its_last_step_is_noticed() {
    for validation in ["0.2", "0"] {
        let text = edited(TINY, "validation = 0.2", &format!("validation = {validation}"));
        let text = edited(&text, "calibrate = [\"temperature\", \"platt\"]", "");
        let text = edited(&text, "epochs = 2\nbatch_size = 64", "epochs = 1\nbatch_size = 1000000");
        let text = edited(&text, "= 0.01", "= 1e39\noptimizer = \"sgd\"");
        let folder = tempdir().unwrap();
        let error = run(&text, folder.path()).unwrap_err();
        assert!(matches!(error, Error::NotFinite { seed: 3, epoch: 1, .. }), "{error:?}");
    }
}

/// What cannot be run is found before anything is trained.
fn check_refused(old: &str, new: &str, expected: &str) {
    let recipe = Recipe::parse("tiny.toml", &edited(TINY, old, new), &[]).unwrap();
    let error = Experiment::prepare(recipe, None, Device::Cpu).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_cannot_be_run_is_refused_before_training() {
    check_refused(
        "hidden = [8]",
        "convolutions = [2, 2, 2, 2]",
        "model `small`: 4 convolutions halve images of 8×8 to nothing",
    );
    check_refused(
        "hidden = [8]",
        "hidden = [65536, 65536]",
        "model `small`: expected at most 100000000 weights for images of 1×8×8, found 4299816960",
    );
    check_refused(
        "test = 0.25",
        "test = 0",
        "the test split is empty: give data.split.test a share above 0",
    );
    check_refused(
        "test = 0.25 }",
        "test = 0.25 }\nnoise = { kind = \"matrix\", matrix = [[1]] }",
        "classes of the noise matrix: expected 10, found 1",
    );
}

#[test]
fn models_of_every_kind_can_be_trained() {
    for model in ["", "hidden = []", "hidden = [4, 4, 4]", "convolutions = [2, 3, 4]"] {
        let folder = tempdir().unwrap();
        let (_, outcome, _) = run(&edited(TINY, "hidden = [8]", model), folder.path()).unwrap();
        assert_eq!(outcome.summary.rows.len(), 3, "{model}");
    }
}

#[test]
fn a_batch_may_be_larger_than_the_data() {
    let trained = |size: usize| {
        let folder = tempdir().unwrap();
        let text = edited(TINY, "batch_size = 64", &format!("batch_size = {size}"));
        let (run, outcome, _) = run(&text, folder.path()).unwrap();
        let saved = SavedPredictions::read(&run.predictions("hard", 3, "test")).unwrap();
        (saved.logits().clone(), outcome.summary.dataset.samples.train)
    };
    let (larger, samples) = trained(1_000_000);
    assert!(trained(samples).0 == larger && trained(samples - 1).0 != larger);
}

#[test]
fn any_number_of_threads_gives_the_same_numbers_for_as_many_seeds() {
    let text = edited(TINY, "seed = 3", "seed = 3\nrepeats = 3");
    let summary = |threads| {
        let recipe = Recipe::parse("tiny.toml", &text, &[]).unwrap();
        let folder = tempdir().unwrap();
        let run = RunFolder::create(folder.path(), Existing::Refuse).unwrap();
        let experiment = Experiment::prepare(recipe, None, Device::Cpu).unwrap();
        assert_eq!(experiment.trainings(), 3);
        experiment.run(&run, NonZeroUsize::new(threads).unwrap(), &mut |_| {}).unwrap();
        fs::read(run.summary()).unwrap()
    };
    let alone = summary(1);
    assert!(summary(2) == alone && summary(3) == alone);
}
