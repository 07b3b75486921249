//! Maps, whose pixels have labels: one step of training by hand, what is ignored, and what does not go with them.
//!
//! Without convolutions a pixel is a sample of its own: with standardized channels x of a pixel, initial logits z⁰ and
//! the gradient d of the loss in the logits, the logits after one step are z = z⁰ − η (x·Σ x_i d_i + Σ d_i), sums over the
//! training pixels that count. All of it in f64, from the arrays and the saved files.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;

use softlabel_data::{SavedPredictions, Source, SplitFractions, Splits, Subset};
use softlabel_results::{Calibration, Existing, RunFolder};
use softlabel_targets::{ClassAxis, LabelMap, Svls};
use softlabel_train::{Error, Event, Experiment, Recipe, Teach, TeachWith};
use tch::{Device, Kind, Tensor};
use tempfile::{TempDir, tempdir};

use crate::{edited, run};

const SEED: u64 = 5;
const RATE: f64 = 0.5;
const MAPS: usize = 40;
const SIZE: (usize, usize) = (4, 5);
const AREA: usize = SIZE.0 * SIZE.1;
const IGNORED: i64 = 255;

const HEAD: &str = r#"
name = "dense"
seed = 5
[data]
source = { dataset = "maps", images = "FOLDER/x.npy", labels = "FOLDER/y.npy", classes = 3, ignore = 255 }
split = { validation = 0.25, test = 0.25 }
[training]
epochs = 1
batch_size = 1000000
optimizer = "sgd"
momentum = 0
learning_rate = 0.5
schedule = "constant"
[models.linear]
hidden = []
[models.network]
convolutions = [3]
hidden = [5]
"#;

/// Vertical bands whose edge moves from map to map, in noise of two channels; a frame, one whole map and single pixels
/// that are ignored.
fn arrays() -> (Vec<f32>, Vec<i64>) {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for map in 0..MAPS {
        let noise = |at: usize| ((map * 37 + at * 101) % 64) as f32 / 64.0;
        let class = |at: usize| [0_u8, 0, 1, 1, 2, 2, 0][at % SIZE.1 + map % 3];
        for channel in 0..2 {
            images.extend((0..AREA).map(|at| {
                if channel == 0 { f32::from(class(at)) + noise(at) } else { noise(at + 7) * 2.0 }
            }));
        }
        labels.extend((0..AREA).map(|at| {
            let ignored = map == 3 || at < SIZE.1 && map % 2 == 0 || (map + at) % 11 == 0;
            if ignored { IGNORED } else { i64::from(class(at)) }
        }));
    }
    (images, labels)
}

/// A folder with the arrays, and the recipe that reads them, with these arms.
fn place(labels: &[i64], arms: &str) -> (TempDir, String) {
    let folder = tempdir().unwrap();
    let size = (MAPS as i64, 2, SIZE.0 as i64, SIZE.1 as i64);
    Tensor::from_slice(&arrays().0).view(size).write_npy(folder.path().join("x.npy")).unwrap();
    let labels = Tensor::from_slice(labels).view((size.0, size.2, size.3));
    labels.write_npy(folder.path().join("y.npy")).unwrap();
    let recipe = HEAD.replace("FOLDER", folder.path().to_str().unwrap()) + arms;
    (folder, recipe)
}

fn prepared(recipe: &str) -> softlabel_train::Result<Experiment> {
    Experiment::prepare(Recipe::parse("recipe.toml", recipe, &[])?, None, Device::Cpu)
}

type Matrix = Vec<Vec<f64>>;

fn softmax(row: &[f64], temperature: f64) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::MIN, f64::max);
    let values: Vec<f64> = row.iter().map(|z| ((z - largest) / temperature).exp()).collect();
    let sum: f64 = values.iter().sum();
    values.into_iter().map(|value| value / sum).collect()
}

/// What a run said of the pixels of a split.
fn said(run: &RunFolder, arm: &str, split: &str) -> (Matrix, SavedPredictions) {
    let saved = SavedPredictions::read(&run.predictions(arm, SEED, split)).unwrap();
    let row = |row: &[f32]| row.iter().copied().map(f64::from).collect();
    (saved.logits().as_slice().chunks(3).map(row).collect(), saved)
}

