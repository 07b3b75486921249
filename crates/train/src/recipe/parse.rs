//! From text to a checked [`Recipe`].

use std::ops::Range;

use toml::Table;
use toml::de::{DeTable, DeValue};

use super::check::Problem;
use super::error::nearest;
use super::overrides::{apply, origin};
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
        let with = |overrides: &[String]| {
            let mut table: Table =
                text.parse().map_err(|error: toml::de::Error| syntax(file, text, &error))?;
            apply(&mut table, overrides)?;
            parse_checked(file, &table.to_string())
        };
        with(overrides).map_err(|error| {
            // Two overrides may need each other, so one is blamed only after all of them failed.
            let blamed = (1..=overrides.len()).find(|&count| with(&overrides[..count]).is_err());
            let blamed = blamed.and_then(|count| overrides.get(count - 1));
            blamed.map_or(error.clone(), |typed| error.moved_to(&origin(typed)))
        })
    }
}

fn parse_checked(file: &str, text: &str) -> Result<Recipe, RecipeError> {
    let recipe: Recipe = toml::from_str(text).map_err(|error| syntax(file, text, &error))?;
    match recipe.check() {
        Ok(()) => Ok(recipe),
        Err(Problem { path, message, candidates, found }) => {
            let error = RecipeError::new(file, format!("{}: {message}", path.join(".")))
                .with_nearest(nearest(&found, candidates.iter().map(String::as_str)));
            Err(match span_of(text, &path) {
                Some(span) => error.at(text, span),
                None => error,
            })
        }
    }
}

/// An error of the TOML parser or of serde, with its place and the name that was probably meant.
fn syntax(file: &str, text: &str, error: &toml::de::Error) -> RecipeError {
    let message = error.message().trim().replace('\n', ", ");
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

/// Where a name is written within a span; the span itself if it is not.
fn written(text: &str, span: Range<usize>, name: &str) -> Range<usize> {
    let inside = text.get(span.clone()).unwrap_or_default();
    match inside.find(name) {
        Some(offset) if !name.is_empty() => span.start + offset..span.start + offset + name.len(),
        _ => span,
    }
}

/// Where the value at a path stands; of its nearest table if it is not written at all.
fn span_of(text: &str, path: &[String]) -> Option<Range<usize>> {
    let root = DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    let mut span = None;
    for part in path {
        let Some((_, value)) = table.iter().find(|(key, _)| key.get_ref() == part) else { break };
        let mut value = value;
        if let DeValue::Array(values) = value.get_ref()
            && let Some(first) = values.first()
        {
            value = first;
        }
        span = Some(value.span());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    span
}
