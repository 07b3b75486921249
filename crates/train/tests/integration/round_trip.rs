//! A printed recipe is the recipe.

use proptest::prelude::*;
use softlabel_train::Recipe;

use crate::FULL;

/// Prints, parses, and prints again.
fn check(recipe: &Recipe) -> Result<(), TestCaseError> {
    let printed = recipe.to_toml().unwrap();
    let again = Recipe::parse("printed", &printed, &[]).map_err(|error| {
        TestCaseError::fail(format!("the printed recipe does not parse: {error}\n{printed}"))
    })?;
    prop_assert_eq!(recipe, &again);
    prop_assert_eq!(&printed, &again.to_toml().unwrap());
    Ok(())
}

#[test]
fn a_recipe_with_everything_and_one_with_defaults_come_back() {
    let recipe = Recipe::parse("full", FULL, &[]).unwrap();
    check(&recipe).unwrap();
    assert_eq!(recipe.name(), "tiny");
    assert_eq!(recipe.description(), "Everything that a recipe can have");
    assert_eq!((recipe.seeds(), recipe.epochs()), (vec![3, 4], 1));
    assert_eq!(recipe.arms().collect::<Vec<_>>(), ["hard", "smoothed", "student"]);

    let least = r#"
        name = "least"
        data = { source = { dataset = "mnist" }, split = { validation = 0 } }
        training = { epochs = 1, batch_size = 1, learning_rate = 1 }
        models.linear = {}
        arms.only.model = "linear"
    "#;
    let recipe = Recipe::parse("least", least, &[]).unwrap();
    check(&recipe).unwrap();
    assert_eq!((recipe.seeds(), recipe.description()), (vec![0], ""));
}

fn noise() -> impl Strategy<Value = String> {
    prop_oneof![
        (0.0..=1.0).prop_map(|rate| format!("{{ kind = \"symmetric\", rate = {rate:?} }}")),
        (0.0..=1.0).prop_map(|rate| format!("{{ kind = \"pair_flip\", rate = {rate:?} }}")),
        (0.0..=1.0).prop_map(|p: f64| {
            let rest = 1.0 - p;
            let matrix = format!("[[{p:?}, {rest:?}], [{rest:?}, {p:?}]]");
            format!("{{ kind = \"matrix\", matrix = {matrix} }}")
        }),
    ]
}

proptest! {
    #[test]
    fn whatever_its_values_a_recipe_comes_back(
        description in any::<String>(),
        seed in 0..1_u64 << 62,
        repeats in 1..1000_u64,
        learning_rate in (f64::MIN_POSITIVE..f64::MAX),
        epsilon in 0.0..=1.0,
        temperature in 0.01..=1000.0,
        hidden in prop::collection::vec(1..65_536_u32, 0..5),
        arm in "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,99}",
        noise in noise(),
        optimizer in prop::sample::select(vec!["adam", "adamw", "sgd"]),
        convention in prop::sample::select(vec!["mixture", "off_target"]),
    ) {
        let description = toml::Value::String(description);
        let overrides = [
            format!("description={description}"),
            format!("seed={seed}"),
            format!("repeats={repeats}"),
            format!("training.learning_rate={learning_rate:?}"),
            format!("training.optimizer={optimizer}"),
            format!("models.small.hidden={hidden:?}"),
            format!("data.noise={noise}"),
            format!("arms.\"{arm}\"={{ model = \"small\", compare_with = \"hard\" }}"),
            format!("arms.smoothed.loss.smoothing.epsilon={epsilon:?}"),
            format!("arms.smoothed.loss.smoothing.convention={convention}"),
            format!("arms.student.distill.temperature={temperature:?}"),
        ];
        let recipe = Recipe::parse("full", FULL, &overrides);
        check(&recipe.map_err(|error| TestCaseError::fail(error.to_string()))?)?;
    }
}
