//! Teachers that are several, nobody, or peers; what is learned from layers; what is kept of a trained arm.

use softlabel_data::SavedPredictions;
use softlabel_data::predictions::SavedFeatures;
use softlabel_results::{Calibration, Metric};
use softlabel_train::{Event, Experiment, Outcome, Recipe, RecipeError};
use tch::Device;
use tempfile::tempdir;

use crate::run;

const HEAD: &str = r#"
name = "voices"
seed = 2
[data]
source = { dataset = "digits" }
split = { validation = 0.2, test = 0.25 }
[training]
epochs = 3
batch_size = 64
learning_rate = 0.01
[models.small]
hidden = [16]
[models.large]
hidden = [32]
[models.shallow]
convolutions = [6, 8]
hidden = [16]
[models.deep]
convolutions = [8, 12]
hidden = [24]
[arms.first]
model = "small"
[arms.second]
model = "large"
loss.smoothing = { epsilon = 0.2, convention = "mixture" }
"#;

/// The recipe with an arm that is taught.
fn taught(model: &str, teacher: &str, others: &str) -> String {
    format!(
        "{HEAD}[arms.student]\nmodel = \"{model}\"\n[arms.student.distill]\nteacher = {teacher}\n\
         temperature = 2\nsoft_weight = 1\nhard_weight = 0.5\n{others}\n"
    )
}

fn accuracy(outcome: &Outcome, arm: &str) -> f64 {
    value(outcome, arm, Metric::Accuracy)
}

fn value(outcome: &Outcome, arm: &str, metric: Metric) -> f64 {
    let row = outcome.summary.row(arm, &Calibration::NONE).unwrap();
    row.metrics.get(metric).unwrap().mean
}

/// Parses, prints and parses again, runs, and hands over the student's NLL.
fn learns(text: &str) -> f64 {
    let recipe = Recipe::parse("voices.toml", text, &[]).unwrap();
    let printed = recipe.to_toml().unwrap();
    let again =
        Recipe::parse("printed", &printed, &[]).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_eq!(recipe, again);
    let place = tempdir().unwrap();
    let (_, outcome, _) = run(text, place.path()).unwrap();
    assert!(accuracy(&outcome, "student") > 0.3, "{}", accuracy(&outcome, "student"));
    value(&outcome, "student", Metric::Nll)
}

fn refused(text: &str) -> RecipeError {
    Recipe::parse("voices.toml", text, &[]).unwrap_err()
}

#[test]
fn several_teachers_speak_as_one() {
    let several = |keys: &str| {
        learns(&taught("small", &format!("{{ several = [\"first\", \"second\"]{keys} }}"), ""))
    };
    let one = |name: &str| learns(&taught("small", &format!("\"{name}\""), ""));
    let (first, second) = (one("first"), one("second"));
    // All weight on one of them is that one.
    let alone = several(", weighting = { fixed = [1.0, 0.0] }");
    assert!((alone - first).abs() < 1e-4, "{alone} {first}");
    let alone = several(", average = \"geometric\", weighting = { fixed = [0.0, 3.0] }");
    assert!((alone - second).abs() < 1e-4, "{alone} {second}");
    let mut seen = vec![
        first,
        second,
        several(""),
        several(", average = \"geometric\""),
        several(", weighting = \"confidence\""),
        several(", gate = \"small\""),
    ];
    seen.sort_by(f64::total_cmp);
    assert!(seen.windows(2).all(|pair| pair[1] - pair[0] > 1e-6), "{seen:?}");
}

#[test]
fn nobody_and_peers_teach() {
    let virtual_teacher = learns(&taught("small", "{ virtual = { confidence = 0.9 } }", ""));
    let twice = "{ virtual = { confidence = 0.9 }, probabilities_as_logits = true }";
    let flatter = learns(&taught("small", twice, ""));
    assert!(flatter > virtual_teacher + 0.1, "{flatter} {virtual_teacher}");
    let peers = learns(&taught("small", "{ peers = [\"large\", \"small\"] }", ""));
    let peer = learns(&taught("small", "{ peers = [\"small\"] }", ""));
    assert_ne!(peers, peer);
    // Labels that do not count beside a teacher that is all labels, as label smoothing over the other classes has it.
    let text = taught("small", "{ virtual = { confidence = 0.9 } }", "");
    let text = text.replace("temperature = 2", "temperature = 1").replace("= 0.5", "= 0");
    let smoothed = format!(
        "{HEAD}[arms.student]\nmodel = \"small\"\nloss.smoothing = {{ epsilon = 0.1, convention = \"off_target\" }}\n"
    );
    let (virtual_teacher, smoothed) = (learns(&text), learns(&smoothed));
    assert!((virtual_teacher - smoothed).abs() < 1e-3, "{virtual_teacher} {smoothed}");
}