/// The pixels of a split that count, from the arrays: id, standardized channels, label.
fn rows(subset: &Subset, moments: (f64, f64)) -> Vec<(usize, [f64; 2], i64)> {
    let (images, labels) = arrays();
    let pixels = subset.ids().iter().flat_map(|&map| (0..AREA).map(move |at| (map, at)));
    let counted = pixels.filter(|(map, at)| labels[map * AREA + at] != IGNORED);
    counted
        .map(|(map, at)| {
            let x = |channel: usize| f64::from(images[(map * 2 + channel) * AREA + at]);
            let x = [x(0), x(1)].map(|x| (x - moments.0) / moments.1);
            (map * AREA + at, x, labels[map * AREA + at])
        })
        .collect()
}

fn splits(recipe: &str) -> Splits {
    let table: toml::Table = recipe.parse().unwrap();
    let source: Source = table["data"]["source"].clone().try_into().unwrap();
    let fractions = SplitFractions::new(0.25, 0.25).unwrap();
    source.load(None).unwrap().split(fractions, SEED).unwrap()
}

const ARMS: &str = r#"
[arms.hard]
model = "linear"
[arms.start]
model = "linear"
loss.weight = 1e-30
[arms.uniform]
model = "linear"
loss.smoothing = { epsilon = 0.3, convention = "mixture" }
[arms.spatial]
model = "linear"
loss.spatial_smoothing = { sigma = 0.8, size = 3 }
[arms.spatial_fused]
model = "linear"
fuse_last_layer = true
loss.spatial_smoothing = { sigma = 0.8, size = 3 }
[arms.taught]
model = "linear"
distill = { teacher = "hard", temperature = 2, soft_weight = 1, hard_weight = 0 }
[arms.both]
model = "linear"
distill = { teacher = "hard", temperature = 2, soft_weight = 0.5, hard_weight = 0.25 }
loss.spatial_smoothing = { sigma = 0.8, size = 3 }
"#;

