//! `key=value` overrides: the key a dotted path, the value as in the file.

use toml::{Table, Value};

use super::RecipeError;

/// Sets each override in the table, in order.
pub(super) fn apply(table: &mut Table, overrides: &[String]) -> Result<(), RecipeError> {
    for typed in overrides {
        let (path, value) =
            parse(typed).map_err(|message| RecipeError::new(&origin(typed), message))?;
        set(table, &path, value).map_err(|message| RecipeError::new(&origin(typed), message))?;
    }
    Ok(())
}

/// How an override is named in an error.
pub(super) fn origin(typed: &str) -> String {
    format!("--set {typed}")
}

/// The parts of the key of an override, if it has one.
pub(super) fn path(typed: &str) -> Option<Vec<String>> {
    parse(typed).ok().map(|(path, _)| path)
}

/// A path and a value. A bare word, which TOML does not know, is a string.
fn parse(typed: &str) -> Result<(Vec<String>, Value), String> {
    const FORM: &str = "expected key=value, as in training.epochs=5";
    let (key, value) = typed.split_once('=').ok_or(FORM)?;
    let (key, value) = (key.trim(), value.trim());
    let path = path_of(key).ok_or_else(|| format!("`{key}` is no key: {FORM}"))?;
    let parsed = format!("value = {value}").parse::<Table>().ok();
    // A line break would begin another key, which nobody would see.
    let parsed = parsed.filter(|table| table.len() == 1).and_then(|mut t| t.remove("value"));
    let bare = |word: &str| {
        word.starts_with(|c: char| c.is_alphabetic() || c == '/' || c == '.')
            && !word.contains(['"', '\'', '[', ']', '{', '}', '\n', '#'])
    };
    match parsed {
        Some(value) => Ok((path, value)),
        None if bare(value) => Ok((path, Value::String(value.to_owned()))),
        None => Err(format!("`{value}` is no value: expected one as in a recipe, or a bare word")),
    }
}

/// The parts of a dotted key.
fn path_of(key: &str) -> Option<Vec<String>> {
    let mut table = format!("{key} = 0").parse::<Table>().ok()?;
    let mut path = Vec::new();
    loop {
        let (part, value) = table.into_iter().next()?;
        path.push(part);
        match value {
            Value::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
}

fn set(table: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else { return Ok(()) };
    let mut place = table;
    for (depth, part) in parents.iter().enumerate() {
        let entry = place.entry(part.clone()).or_insert_with(|| Value::Table(Table::new()));
        place = entry
            .as_table_mut()
            .ok_or_else(|| format!("`{}` is a value, not a table", path[..=depth].join(".")))?;
    }
    place.insert(last.clone(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, typed: &str) -> Result<String, String> {
        let mut table: Table = text.parse().unwrap();
        apply(&mut table, &[typed.to_owned()]).map_err(|error| error.to_string())?;
        Ok(table.to_string().replace('\n', ";"))
    }

    #[test]
    fn values_are_read_as_in_the_file() {
        assert_eq!(applied("a = 1", "a=2").unwrap(), "a = 2;");
        assert_eq!(applied("", "a.b = [1, 2]").unwrap(), "[a];b = [1, 2];");
        assert_eq!(applied("", "a={ b = 0.5 }").unwrap(), "[a];b = 0.5;");
        assert_eq!(applied("", "a=\"x=y\"").unwrap(), "a = \"x=y\";");
        assert_eq!(applied("", "a=true").unwrap(), "a = true;");
    }

    #[test]
    fn a_bare_word_is_a_string() {
        assert_eq!(applied("", "a=cosine").unwrap(), "a = \"cosine\";");
        assert_eq!(applied("", "a=../some/folder").unwrap(), "a = \"../some/folder\";");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (typed, expected) in [
            ("a", "--set a: expected key=value"),
            ("=1", "--set =1: `` is no key"),
            ("a b=1", "--set a b=1: `a b` is no key"),
            ("a=[1", "--set a=[1: `[1` is no value"),
            ("a=1.2.3", "--set a=1.2.3: `1.2.3` is no value"),
            ("a=1\nb=2", "--set a=1\\nb=2: `1\\nb=2` is no value"),
            ("x.y=1", "--set x.y=1: `x` is a value, not a table"),
        ] {
            let error = applied("x = 1", typed).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