/// A last layer that is one with the loss changes nothing but the memory: the same losses, epoch by epoch, to rounding.
#[test]
fn a_fused_last_layer_teaches_the_same() {
    for (loss, distill) in [
        ("loss.smoothing = { epsilon = 0.3, convention = \"mixture\" }", ""),
        (
            "loss = { smoothing = { epsilon = 0.1, convention = \"off_target\" }, z_loss = 1e-3 }",
            "",
        ),
        ("loss.mixup = { alpha = 0.4 }", ""),
        ("", "kind = \"reverse\"\nstandardize = true"),
        ("loss.smoothing = { epsilon = 0.1, convention = \"mixture\" }", "kind = \"mse\""),
        ("", "kind = { dkd = { alpha = 1, beta = 2 } }"),
        (
            "loss = { class_weights = [1, 2, 1, 1, 1, 1, 1, 1, 1, 1], mean_over = \"samples\" }",
            "scale = \"one\"",
        ),
    ] {
        let arm = |name: &str, fused: bool| {
            let distill = match distill {
                "" => String::new(),
                keys => format!(
                    "[arms.{name}.distill]\nteacher = \"second\"\nhard_weight = 0.5\n\
                     temperature = {{ kind = \"linear\", from = 4, to = 2 }}\nsoft_weight = 0.5\n{keys}\n"
                ),
            };
            format!(
                "[arms.{name}]\nmodel = \"small\"\nfuse_last_layer = {fused}\n{loss}\n{distill}"
            )
        };
        let text = format!("{HEAD}{}{}", arm("apart", false), arm("student", true));
        let place = tempdir().unwrap();
        let (_, _, events) = run(&text, place.path()).unwrap();
        let losses = |name: &str| {
            let of = |event: &Event| match event {
                Event::Epoch { arm, train_loss, .. } if arm == name => Some(*train_loss),
                _ => None,
            };
            events.iter().filter_map(of).collect::<Vec<_>>()
        };
        let (apart, fused) = (losses("apart"), losses("student"));
        assert_eq!((apart.len(), fused.len()), (3, 3));
        for (apart, fused) in apart.into_iter().zip(fused) {
            assert!(
                (apart - fused).abs() < 1e-4 * apart.abs(),
                "{loss} {distill}: {apart} {fused}"
            );
        }
        learns(&text);
    }
}

#[test]
fn a_last_layer_is_fused_where_nothing_else_needs_the_logits() {
    let fused = |keys: &str| {
        format!("{HEAD}[arms.student]\nmodel = \"small\"\nfuse_last_layer = true\n{keys}\n")
    };
    let taught = "temperature = 2, soft_weight = 1, hard_weight = 1";
    for (keys, expected) in [
        ("loss.terms = [{ kind = \"entropy\" }]".to_owned(), "expected cross-entropy alone"),
        ("loss.online_smoothing = {}".to_owned(), "expected cross-entropy alone"),
        (
            format!("distill = {{ teacher = {{ peers = [\"small\"] }}, {taught} }}"),
            "an earlier arm as the teacher",
        ),
        (
            format!(
                "distill = {{ teacher = \"first\", teacher_calibration = \"temperature\", {taught} }}"
            ),
            "neither calibrated",
        ),
        (
            format!("distill = {{ teacher = \"first\", top_k = 2, {taught} }}"),
            "does not go with `top_k`",
        ),
        (
            format!(
                "distill = {{ teacher = \"first\", features = [{{ kind = \"hint\" }}], {taught} }}"
            ),
            "does not go with `top_k`",
        ),
    ] {
        let error = refused(&fused(&keys)).to_string();
        assert!(error.contains(expected), "{keys}: {error}");
        assert!(error.contains("arms.student.fuse_last_layer"), "{keys}: {error}");
    }
    // What the library says is said before anything is trained.
    let keys = format!(
        "distill = {{ teacher = \"first\", kind = {{ dist = {{ inter = 1, intra = 1 }} }}, {taught} }}"
    );
    let recipe = Recipe::parse("voices.toml", &fused(&keys), &[]).unwrap();
    assert!(Experiment::prepare(recipe, None, Device::Cpu).is_err());
}

