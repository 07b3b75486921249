//! Every kind of target, loss and calibration that a recipe can name: it parses, comes back, trains, and says no to
//! what is wrong by the name of the key.

use std::fmt::Write as _;

use softlabel_losses::AnyLoss;
use softlabel_results::Calibration;
use softlabel_train::{Error, Experiment, Recipe};
use tch::Device;
use tempfile::tempdir;

use crate::run;

const HEAD: &str = r#"
name = "losses"
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
"#;

/// A number for each of the ten digits.
fn list(value: impl Fn(usize) -> f64) -> String {
    format!("{:?}", (0..10).map(value).collect::<Vec<_>>())
}

/// Ten rows.
fn matrix(diagonal: f64, other: f64) -> String {
    let row = |i| list(|j| if i == j { diagonal } else { other });
    format!("[{}]", (0..10).map(row).collect::<Vec<_>>().join(", "))
}

/// Every kind of smoothing and what else happens to labels: name, the keys of the loss.
fn targets() -> Vec<(&'static str, String)> {
    let smoothing = |text: &str| format!("smoothing = {{ {text} }}");
    let prior = |text: &str| format!("smoothing = {{ epsilon = 0.2, prior = {{ {text} }} }}");
    let paths: Vec<_> =
        (0..10).map(|digit| format!("['{}']", ["even", "odd"][digit % 2])).collect();
    vec![
        ("off_target", smoothing("epsilon = 0.1, convention = 'off_target'")),
        ("per_class", smoothing(&format!("epsilon = {}, convention = 'mixture'", list(|k| k as f64 / 20.0)))),
        ("negative", smoothing("negative_epsilon = -0.2, convention = 'mixture'")),
        ("linear", smoothing("epsilon = { kind = 'linear', from = 0.0, to = 0.3 }, convention = 'mixture'")),
        ("cosine", smoothing("epsilon = { kind = 'cosine', from = 0.3, to = 0.0 }, convention = 'off_target'")),
        ("warmup", smoothing("epsilon = { kind = 'warmup', from = 0.0, peak = 0.2, to = 0.1, until = 0.1, decay = 'linear' }, convention = 'mixture'")),
        ("then_negative", smoothing("negative_epsilon = { kind = 'steps', values = [0.0, -0.4], boundaries = [0.8] }, convention = 'mixture'")),
        ("vector", prior(&format!("kind = 'vector', probabilities = {}", list(|_| 0.1)))),
        ("counts", prior(&format!("kind = 'vector', counts = {}, pseudo_count = 1", list(|k| k as f64)))),
        ("allowed", prior("kind = 'allowed', classes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]")),
        ("matrix", prior(&format!("kind = 'matrix', matrix = {}", matrix(0.1, 0.1)))),
        ("similarity", prior(&format!("kind = 'similarity', matrix = {}, temperature = 0.5", matrix(1.0, 0.2)))),
        ("confusion", prior(&format!("kind = 'confusion', matrix = {}, pseudo_count = 1", matrix(90.0, 3.0)))),
        ("ordinal", prior("kind = 'ordinal', distance = 'absolute', scale = 1.0")),
        ("histogram", "smoothing = { epsilon = 1.0, prior = { kind = 'histogram', target = { kind = 'hl_gauss', low = -0.5, high = 9.5, classes = 10, sigma_ratio = 0.75 } } }".into()),
        ("hierarchy", prior(&format!("kind = 'hierarchy', paths = [{}], beta = 4", paths.join(", ")))),
        ("online", "online_smoothing = { epsilon = 0.1, label_share = 0.5 }".into()),
        ("zipf", "zipf_smoothing = { epsilon = 0.2, exponent = 1.0 }".into()),
        ("mixup", "smoothing = { epsilon = 0.1, convention = 'mixture' }\nmixup = { alpha = 0.4, by = 'sample' }".into()),
        ("cutmix", "cutmix = { alpha = 1.0 }".into()),
        ("either", "mixup = { alpha = 0.4 }\ncutmix = { alpha = 1.0 }\nterms = [{ kind = 'max_sup', weight = 0.1 }]".into()),
        ("disturb", "disturb_label = { rate = 0.2 }".into()),
        ("options", format!("class_weights = {}\nmean_over = 'samples'\nz_loss = 1e-3\nsoftcap = 30\nlogit_scale = 0.5", list(|k| 1.0 + k as f64 / 10.0))),
        ("ramp", "terms = [{ kind = 'focal', gamma = 2, weight = { kind = 'linear', from = 0, to = 0.5 } }]\nweight = { kind = 'cosine', from = 1, to = 0.5 }".into()),
    ]
}

