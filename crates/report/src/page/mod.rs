//! Tables of results inside a Markdown page that people write: each between two marks, everything else left as it is.
//!
//! ```text
//! <!-- softlabel distill-digits results teacher_* narrow* -->
//! | arm | error % | …
//! <!-- /softlabel -->
//! ```

mod tables;

use softlabel_results::{Provenance, Summary};

use crate::{Error, Result};

const OPENING: &str = "<!-- softlabel ";
const CLOSING: &str = "<!-- /softlabel -->";

/// What stands between two marks.
#[derive(Debug, Clone, PartialEq)]
enum Table {
    /// Error, NLL and calibration of arms, and what a temperature makes of them.
    Results,
    /// What there was to learn from the arms that taught.
    Lessons,
    /// How many samples are wrong, in all and of a class.
    Errors { class: usize },
    /// How long it took.
    Cost,
}

/// An opening mark.
#[derive(Debug, Clone, PartialEq)]
struct Mark<'a> {
    /// Where it stands, from 1.
    line: usize,
    /// The run whose table follows.
    run: &'a str,
    table: Table,
    /// Names of arms, `*` for any characters; all arms if there is none.
    arms: Vec<&'a str>,
}

/// Fills the tables of a run into a Markdown page: what stands between a mark that names the run and its end is
/// replaced, everything else stays, the tables of other runs too.
///
/// A mark is a line of its own, `<!-- softlabel RUN TABLE ARMS… -->`, and ends with the line `<!-- /softlabel -->`.
/// RUN is the name of a recipe. ARMS are names of arms, with `*` for any characters, in whose order the rows stand;
/// none stands for all. TABLE is one of:
///
/// | table | what it shows |
/// |---|---|
/// | `results` | error on the test set, its difference to the arm's `compare_with` with a 95 % interval of Student's t over the seeds, NLL and ECE as it is and with a temperature, and the temperature |
/// | `lessons` | training error of the arms that teach; γ and 1 − S at the temperatures at which they do |
/// | `errors class=C` | errors on the test set, and those on the samples of class C |
/// | `cost` | trainings, device, threads and time, in one line |
///
/// # Errors
/// [`Error::Mark`] for a mark that cannot be read, that names an arm the run does not have, or that has no end;
/// [`Error::NoMark`] if no mark names the run.
///
/// ```no_run
/// # use softlabel_results::RunFolder;
/// let folder = RunFolder::open("runs/distill-digits-1");
/// let page = std::fs::read_to_string("study.md")?;
/// let page = softlabel_report::fill_page(&page, &folder.read_summary()?, &folder.read_provenance()?)?;
/// std::fs::write("study.md", page)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fill_page(page: &str, summary: &Summary, provenance: &Provenance) -> Result<String> {
    let mut filled = String::with_capacity(page.len());
    let mut lines = page.split_inclusive('\n').enumerate();
    let mut found = false;
    while let Some((index, line)) = lines.next() {
        filled += line;
        let Some(mark) = Mark::read(index + 1, line)? else { continue };
        let ours = mark.run == summary.name;
        if ours {
            found = true;
            filled += &tables::table(&mark, summary, provenance)?;
        }
        loop {
            let Some((_, line)) = lines.next() else {
                return Err(mark.error(format!("no `{CLOSING}` after it")));
            };
            let closes = line.trim() == CLOSING;
            if closes || !ours {
                filled += line;
            }
            if closes {
                break;
            }
        }
    }
    if found {
        Ok(filled)
    } else {
        Err(Error::NoMark { run: summary.name.clone(), runs: runs(page) })
    }
}

/// Whether a page has marks for the tables of a run, and all its marks can be read.
///
/// # Errors
/// As [`fill_page`], but for the names of arms.
pub fn check_page(page: &str, run: &str) -> Result<()> {
    let mut open: Option<Mark<'_>> = None;
    for (index, line) in page.lines().enumerate() {
        match &open {
            Some(_) if line.trim() == CLOSING => open = None,
            Some(_) => {}
            None => open = Mark::read(index + 1, line)?,
        }
    }
    if let Some(mark) = open {
        return Err(mark.error(format!("no `{CLOSING}` after it")));
    }
    let runs = runs(page);
    if runs.iter().any(|name| name == run) {
        Ok(())
    } else {
        Err(Error::NoMark { run: run.to_owned(), runs })
    }
}

/// The runs that the marks of a page name, each once.
fn runs(page: &str) -> Vec<String> {
    let mut runs: Vec<String> = Vec::new();
    for line in page.lines() {
        if let Some(run) = words(line).and_then(|mut words| words.next())
            && !runs.iter().any(|known| known == run)
        {
            runs.push(run.to_owned());
        }
    }
    runs
}

/// The words of an opening mark.
fn words(line: &str) -> Option<impl Iterator<Item = &str>> {
    let inside = line.trim().strip_prefix(OPENING)?.strip_suffix("-->")?;
    Some(inside.split_whitespace())
}

impl<'a> Mark<'a> {
    /// The mark that a line is, if it is one.
    fn read(line: usize, text: &'a str) -> Result<Option<Self>> {
        let Some(mut words) = words(text) else { return Ok(None) };
        let wrong = |what: String| Error::Mark { line, what };
        let run = words.next().ok_or_else(|| wrong("expected the name of a run".to_owned()))?;
        let table = match words.next() {
            Some("results") => Table::Results,
            Some("lessons") => Table::Lessons,
            Some("cost") => Table::Cost,
            Some("errors") => {
                let class = words.next();
                let number = class.and_then(|word| word.strip_prefix("class=")?.parse().ok());
                let expected = || {
                    let found = class.unwrap_or("nothing");
                    wrong(format!("expected `class=` and a number after `errors`, found {found}"))
                };
                Table::Errors { class: number.ok_or_else(expected)? }
            }
            found => {
                let found = found.unwrap_or("nothing");
                let expected = "expected `results`, `lessons`, `errors` or `cost`";
                return Err(wrong(format!("{expected} after the name of the run, found {found}")));
            }
        };
        Ok(Some(Self { line, run, table, arms: words.collect() }))
    }

    fn error(&self, what: String) -> Error {
        Error::Mark { line: self.line, what }
    }
}

/// Whether a name is what a pattern says, in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.map(|at| &name[at..]).any(|name| matches(rest, name))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("narrow", "narrow", true),
            ("narrow", "narrow_t1", false),
            ("narrow*", "narrow", true),
            ("narrow*", "narrow_t1", true),
            ("*_t1", "narrow_t1", true),
            ("*_t1", "narrow_t12", false),
            ("n*_t*", "narrow_hard_t64", true),
            ("*", "", true),
            ("é*", "éa", true),
            ("*a", "éa", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