#[test]
fn generations_are_arms_that_follow_each_other() {
    let mut text = HEAD.to_owned();
    for (name, teacher) in [("next", "\"first\""), ("last", "\"next\"")] {
        text += &format!(
            "[arms.{name}]\nmodel = \"small\"\n\
             distill = {{ teacher = {teacher}, temperature = 2, soft_weight = 1, hard_weight = 1 }}\n"
        );
    }
    text += "[arms.student]\nmodel = \"small\"\n[arms.student.distill]\n\
             teacher = { several = [\"first\", \"next\", \"last\"] }\n\
             temperature = 2\nsoft_weight = 1\nhard_weight = 1\n";
    learns(&text);
}

#[test]
fn the_summary_says_who_taught_whom_and_what_there_was_to_learn() {
    let keys = "top_k = 3\ntail = \"bucket\"\nteacher_calibration = \"temperature\"";
    let text = taught("small", "{ several = [\"first\", \"second\"] }", keys);
    let text =
        text.replace("temperature = 2", "temperature = { kind = \"linear\", from = 4, to = 2 }");
    let place = tempdir().unwrap();
    let (_, outcome, events) = run(&text, place.path()).unwrap();
    let student = outcome.summary.arm("student").unwrap().taught.clone().unwrap();
    assert_eq!(student.teachers, ["first", "second"]);
    assert_eq!(student.calibration.name(), "temperature");
    let temperature = student.temperature.unwrap();
    assert_eq!((temperature.least, temperature.most), (2.0, 4.0));
    assert_eq!((student.soft_weight.least, student.hard_weight.most), (1.0, 0.5));
    let kept = events.iter().rev().find_map(|event| match event {
        Event::Epoch { arm, kept_mass, .. } if arm == "student" => *kept_mass,
        _ => None,
    });
    assert_eq!(student.kept_mass.unwrap().values, [kept.unwrap()]);

    let first = outcome.summary.arm("first").unwrap();
    assert_eq!(first.taught, None);
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Lesson { arm, temperature, wrong_class_mass, .. } if arm == "first" => {
                Some((*temperature, vec![*wrong_class_mass]))
            }
            _ => None,
        })
        .collect();
    let kept: Vec<_> = first
        .lessons
        .iter()
        .map(|lesson| (lesson.temperature, lesson.wrong_class_mass.values.clone()))
        .collect();
    assert_eq!(kept, told);
}

#[test]
fn the_likeliest_classes_alone_are_taught() {
    let place = tempdir().unwrap();
    let text = taught("small", "\"first\"", "top_k = 3\ntail = \"bucket\"");
    let (_, _, events) = run(&text, place.path()).unwrap();
    let kept = events.iter().filter_map(|event| match event {
        Event::Epoch { arm, kept_mass, .. } if arm == "student" => Some(kept_mass.unwrap()),
        Event::Epoch { kept_mass, .. } => {
            assert_eq!(*kept_mass, None);
            None
        }
        _ => None,
    });
    let kept: Vec<f64> = kept.collect();
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().all(|mass| (0.5..1.0).contains(mass)), "{kept:?}");
    let of = |keys: &str| learns(&taught("small", "\"first\"", keys));
    let seen = [
        of(""),
        of("top_k = 1"),
        of("top_k = 1\ntail = \"renormalized\""),
        of("top_k = 3\ntail = \"truncated\""),
    ];
    assert!(seen.iter().skip(1).all(|nll| (nll - seen[0]).abs() > 1e-4), "{seen:?}");
    // Nine of ten classes and a bucket for the tenth are all ten.
    assert!((of("top_k = 9") - seen[0]).abs() < 1e-4);
}

