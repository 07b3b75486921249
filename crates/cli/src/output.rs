//! What goes to stdout, and errors.

use std::io::{self, Write};

use anyhow::{Context, Result};
use console::{Term, style};
use serde::Serialize;
use softlabel_report::{TableStyle, changes, checks, table, teaching};
use softlabel_results::{RunFolder, Summary};

use crate::remedy::said;

/// Prints a text to stdout. That whoever reads it went away is no error of ours.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("writing to stdout")
        }
        _ => Ok(()),
    }
}

/// Width of a table that no terminal shows.
const UNSEEN: usize = 160;

/// The results of a run as one object.
#[derive(Serialize)]
struct RunOutput<'a> {
    schema: &'static str,
    folder: String,
    report: String,
    summary: &'a Summary,
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string(value)?))
}

/// How tables are set where stdout goes to.
pub(crate) fn table_style() -> TableStyle {
    let width = Term::stdout().size_checked().map_or(UNSEEN, |(_, columns)| columns.into());
    TableStyle { width, color: console::colors_enabled() }
}

/// Says something on stderr; nobody is left to tell if that is closed.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints the results of a run: the table and what changed, or one JSON object.
pub(crate) fn print_results(folder: &RunFolder, summary: &Summary, json: bool) -> Result<()> {
    let (root, report) =
        (folder.root().display().to_string(), folder.report().display().to_string());
    if json {
        let schema = "softlabel.run-output/1";
        let output = RunOutput { schema, folder: root, report, summary };
        return print_json(&output);
    }
    let style = table_style();
    let mut text = table(summary, style);
    for (title, part) in [
        ("Who taught whom", teaching(summary, style)),
        ("What changed", changes(summary, style)),
        ("Checks", checks(summary)),
    ] {
        if !part.is_empty() {
            text += &format!("\n{title}\n{part}");
        }
    }
    text += &format!("\nRun folder  {root}\nReport      {report}\n");
    print(&text)
}

/// Prints an error with its causes, each once.
pub(crate) fn print_error(error: &anyhow::Error) {
    let text = said(error);
    // Nobody is left to tell if stderr is closed.
    let _ = writeln!(io::stderr(), "{} {text}", style("error:").red().bold().for_stderr());
}
