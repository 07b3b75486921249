//! What is wrong with a recipe, where, and what was probably meant.

use std::fmt;
use std::ops::Range;

/// What is wrong with a recipe: where it stands, and the nearest name that would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeError {
    /// The file, or the override as it was typed.
    origin: String,
    place: Option<Box<Place>>,
    message: String,
    nearest: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    line: usize,
    column: usize,
    /// The line of the file, or the part of it around what is meant.
    text: String,
    /// How many characters of it come before what is meant, and how many are meant.
    indent: usize,
    width: usize,
}

impl std::error::Error for RecipeError {}

impl RecipeError {
    pub(super) fn new(origin: &str, message: impl Into<String>) -> Self {
        let message = printable(&message.into());
        Self { origin: printable(origin), place: None, message, nearest: None }
    }

    /// The same, at a place of the text.
    pub(super) fn at(mut self, text: &str, span: Range<usize>) -> Self {
        let start = span.start.min(text.len());
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line_text = text[line_start..].lines().next().unwrap_or_default();
        let column = before[line_start..].chars().count() + 1;
        let left_on_line = line_text.chars().count().saturating_sub(column - 1);
        let width = text.get(start..span.end).map_or(1, |part| part.chars().count());
        let (text, indent) = excerpt(line_text, column - 1);
        self.place = Some(Box::new(Place {
            line: before.matches('\n').count() + 1,
            column,
            width: width.min(left_on_line).min(text.chars().count().saturating_sub(indent)).max(1),
            text,
            indent,
        }));
        self
    }

    /// The same, with what should be known before the message.
    pub(super) fn with_context(mut self, context: &str) -> Self {
        self.message = printable(&format!("{context}: {}", self.message));
        self
    }

    /// Whether two errors are about the same, wherever it stands.
    pub(super) fn is_same_problem(&self, other: &Self) -> bool {
        self.message == other.message
    }

    /// The same, with the name that was probably meant.
    pub(super) fn with_nearest(mut self, nearest: Option<String>) -> Self {
        self.nearest = nearest;
        self
    }

    /// Whether a key is missing that must be there.
    pub(super) fn is_missing_key(&self) -> bool {
        self.message.starts_with("missing field")
    }

    /// The same problem, found in something else: an override instead of the file.
    pub(super) fn moved_to(mut self, origin: &str) -> Self {
        self.origin = printable(origin);
        self.place = None;
        self
    }

    /// Line in the file, from 1; none for an override.
    pub fn line(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.line)
    }

    /// Column in the line, in characters from 1; none for an override.
    pub fn column(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.column)
    }

    /// The valid name that is nearest to what was written, where a name was wrong.
    pub fn nearest(&self) -> Option<&str> {
        self.nearest.as_deref()
    }
}

impl fmt::Display for RecipeError {
    /// `file:line:column: message`, the line with a mark under what is meant, and what was probably meant.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, place, message, nearest } = self;
        match place.as_deref() {
            None => write!(formatter, "{origin}: {message}")?,
            Some(Place { line, column, text, indent, width }) => {
                let number = line.to_string();
                let margin = " ".repeat(number.len());
                // A tab stays one, or the mark would stand elsewhere.
                let blank = |c| if c == '\t' { c } else { ' ' };
                let indent: String = text.chars().map(blank).chain([' ']).take(*indent).collect();
                let mark = "^".repeat(*width);
                writeln!(formatter, "{origin}:{line}:{column}: {message}")?;
                write!(formatter, "{margin} |\n{number} | {text}\n{margin} | {indent}{mark}")?;
            }
        }
        match nearest {
            None => Ok(()),
            Some(nearest) => write!(formatter, "\ndid you mean `{nearest}`?"),
        }
    }
}

/// Text with control characters written out: a recipe must not steer the terminal.
fn printable(text: &str) -> String {
    let printable = |c: char| {
        let control = c.is_control() && c != '\t';
        if control { c.escape_default().to_string() } else { c.to_string() }
    };
    text.chars().map(printable).collect()
}