/// The step of each loss, where the targets of spatial smoothing come from the library itself.
#[test]
fn one_step_is_that_of_the_formula_over_the_pixels_that_count() {
    let (_, labels) = arrays();
    let (folder, recipe) = place(&labels, ARMS);
    let (run, _, _) = run(&recipe, folder.path()).unwrap();
    let splits = splits(&recipe);
    let of_train = splits.train.pixels_f32();
    let n = of_train.len() as f64;
    let mean = of_train.iter().map(|&p| f64::from(p)).sum::<f64>() / n;
    let variance = of_train.iter().map(|&p| (f64::from(p) - mean).powi(2)).sum::<f64>() / n;
    let moments = (mean, variance.sqrt());
    let (train, test) = (rows(&splits.train, moments), rows(&splits.test, moments));
    assert!(train.len() < splits.train.len() * AREA * 9 / 10);

    for (split, rows) in [("train", &train), ("test", &test)] {
        let (_, saved) = said(&run, "hard", split);
        let ids: Vec<usize> = rows.iter().map(|(id, ..)| *id).collect();
        assert_eq!(saved.sample_ids(), ids);
        let labels: Vec<i64> = rows.iter().map(|(.., label)| *label).collect();
        assert_eq!(saved.labels().iter().map(|l| l as i64).collect::<Vec<_>>(), labels);
    }

    let shape = [MAPS, SIZE.0, SIZE.1];
    let map = LabelMap::new(&labels, &shape, 3, Some(IGNORED)).unwrap();
    let spatial = Svls::new(0.8, 3).unwrap().encode(&map, ClassAxis::Last).unwrap().values;
    let spatial = |id: usize, _: i64| -> Vec<f64> {
        spatial[3 * id..][..3].iter().map(|&t| f64::from(t)).collect()
    };
    let onehot = |label: i64, keep: f64, rest: f64| -> Vec<f64> {
        (0..3).map(|k| if k == label { keep } else { rest }).collect()
    };
    let (start, teacher) = (said(&run, "start", "train").0, said(&run, "hard", "train").0);
    let hard_gradient = |target: &dyn Fn(usize, i64) -> Vec<f64>, weight: f64| -> Matrix {
        let gradient = |(z, (id, _, label)): (&Vec<f64>, &(usize, [f64; 2], i64))| {
            let target = target(*id, *label);
            let p = softmax(z, 1.0).into_iter().zip(target);
            p.map(|(p, t)| weight * (p - t) / train.len() as f64).collect()
        };
        start.iter().zip(&train).map(gradient).collect()
    };
    let soft_gradient = |weight: f64| -> Matrix {
        let gradient = |(z, t): (&Vec<f64>, &Vec<f64>)| {
            let both = softmax(z, 2.0).into_iter().zip(softmax(t, 2.0));
            both.map(|(p, q)| weight * 2.0 * (p - q) / train.len() as f64).collect()
        };
        start.iter().zip(&teacher).map(gradient).collect()
    };
    let both = hard_gradient(&spatial, 0.25).into_iter().zip(soft_gradient(0.5));
    let both = both.map(|(a, b)| a.into_iter().zip(b).map(|(a, b)| a + b).collect()).collect();
    let expected: [(&str, Matrix); 6] = [
        ("hard", hard_gradient(&|_, label| onehot(label, 1.0, 0.0), 1.0)),
        ("uniform", hard_gradient(&|_, label| onehot(label, 0.8, 0.1), 1.0)),
        ("spatial", hard_gradient(&spatial, 1.0)),
        ("spatial_fused", hard_gradient(&spatial, 1.0)),
        ("taught", soft_gradient(1.0)),
        ("both", both),
    ];
    let before = said(&run, "start", "test").0;
    let mut steps = Vec::new();
    for (arm, gradient) in expected {
        let mut weights = [[0.0; 3]; 3];
        for ((_, x, _), gradient) in train.iter().zip(&gradient) {
            for (weights, gradient) in weights.iter_mut().zip(gradient) {
                for (weight, x) in weights.iter_mut().zip([x[0], x[1], 1.0]) {
                    *weight += gradient * x;
                }
            }
        }
        let after = said(&run, arm, "test").0;
        let mut largest: f64 = 0.0;
        for (((_, x, _), before), after) in test.iter().zip(&before).zip(&after) {
            for (class, weights) in weights.iter().enumerate() {
                let change = weights[0] * x[0] + weights[1] * x[1] + weights[2];
                let error = (before[class] - RATE * change - after[class]).abs();
                assert!(error < 2e-5, "{arm}: {error}");
                largest = largest.max((RATE * change).abs());
            }
        }
        // A step that a wrong formula would not make.
        assert!(largest > 1e-3, "{arm}: {largest}");
        steps.push(weights);
    }
    assert_ne!(steps[1], steps[2]);
}

/// The value that says so does not matter, nor does what is said of a pixel that is ignored.
#[test]
fn what_is_ignored_is_in_no_number() {
    let (_, labels) = arrays();
    let arms = "[arms.hard]\nmodel = \"network\"\ncalibrate = [\"temperature\"]\n";
    let numbers = |labels: &[i64], ignore: &str| {
        let (folder, recipe) = place(labels, arms);
        let recipe = edited(&recipe, "ignore = 255", ignore);
        let (run, outcome, _) = run(&recipe, folder.path()).unwrap();
        let test = said(&run, "hard", "test").0;
        (outcome.summary.rows, test)
    };
    let renamed: Vec<i64> = labels.iter().map(|&l| if l == IGNORED { -100 } else { l }).collect();
    let usual = numbers(&labels, "ignore = 255");
    assert_eq!(usual.0, numbers(&renamed, "ignore = -100").0);
    // With labels, these pixels do count.
    let labelled: Vec<i64> = labels.iter().map(|&l| if l == IGNORED { 1 } else { l }).collect();
    let all = numbers(&labelled, "ignore = 255");
    assert_ne!(usual.0, all.0);
    assert!(usual.1.len() < all.1.len() && all.1.len() == 10 * AREA);
}