#[test]
fn every_feature_loss_can_be_written_and_moves_the_student() {
    let of = |others: &str| {
        let teacher = "\"seen\"";
        let text = taught("shallow", teacher, others);
        learns(&text.replace("[arms.student]", "[arms.seen]\nmodel = \"deep\"\n[arms.student]"))
    };
    let plain = of("");
    for (keys, weight) in [
        ("kind = \"hint\"", 1.0),
        ("kind = \"hint\", student = 0, teacher = 1", f64::NAN),
        ("kind = \"hint\", student = 1, teacher = 1", 1.0),
        ("kind = \"attention_transfer\", student = 1, teacher = 1", 100.0),
        ("kind = \"relational_distance\"", 25.0),
        ("kind = \"relational_angle\"", 50.0),
        ("kind = \"similarity_preserving\"", 100.0),
        ("kind = \"probabilistic_transfer\"", 100.0),
        ("kind = \"correlation_congruence\", gamma = 0.5", 10.0),
        ("kind = \"variational_information\", student = 0, teacher = 0", 1.0),
        ("kind = \"contrastive\", width = 8, negatives = 16", 0.1),
        ("kind = \"masked_generation\", student = 0, teacher = 0, masked = 0.6", 0.01),
        ("kind = \"review\", levels = [[0, 0], [1, 1]], middle = 4", 1.0),
    ] {
        let others = |weight: f64| format!("features = [{{ {keys}, weight = {weight:?} }}]");
        if weight.is_nan() {
            // Maps of different sizes.
            let text = taught("shallow", "\"seen\"", &others(1.0));
            let text =
                text.replace("[arms.student]", "[arms.seen]\nmodel = \"deep\"\n[arms.student]");
            let recipe = Recipe::parse("voices.toml", &text, &[]).unwrap();
            assert!(Experiment::prepare(recipe, None, Device::Cpu).is_err());
            continue;
        }
        let moved = of(&others(weight));
        assert!((moved - plain).abs() > 1e-5, "{keys}: {moved} {plain}");
    }
    // Without a weight it is as if it were not there; with a schedule that begins at 0 it is not.
    let still = of("features = [{ kind = \"relational_distance\", weight = 0 }]");
    assert_eq!(still, plain);
    let later = of(
        "features = [{ kind = \"relational_distance\", weight = { kind = \"linear\", from = 0.0, to = 50.0 } }]",
    );
    assert_ne!(later, plain);
}

#[test]
fn feature_losses_between_equal_channels_need_no_adapter() {
    let text = taught(
        "deep",
        "\"seen\"",
        "features = [{ kind = \"hierarchical_context\", student = 1, teacher = 1 }]",
    );
    learns(&text.replace("[arms.student]", "[arms.seen]\nmodel = \"deep\"\n[arms.student]"));
}