/// A line as it is shown, and where in it the character `position` is: of a very long line, the part around that.
fn excerpt(line: &str, position: usize) -> (String, usize) {
    const LONGEST: usize = 160;
    const BEFORE: usize = 60;
    let visible = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let line: Vec<char> = line.chars().map(visible).collect();
    if line.len() <= LONGEST {
        return (line.into_iter().collect(), position);
    }
    let start = position.saturating_sub(BEFORE);
    let part = line.iter().skip(start).take(LONGEST);
    let (before, after) =
        (if start > 0 { "…" } else { "" }, if start + LONGEST < line.len() { "…" } else { "" });
    let text = before.chars().chain(part.copied()).chain(after.chars()).collect();
    (text, position - start + before.chars().count())
}

/// The candidate that is most like `found`, if any is like it at all.
pub(super) fn nearest<'a>(
    found: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    /// Below this, two names have little more than their length in common.
    const ALIKE: f64 = 0.4;
    let likeness = |candidate: &str| {
        strsim::normalized_damerau_levenshtein(&found.to_lowercase(), &candidate.to_lowercase())
    };
    let scored = candidates.into_iter().map(|candidate| (likeness(candidate), candidate));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= ALIKE).then(|| best.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_not_bytes() {
        let text = "a = 1\nbé = 22\n";
        let start = text.find("22").unwrap();
        let error = RecipeError::new("x.toml", "no").at(text, start..start + 2);
        assert_eq!((error.line(), error.column()), (Some(2), Some(6)));
        assert_eq!(error.to_string(), "x.toml:2:6: no\n  |\n2 | bé = 22\n  |      ^^");
    }

    #[test]
    fn a_place_at_the_end_or_over_lines_is_fine() {
        let error = RecipeError::new("x.toml", "no").at("a = ", 4..4);
        assert_eq!((error.line(), error.column()), (Some(1), Some(5)));
        let error = RecipeError::new("x.toml", "no").at("[a]\nb = 1\n", 0..9);
        assert_eq!(error.to_string(), "x.toml:1:1: no\n  |\n1 | [a]\n  | ^^^");
        assert_eq!(RecipeError::new("x", "no").at("", 7..9).line(), Some(1));
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let text = format!("{}X{}", "a".repeat(1000), "b".repeat(1000));
        let error = RecipeError::new("x", "no").at(&text, 1000..1001).to_string();
        let lines: Vec<Vec<char>> = error.lines().map(|line| line.chars().collect()).collect();
        let mark = lines[3].iter().position(|&c| c == '^').unwrap();
        assert_eq!((lines[2][mark], lines[2].len()), ('X', "1 | ".len() + 162));
        assert!(error.starts_with("x:1:1001: "), "{error}");
        // Nothing is cut from the first place, and a mark may stand behind the last.
        assert!(RecipeError::new("x", "no").at(&text, 0..1).to_string().contains("\n1 | aaa"));
        let end = RecipeError::new("x", "no").at(&text, 2001..2001).to_string();
        assert!(end.ends_with(&format!("b\n  | {}^", " ".repeat(61))), "{end}");
    }

    #[test]
    fn control_characters_and_tabs_do_not_move_the_mark() {
        let error = RecipeError::new("x", "no \u{1b}[31m").at("\ta = \u{1b}b", 6..7);
        assert_eq!(
            error.to_string(),
            "x:1:7: no \\u{1b}[31m\n  |\n1 | \ta = \u{fffd}b\n  | \t     ^"
        );
    }

    #[test]
    fn only_what_is_alike_is_near() {
        let names = ["epochs", "batch_size", "learning_rate"];
        assert_eq!(nearest("epoch", names).as_deref(), Some("epochs"));
        assert_eq!(nearest("batchsize", names).as_deref(), Some("batch_size"));
        assert_eq!(nearest("zzz", names), None);
    }
}
