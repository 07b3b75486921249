//! What the comparison found: medians over the rounds, as JSON and as a table.
//!
//! The file is one object with `machine`, `versions`, `threads`, `settings` and `rows`; `benches/README.md` describes a row.
//! It holds no date, so that two runs differ by their numbers alone.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::case::Case;

/// What the programs call our side.
const OURS: &str = "softlabel";

/// Numbers of one case: by what was measured and by side, one a round.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    numbers: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
    /// Sides in the order in which they were first heard of.
    sides: Vec<String>,
}

impl Samples {
    /// Adds what a program answered; a side whose number is null has none.
    pub(crate) fn add(&mut self, measure: &str, answer: &Map<String, Value>) {
        let of_measure = self.numbers.entry(measure.to_owned()).or_default();
        for (side, number) in answer {
            if !self.sides.contains(side) {
                self.sides.push(side.clone());
            }
            of_measure.entry(side.clone()).or_default().extend(number.as_f64());
        }
    }

    /// A row for every peer.
    pub(crate) fn rows(&self, case: &Case) -> Vec<Row> {
        let median_of = |measure: &str, side: &str| {
            median(self.numbers.get(measure).and_then(|sides| sides.get(side))?)
        };
        let rounds = |side: &str| {
            self.numbers.get("time").and_then(|sides| sides.get(side)).map_or(0, Vec::len)
        };
        let both = |measure: &str, peer: &str| [median_of(measure, OURS), median_of(measure, peer)];
        let peers = self.sides.iter().filter(|side| *side != OURS);
        let row = |peer: &String| Row {
            name: case.name.clone(),
            shape: case.shape.clone(),
            dtype: case.dtype.clone(),
            peer: peer.clone(),
            milliseconds: both("time", peer),
            peak_bytes: both("memory", peer),
            error: both("error", peer),
            rounds: rounds(peer),
        };
        peers.map(row).collect()
    }
}

/// softlabel against one peer in one case; pairs are ours and theirs.
#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    shape: String,
    dtype: String,
    peer: String,
    milliseconds: [Option<f64>; 2],
    peak_bytes: [Option<f64>; 2],
    error: [Option<f64>; 2],
    rounds: usize,
}

impl Row {
    /// How many times faster we are.
    fn ratio(&self) -> Option<f64> {
        let [ours, peer] = self.milliseconds;
        ours.zip(peer).map(|(ours, peer)| peer / ours)
    }

    fn value(&self) -> Value {
        // Bytes are whole; the median of an even number of rounds need not be.
        let bytes = |bytes: Option<f64>| bytes.map(f64::round);
        json!({
            "name": self.name,
            "shape": self.shape,
            "dtype": self.dtype,
            "peer": self.peer,
            "ours_ms": self.milliseconds[0],
            "peer_ms": self.milliseconds[1],
            "ratio": self.ratio(),
            "ours_peak_bytes": bytes(self.peak_bytes[0]),
            "peer_peak_bytes": bytes(self.peak_bytes[1]),
            "ours_error": self.error[0],
            "peer_error": self.error[1],
            "rounds": self.rounds,
        })
    }

    fn cells(&self) -> Vec<String> {
        let shown = |value: Option<f64>, format: &dyn Fn(f64) -> String| {
            value.map_or_else(|| "-".to_owned(), format)
        };
        let milliseconds = |value| shown(value, &|ms: f64| format!("{ms:.3}"));
        let megabytes = |value| shown(value, &|bytes: f64| format!("{:.1}", bytes / 1e6));
        let error = |value| shown(value, &|error: f64| format!("{error:.1e}"));
        vec![
            self.name.clone(),
            self.shape.clone(),
            self.dtype.clone(),
            self.peer.clone(),
            milliseconds(self.milliseconds[0]),
            milliseconds(self.milliseconds[1]),
            shown(self.ratio(), &|ratio| format!("{ratio:.2}")),
            megabytes(self.peak_bytes[0]),
            megabytes(self.peak_bytes[1]),
            error(self.error[0]),
            error(self.error[1]),
        ]
    }
}