#[test]
fn what_does_not_go_together_is_said_where_it_stands() {
    for (teacher, others, expected) in [
        ("{ several = [\"first\"] }", "", "at least two teachers, found 1"),
        ("{ several = [\"first\", { peers = [\"small\"] }] }", "", "teachers of one voice"),
        (
            "{ several = [\"first\", \"second\"], weighting = { fixed = [1.0] } }",
            "",
            "expected 2 weights, one a teacher, found 1",
        ),
        (
            "{ several = [\"first\", \"second\"], weighting = { fixed = [1.0, -1.0] } }",
            "",
            "finite and not negative",
        ),
        (
            "{ several = [\"first\", \"second\"], weighting = \"equal\", gate = \"small\" }",
            "",
            "expected one of the two",
        ),
        ("{ several = [\"first\", \"nobody\"] }", "", "no earlier arm `nobody`"),
        ("{ several = [\"first\", \"second\"], gate = \"none\" }", "", "no model `none`"),
        ("{ peers = [] }", "", "at least one model"),
        ("{ peers = [\"none\"] }", "", "no model `none`"),
        ("{ peers = [\"small\"], arm = \"first\" }", "", "or `peers`"),
        ("{ virtual = { confidence = 1.0 } }", "", "in (0, 1)"),
        ("{ peers = [\"small\"] }", "teacher_calibration = \"temperature\"", "does nothing"),
        ("{ peers = [\"small\"] }", "top_k = 2", "nor with `top_k`"),
        ("\"first\"", "tail = \"bucket\"", "`tail` goes with `top_k`"),
        ("{ peers = [\"small\"] }", "features = [{ kind = \"hint\" }]", "no other has layers"),
        (
            "{ peers = [\"small\"] }",
            "sample_weights = { file = \"w.npy\" }",
            "sample_weights: does not go with peers",
        ),
        (
            "\"first\"",
            "top_k = 2\nsample_weights = { file = \"w.npy\" }",
            "sample_weights: does not go with `top_k`",
        ),
        (
            "\"first\"",
            "sample_temperatures = { file = \"t.npy\" }",
            "stand in the place of `temperature`: expected one of the two",
        ),
        ("\"first\"", "sample_weights = { path = \"w.npy\" }", "unknown field `path`"),
        ("\"first\"", "features = [{ kind = \"hint\", gamma = 1 }]", "gamma"),
        ("\"first\"", "features = [{ kind = \"hints\" }]", "hints"),
        ("\"first\"", "student_temperature = 1e200", "must be in [0.01, 1000]"),
        (
            "{ run = \"r\", arm = \"a\", seed = 1 }",
            "teacher_calibration = \"temperature\"",
            "does not go with one teacher for several seeds",
        ),
    ] {
        let error = refused(&taught("small", teacher, others)).to_string();
        assert!(error.contains(expected), "{teacher} {others}: {error}");
    }
    for (others, expected) in [
        ("top_k = 10", "fewer than the 10 classes"),
        (
            "features = [{ kind = \"hint\", student = 3 }]",
            "features.0.student: expected a layer in 0..1",
        ),
        ("features = [{ kind = \"attention_transfer\" }]", "features"),
        ("kind = \"reverse\"\ntop_k = 2", "forward divergence"),
    ] {
        let text = taught("small", "\"first\"", others);
        let recipe = Recipe::parse("voices.toml", &text, &[]).unwrap();
        let error = Experiment::prepare(recipe, None, Device::Cpu).unwrap_err().to_string();
        assert!(error.contains(expected), "{others}: {error}");
    }
}

#[test]
fn features_that_cannot_be_are_refused_by_their_key() {
    for (teacher, others, expected) in [
        (
            "\"first\"",
            "features = [{ kind = \"hint\", weight = { kind = \"linear\", from = 1.0, to = -1.0 } }]",
            "features.0.weight: must not be negative, found -1.0",
        ),
        (
            "\"first\"",
            "features = [{ kind = \"masked_generation\", masked = 2 }]",
            "features.0.masked: must be in [0, 1], found 2.0",
        ),
        (
            "\"first\"",
            "features = [{ kind = \"variational_information\", variance = 1000 }]",
            "features.0.variance: must be in (1e-5, 500]",
        ),
        (
            "\"first\"",
            "features = [{ kind = \"review\", levels = [], middle = 4 }]",
            "features.0.levels: expected pairs of layers, at least one",
        ),
        (
            "\"first\"",
            "features = [{ kind = \"review\", levels = [[1, 1], [0, 0]], middle = 4 }]",
            "the shallowest first",
        ),
        (
            "\"first\"",
            "features = [{ kind = \"review\", levels = [[0, 0]], middle = 0 }]",
            "features.0.middle: must be at least 1",
        ),
        (
            "\"first\"",
            "features = [{ kind = \"review\", levels = [[0, 0]], middle = 4, student = 3 }]",
            "features.0.student: `levels` says which",
        ),
    ] {
        let error = refused(&taught("small", teacher, others)).to_string();
        assert!(error.contains(expected), "{teacher} {others}: {error}");
    }
}