/// Every kind of term: its keys, and whether it stands in the place of cross-entropy.
fn terms() -> Vec<(&'static str, String, bool)> {
    let transition = format!("transition = {}", matrix(0.91, 0.01));
    let term = |kind, keys: &str, alone| (kind, keys.to_owned(), alone);
    vec![
        term("confidence_penalty", "", false),
        term("entropy", "", false),
        term("margin_smoothing", "margin = 6", false),
        term("acls", "margin = 6, positive = 0.1, negative = 0.01", false),
        term("max_sup", "", false),
        term("logit_penalty", "", false),
        term("logit_norm", "temperature = 0.1", true),
        term("correctness_ranking", "", false),
        term("mmce", "width = 0.4", false),
        term("kl_divergence", "direction = 'forward', reference = 'uniform'", false),
        term("js_divergence", "reference = 'target'", true),
        term("zipf_divergence", "exponent = 1.0", false),
        term("brier", "", true),
        term("focal", "gamma = 2.0", true),
        term("focal_53", "", true),
        term("dual_focal", "gamma = 5", true),
        term("poly", "epsilon = 2", true),
        term("label_relaxation", "alpha = 0.1", true),
        term("bootstrap", "mode = 'soft', beta = 0.95", true),
        term("generalized_cross_entropy", "q = 0.7", true),
        term("symmetric_cross_entropy", "alpha = 0.1, beta = 1.0, log_zero = -4", true),
        term("forward_correction", &transition, true),
        term("backward_correction", &transition, true),
        term("binary_cross_entropy", "smoothing = { epsilon = 0.1, form = 'over_classes' }", true),
    ]
}

fn arm(name: &str, loss: &str) -> String {
    format!("[arms.{name}]\nmodel = \"small\"\n[arms.{name}.loss]\n{loss}\n")
}

/// Trains arms, which must come back from their printed form, and wants each better than a guess of ten.
fn check_trains(arms: &[(&str, String)]) {
    let mut text = HEAD.to_owned() + "[arms.plain]\nmodel = \"small\"\n";
    for (name, loss) in arms {
        text.push_str(&arm(name, loss));
    }
    let recipe = Recipe::parse("losses", &text, &[]).unwrap();
    let printed = recipe.to_toml().unwrap();
    assert_eq!(Recipe::parse("printed", &printed, &[]).unwrap(), recipe, "{printed}");
    let folder = tempdir().unwrap();
    let (_, outcome, _) = run(&text, folder.path()).unwrap();
    let accuracy =
        |name| outcome.summary.row(name, &Calibration::NONE).unwrap().metrics.accuracy.mean;
    let nll = |name| outcome.summary.row(name, &Calibration::NONE).unwrap().metrics.nll.mean;
    let mut poor = String::new();
    for (name, _) in arms {
        let (accuracy, same) = (accuracy(name), nll(name) == nll("plain"));
        if accuracy < 0.3 || same {
            writeln!(poor, "{name}: accuracy {accuracy}, same as plain: {same}").unwrap();
        }
    }
    assert!(poor.is_empty(), "{poor}");
}

#[test]
fn every_kind_of_target_trains() {
    check_trains(&targets());
}

#[test]
fn every_kind_of_term_trains() {
    let terms = terms();
    assert_eq!(terms.iter().map(|(kind, ..)| *kind).collect::<Vec<_>>(), AnyLoss::KINDS);
    let loss = |(kind, keys, alone): (&'static str, String, bool)| {
        let comma = if keys.is_empty() { "" } else { ", " };
        let (base, weight) = if alone { (0, 1.0) } else { (1, 0.05) };
        (
            kind,
            format!(
                "weight = {base}\nterms = [{{ kind = '{kind}', weight = {weight}{comma}{keys} }}]"
            ),
        )
    };
    check_trains(&terms.into_iter().map(loss).collect::<Vec<_>>());
}

