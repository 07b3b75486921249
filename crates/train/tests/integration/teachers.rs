//! Teachers that are no arms of the recipe: they teach the same as the arm they come from, and what does not fit is
//! said before anything is trained.

use std::fs;
use std::path::Path;

use softlabel_data::logit_cache::{CacheError, Encoding, LogitCacheWriter, Origin};
use softlabel_data::{Error as DataError, LogitCache};
use softlabel_results::{Calibration, Metric};
use softlabel_train::{
    Error, Event, Experiment, Outcome, Recipe, Result, Taught, Teach, TeachWith,
};
use tch::{CModule, Device, Kind, Tensor};
use tempfile::tempdir;

use crate::run;

const HEAD: &str = r#"
name = "taught"
seed = 5
[data]
source = { dataset = "digits" }
split = { validation = 0.2, test = 0.25 }
[training]
epochs = 4
batch_size = 128
learning_rate = 0.01
[models.small]
hidden = [16]
[arms.teacher]
model = "small"
loss.smoothing = { epsilon = 0.1, convention = "mixture" }
calibrate = ["temperature"]
"#;

/// The recipe with a student of some teacher.
fn recipe(teacher: &str, others: &str) -> String {
    format!(
        "{HEAD}[arms.student]\nmodel = \"small\"\n\
         distill = {{ teacher = {teacher}, temperature = 3, soft_weight = 0.9, hard_weight = 0.1{others} }}\n"
    )
}

fn prepare(text: &str) -> Result<Experiment> {
    Experiment::prepare(Recipe::parse("taught.toml", text, &[])?, None, Device::Cpu)
}

fn teach(text: &str, with: TeachWith, folder: &Path, encoding: Encoding) -> Result<Taught> {
    let teach = Teach { with, folder: folder.to_owned(), encoding };
    prepare(text)?.teach(&teach, &mut |_| {})
}

fn arm() -> TeachWith {
    TeachWith::Arm("teacher".to_owned())
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_str().unwrap())
}

fn nll(outcome: &Outcome) -> f64 {
    let row = outcome.summary.row("student", &Calibration::NONE).unwrap();
    row.metrics.get(Metric::Nll).unwrap().mean
}

#[test]
fn a_run_and_a_cache_teach_as_the_arm_itself() {
    let beta = "{ method = \"beta\", form = \"ab\" }";
    for calibration in ["\"none\"", "\"temperature\"", "\"temperature+isotonic\"", beta] {
        let others = format!(", teacher_calibration = {calibration}");
        let place = tempdir().unwrap();
        let (folder, outcome, _) = run(&recipe("\"teacher\"", &others), place.path()).unwrap();
        let expected = nll(&outcome);

        let teacher = format!("{{ run = {}, arm = \"teacher\" }}", quoted(folder.root()));
        let again = tempdir().unwrap();
        let (_, outcome, _) = run(&recipe(&teacher, &others), again.path()).unwrap();
        assert_eq!(nll(&outcome), expected, "run, {calibration}");

        let cache = place.path().join("cache");
        let taught = teach(&recipe("\"teacher\"", ""), arm(), &cache, Encoding::F32).unwrap();
        assert_eq!((taught.samples, taught.before, taught.kept_mass), (1797, 0, 1.0));
        let teacher = format!(
            "{{ cache = {}, weights = {:?} }}",
            quoted(&cache),
            &taught.origin.weights[..12]
        );
        let again = tempdir().unwrap();
        let (_, outcome, _) = run(&recipe(&teacher, &others), again.path()).unwrap();
        assert!(
            (nll(&outcome) - expected).abs() < 1e-5,
            "{} and {expected}, {calibration}",
            nll(&outcome)
        );
    }
}

#[test]
fn a_map_decides_what_is_taught_and_is_kept_beside_the_run() {
    let place = tempdir().unwrap();
    let (folder, outcome, _) = run(&recipe("\"teacher\"", ""), place.path()).unwrap();
    let raw = nll(&outcome);
    assert!(folder.calibrator("teacher", 5, "temperature").exists());

    let of_arm = tempdir().unwrap();
    let text = recipe("\"teacher\"", ", teacher_calibration = \"vector\"");
    let (of_arm, outcome, _) = run(&text, of_arm.path()).unwrap();
    assert_ne!(nll(&outcome), raw);
    let vector = of_arm.calibrator("teacher", 5, "vector");

    let from_outside = tempdir().unwrap();
    let teacher = format!("{{ run = {}, arm = \"teacher\" }}", quoted(folder.root()));
    let text = recipe(&teacher, ", teacher_calibration = \"vector\"");
    let (from_outside, outcome, _) = run(&text, from_outside.path()).unwrap();
    assert_ne!(nll(&outcome), raw);
    let same = from_outside.teacher_calibrator("student", 5, 0, "vector");
    assert_eq!(fs::read_to_string(vector).unwrap(), fs::read_to_string(same).unwrap());
}

