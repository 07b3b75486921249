//! Progress on stderr: a bar on a terminal, a line a training elsewhere.

use std::io::Write;

use indicatif::{ProgressBar, ProgressStyle};
use softlabel_train::{Event, Validation};

/// Shows how far a run is.
pub(crate) struct Progress {
    /// None if nothing is to be shown.
    bar: Option<ProgressBar>,
    trainings: usize,
    finished: usize,
}

impl Progress {
    /// For a run of so many trainings, each of so many epochs.
    pub(crate) fn new(trainings: usize, epochs: u64, quiet: bool) -> Self {
        let bar = (!quiet).then(|| {
            let bar = ProgressBar::new(trainings as u64 * epochs);
            let style =
                ProgressStyle::with_template("{bar:30} {percent:>3} %  {eta:>4} left  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, trainings, finished: 0 }
    }

    /// Takes notice of an event.
    pub(crate) fn observe(&mut self, event: &Event) {
        let Some(bar) = &self.bar else { return };
        if let Event::Recorded { samples, of } = event {
            bar.set_message(format!("{samples} of {of} samples written"));
            return;
        }
        if let Event::TrainedAlready { arm, seed, as_arm, epochs } = event {
            bar.inc(*epochs);
            self.finished += 1;
            if bar.is_hidden() {
                let _ = writeln!(
                    std::io::stderr(),
                    "[{}/{}] {arm}, seed {seed}: trained as {as_arm}",
                    self.finished,
                    self.trainings
                );
            }
            return;
        }
        let Event::Epoch { arm, seed, epoch, epochs, train_loss, validation, .. } = event else {
            return;
        };
        bar.inc(1);
        let state = format!("{arm}, seed {seed}: {}", describe(*train_loss, *validation));
        if epoch == epochs {
            self.finished += 1;
            if bar.is_hidden() {
                let _ =
                    writeln!(std::io::stderr(), "[{}/{}] {state}", self.finished, self.trainings);
            }
        }
        bar.set_message(state);
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
        text +=
            &format!(", validation accuracy {:.1} %, ECE {:.1} %", 100.0 * accuracy, 100.0 * ece);
    }
    text
}