/// A file of votes, one row a sample of the data set: a unanimous one says what the labels say, bit for bit; a prior
/// and a divided vote train too, and a file of another size is refused before anything is trained.
#[test]
fn votes_of_annotators_stand_in_the_place_of_labels() {
    let folder = tempdir().unwrap();
    let digits = softlabel_data::digits().unwrap();
    let labels: Vec<usize> = digits.labels().iter().collect();
    let file = |name: &str, labels: &[usize], other: usize| {
        let mut text = (0..10).map(|class| format!("votes_{class}")).collect::<Vec<_>>().join(",");
        for &label in labels {
            let votes =
                |class| 3 * usize::from(class == label) + other * usize::from(class == 9 - label);
            let row: Vec<String> = (0..10).map(|class| votes(class).to_string()).collect();
            write!(text, "\n{}", row.join(",")).unwrap();
        }
        let path = folder.path().join(name);
        std::fs::write(&path, text + "\n").unwrap();
        format!("file = '{}'", path.display())
    };
    let (unanimous, divided) = (file("one.csv", &labels, 0), file("two.csv", &labels, 1));
    let arms = [
        ("divided", format!("soft_labels = {{ {divided}, concentration = 0.5 }}")),
        (
            "smoothed",
            format!(
                "soft_labels = {{ {divided} }}\nsmoothing = {{ epsilon = 0.1, convention = 'mixture' }}"
            ),
        ),
        (
            "in_a_sum",
            format!(
                "soft_labels = {{ {divided} }}\nterms = [{{ kind = 'entropy', weight = 0.01 }}]"
            ),
        ),
    ];
    check_trains(&arms);

    let text = HEAD.to_owned()
        + "[arms.plain]\nmodel = \"small\"\n"
        + &arm("votes", &format!("soft_labels = {{ {unanimous} }}"));
    let (_, outcome, _) = run(&text, &folder.path().join("same")).unwrap();
    let of = |name| outcome.summary.row(name, &Calibration::NONE).unwrap().metrics.nll.mean;
    assert!((of("plain") - of("votes")).abs() < 1e-4, "{} {}", of("plain"), of("votes"));

    let short = file("short.csv", &labels[1..], 1);
    let text = HEAD.to_owned() + &arm("x", &format!("soft_labels = {{ {short} }}"));
    let recipe = Recipe::parse("x.toml", &text, &[]).unwrap();
    let error = Experiment::prepare(recipe, None, Device::Cpu).unwrap_err();
    let Error::Loss { key, source } = &error else { panic!("{error}") };
    assert_eq!(key, "arms.x.loss.soft_labels");
    assert!(source.to_string().contains("expected 1797, one a sample"), "{source}");
}

/// A file of ε, one a sample: where all are the same it is one ε for all, to rounding, also beside other terms and under
/// distillation; what is of another size or out of range is refused before anything is trained.
#[test]
fn every_sample_may_have_an_epsilon_of_its_own() {
    let folder = tempdir().unwrap();
    let file = |name: &str, numbers: &[f64]| {
        let path = folder.path().join(name);
        let lines: Vec<String> = numbers.iter().map(f64::to_string).collect();
        std::fs::write(&path, format!("epsilon\n{}\n", lines.join("\n"))).unwrap();
        format!("{{ file = '{}' }}", path.display())
    };
    let same = file("same.csv", &[0.2; 1797]);
    let terms = "terms = [{ kind = 'entropy', weight = 0.01 }]";
    let taught = "[arms.NAME.distill]\nteacher = 'one'\ntemperature = 2\nsoft_weight = 0.5\nhard_weight = 0.5\n";
    let mut text = HEAD.to_owned();
    for (name, epsilon, more) in [
        ("one", "0.2", ""),
        ("own", &*same, ""),
        ("one_of_two", "0.2", terms),
        ("own_of_two", &*same, terms),
    ] {
        let smoothing = format!("smoothing = {{ epsilon = {epsilon}, convention = 'mixture' }}");
        text += &arm(name, &format!("{smoothing}\n{more}"));
    }
    for (name, epsilon) in [("one_taught", "0.2"), ("own_taught", &*same)] {
        let smoothing = format!("smoothing = {{ epsilon = {epsilon}, convention = 'mixture' }}");
        text += &arm(name, &smoothing);
        text += &taught.replace("NAME", name);
    }
    let (_, outcome, _) = run(&text, &folder.path().join("run")).unwrap();
    let of = |name| outcome.summary.row(name, &Calibration::NONE).unwrap().metrics.nll.mean;
    for (one, own) in [("one", "own"), ("one_of_two", "own_of_two"), ("one_taught", "own_taught")] {
        assert!((of(one) - of(own)).abs() < 1e-4, "{own}: {} for {}", of(own), of(one));
    }
    assert!((of("one") - of("one_taught")).abs() > 1e-3);

    for (numbers, expected) in [
        (
            vec![0.2; 1796],
            "epsilons of samples: expected 1797, one a sample of the data set, found 1796",
        ),
        (
            [vec![0.2; 1796], vec![1.5]].concat(),
            "epsilons of samples: expected numbers in [0, 1], found 1.5 for sample 1796",
        ),
    ] {
        let bad = file("bad.csv", &numbers);
        let smoothing = format!("smoothing = {{ epsilon = {bad}, convention = 'mixture' }}");
        let recipe = Recipe::parse("x.toml", &(HEAD.to_owned() + &arm("x", &smoothing)), &[]);
        let error = Experiment::prepare(recipe.unwrap(), None, Device::Cpu).unwrap_err();
        let Error::Loss { key, source } = &error else { panic!("{error}") };
        assert_eq!(key, "arms.x.loss.smoothing.epsilon");
        assert_eq!(source.to_string(), expected);
    }
}

