//! Losses as data.

use std::collections::BTreeSet;

use softlabel_losses::{AnyLoss, LossTerm};

use crate::cases::all;

#[test]
fn every_kind_has_a_case() {
    let covered: BTreeSet<&str> = all().iter().map(|case| case.loss.name()).collect();
    assert_eq!(covered, AnyLoss::KINDS.iter().copied().collect());
}

#[test]
fn what_is_written_is_read_back() {
    for loss in all().into_iter().map(|case| case.loss) {
        let json = serde_json::to_string(&loss).unwrap();
        assert!(json.contains(&format!(r#""kind":"{}""#, loss.name())), "{json}");
        assert_eq!(serde_json::from_str::<AnyLoss>(&json).unwrap(), loss);
        let toml = toml::to_string(&loss).unwrap();
        assert_eq!(toml::from_str::<AnyLoss>(&toml).unwrap(), loss, "{toml}");
    }
}

#[test]
fn strangers_are_named() {
    let fail = |text: &str| toml::from_str::<AnyLoss>(text).unwrap_err().to_string();
    let unknown = fail("kind = 'focus'");
    assert!(unknown.contains("`focus`") && unknown.contains("`focal_53`"), "{unknown}");
    assert!(fail("gamma = 2").contains("`kind`"));
    for loss in all().into_iter().map(|case| case.loss) {
        let error = fail(&format!("strange = 1\n{}", toml::to_string(&loss).unwrap()));
        assert!(error.contains("unknown field `strange`"), "{error}");
    }
}

#[test]
fn missing_and_impossible_values_are_named() {
    for (text, expected) in [
        ("kind = 'focal'", "missing field `gamma`"),
        ("kind = 'focal'\ngamma = -1", "the gamma of a focal loss must be"),
        ("kind = 'bootstrap'\nmode = 'firm'\nbeta = 0.9", "`firm`"),
        ("kind = 'bootstrap'\nmode = 'soft'\nbeta = 2.0", "the beta of bootstrapping must be"),
        ("kind = 'mmce'\nwidth = 0", "the kernel width of MMCE must be"),
        ("kind = 'kl_divergence'\ndirection = 'forward'\nreference = { prior = [0.5] }", "sums to"),
        ("kind = 'backward_correction'\ntransition = [[0.5, 0.5], [0.5, 0.5]]", "its inverse"),
        ("kind = 'forward_correction'\ntransition = [[0.5, 0.6], [0.5, 0.5]]", "row 0 sums to"),
        (
            "kind = 'binary_cross_entropy'\nsmoothing = { epsilon = 2.0, form = 'half' }",
            "epsilon must be",
        ),
    ] {
        let error = toml::from_str::<AnyLoss>(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn recipes_write_them_like_this() {
    for text in [
        "kind = 'confidence_penalty'",
        "kind = 'confidence_penalty'\nthreshold = 1",
        "kind = 'kl_divergence'\ndirection = 'reverse'\nreference = 'uniform'",
        "kind = 'js_divergence'\nreference = { prior = [0.25, 0.75] }",
        "kind = 'binary_cross_entropy'",
        "kind = 'binary_cross_entropy'\nsmoothing = { epsilon = 0.1, form = 'over_classes' }\npos_weight = [1, 2]",
        "kind = 'mmce'\nwidth = 0.4\nsquared = true",
        "kind = 'acls'\nmargin = 10\npositive = 1\nnegative = 0.1",
        "kind = 'symmetric_cross_entropy'\nalpha = 0.1\nbeta = 1\nlog_zero = -4",
    ] {
        let read = toml::from_str::<AnyLoss>(text);
        assert!(read.is_ok(), "{text}: {:?}", read.err());
    }
}