#[test]
fn a_class_that_a_map_makes_impossible_stops_a_loss_that_cannot_bear_it() {
    let place = tempdir().unwrap();
    let isotonic = ", teacher_calibration = { method = \"isotonic\", zeros = \"keep\" }";
    run(&recipe("\"teacher\"", isotonic), place.path()).unwrap();
    let reverse = format!("{isotonic}, kind = \"reverse\"");
    let place = tempdir().unwrap();
    let error = run(&recipe("\"teacher\"", &reverse), place.path()).unwrap_err().to_string();
    assert!(error.contains("under which `reverse` is infinite"), "{error}");
}

#[test]
fn half_precision_and_the_largest_logits_teach_nearly_the_same() {
    let place = tempdir().unwrap();
    let (_, outcome, _) = run(&recipe("\"teacher\"", ""), place.path()).unwrap();
    let expected = nll(&outcome);
    let cache = place.path().join("f16");
    let taught = teach(&recipe("\"teacher\"", ""), arm(), &cache, Encoding::F16).unwrap();
    assert_eq!(taught.kept_mass, 1.0);
    let again = tempdir().unwrap();
    let teacher = format!("{{ cache = {} }}", quoted(&cache));
    let (_, outcome, _) = run(&recipe(&teacher, ""), again.path()).unwrap();
    assert!((nll(&outcome) - expected).abs() < 1e-3, "{} {expected}", nll(&outcome));
}

/// What a cache of the largest logits has is enough at a temperature of 1, and where there are no others; then it teaches
/// as the arm itself does.
#[test]
fn a_cache_of_the_largest_logits_teaches_what_it_has() {
    let place = tempdir().unwrap();
    let cache = place.path().join("cache");
    let taught = teach(&recipe("\"teacher\"", ""), arm(), &cache, Encoding::TopK(4)).unwrap();
    assert!(taught.kept_mass > 0.5 && taught.kept_mass < 1.0, "{}", taught.kept_mass);
    let cached = format!("{{ cache = {} }}", quoted(&cache));
    let student = |teacher: &str, temperature: f64, others: &str| {
        let text = recipe(teacher, others);
        text.replace("temperature = 3", &format!("temperature = {temperature}"))
    };
    let learns = |text: &str| {
        let at = tempdir().unwrap();
        let (_, outcome, events) = run(text, at.path()).unwrap();
        let kept = |event: &Event| match event {
            Event::Epoch { arm, kept_mass, .. } if arm == "student" => *kept_mass,
            _ => None,
        };
        (nll(&outcome), events.iter().filter_map(kept).next_back().unwrap())
    };
    for (temperature, keys) in [
        (1.0, ", top_k = 4"),
        (1.0, ", top_k = 3, tail = \"truncated\""),
        (5.0, ", top_k = 4, tail = \"renormalized\""),
    ] {
        let (expected, mass) = learns(&student("\"teacher\"", temperature, keys));
        let (found, found_mass) = learns(&student(&cached, temperature, keys));
        assert!((found - expected).abs() < 1e-4, "{keys}: {found}, {expected}");
        // Where the others are unknown so is the mass of those that are kept.
        assert!(temperature > 1.0 || (found_mass - mass).abs() < 1e-5, "{keys}: {mass}");
    }
    for (temperature, keys) in [
        (1.0, ""),
        (1.0, ", top_k = 5"),
        (3.0, ", top_k = 4"),
        (1.0, ", top_k = 4, teacher_calibration = \"temperature\""),
    ] {
        let error = prepare(&student(&cached, temperature, keys)).unwrap_err().to_string();
        assert!(error.contains("the cache has the 4 largest logits"), "{keys}: {error}");
    }
}