/// Wrong keys and values are errors on their line that name what is wrong.
#[test]
fn what_is_wrong_with_a_loss_is_named() {
    for (loss, expected) in [
        ("terms = [{ kind = 'fokal', gamma = 2 }]", "unknown variant `fokal`"),
        ("terms = [{ kind = 'focal', gama = 2 }]", "unknown field `gama`, expected `gamma`"),
        ("terms = [{ kind = 'focal', gamma = -1 }]", "the gamma of a focal loss must be"),
        ("terms = [{ gamma = 2 }]", "missing field `kind`"),
        ("terms = [{ kind = 'brier', weight = nan }]", "value of a schedule must be finite"),
        (
            "terms = [{ kind = 'brier', weight = { kind = 'linear', from = 0 } }]",
            "needs `from` and `to`",
        ),
        ("weight = 0", "arms.x.loss.weight: must not be 0"),
        ("weight = 'much'", "expected a number"),
        ("z_loss = -1", "arms.x.loss.z_loss: the coefficient of the z-loss must be"),
        ("softcap = 0", "arms.x.loss.softcap: the cap of the logits must be"),
        ("logit_scale = inf", "arms.x.loss.logit_scale: the scale of the logits must be"),
        ("class_weights = [1, -1]", "arms.x.loss.class_weights: a weight must be finite"),
        ("class_weights = [0, 0]", "arms.x.loss.class_weights: expected at least one"),
        ("mean_over = 'rows'", "unknown variant `rows`"),
        ("mixup = { alpha = 0 }", "alpha must be in [0.001, 1000]"),
        ("mixup = { alfa = 1 }", "unknown field `alfa`"),
        ("disturb_label = { rate = 2 }", "must be in [0, 1], found 2"),
        ("online_smoothing = { share = 1 }", "unknown field `share`"),
        (
            "online_smoothing = {}\nmixup = { alpha = 1 }",
            "online_smoothing: does not go with `mixup`",
        ),
        ("zipf_smoothing = { epsilon = 0.1, exponent = -1 }", "zipf exponent must be"),
        (
            "zipf_smoothing = { epsilon = 0.1, exponent = 1 }\nsmoothing = { epsilon = 0.1, convention = 'mixture' }",
            "arms.x.loss.zipf_smoothing: stands in the place of `smoothing`",
        ),
        ("smoothing = { epsilon = 0.1 }", "missing field `convention`"),
        (
            "smoothing = { epsilon = 0.1, negative_epsilon = -1, convention = 'mixture' }",
            "not both",
        ),
        ("smoothing = { negative_epsilon = 0.1, convention = 'mixture' }", "must be below 0"),
        (
            "smoothing = { epsilon = { kind = 'linear', from = 0, to = 2 }, convention = 'mixture' }",
            "must be in [0, 1], found 2",
        ),
        ("smoothing = { epsilon = [], convention = 'mixture' }", "an epsilon for each class"),
        (
            "smoothing = { epsilon = { file = 'e.npy', keys = 'e' }, convention = 'mixture' }",
            "unknown field `keys`",
        ),
        (
            "smoothing = { epsilon = { kind = 'linear', from = 0 }, convention = 'mixture' }",
            "schedule of kind linear needs `from` and `to`",
        ),
        (
            "smoothing = { epsilon = { file = 'e.npy' }, convention = 'mixture' }\nmixup = { alpha = 1 }",
            "arms.x.loss.smoothing.epsilon: a file with a number for each sample does not go with `mixup`",
        ),
        (
            "smoothing = { epsilon = { file = 'e.npy' }, convention = 'mixture' }\nsoft_labels = { file = 'v.npy' }",
            "does not go with `soft_labels`",
        ),
        (
            "smoothing = { epsilon = 0.1, prior = { kind = 'ordinal' } }",
            "needs `distance` and `scale`",
        ),
        ("soft_labels = { path = 'votes.npy' }", "unknown field `path`"),
        ("soft_labels = { file = 'votes.npy', concentration = -1 }", "concentration must be"),
        (
            "soft_labels = { file = 'votes.npy' }\nmixup = { alpha = 1 }",
            "arms.x.loss.soft_labels: stands in the place of the labels that `mixup` changes",
        ),
        (
            "soft_labels = { file = 'votes.npy' }\nonline_smoothing = {}",
            "arms.x.loss.soft_labels: does not go with `online_smoothing`",
        ),
        (
            "mixup = { alpha = 1 }\nterms = [{ kind = 'correctness_ranking' }]",
            "arms.x.loss.terms.0: does not go with `mixup`",
        ),
    ] {
        let text = HEAD.to_owned() + &arm("x", loss);
        let error = Recipe::parse("x.toml", &text, &[]).unwrap_err();
        assert!(error.to_string().contains(expected), "{loss}: {error}");
        assert!(error.line() > Some(14), "{loss}: {error}");
    }
}