/// Headings of the table, and how many of them stand over text.
const HEADINGS: [&str; 11] = [
    "name", "shape", "dtype", "peer", "ours ms", "peer ms", "ratio", "ours MB", "peer MB",
    "ours err", "peer err",
];
const TEXT_COLUMNS: usize = 4;

/// Everything that is written down.
#[derive(Debug)]
pub(crate) struct Report {
    /// Processor, cores, memory.
    pub(crate) machine: Value,
    /// Of everything that takes part.
    pub(crate) versions: Value,
    /// Threads that each side had.
    pub(crate) threads: usize,
    /// How the comparison was asked for.
    pub(crate) settings: Value,
    /// One for each case and peer.
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// Writes JSON, beside its place first.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let rows: Vec<Value> = self.rows.iter().map(Row::value).collect();
        let value = json!({
            "machine": self.machine,
            "versions": self.versions,
            "threads": self.threads,
            "settings": self.settings,
            "rows": rows,
        });
        let folder = path.parent().unwrap_or(Path::new("."));
        let context = || format!("cannot write {}", path.display());
        let mut file = tempfile::NamedTempFile::new_in(folder).with_context(context)?;
        serde_json::to_writer_pretty(&mut file, &value).with_context(context)?;
        writeln!(file).with_context(context)?;
        file.persist(path).with_context(context)?;
        Ok(())
    }

    /// Columns under their headings: text from the left, numbers to the right.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![HEADINGS.map(str::to_owned).to_vec()];
        lines.extend(self.rows.iter().map(Row::cells));
        let width = |column: usize| {
            lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
        let mut table = String::new();
        for line in &lines {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                if column < TEXT_COLUMNS {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
            table += cells.collect::<Vec<_>>().join("  ").trim_end();
            table.push('\n');
        }
        table
    }
}

/// The middle value, or the mean of the two in the middle; none of nothing.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Report {
        let mut samples = Samples::default();
        let mut add = |measure: &str, numbers: Value| {
            samples.add(measure, numbers.as_object().unwrap());
        };
        for (ours, peer) in [(2.0, 9.0), (1.0, 3.0), (4.0, 6.0)] {
            add("time", json!({ "softlabel": ours, "libtorch": peer }));
            add("time", json!({ "torch.compile": null }));
        }
        add("memory", json!({ "softlabel": 1_000_000, "libtorch": 2_500_000 }));
        add("error", json!({ "softlabel": 1e-7 }));
        Report {
            machine: json!({}),
            versions: json!({}),
            threads: 2,
            settings: json!({}),
            rows: samples.rows(&Case::example("loss", "2x3")),
        }
    }

    #[test]
    fn the_ratio_is_of_the_medians() {
        let value = example().rows[0].value();
        assert_eq!((&value["ours_ms"], &value["peer_ms"]), (&json!(2.0), &json!(6.0)));
        assert_eq!(value["ratio"], 3.0);
        assert_eq!(value["rounds"], 3);
        assert_eq!(value["peer_peak_bytes"], 2_500_000.0);
        assert_eq!(value["peer_error"], Value::Null);
    }

    #[test]
    fn a_peer_that_cannot_has_a_row_without_numbers() {
        let value = example().rows[1].value();
        assert_eq!(value["peer"], "torch.compile");
        assert_eq!((&value["peer_ms"], &value["ratio"]), (&Value::Null, &Value::Null));
        assert_eq!(value["rounds"], 0);
    }

    #[test]
    fn the_table_has_its_columns_one_below_the_other() {
        assert_eq!(
            example().table(),
            "name  shape  dtype  peer           ours ms  peer ms  ratio  ours MB  peer MB  ours err  peer err\n\
             loss  2x3    f32    libtorch         2.000    6.000   3.00      1.0      2.5    1.0e-7         -\n\
             loss  2x3    f32    torch.compile    2.000        -      -      1.0        -    1.0e-7         -\n"
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        for _ in 0..2 {
            example().write(&path).unwrap();
        }
        let value: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(value["threads"], 2);
        assert_eq!(value["rows"].as_array().unwrap().len(), 2);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
