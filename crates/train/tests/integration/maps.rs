//! Maps of a recipe: what they are called and kept as, and teachers that go through them.

// What was written in f32 is read in f64.
#![allow(clippy::cast_possible_truncation)]

use std::fs;
use std::path::Path;

use softlabel_core::Logits;
use softlabel_data::SavedPredictions;
use softlabel_metrics::{Accumulator, Evaluation};
use softlabel_posthoc::{AnyCalibrator, Calibrator, Method};
use softlabel_results::{Calibration, Existing, RunFolder};
use softlabel_train::{Event, Experiment, Outcome, Recipe, RecipeError};
use tch::{CModule, Device, Kind, Tensor};
use tempfile::tempdir;

use crate::run;

const HEAD: &str = r#"
name = "maps"
seed = 4
[data]
source = { dataset = "digits" }
split = { validation = 0.2, test = 0.25 }
[training]
epochs = 3
batch_size = 64
learning_rate = 0.01
[models.small]
hidden = [16]
[arms.teacher]
model = "small"
"#;

/// The recipe, its teacher calibrated in some ways, and with a student.
fn recipe(calibrate: &str, distill: &str) -> String {
    format!(
        "{HEAD}calibrate = [{calibrate}]\n[arms.student]\nmodel = \"small\"\n\
         distill = {{ soft_weight = 1, hard_weight = 0.2, {distill} }}\n"
    )
}

/// Parses, prints and parses again, and runs.
fn learn(text: &str, place: &Path) -> (RunFolder, Outcome, Vec<Event>) {
    let recipe = Recipe::parse("maps.toml", text, &[]).unwrap();
    let printed = recipe.to_toml().unwrap();
    let again =
        Recipe::parse("printed", &printed, &[]).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_eq!(recipe, again);
    run(text, place).unwrap()
}

fn nll(outcome: &Outcome, arm: &str, calibration: &str) -> f64 {
    let calibration = Calibration::named(calibration.to_owned());
    outcome.summary.row(arm, &calibration).unwrap().metrics.nll.mean
}

fn read(path: &Path) -> AnyCalibrator {
    AnyCalibrator::from_json(&fs::read_to_string(path).unwrap()).unwrap()
}

fn said(folder: &RunFolder, arm: &str, split: &str) -> SavedPredictions {
    SavedPredictions::read(&folder.predictions(arm, 4, split)).unwrap()
}

fn refused(text: &str) -> RecipeError {
    Recipe::parse("maps.toml", text, &[]).unwrap_err()
}