/// What depends on the data is found before anything is trained, and named too.
#[test]
fn what_does_not_go_with_the_data_is_named_before_training() {
    for (loss, expected) in [
        (
            "class_weights = [1, 1]",
            "arms.x.loss.class_weights: class weights: expected 10, found 2",
        ),
        (
            "smoothing = { epsilon = 0.1, prior = { kind = 'vector', probabilities = [0.5, 0.5] } }",
            "arms.x.loss.smoothing: classes of the prior: expected 10, found 2",
        ),
        (
            "mixup = { alpha = 1 }\nterms = [{ kind = 'max_sup' }, { kind = 'mmce', width = 0.4 }]",
            "arms.x.loss.terms.1: mmce needs hard labels, found soft targets",
        ),
        (
            "terms = [{ kind = 'forward_correction', transition = [[1.0]] }]",
            "arms.x.loss.terms.0: ",
        ),
    ] {
        let recipe = Recipe::parse("x.toml", &(HEAD.to_owned() + &arm("x", loss)), &[]).unwrap();
        let error = Experiment::prepare(recipe, None, Device::Cpu).unwrap_err();
        assert!(matches!(error, Error::Loss { .. }), "{loss}: {error:?}");
        assert!(error.to_string().contains(expected), "{loss}: {error}");
    }
}

#[test]
fn every_method_calibrates_by_name_and_by_table() {
    let names = softlabel_posthoc::Method::names().iter().copied().chain(["temperature+isotonic"]);
    let words: Vec<_> = names.clone().map(|name| format!("{name:?}")).collect();
    let text = format!(
        "{HEAD}[arms.x]\nmodel = \"small\"\ncalibrate = [{}]\n\
         [arms.y]\nmodel = \"small\"\ncalibrate = [{{ method = \"beta\", form = \"ab\" }}, \"vector\"]\n\
         [[checks]]\narm = \"y\"\ncalibration = \"beta\"\nmetric = \"accuracy\"\nat_least = 0.5\n",
        words.join(", ")
    );
    let recipe = Recipe::parse("x", &text, &[]).unwrap();
    let printed = recipe.to_toml().unwrap();
    assert_eq!(Recipe::parse("printed", &printed, &[]).unwrap(), recipe, "{printed}");
    let folder = tempdir().unwrap();
    let (run, outcome, _) = run(&text, folder.path()).unwrap();
    for name in names.chain(["none"]) {
        let row = outcome.summary.row("x", &Calibration::named(name)).unwrap();
        assert!(row.metrics.accuracy.mean > 0.5, "{}", row.title());
        let saved = run.calibrator("x", 5, name).exists();
        assert_eq!(saved, !row.calibration.is_none());
    }
    let beta =
        |arm| outcome.summary.row(arm, &Calibration::named("beta")).unwrap().metrics.nll.mean;
    assert_ne!(beta("x"), beta("y"));
    assert!(outcome.summary.checks[0].passed);
}

#[test]
fn a_method_is_named_once_and_told_only_what_it_knows() {
    for (calibrate, expected) in [
        ("[\"beta\", { method = \"beta\", form = \"ab\" }]", "there is a map `beta` already"),
        ("[{ method = \"beta\", from = \"ab\" }]", "has no \"from\""),
        ("[{ form = \"ab\" }]", "without the name of a `method`"),
        ("[{ method = \"betta\" }]", "unknown method `betta`"),
    ] {
        let text = format!("{HEAD}[arms.x]\nmodel = \"small\"\ncalibrate = {calibrate}\n");
        let error = Recipe::parse("x", &text, &[]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