/// Everything that goes with maps trains, and says something other than hard labels do.
#[test]
fn losses_teachers_and_calibration_take_pixels_as_samples() {
    let losses = [
        ("uniform", "loss.smoothing = { epsilon = 0.2, convention = 'off_target' }"),
        ("spatial", "loss.spatial_smoothing = { sigma = 1.0, size = 5 }"),
        ("online", "loss.online_smoothing = { epsilon = 0.2, label_share = 0.5 }"),
        ("zipf", "loss.zipf_smoothing = { epsilon = 0.2, exponent = 1.0 }"),
        ("disturb", "loss.disturb_label = { rate = 0.3 }"),
        ("weighed", "loss.class_weights = [1, 2, 3]"),
        (
            "margin",
            "loss.spatial_smoothing = { sigma = 1.0, size = 3 }\nloss.terms = [{ kind = 'margin_smoothing', margin = 1, weight = 0.1 }]",
        ),
        ("focal", "loss.weight = 0\nloss.terms = [{ kind = 'focal', gamma = 2 }]"),
        ("ranking", "loss.terms = [{ kind = 'correctness_ranking', weight = 0.1 }]"),
        (
            "fused",
            "fuse_last_layer = true\nloss.smoothing = { epsilon = 0.2, convention = 'mixture' }",
        ),
        ("biased", "class_bias = { class = 1, from = 0.5, to = 2, step = 0.5 }"),
        (
            "taught",
            "distill = { teacher = 'hard', teacher_calibration = 'temperature', temperature = 2, soft_weight = 0.9, hard_weight = 0.1 }",
        ),
        (
            "largest",
            "distill = { teacher = 'uniform', temperature = 2, soft_weight = 0.9, hard_weight = 0.1, top_k = 2 }",
        ),
        (
            "taught_fused",
            "fuse_last_layer = true\ndistill = { teacher = 'uniform', temperature = 2, soft_weight = 1, hard_weight = 0 }",
        ),
        (
            "several",
            "distill = { teacher = { several = ['hard', 'uniform'], gate = 'linear' }, temperature = 2, soft_weight = 1, hard_weight = 0.5 }",
        ),
        (
            "peers",
            "distill = { teacher = { peers = ['network'] }, temperature = 1, soft_weight = 1, hard_weight = 1 }",
        ),
        (
            "nobody",
            "distill = { teacher = { virtual = { confidence = 0.9 } }, temperature = 2, soft_weight = 1, hard_weight = 0.5 }",
        ),
    ];
    let mut arms =
        "[arms.hard]\nmodel = \"network\"\ncalibrate = [\"temperature\", \"vector\"]\n".to_owned();
    for (name, keys) in losses {
        writeln!(arms, "[arms.{name}]\nmodel = \"network\"\n{keys}").unwrap();
    }
    let (folder, recipe) = place(&arrays().1, &arms);
    let recipe = edited(&recipe, "epochs = 1", "epochs = 3");
    let recipe = edited(&recipe, "batch_size = 1000000", "batch_size = 8");
    let recipe =
        edited(&recipe, "[training]", "noise = { kind = 'symmetric', rate = 0.1 }\n[training]");
    let (run, outcome, events) = run(&recipe, folder.path()).unwrap();
    let hard = said(&run, "hard", "test").0;
    for (name, _) in losses {
        assert_ne!(said(&run, name, "test").0, hard, "{name}");
    }
    let (_, train) = said(&run, "hard", "train");
    let observed = train.observed_labels().unwrap();
    let changed = observed.iter().zip(train.labels().iter()).filter(|(a, b)| a != b).count();
    assert!(changed > 0);
    assert_eq!(
        outcome.summary.dataset.changed_labels,
        [changed as f64 / train.labels().len() as f64]
    );
    // Maps are counted, not pixels.
    let sizes = outcome.summary.dataset.samples;
    assert_eq!((sizes.train, sizes.validation, sizes.test), (20, 10, 10));
    let row = outcome.summary.row("hard", &Calibration::TEMPERATURE).unwrap();
    let (test, saved) = said(&run, "hard", "test");
    let right = test
        .iter()
        .zip(saved.labels().iter())
        .filter(|(row, label)| row.iter().all(|z| *z <= row[*label]));
    let accuracy = right.count() as f64 / test.len() as f64;
    assert!((row.metrics.accuracy.mean - accuracy).abs() < 1e-12);
    let of_rows = events.iter().any(|event| {
        matches!(event, Event::Errors { split: "test", samples, .. } if *samples == test.len())
    });
    assert!(of_rows);

    // An arm of a run that is done teaches pixel by pixel what the arm itself does.
    let of_run = format!(
        "[arms.hard]\nmodel = \"network\"\n[arms.by_arm]\nmodel = \"linear\"\n\
         distill = {{ teacher = \"hard\", teacher_calibration = \"temperature\", temperature = 2, soft_weight = 1, hard_weight = 0 }}\n\
         [arms.by_run]\nmodel = \"linear\"\n\
         distill = {{ teacher = {{ run = {:?}, arm = \"hard\" }}, teacher_calibration = \"temperature\", temperature = 2, soft_weight = 1, hard_weight = 0 }}\n",
        run.root()
    );
    let again = tempdir().unwrap();
    let recipe = format!("{}{of_run}", recipe.split_once("[arms.hard]").unwrap().0);
    let (run, ..) = crate::run(&recipe, again.path()).unwrap();
    assert_eq!(said(&run, "by_arm", "test").0, said(&run, "by_run", "test").0);
}

