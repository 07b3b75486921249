//! Progress of a long step: a bar on a terminal, a line for every quarter elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// Progress through a known number of bytes, shown on stderr.
pub(crate) struct Progress {
    what: String,
    total: u64,
    done: u64,
    /// Present on a terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts a step that will go through `total` bytes.
    pub(crate) fn start(what: &str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template(
                "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {eta}",
            ) {
                bar.set_style(style);
            }
            bar.set_message(what.to_owned());
            bar
        });
        if bar.is_none() {
            eprintln!("{what} ({})", megabytes(total));
        }
        Self { what: what.to_owned(), total, done: 0, bar }
    }

    /// Counts `bytes` more as done.
    pub(crate) fn advance(&mut self, bytes: u64) {
        let before = self.quarter();
        self.done += bytes;
        match &self.bar {
            Some(bar) => bar.inc(bytes),
            None if self.quarter() > before => {
                eprintln!("{}: {} %", self.what, 25 * self.quarter());
            }
            None => {}
        }
    }

    /// Whole quarters done.
    fn quarter(&self) -> u64 {
        (4 * self.done).checked_div(self.total).unwrap_or(0).min(4)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A number of bytes in decimal megabytes, as download sizes are usually written.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_never_pass_four() {
        let mut progress = Progress { what: "unpacking".to_owned(), total: 10, done: 0, bar: None };
        let mut seen = Vec::new();
        for _ in 0..6 {
            progress.advance(2);
            seen.push(progress.quarter());
        }
        assert_eq!(seen, [0, 1, 2, 3, 4, 4]);
    }

    #[test]
    fn an_empty_step_is_fine() {
        Progress::start("nothing", 0).advance(0);
    }
}
