//! Our side of `cargo xtask bench --peers`: softlabel, and the peers that fit into its process.
//!
//! A conversation in JSON lines, the same that `peers.py` leads:
//!
//! ```text
//! → {"versions": {"softlabel": "0.1.0"}}                                       once, at the start
//! ← {"case": {…}, "measure": "time", "threads": 2, "min_seconds": 0.5}         a request
//! → {"softlabel": 1.25, "libtorch eager (same process)": 1.5}                  its answer
//! → {"failed": "what is wrong"}                                                or this
//! ```
//!
//! `case` is an object of `cases.json`. `measure` is one of
//!
//! | measure  | number for each side |
//! |----------|----------------------|
//! | `time`   | median milliseconds of one operation |
//! | `memory` | bytes of memory at the peak of one operation beyond what its inputs take; null if unknown |
//! | `error`  | largest deviation of the first rows' gradient from one computed in f64, over the largest entry of the latter |
//!
//! What is not a loss has no error. The conversation ends with the input.

mod calibration;
mod case;
mod cross_entropy;
mod distillation;
mod gauges;
mod operation;
mod teacher_cache;
mod tensors;

use std::io::{self, BufRead, Write};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use softlabel::tensor::buffers;

use crate::case::Request;
use crate::operation::{Side, prepare};

/// Bytes that softlabel keeps by itself.
const KEPT: usize = 512 << 20;

fn main() -> Result<()> {
    let mut out = io::stdout().lock();
    let versions = json!({ "softlabel": env!("CARGO_PKG_VERSION") });
    writeln!(out, "{}", json!({ "versions": versions }))?;
    out.flush()?;
    for line in io::stdin().lock().lines() {
        let answer = match answer(&line?) {
            Ok(numbers) => Value::Object(numbers),
            Err(error) => json!({ "failed": format!("{error:#}") }),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// The number of every side for one request.
fn answer(line: &str) -> Result<Map<String, Value>> {
    let request: Request = serde_json::from_str(line).context("this is no request")?;
    tch::set_num_threads(request.threads);
    let operation = prepare(&request.case)?;
    let sides = operation.sides(request.threads);
    // Where memory is measured, none of it may be left from before.
    let keeps = request.measure != "memory";
    let run = |side: &Side| {
        tch::set_num_threads(side.threads);
        buffers::keep_at_most(if keeps && side.reuse { KEPT } else { 0 });
        operation.run(side)
    };
    let mut numbers = Map::new();
    let mut add = |side: &Side, number| numbers.insert(side.name.to_owned(), number);
    match request.measure.as_str() {
        "time" => {
            let mut one = |index: usize| run(&sides[index]);
            let medians = gauges::medians_ms(request.min_seconds, sides.len(), &mut one)?;
            for (side, median) in sides.iter().zip(medians) {
                add(side, json!(median));
            }
        }
        "memory" => {
            for side in &sides {
                add(side, json!(gauges::peak_bytes(&mut || run(side))?));
            }
        }
        "error" => {
            for side in &sides {
                if let Some(error) = operation.error(side)? {
                    add(side, json!(error));
                }
            }
        }
        other => bail!("measure is time, memory or error, not {other}"),
    }
    Ok(numbers)
}
