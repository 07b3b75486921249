//! `softlabel teach`, and teaching from what it wrote.

use std::fs;

use crate::{Place, TINY};

const STUDENT: &str = "[arms.student]\nmodel = \"small\"\n\
     distill = { teacher = { cache = \"cache\" }, temperature = 2, soft_weight = 1, hard_weight = 0 }\n";

#[test]
fn a_cache_is_written_gone_on_with_and_taught_from() {
    let place = Place::new(TINY);
    let teach = &["teach", "recipe.toml", "--arm", "smoothed", "--out", "cache", "--threads", "1"];
    let said = place.softlabel(teach).success();
    assert!(said.contains("samples      1797 (0 there before)"), "{said}");
    assert!(said.contains("kept mass    1.0000"), "{said}");
    fs::remove_file(place.path("cache/shard-00000.safetensors")).unwrap();
    let again = place.softlabel(teach).success();
    assert!(!again.contains("(0 there before)") && !again.contains("(1797"), "{again}");
    fs::write(place.path("recipe.toml"), format!("{TINY}{STUDENT}")).unwrap();
    let table = place.run(&["--out", "run"]).success();
    assert!(table.contains("student"), "{table}");
    // Another teacher does not fit the cache.
    let other = [&teach[..3], &["hard"], &teach[4..]].concat();
    let said = place.softlabel(&other).failure();
    assert!(said.contains("the logit cache was made from smoothing"), "{said}");
}

#[test]
fn what_is_not_understood_is_said() {
    let place = Place::new(TINY);
    let said = place.softlabel(&["teach", "recipe.toml", "--out", "cache"]).failure();
    assert!(said.contains("--arm <ARM>") && said.contains("--script <FILE>"), "{said}");
    let teach = |arguments: &[&str]| {
        let head = ["teach", "recipe.toml", "--out", "cache"];
        place.softlabel(&[&head[..], arguments].concat()).failure()
    };
    assert!(
        teach(&["--arm", "had"]).contains("there is no arm `had`; expected one of: hard, smoothed")
    );
    assert!(teach(&["--arm", "hard", "--encoding", "f8"]).contains("expected f32, f16 or top-K"));
    assert!(teach(&["--script", "none.pt"]).contains("none.pt"));
    fs::write(place.path("text.pt"), "no module").unwrap();
    assert!(teach(&["--script", "text.pt"]).contains("text.pt: not a TorchScript file"));
    assert_eq!(place.names("."), ["recipe.toml", "text.pt"]);
    fs::write(place.path("recipe.toml"), format!("{TINY}{STUDENT}")).unwrap();
    let said = place.run(&[]).failure();
    assert!(said.contains("cache/index.json"), "{said}");
}