/// Labels that do not count have no settings.
#[test]
fn what_is_said_of_labels_that_do_not_count_is_refused() {
    for (loss, key) in [
        ("z_loss = 0.1", "z_loss"),
        ("terms = [{ kind = \"entropy\" }]", "terms"),
        ("class_weights = [1, 1, 1, 1, 1, 1, 1, 1, 1, 2]", "class_weights"),
        ("online_smoothing = {}", "online_smoothing"),
        ("smoothing = { epsilon = 0.1, convention = \"mixture\" }", "smoothing"),
    ] {
        let text = taught("small", "\"first\"", "").replace("hard_weight = 0.5", "hard_weight = 0");
        let error = refused(&format!("{text}[arms.student.loss]\n{loss}\n")).to_string();
        let expected = format!("arms.student.loss.{key}: does nothing: distill.hard_weight is 0");
        assert!(error.contains(&expected), "{loss}: {error}");
    }
}

/// A teacher that is an arm looks at the images that its student sees; who was asked before cannot.
#[test]
fn a_student_whose_images_are_moved_is_taught_about_moved_images() {
    let shift = |text: String| text.replace("[arms.student]\n", "[arms.student]\nshift = 1\n");
    let moved = learns(&shift(taught("small", "\"second\"", "")));
    // One with the loss, the last layer of the teacher cannot but look.
    let fused = shift(taught("small", "\"second\"", ""))
        .replace("[arms.student]\n", "[arms.student]\nfuse_last_layer = true\n");
    let fused = learns(&fused);
    assert!((fused - moved).abs() < 1e-3 * moved, "{moved} {fused}");
    for teacher in ["{ cache = \"c\" }", "{ script = \"s.pt\" }", "{ run = \"r\", arm = \"a\" }"] {
        let error = refused(&shift(taught("small", teacher, ""))).to_string();
        assert!(error.contains("arms.student.shift: does not go with this teacher"), "{error}");
    }
}

/// What is about samples together is tried on as few as the last batch of an epoch has.
#[test]
fn a_last_batch_that_is_too_small_is_said_before_training() {
    let text = taught("small", "\"first\"", "features = [{ kind = \"relational_angle\" }]");
    let prepare = |text: &str| {
        let recipe = Recipe::parse("voices.toml", text, &[]).unwrap();
        Experiment::prepare(recipe, None, Device::Cpu)
    };
    let train = prepare(&text).unwrap().sizes().train;
    let batch = |size: usize| text.replace("batch_size = 64", &format!("batch_size = {size}"));
    let error = prepare(&batch(train - 2)).unwrap_err().to_string();
    let expected = "arms.student.distill: the last batch of an epoch has 2 samples (";
    assert!(error.starts_with(expected), "{error}");
    assert!(error.ends_with("expected another `training.batch_size`"), "{error}");
    prepare(&batch(train - 3)).unwrap();
}

#[test]
fn one_teacher_of_a_run_teaches_all_seeds() {
    let place = tempdir().unwrap();
    let (folder, _, _) = run(HEAD, place.path()).unwrap();
    let teacher = format!("{{ run = {:?}, arm = \"first\", seed = 2 }}", folder.root());
    let text = taught("small", &teacher, "").replace("seed = 2\n[data]", "seed = 7\n[data]");
    learns(&text);
    let own = text.replace(", seed = 2 }", " }");
    let recipe = Recipe::parse("voices.toml", &own, &[]).unwrap();
    assert!(Experiment::prepare(recipe, None, Device::Cpu).is_err());
}