/// What does not go with maps, or with them alone, is refused at its key before anything is read.
#[test]
fn what_does_not_go_with_maps_is_refused_by_its_key() {
    let distill = "teacher = 'hard', temperature = 1, soft_weight = 1, hard_weight = 1";
    for (keys, key, expected) in [
        ("shift = 1", "shift", "moves images, not the labels of their pixels"),
        ("omit_classes = [1]", "omit_classes", "samples of one label"),
        (
            "save_features = { classes = [0, 1, 2], samples = 3 }",
            "save_features",
            "samples of one label",
        ),
        ("loss.mixup = { alpha = 0.2 }", "loss.mixup", "samples of one label"),
        ("loss.cutmix = { alpha = 0.2 }", "loss.cutmix", "samples of one label"),
        ("loss.soft_labels = { file = 'x.csv' }", "loss.soft_labels", "samples of one label"),
        (
            "loss.smoothing = { epsilon = { file = 'x.csv' }, convention = 'mixture' }",
            "loss.smoothing.epsilon",
            "a number for each sample, not for each pixel",
        ),
        (
            "distill = { sample_weights = { file = 'x.csv' }, DISTILL }",
            "distill.sample_weights",
            "a number for each sample, not for each pixel",
        ),
        (
            "distill = { features = [{ kind = 'attention_transfer' }], DISTILL }",
            "distill.features",
            "look at whole images, ignored pixels too",
        ),
        (
            "distill = { teacher = { script = 'x.pt' }, temperature = 1, soft_weight = 1, hard_weight = 1 }",
            "distill.teacher",
            "says something of images, not of pixels",
        ),
        (
            "distill = { teacher = { several = ['hard', { cache = 'x' }] }, temperature = 1, soft_weight = 1, hard_weight = 1 }",
            "distill.teacher",
            "says something of images, not of pixels",
        ),
        (
            "loss.spatial_smoothing = { sigma = 1, size = 3 }\nloss.smoothing = { epsilon = 0.1, convention = 'mixture' }",
            "loss.spatial_smoothing",
            "stands in the place of `smoothing`",
        ),
        (
            "loss.spatial_smoothing = { sigma = 1, size = 3 }\nloss.online_smoothing = {}",
            "loss.spatial_smoothing",
            "stands in the place of `online_smoothing`",
        ),
        (
            "loss.spatial_smoothing = { sigma = 1, size = 4 }",
            "",
            "window size must be odd, in 3..=63, found 4",
        ),
        ("loss.spatial_smoothing = { sigma = 1 }", "", "missing field `size`"),
    ] {
        let keys = keys.replace("DISTILL", distill);
        let arms = format!("[arms.hard]\nmodel = 'linear'\n[arms.x]\nmodel = 'linear'\n{keys}\n");
        let error = Recipe::parse("x.toml", &(HEAD.to_owned() + &arms), &[]).unwrap_err();
        let shown = error.to_string();
        let key = if key.is_empty() { String::new() } else { format!("arms.x.{key}: ") };
        assert!(shown.contains(&key) && shown.contains(expected), "{keys}: {shown}");
        assert!(error.line() > Some(20), "{keys}: {shown}");
    }
    let source = HEAD.lines().find(|line| line.starts_with("source")).unwrap();
    let digits = HEAD.replace(source, "source = { dataset = \"digits\" }");
    let arm = "[arms.x]\nmodel = 'linear'\nloss.spatial_smoothing = { sigma = 1, size = 3 }\n";
    let error = Recipe::parse("x.toml", &(digits + arm), &[]).unwrap_err().to_string();
    assert!(
        error.contains("arms.x.loss.spatial_smoothing: is for maps")
            && error.contains("found `digits`"),
        "{error}"
    );
}

