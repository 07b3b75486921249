//! From text to a checked [`Recipe`].

use std::ops::Range;

use toml::Table;
use toml::de::{DeTable, DeValue};

use super::check::Problem;
use super::error::nearest;
use super::overrides::{apply, origin, path};
use super::{Recipe, RecipeError};

impl Recipe {
    /// Parses a recipe, then sets the overrides in it, each a `key=value` as in `training.epochs=5`.
    ///
    /// The file is checked by itself first, so that its errors have a line; then again with the overrides.
    ///
    /// # Errors
    /// [`RecipeError`] for a syntax error, an unknown key, a value out of range, or a name that nothing has.
    pub fn parse(file: &str, text: &str, overrides: &[String]) -> Result<Self, RecipeError> {
        let recipe = parse_checked(file, text)?;
        if overrides.is_empty() {
            return Ok(recipe);
        }
        let table: Table =
            text.parse().map_err(|error: toml::de::Error| syntax(file, text, &error))?;
        let text_with = |overrides: &[String]| {
            let mut table = table.clone();
            apply(&mut table, overrides)?;
            Ok::<_, RecipeError>(table.to_string())
        };
        parse_checked(file, &text_with(overrides)?).map_err(|error| {
            let with = |others: &[String]| parse_checked(file, &text_with(others)?);
            let typed = blamed(overrides, &error, with);
            match stranger(&table, typed).filter(|_| error.is_missing_key()) {
                Some((name, nearest)) => error.with_context(&name).with_nearest(nearest),
                None => error,
            }
            .moved_to(&origin(typed))
        })
    }
}

/// The override that is to blame for an error of all of them. Two may need each other, so it is the one without which
/// all would be well, or at least something else be wrong.
fn blamed<'a>(
    overrides: &'a [String],
    error: &RecipeError,
    with: impl Fn(&[String]) -> Result<Recipe, RecipeError>,
) -> &'a str {
    let without = |index| with(&[&overrides[..index], &overrides[index + 1..]].concat()).err();
    let others: Vec<Option<RecipeError>> = (0..overrides.len()).map(without).collect();
    let is_other = |other: &RecipeError| !other.is_same_problem(error);
    let cured = others.iter().position(Option::is_none);
    let changed = || others.iter().position(|other| other.as_ref().is_some_and(is_other));
    &overrides[cured.or_else(changed).unwrap_or(overrides.len() - 1)]
}

/// What an override adds rather than changes, where it reaches into an arm or model that the file does not have, and
/// the nearest name of one that it has.
fn stranger(table: &Table, typed: &str) -> Option<(String, Option<String>)> {
    let path = path(typed)?;
    let [kind @ ("arms" | "models"), name, _, ..] =
        &*path.iter().map(String::as_str).collect::<Vec<_>>()
    else {
        return None;
    };
    let there = table.get(*kind)?.as_table()?;
    let message = format!("there is no `{name}` in [{kind}], and it cannot be added like this");
    let nearest = nearest(name, there.keys().map(String::as_str));
    (!there.contains_key(*name)).then_some((message, nearest))
}

fn parse_checked(file: &str, text: &str) -> Result<Recipe, RecipeError> {
    let recipe: Recipe = toml::from_str(text).map_err(|error| syntax(file, text, &error))?;
    match recipe.check() {
        Ok(()) => Ok(recipe),
        Err(Problem { path, is_key, message, candidates, found }) => {
            let error = RecipeError::new(file, format!("{}: {message}", dotted(&path)))
                .with_nearest(nearest(&found, candidates.iter().map(String::as_str)));
            Err(match span_of(text, &path, is_key) {
                Some(span) => error.at(text, span),
                None => error,
            })
        }
    }
}

/// An error of the TOML parser or of serde, with its place and the name that was probably meant.
fn syntax(file: &str, text: &str, error: &toml::de::Error) -> RecipeError {
    let message = plain(&error.message().trim().replace('\n', ", "));
    let (found, candidates) = names(&message);
    let nearest = nearest(found, candidates);
    let place = error.span().map(|span| written(text, span, found));
    let error = RecipeError::new(file, message.as_str()).with_nearest(nearest);
    match place {
        Some(span) => error.at(text, span),
        None => error,
    }
}

/// The name that serde did not know, and the ones it would have: it puts all of them in backticks, and says
/// "unknown field" or "unknown variant" first.
fn names(message: &str) -> (&str, Vec<&str>) {
    if !message.starts_with("unknown") {
        return ("", Vec::new());
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    (quoted.next().unwrap_or_default(), quoted.collect())
}

/// Where a name is written within a span, and not as a part of another; the span itself if it is not.
fn written(text: &str, span: Range<usize>, name: &str) -> Range<usize> {
    let inside = text.get(span.clone()).unwrap_or_default();
    let part_of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let alone = |&(start, _): &(usize, &str)| {
        let (before, after) = (&inside[..start], &inside[start + name.len()..]);
        !before.ends_with(part_of_name) && !after.starts_with(part_of_name)
    };
    match inside.match_indices(name).find(alone).map(|(start, _)| start) {
        Some(offset) if !name.is_empty() => span.start + offset..span.start + offset + name.len(),
        _ => span,
    }
}

/// Types of Rust in the words of a recipe.
fn plain(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let expected = match expected {
        "u64" | "usize" => "a whole number, 0 or more",
        "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "a table",
        name if name.starts_with("struct ") => "a table",
        other => other,
    };
    format!("{}, expected {expected}", found.trim_end_matches(" as i128"))
}

/// A path as it would be written in a recipe.
fn dotted(path: &[String]) -> String {
    let bare = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        !part.is_empty() && part.chars().all(plain)
    };
    let written = |part: &String| if bare(part) { part.clone() } else { format!("{part:?}") };
    path.iter().map(written).collect::<Vec<_>>().join(".")
}

/// Where the value at a path stands, or its key; the nearest table or list if it is not written at all.
fn span_of(text: &str, path: &[String], is_key: bool) -> Option<Range<usize>> {
    let root = DeTable::parse(text).ok()?;
    let (first, rest) = path.split_first()?;
    let (mut key, mut value) = root.get_ref().get_key_value(first.as_str())?;
    for part in rest {
        match value.get_ref() {
            DeValue::Table(table) => {
                let Some(next) = table.get_key_value(part.as_str()) else { break };
                (key, value) = next;
            }
            DeValue::Array(values) => {
                let index = part.parse::<usize>().ok();
                let Some(next) = index.and_then(|index| values.get(index)) else { break };
                value = next;
            }
            _ => break,
        }
    }
    Some(if is_key { key.span() } else { value.span() })
}
