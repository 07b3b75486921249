//! Progress on stderr: a bar on a terminal, a line a training elsewhere.

use std::io::Write;

use indicatif::{ProgressBar, ProgressStyle};
use softlabel_train::{Event, Validation};

/// Shows how far a run is.
pub(crate) struct Progress {
    /// None if nothing is to be shown.
    bar: Option<ProgressBar>,
    /// The training under way, as `[3/30] smoothed, seed 1`.
    training: String,
    epochs: u64,
}

impl Progress {
    /// For a run of so many trainings.
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = (!quiet).then(|| {
            let bar = ProgressBar::no_length();
            let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {eta:>4} left  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, training: String::new(), epochs: 0 }
    }

    /// Takes notice of an event.
    pub(crate) fn observe(&mut self, event: &Event) {
        let Some(bar) = &self.bar else { return };
        match event {
            Event::Training { arm, seed, number, of, epochs } => {
                bar.set_length(*of as u64 * epochs);
                self.training = format!("[{number}/{of}] {arm}, seed {seed}");
                self.epochs = *epochs;
                bar.set_message(self.training.clone());
            }
            Event::Epoch { epoch, train_loss, validation, .. } => {
                bar.inc(1);
                let state = describe(*train_loss, *validation);
                bar.set_message(format!("{}: {state}", self.training));
                if bar.is_hidden() && *epoch == self.epochs {
                    let _ = writeln!(std::io::stderr(), "{}: {state}", self.training);
                }
            }
            _ => {}
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn describe(loss: f64, validation: Option<Validation>) -> String {
    let mut text = format!("loss {loss:.3}");
    if let Some(Validation { accuracy, ece, .. }) = validation {
        text += &format!(", validation accuracy {:.1} %, ECE {:.1} %", 100.0 * accuracy, 100.0 * ece);
    }
    text
}