#[test]
fn a_cache_that_was_begun_is_gone_on_with_and_another_teacher_is_refused() {
    let place = tempdir().unwrap();
    let cache = place.path().join("cache");
    let text = recipe("\"teacher\"", "");
    teach(&text, arm(), &cache, Encoding::F32).unwrap();
    let rows = LogitCache::open(&cache).unwrap().rows(&[0, 900, 1796]).unwrap();
    fs::remove_file(cache.join("shard-00001.safetensors")).unwrap();
    let taught = teach(&text, arm(), &cache, Encoding::F32).unwrap();
    assert!(taught.before > 0 && taught.before < 1797, "{}", taught.before);
    // The arm lies beside the cache and is not trained again.
    let mut heard = Vec::new();
    let again = Teach { with: arm(), folder: cache.clone(), encoding: Encoding::F32 };
    prepare(&text).unwrap().teach(&again, &mut |event| heard.push(event.clone())).unwrap();
    let trains = |event: &Event| matches!(event, Event::Training { .. } | Event::Epoch { .. });
    assert!(!heard.iter().any(trains), "{heard:?}");
    assert_eq!(LogitCache::open(&cache).unwrap().rows(&[0, 900, 1796]).unwrap(), rows);

    let other = text.replace("epsilon = 0.1", "epsilon = 0.2");
    let error = teach(&other, arm(), &cache, Encoding::F32).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Data(DataError::Cache(CacheError::Origin { part: "smoothing", .. }))
        ),
        "{error}"
    );
    // All that can be known is known before anything is trained.
    let checkpoints = || {
        let names = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("teacher-")).count()
    };
    assert_eq!(checkpoints(), 1);
    for (text, encoding) in [
        (text.replace("seed = 5", "seed = 6"), Encoding::F32),
        (text.replace("epochs = 4", "epochs = 5"), Encoding::F32),
        (text.clone(), Encoding::F16),
        (text.clone(), Encoding::TopK(99)),
    ] {
        assert!(teach(&text, arm(), &cache, encoding).is_err(), "{encoding}");
        assert_eq!(checkpoints(), 1, "{encoding}");
    }
    let error = teach(&text, TeachWith::Arm("nobody".into()), &cache, Encoding::F32).unwrap_err();
    assert_eq!(error.to_string(), "there is no arm `nobody`; expected one of: teacher, student");
}

#[test]
fn what_a_student_cannot_be_taught_from_is_said_before_training() {
    let place = tempdir().unwrap();
    let cache = place.path().join("cache");
    let text = recipe("\"teacher\"", "");
    teach(&text, arm(), &cache, Encoding::F32).unwrap();
    let refused = |teacher: String| prepare(&recipe(&teacher, "")).unwrap_err().to_string();

    let said = refused(format!("{{ cache = {}, weights = \"0123\" }}", quoted(&cache)));
    assert!(said.contains("not from weights 0123"), "{said}");
    let said = refused(format!("{{ cache = {} }}", quoted(&place.path().join("none"))));
    assert!(said.contains("index.json"), "{said}");
    let data = softlabel_data::digits().unwrap().fingerprint().to_string();
    let part = |text: &str| text.to_owned();
    let (weights, smoothing, augmentation) = (part("w"), part("s"), part("a"));
    let origin = Origin { weights, data: part("other"), augmentation, smoothing };
    let foreign = place.path().join("foreign");
    let mut writer = LogitCacheWriter::open(&foreign, &origin, 10, Encoding::F32).unwrap();
    writer.write(&[0], &[0.0; 10]).unwrap();
    writer.finish().unwrap();
    let said = refused(format!("{{ cache = {} }}", quoted(&foreign)));
    assert!(said.contains(&format!("from data other, not from data {data}")), "{said}");
    let index = fs::read_to_string(cache.join("index.json")).unwrap();
    fs::write(cache.join("index.json"), index.replace(&data, "other")).unwrap();
    let said = refused(format!("{{ cache = {} }}", quoted(&cache)));
    assert!(said.contains("index.json: damaged, or changed by hand"), "{said}");
    fs::write(cache.join("index.json"), index).unwrap();
    let shard = cache.join("shard-00000.safetensors");
    let whole = fs::read(&shard).unwrap();
    fs::write(&shard, &whole[..whole.len() - 1]).unwrap();
    let said = refused(format!("{{ cache = {} }}", quoted(&cache)));
    assert!(
        said.contains("shard-00000.safetensors") && said.contains("bytes, as index.json says"),
        "{said}"
    );

    // A run that has no such seed.
    let (folder, _, _) = run(&text, place.path()).unwrap();
    let teacher = format!("{{ run = {}, arm = \"teacher\" }}", quoted(folder.root()));
    let error =
        prepare(&recipe(&teacher, "").replace("seed = 5", "seed = 6")).unwrap_err().to_string();
    assert!(error.contains("seed-6"), "{error}");
}