#[test]
fn a_term_that_needs_hard_labels_is_refused_beside_spatial_smoothing() {
    let loss = "[arms.x]\nmodel = 'linear'\nloss.spatial_smoothing = { sigma = 1, size = 3 }\n\
        loss.terms = [{ kind = 'generalized_cross_entropy', q = 0.7 }]\n";
    let (_folder, recipe) = place(&arrays().1, loss);
    let error = prepared(&recipe).unwrap_err();
    let Error::Loss { key, .. } = &error else { panic!("{error}") };
    assert_eq!(key, "arms.x.loss.terms.0");
}

#[test]
fn a_split_without_any_pixel_that_counts_is_an_error() {
    let arms = "[arms.hard]\nmodel = \"linear\"\n";
    let all = arrays().1;
    let (folder, recipe) = place(&all, arms);
    let of_test = splits(&recipe).test;
    let mut labels = all;
    for &map in of_test.ids() {
        labels[map * AREA..][..AREA].fill(IGNORED);
    }
    drop(folder);
    let (_folder, recipe) = place(&labels, arms);
    let error = prepared(&recipe).unwrap_err();
    assert!(matches!(error, Error::AllIgnored { split: "test", .. }), "{error}");
}

#[test]
fn pixels_have_no_logit_cache() {
    let (folder, recipe) = place(&arrays().1, "[arms.hard]\nmodel = \"linear\"\n");
    let teach = Teach {
        with: TeachWith::Arm("hard".into()),
        folder: folder.path().join("cache"),
        encoding: softlabel_data::logit_cache::Encoding::F32,
    };
    let error = prepared(&recipe).unwrap().teach(&teach, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::OfMaps { .. }), "{error}");
    assert!(!folder.path().join("cache").exists());
}

/// A sequence is a map of height 1; the built-in maps need no files.
#[test]
fn sequences_and_maps_of_digits_train() {
    let folder = tempdir().unwrap();
    let write = |name: &str, tensor: &Tensor| tensor.write_npy(folder.path().join(name)).unwrap();
    let tokens = Tensor::arange(30 * 6, (Kind::Int64, Device::Cpu)).remainder(3).view((30, 1, 6));
    write("y.npy", &tokens);
    write("x.npy", &tokens.to_kind(Kind::Uint8));
    let arms = "[arms.hard]\nmodel = \"network\"\n\
        [arms.spatial]\nmodel = \"network\"\nloss.spatial_smoothing = { sigma = 1.0, size = 3 }\n\
        [arms.student]\nmodel = \"linear\"\ndistill = { teacher = \"hard\", temperature = 2, soft_weight = 1, hard_weight = 0 }\n";
    let sequences = HEAD.replace("FOLDER", folder.path().to_str().unwrap()) + arms;
    let source = HEAD.lines().find(|line| line.starts_with("source")).unwrap();
    let digits = HEAD.replace(source, "source = { dataset = \"digit_maps\" }") + arms;
    for (recipe, classes, pixels) in [(sequences, 3, 6), (digits, 11, 196)] {
        let place = tempdir().unwrap();
        let recipe = Recipe::parse("recipe.toml", &recipe, &[]).unwrap();
        assert_eq!(Recipe::parse("again.toml", &recipe.to_toml().unwrap(), &[]).unwrap(), recipe);
        let experiment = Experiment::prepare(recipe, None, Device::Cpu).unwrap();
        let run = RunFolder::create(place.path().join("run"), Existing::Refuse).unwrap();
        let outcome = experiment.run(&run, NonZeroUsize::MIN, &mut |_| {}).unwrap();
        assert_eq!(outcome.summary.rows.len(), 3);
        let path: &Path = &run.predictions("spatial", SEED, "test");
        let saved = SavedPredictions::read(path).unwrap();
        assert_eq!(saved.labels().classes(), classes);
        assert_eq!(saved.labels().len(), experiment.sizes().test * pixels);
    }
}