/// Every row is what the method makes of the predictions that were saved, fitted apart from the run.
#[test]
fn rows_and_files_are_called_by_the_names_of_their_maps() {
    let maps = [
        ("temperature", "\"temperature\""),
        ("temperature+isotonic", "\"temperature+isotonic\""),
        ("matrix+beta", "\"matrix+beta\""),
        ("identity", "\"identity\""),
        ("venn_abers", "\"venn-abers\""),
        ("beta", "{ method = \"beta\", form = \"ab\" }"),
        ("all.of-beta", "{ method = \"beta\", name = \"all.of-beta\" }"),
        (
            "kept",
            "{ method = \"temperature+isotonic\", name = \"kept\", stages = [\"temperature\", \
             { method = \"isotonic\", zeros = \"keep\" }] }",
        ),
        ("warm", "{ method = \"temperature\", name = \"warm\" }"),
    ];
    let methods = [
        Method::Temperature,
        "temperature+isotonic".parse().unwrap(),
        "matrix+beta".parse().unwrap(),
        Method::Composition(Vec::new()),
        Method::VennAbers,
        toml::from_str("method = 'beta'\nform = 'ab'").unwrap(),
        "beta".parse().unwrap(),
        Method::Composition(vec![
            Method::Temperature,
            toml::from_str("method = 'isotonic'\nzeros = 'keep'").unwrap(),
        ]),
        Method::Temperature,
    ];
    let listed = maps.map(|(_, written)| written).join(", ");
    let check = "[[checks]]\narm = \"teacher\"\ncalibration = \"warm\"\nmetric = \"temperature\"\nat_least = 0\n";
    let text = recipe(&listed, "teacher = \"teacher\", temperature = 2") + check;
    let place = tempdir().unwrap();
    let (folder, outcome, events) = learn(&text, place.path());
    let (held_out, test) =
        (said(&folder, "teacher", "validation"), said(&folder, "teacher", "test"));
    for ((name, _), method) in maps.into_iter().zip(methods) {
        let map = method.fit(held_out.logits(), held_out.labels()).unwrap();
        assert_eq!(read(&folder.calibrator("teacher", 4, name)), map, "{name}");
        let mut evaluation = Evaluation::new(15).unwrap();
        evaluation.update(&map.apply(test.logits()).unwrap(), test.labels()).unwrap();
        assert_eq!(nll(&outcome, "teacher", name), evaluation.compute().unwrap().nll, "{name}");
        let temperature = events.iter().find_map(|event| match event {
            Event::Fit { calibration, temperature, teacher: None, .. }
                if calibration.name() == name =>
            {
                Some(*temperature)
            }
            _ => None,
        });
        assert_eq!(temperature.unwrap().is_some(), matches!(method, Method::Temperature), "{name}");
    }
    let files = fs::read_dir(folder.calibrator("teacher", 4, "x").parent().unwrap()).unwrap();
    assert_eq!(files.count(), maps.len());
    assert!(outcome.summary.checks[0].passed);
    assert_eq!(outcome.summary.checks[0].row, "teacher + warm");
    // As text: the logit gap of impossible classes is NaN, which equals nothing.
    let summary = folder.read_summary().unwrap();
    assert_eq!(format!("{summary:?}"), format!("{:?}", outcome.summary));
}

#[test]
fn names_that_could_be_mistaken_are_refused_where_they_stand() {
    let long = ["\"bias_corrected_temperature", &"+ensemble_temperature".repeat(4), "\""].concat();
    let named = |name: &str| format!("{{ method = \"beta\", name = {name:?} }}");
    for (calibrate, expected) in [
        (
            "\"beta\", { method = \"beta\", form = \"ab\" }",
            "calibrate.1: there is a map `beta` already",
        ),
        (
            &format!("{}, {}", named("mine"), named("Mine")),
            "calibrate.1: there is a map `Mine` already",
        ),
        (&named("../x"), "calibrate.0.name: the name `../x` must be 1 to 100 of letters"),
        (&named("a+b"), "must be 1 to 100 of letters"),
        (&named(""), "must be 1 to 100 of letters"),
        (&named("Platt"), "`Platt` is the name of a method"),
        (&named("venn-abers"), "`venn-abers` is the name of a method"),
        (&named("None"), "`None` is the name of a method"),
        (&long, "is too long for the name of a file: give the map a `name`"),
        ("{ method = \"beta\", name = 3 }", "invalid type for `name`: integer, expected a string"),
        (
            "\"temperature+isotonik\"",
            "unknown method `isotonik`, expected one of `temperature`, `platt`, ",
        ),
        (
            "{ method = \"temperature+isotonik\" }",
            "unknown method `isotonik`, expected one of `temperature`",
        ),
    ] {
        let error = refused(&recipe(calibrate, "teacher = \"teacher\", temperature = 2"));
        assert!(error.to_string().contains(expected), "{calibrate}: {error}");
        assert!(error.line().is_some(), "{error}");
    }
    let error =
        refused(&recipe("\"temperature+isotonik\"", "teacher = \"teacher\", temperature = 2"));
    assert_eq!(error.nearest(), Some("isotonic"));

    // A teacher has one map of a name, whoever wants it.
    let other = "teacher = \"teacher\", temperature = 2, teacher_calibration = { method = \"beta\", form = \"ab\" }";
    let error = refused(&recipe("\"beta\"", other)).to_string();
    assert!(
        error.contains(
            "arms.student.distill.teacher_calibration: arm `teacher` has another map `beta`"
        ),
        "{error}"
    );
    let second = "[arms.second]\nmodel = \"small\"\ndistill = { soft_weight = 1, hard_weight = 0.2, \
                  teacher = \"teacher\", temperature = 2, teacher_calibration = \"beta\" }\n";
    let error = refused(&(recipe("", other) + second)).to_string();
    assert!(
        error.contains("arms.second.distill.teacher_calibration: arm `teacher` has another map"),
        "{error}"
    );
    let same = second.replace("\"beta\"", "{ method = \"beta\", form = \"ab\" }");
    Recipe::parse("maps.toml", &(recipe("", other) + &same), &[]).unwrap();
    let own = second.replace("\"beta\"", "{ method = \"beta\", name = \"whole\" }");
    Recipe::parse("maps.toml", &(recipe("", other) + &own), &[]).unwrap();
    let unknown = refused(&recipe(
        "",
        "teacher = \"teacher\", temperature = 2, teacher_calibration = \"nine\"",
    ))
    .to_string();
    assert!(
        unknown.contains("unknown method `nine`, expected one of `none`, `temperature`, "),
        "{unknown}"
    );
    assert!(unknown.contains("or several with + between them"), "{unknown}");
}