#[test]
fn the_constant_of_a_class_is_chosen_and_the_training_is_not_repeated() {
    let omitted = "model = \"large\"\nomit_classes = [3]\ndistill = { teacher = \"first\", \
                   temperature = 4, soft_weight = 1, hard_weight = 0 }\n";
    let text = format!(
        "{HEAD}[arms.without]\n{omitted}[arms.raised]\n{omitted}\
         class_bias = {{ class = 3, to = 30, step = 0.5 }}\n"
    )
    .replace("epochs = 3", "epochs = 12");
    let place = tempdir().unwrap();
    let (folder, outcome, events) = run(&text, place.path()).unwrap();
    let said = |arm: &str| SavedPredictions::read(&folder.predictions(arm, 2, "test")).unwrap();
    let (without, raised) = (said("without"), said("raised"));
    let chosen = events.iter().find_map(|event| match event {
        Event::ClassBias { arm, bias, errors_before, errors_after, .. } => {
            assert!(arm == "raised" && errors_after < errors_before);
            Some(*bias)
        }
        _ => None,
    });
    let chosen = chosen.unwrap();
    assert!(chosen > 0.0);
    let rows = without.logits().as_slice().chunks_exact(10);
    for (before, after) in rows.zip(raised.logits().as_slice().chunks_exact(10)) {
        assert!((f64::from(after[3]) - f64::from(before[3]) - chosen).abs() < 1e-4);
        assert_eq!((&before[..3], &before[4..]), (&after[..3], &after[4..]));
    }
    assert_ne!(accuracy(&outcome, "raised"), accuracy(&outcome, "without"));
    let again = events.iter().filter(|event| {
        matches!(event, Event::TrainedAlready { arm, as_arm, .. } if arm == "raised" && as_arm == "without")
    });
    assert_eq!(again.count(), 1);
    let threes = |arm: &str| {
        let of = |event: &Event| match event {
            Event::Errors { arm: of, split: "test", by_class, errors, samples, .. }
                if of == arm =>
            {
                assert_eq!((*errors, *samples), (by_class.iter().sum(), 449));
                Some(by_class[3])
            }
            _ => None,
        };
        events.iter().find_map(of).unwrap()
    };
    assert!(threes("raised") < threes("without"));

    // The summary says what the events said.
    let arm = |name: &str| outcome.summary.arm(name).unwrap();
    assert_eq!(arm("raised").class_bias.as_ref().unwrap().values, [chosen]);
    assert_eq!(arm("without").class_bias, None);
    for name in ["without", "raised"] {
        let errors = &arm(name).test_errors;
        assert_eq!(errors.by_class[3].values, [threes(name) as f64]);
        let samples: f64 = errors.samples_by_class.iter().map(|of_class| of_class.mean).sum();
        assert_eq!((samples, errors.count.mean / 449.0), (449.0, errors.share.mean));
        assert!((1.0 - accuracy(&outcome, name) - errors.share.mean).abs() < 1e-12);
    }

    let error = refused(&text.replace("step = 0.5", "step = 0"));
    assert!(error.to_string().contains("step > 0"), "{error}");
    let recipe = Recipe::parse("t", &text.replace("class = 3", "class = 10"), &[]).unwrap();
    let error = Experiment::prepare(recipe, None, Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("class_bias must be a class of the data, found 10"), "{error}");
}

#[test]
fn features_of_some_samples_are_kept() {
    let text = HEAD.replace(
        "[arms.second]",
        "save_features = { classes = [7, 0, 4], samples = 5 }\n[arms.second]",
    );
    let place = tempdir().unwrap();
    let (folder, _, events) = run(&text, place.path()).unwrap();
    for split in ["train", "test"] {
        let path = folder.predictions("first", 2, &format!("features-{split}"));
        let saved = SavedFeatures::read(&path).unwrap();
        assert_eq!((saved.width(), saved.classes(), saved.rows().len()), (16, &[7, 0, 4][..], 15));
        // After a ReLU; and with the templates they are what the logits are, but for three constants.
        let said = SavedPredictions::read(&folder.predictions("first", 2, split)).unwrap();
        let mut constants: Vec<Vec<f32>> = vec![Vec::new(); 3];
        let mut rows = saved.rows().peekable();
        for (logits, label) in said.logits().as_slice().chunks_exact(10).zip(said.labels().iter()) {
            let Some((of, features)) = rows.next_if(|(of, _)| *of == label) else {
                continue;
            };
            assert!(of == label && features.iter().all(|feature| *feature >= 0.0));
            for ((template, class), constants) in
                saved.templates().zip(saved.classes()).zip(&mut constants)
            {
                let product: f32 = template.iter().zip(features).map(|(a, b)| a * b).sum();
                constants.push(logits[*class] - product);
            }
        }
        assert_eq!(rows.len(), 0);
        for constants in constants {
            assert!(constants.iter().all(|c| (c - constants[0]).abs() < 1e-4), "{constants:?}");
        }
    }
    assert!(!folder.predictions("second", 2, "features-test").exists());
    let lessons = events.iter().filter(|event| matches!(event, Event::Lesson { .. }));
    assert_eq!(lessons.count(), 2);
    let error = refused(&text.replace("[7, 0, 4]", "[7, 0, 7]")).to_string();
    assert!(error.contains("each at most once"), "{error}");
}
