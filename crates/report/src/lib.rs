//! Views of results, of a run or of saved predictions: one HTML file for a browser, and text for a terminal.
//!
//! [`html`] draws everything in a single file that needs no network and no JavaScript: what was run,
//! the table, what changed, the checks, and a reliability diagram with a confidence histogram for each row.
//! [`table`], [`teaching`], [`changes`] and [`checks`] are the short form of the same for a terminal.
//! Both take their numbers and their wording from one place, so they never disagree.
//!
//! [`evaluation_html`], [`evaluation_table`] and [`comparison_table`] do the same for the metrics of predictions that
//! came from anywhere.
//!
//! [`projection_svg`] draws features of samples in a plane, [`fill_page`] puts tables into a Markdown page.
//!
//! This crate computes no metric and touches no file: it reads [`Summary`] and [`Provenance`] or [`FullScores`], and returns text.
//!
//! ```no_run
//! use softlabel_report::{TableStyle, changes, html, table};
//! use softlabel_results::RunFolder;
//!
//! let folder = RunFolder::open("runs/digits-1");
//! let (summary, provenance) = (folder.read_summary()?, folder.read_provenance()?);
//!
//! println!("{}\n{}", table(&summary, TableStyle::default()), changes(&summary, TableStyle::default()));
//! folder.write(&folder.report(), html(&summary, &provenance)?.as_bytes())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Numbers
//!
//! Accuracy, ECE and mean confidence are shown in percent and their changes in percentage points (pp);
//! NLL is in nats, the Brier score lies in [0, 2].
//! With several seeds a number is `mean ± sd`, the sample standard deviation over the seeds.
//! The best mean of a column is marked; rows that look the same at the digits shown share the mark.
//!
//! [`FullScores`]: softlabel_metrics::FullScores
//! [`Summary`]: softlabel_results::Summary
//! [`Provenance`]: softlabel_results::Provenance

mod classes;
mod diagram;
mod error;
mod evaluation;
mod html;
mod numbers;
mod page;
mod projection;
mod selective;
mod teaching;
mod terminal;
mod words;

pub use error::{Error, Result};
pub use evaluation::{EvaluationView, comparison_table, evaluation_html, evaluation_table};
pub use html::html;
pub use page::{check_page, fill_page};
pub use projection::{ProjectionPanel, projection_svg};
pub use teaching::teaching;
pub use terminal::{TableStyle, changes, checks, table};