/// Another run whose `teacher` says what is made of the logits of this one, as the teacher of a recipe.
fn retold(
    (folder, outcome): (&RunFolder, &Outcome),
    place: &Path,
    made: impl Fn(&Logits<'_, f32>) -> Vec<f32>,
) -> String {
    let written = RunFolder::create(place.join("retold"), Existing::Refuse).unwrap();
    written.write_json(&written.summary(), &outcome.summary).unwrap();
    for split in ["train", "validation", "test"] {
        let raw = said(folder, "teacher", split);
        let logits = Logits::new(made(raw.logits()), 10).unwrap();
        let (labels, ids) = (raw.labels().clone(), raw.sample_ids().to_vec());
        let saved = SavedPredictions::new(raw.origin().clone(), logits, labels, ids).unwrap();
        let path = written.predictions("teacher", 4, split);
        written.write(&path, &saved.to_bytes().unwrap()).unwrap();
    }
    let run = written.root().to_str().unwrap();
    format!("teacher = {{ run = {run:?}, arm = \"teacher\" }}")
}

/// A student of an arm under a map learns the same, to the last bit, as one of a run that said what the map makes of
/// the arm's logits.
#[test]
fn a_student_learns_what_the_map_makes_of_its_teacher() {
    let place = tempdir().unwrap();
    let student = |teacher: &str, folder: &str, keys: &str| {
        let text = recipe("", &format!("{teacher}, temperature = 1, {keys}"));
        let (folder, outcome, _) = learn(&text, &place.path().join(folder));
        let nll = nll(&outcome, "student", "none");
        (folder, outcome, nll)
    };
    let arm = "teacher = \"teacher\"";
    let (_, _, raw) = student(arm, "raw", "kind = \"mse\"");

    let (folder, outcome, mapped) =
        student(arm, "mapped", "kind = \"mse\", teacher_calibration = \"svs\"");
    let map = read(&folder.calibrator("teacher", 4, "svs"));
    let teacher = retold((&folder, &outcome), &place.path().join("mapped"), |logits| {
        let rows = map.apply(logits).unwrap();
        rows.as_slice().iter().map(|&value| value as f32).collect()
    });
    assert_eq!(mapped, student(&teacher, "again", "kind = \"mse\"").2);
    assert_ne!(mapped, raw);

    // A temperature leaves logits, whose size a squared error sees.
    let (folder, outcome, tempered) =
        student(arm, "tempered", "kind = \"mse\", teacher_calibration = \"temperature\"");
    let map = read(&folder.calibrator("teacher", 4, "temperature"));
    let AnyCalibrator::Temperature(map) = map else { panic!("{map:?}") };
    let teacher = retold((&folder, &outcome), &place.path().join("tempered"), |logits| {
        let inverse = map.temperature().inverse();
        Vec::try_from(Tensor::from_slice(logits.as_slice()) * inverse).unwrap()
    });
    assert_eq!(tempered, student(&teacher, "divided", "kind = \"mse\"").2);
    assert_ne!(tempered, raw);
}

/// A TorchScript file of a linear network of so many classes.
fn script(place: &Path, classes: i64) -> String {
    let weights = Tensor::arange(classes * 64, (Kind::Float, Device::Cpu)) * 0.37;
    let weights = weights.sin().view((classes, 64));
    let mut forward = |x: &[Tensor]| vec![x[0].flatten(1, -1).linear(&weights, None::<&Tensor>)];
    let images = Tensor::ones([2, 1, 8, 8], (Kind::Float, Device::Cpu));
    let traced = CModule::create_by_tracing("Net", "forward", &[images], &mut forward).unwrap();
    let path = place.join(format!("{classes}.pt"));
    traced.save(&path).unwrap();
    format!("{{ script = {:?}, classes = {classes} }}", path.to_str().unwrap())
}

#[test]
fn teachers_from_outside_are_calibrated_and_their_maps_kept() {
    let place = tempdir().unwrap();
    let script = script(place.path(), 10);
    let several = format!("teacher = {{ several = [\"teacher\", {script}] }}, temperature = 2");
    let maps = ["\"platt\"", "\"temperature+isotonic\"", "{ method = \"beta\", name = \"mine\" }"];
    let mut seen = Vec::new();
    for (name, map) in ["platt", "temperature+isotonic", "mine"].into_iter().zip(maps) {
        let at = tempdir().unwrap();
        let text = recipe("", &format!("{several}, teacher_calibration = {map}"));
        let (folder, outcome, events) = learn(&text, at.path());
        assert!(folder.calibrator("teacher", 4, name).is_file());
        let of_script = read(&folder.teacher_calibrator("student", 4, 1, name));
        assert_eq!(of_script.classes(), 10);
        assert!(!folder.teacher_calibrator("student", 4, 0, name).exists());
        let fits = events.iter().filter_map(|event| match event {
            Event::Fit { arm, calibration, teacher, .. } => {
                assert_eq!(calibration.name(), name);
                Some((arm.as_str(), *teacher))
            }
            _ => None,
        });
        assert_eq!(fits.collect::<Vec<_>>(), [("teacher", None), ("student", Some(1))]);
        // What is not shown is no row.
        assert!(outcome.summary.row("teacher", &Calibration::named(name)).is_none());
        seen.push(nll(&outcome, "student", "none"));
    }
    seen.sort_by(f64::total_cmp);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
}

#[test]
fn teachers_of_other_classes_are_calibrated_by_the_classes_that_they_know() {
    let place = tempdir().unwrap();
    let (more, fewer) = (script(place.path(), 12), script(place.path(), 8));
    for (teacher, keys, classes) in [
        (&more, "classes = \"slice_teacher\", temperature = 2", 12),
        (&more, "classes = \"pad_student\", temperature = 2, kind = \"reverse\"", 12),
        (
            &more,
            "classes = \"pad_student\", temperature = 2, kind = { jensen_shannon = { beta = 0.5 } }",
            12,
        ),
        (&fewer, "classes = \"pad_teacher\", temperature = 2", 8),
        (&fewer, "classes = \"pad_teacher\", temperature = 1, kind = \"hard_label\"", 8),
        (&fewer, "classes = \"pad_teacher\", temperature = 1, kind = \"cosine\"", 8),
    ] {
        for map in ["none", "temperature", "temperature+isotonic"] {
            let at = tempdir().unwrap();
            let keys = format!("teacher = {teacher}, {keys}, teacher_calibration = {map:?}");
            let (folder, outcome, _) = learn(&recipe("", &keys), at.path());
            let nll = nll(&outcome, "student", "none");
            assert!(nll.is_finite() && nll > 0.0, "{keys}");
            let kept = folder.teacher_calibrator("student", 4, 0, map);
            assert_eq!(kept.exists(), map != "none");
            if kept.exists() {
                assert_eq!(read(&kept).classes(), classes);
            }
        }
    }
    let recipe = |classes: &str| {
        let keys = format!("teacher = {more}, temperature = 2, classes = {classes:?}");
        Experiment::prepare(Recipe::parse("x", &recipe("", &keys), &[]).unwrap(), None, Device::Cpu)
    };
    let error = recipe("equal").unwrap_err().to_string();
    assert!(error.contains("the teacher has 12 classes, the student 10"), "{error}");
    let error = recipe("pad_teacher").unwrap_err().to_string();
    assert!(error.contains("slice_teacher or pad_student"), "{error}");
}

/// Neither looks at the size of the teacher's logits: a temperature changes nothing, a map that is no temperature does.
#[test]
fn students_learn_by_cosine_and_from_the_teacher_s_label() {
    let of = |kind: &str, map: &str| {
        let at = tempdir().unwrap();
        let keys = format!(
            "teacher = \"teacher\", temperature = 1, kind = {kind:?}, teacher_calibration = {map}"
        );
        let (folder, outcome, _) = learn(&recipe("", &keys), at.path());
        let accuracy = outcome.summary.row("student", &Calibration::NONE).unwrap();
        assert!(accuracy.metrics.accuracy.mean > 0.3, "{kind} {map}");
        (said(&folder, "student", "test").logits().clone(), nll(&outcome, "student", "none"))
    };
    let label = of("hard_label", "\"none\"");
    assert!(label.0 == of("hard_label", "\"temperature\"").0);
    assert_ne!(label.1, of("hard_label", "\"vector\"").1);
    let cosine = of("cosine", "\"none\"");
    let tempered = of("cosine", "\"temperature\"");
    assert!((cosine.1 - tempered.1).abs() < 1e-3, "{} {}", cosine.1, tempered.1);
    assert!((cosine.1 - of("cosine", "\"platt\"").1).abs() > 1e-3);
    assert_ne!(cosine.1, label.1);
    for kind in ["cosine", "hard_label"] {
        let keys = format!("teacher = \"teacher\", temperature = 2, kind = {kind:?}");
        let error = refused(&recipe("", &keys)).to_string();
        assert!(error.contains("does not depend on a temperature: expected 1, found 2"), "{error}");
    }
}

#[test]
fn zeros_of_a_map_are_taught_where_the_loss_bears_them() {
    let keep = "teacher_calibration = { method = \"histogram_binning\", zeros = \"keep\" }";
    let outcome = |kind: &str, temperature: u32| {
        let at = tempdir().unwrap();
        let keys =
            format!("teacher = \"teacher\", temperature = {temperature}, kind = {kind}, {keep}");
        let text = recipe("", &keys);
        Recipe::parse("maps.toml", &text, &[]).unwrap();
        run(&text, at.path()).map(|(folder, outcome, _)| {
            let map = read(&folder.calibrator("teacher", 4, "histogram_binning"));
            let rows = map.apply(said(&folder, "teacher", "train").logits()).unwrap();
            assert!(rows.as_slice().contains(&f64::NEG_INFINITY), "no zero was made");
            outcome.summary.row("student", &Calibration::NONE).unwrap().metrics.accuracy.mean
        })
    };
    for (kind, temperature) in [
        ("\"forward\"", 2),
        ("{ jensen_shannon = { beta = 0.5 } }", 2),
        ("{ dkd = { alpha = 1.0, beta = 2.0 } }", 2),
        ("{ dist = { inter = 1.0, intra = 1.0 } }", 2),
        ("\"hard_label\"", 1),
        ("\"cosine\"", 1),
    ] {
        // Guessing would give a tenth.
        let accuracy = outcome(kind, temperature).unwrap();
        assert!(accuracy > 0.2, "{kind}: {accuracy}");
    }
    for kind in ["\"reverse\"", "\"jeffreys\"", "\"mse\""] {
        let error = outcome(kind, 2).unwrap_err().to_string();
        assert!(error.contains("no probability at all, under which"), "{kind}: {error}");
        assert!(error.contains("`zeros = { clip = 1e-6 }`"), "{error}");
    }
}