/// The constant that is added to the logit of a class is in what a cache says, too.
#[test]
fn a_constant_of_a_class_is_taught_from_a_cache() {
    let biased = |text: &str| {
        let bias = "class_bias = { class = 3, from = 5, to = 5, step = 1 }";
        text.replace("[arms.teacher]\n", &format!("[arms.teacher]\n{bias}\n"))
    };
    let place = tempdir().unwrap();
    let text = biased(&recipe("\"teacher\"", ""));
    let (_, outcome, _) = run(&text, place.path()).unwrap();
    let expected = nll(&outcome);
    let cache = place.path().join("cache");
    teach(&text, arm(), &cache, Encoding::F32).unwrap();
    let again = tempdir().unwrap();
    let cached = biased(&recipe(&format!("{{ cache = {} }}", quoted(&cache)), ""));
    let (_, outcome, _) = run(&cached, again.path()).unwrap();
    assert!((nll(&outcome) - expected).abs() < 1e-5, "{} and {expected}", nll(&outcome));
}

/// A cache is of a teacher of one seed; a map fitted for another would see samples that the teacher was trained on.
#[test]
fn a_cache_is_calibrated_for_one_seed_alone() {
    let map = ", teacher_calibration = \"temperature\"";
    let text = recipe("{ cache = \"none\" }", map).replace("seed = 5", "seed = 5\nrepeats = 2");
    let error = Recipe::parse("taught.toml", &text, &[]).unwrap_err().to_string();
    assert!(error.contains("does not go with one teacher for several seeds"), "{error}");
}

/// What is infinite before anything is trained is no matter of the learning rate.
#[test]
fn a_loss_that_is_infinite_from_the_start_is_said_before_training() {
    let place = tempdir().unwrap();
    let cache = place.path().join("twelve");
    let part = |text: &str| text.to_owned();
    let data = softlabel_data::digits().unwrap().fingerprint().to_string();
    let origin = Origin { weights: part("w"), data, augmentation: part("a"), smoothing: part("s") };
    let mut writer = LogitCacheWriter::open(&cache, &origin, 12, Encoding::F32).unwrap();
    writer.write(&(0..1797).collect::<Vec<_>>(), &vec![0.0; 12 * 1797]).unwrap();
    writer.finish().unwrap();
    let student = |others: &str| recipe(&format!("{{ cache = {} }}", quoted(&cache)), others);
    let error = prepare(&student(", classes = \"pad_student\"")).unwrap_err().to_string();
    assert!(error.contains("the loss of the first samples is inf"), "{error}");
    prepare(&student(", classes = \"slice_teacher\"")).unwrap();
    let error = prepare(&student("")).unwrap_err().to_string();
    assert!(error.starts_with("arms.student.distill: "), "{error}");
}

#[test]
fn a_torchscript_file_teaches_and_one_that_trains_is_refused() {
    let place = tempdir().unwrap();
    let save = |train: bool| {
        let weights = (Tensor::arange(640, (Kind::Float, Device::Cpu)) * 0.37).sin().view((10, 64));
        let mut forward = |x: &[Tensor]| {
            vec![x[0].flatten(1, -1).linear(&weights, None::<&Tensor>).dropout(0.5, train)]
        };
        let images = Tensor::ones([2, 1, 8, 8], (Kind::Float, Device::Cpu));
        let traced = CModule::create_by_tracing("Net", "forward", &[images], &mut forward).unwrap();
        let path = place.path().join(format!("{train}.pt"));
        traced.save(&path).unwrap();
        path
    };
    let (good, bad) = (save(false), save(true));
    let teacher = format!("{{ script = {} }}", quoted(&good));
    let straight = tempdir().unwrap();
    let (_, outcome, _) = run(&recipe(&teacher, ""), straight.path()).unwrap();
    let expected = nll(&outcome);
    let cache = place.path().join("cache");
    let script = |classes| TeachWith::Script { path: good.clone(), classes };
    teach(HEAD, script(None), &cache, Encoding::F32).unwrap();
    let cached = tempdir().unwrap();
    let (_, outcome, _) =
        run(&recipe(&format!("{{ cache = {} }}", quoted(&cache)), ""), cached.path()).unwrap();
    assert!((nll(&outcome) - expected).abs() < 1e-5, "{} and {expected}", nll(&outcome));

    // It has ten classes, not nine.
    let nine = place.path().join("nine");
    let error = teach(HEAD, script(Some(9)), &nine, Encoding::F32).unwrap_err().to_string();
    assert!(error.contains("expected logits of 9 classes") && error.contains("10]"), "{error}");
    assert!(error.contains("say how many classes it has with `classes`"), "{error}");

    let error = prepare(&recipe(&format!("{{ script = {} }}", quoted(&bad)), "")).unwrap_err();
    let Error::Loss { key, source } = &error else { panic!("{error}") };
    assert!(key == "arms.student.distill" && matches!(**source, Error::Script { .. }), "{error}");
    let said = error.to_string();
    assert!(
        said.contains("false.pt")
            || said.contains("true.pt: the TorchScript file was saved in training mode"),
        "{said}"
    );
}

#[test]
fn every_key_of_a_distillation_can_be_written_and_scheduled() {
    let others = [
        ", kind = \"reverse\"",
        ", kind = { jensen_shannon = { beta = 0.3 } }",
        ", kind = { dkd = { alpha = 1.0, beta = 2.0 } }",
        ", kind = { dist = { inter = 1.0, intra = 1.0 } }",
        ", kind = \"mse\", scale = \"one\"",
        ", student_temperature = 1.0",
        ", standardize = true",
        ", scale = \"one\", kind = \"jeffreys\"",
    ];
    let mut seen = Vec::new();
    for others in others {
        let place = tempdir().unwrap();
        let text = recipe("\"teacher\"", others);
        let parsed = Recipe::parse("taught.toml", &text, &[]).unwrap();
        assert_eq!(parsed, Recipe::parse("printed", &parsed.to_toml().unwrap(), &[]).unwrap());
        let (_, outcome, _) = run(&text, place.path()).unwrap();
        seen.push(nll(&outcome));
    }
    let scheduled = recipe("\"teacher\"", "").replace(
        "temperature = 3, soft_weight = 0.9, hard_weight = 0.1",
        "temperature = { kind = \"linear\", from = 4.0, to = 1.0 }, \
         soft_weight = { kind = \"linear\", from = 1.0, to = 0.0 }, hard_weight = 0.5",
    );
    let parsed = Recipe::parse("taught.toml", &scheduled, &[]).unwrap();
    assert_eq!(parsed, Recipe::parse("printed", &parsed.to_toml().unwrap(), &[]).unwrap());
    let place = tempdir().unwrap();
    seen.push(nll(&run(&scheduled, place.path()).unwrap().1));
    seen.sort_by(f64::total_cmp);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");

    let error = |others: &str| {
        Recipe::parse("taught.toml", &recipe("\"teacher\"", others), &[]).unwrap_err()
    };
    assert_eq!(error(", scal = \"one\"").nearest(), Some("scale"));
    assert_eq!(error(", scale = \"on\"").nearest(), Some("one"));
    let text = recipe("{ script = \"a\", cache = \"b\" }", "");
    let said = Recipe::parse("taught.toml", &text, &[]).unwrap_err().to_string();
    assert!(said.contains("expected `run` and `arm` (and `seed`), or `script`"), "{said}");
}

#[test]
fn omitted_classes_shifts_and_dropout_change_what_an_arm_sees() {
    let arm = |keys: &str| {
        let place = tempdir().unwrap();
        let text = format!(
            "{HEAD}[models.dropping]\nhidden = [16]\ndropout = 0.3\n[arms.student]\n{}{keys}\n",
            if keys.contains("model") { "" } else { "model = \"small\"\n" }
        );
        let (folder, outcome, events) = run(&text, place.path()).unwrap();
        let test = folder.predictions("student", 5, "test");
        let test = softlabel_data::SavedPredictions::read(&test).unwrap();
        let says_three = test.logits().as_slice().chunks_exact(10).filter(|row| {
            let top = row.iter().copied().fold(f32::MIN, f32::max);
            row[3] == top
        });
        let epochs = events.iter().filter(|event| matches!(event, Event::Epoch { .. })).count();
        assert_eq!(epochs, 8);
        (nll(&outcome), says_three.count())
    };
    let (plain, threes) = arm("");
    assert!(threes > 10);
    assert_eq!(arm("omit_classes = [3]").1, 0);
    assert_ne!(arm("shift = 1").0, plain);
    assert_ne!(arm("model = \"dropping\"").0, plain);
    for (keys, expected) in [
        (
            "omit_classes = [10]",
            "omit_classes must be classes of the data, and not all of them, found 10",
        ),
        ("omit_classes = [0,1,2,3,4,5,6,7,8,9]", "and not all of them"),
    ] {
        let text = format!("{HEAD}[arms.student]\nmodel = \"small\"\n{keys}\n");
        let error = prepare(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let text = format!("{HEAD}[arms.student]\nmodel = \"small\"\nshift = 0\n");
    assert!(Recipe::parse("t", &text, &[]).unwrap_err().to_string().contains("must be in 1..=64"));
}
