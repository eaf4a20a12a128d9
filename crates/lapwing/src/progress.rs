//! A progress bar on standard error, for a person who waits.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How much of the input has been read.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Starts a bar over this many bytes; a hidden one if nobody looks.
    pub(crate) fn start(total_bytes: Option<u64>, visible: bool) -> Self {
        let bar = match (visible, total_bytes) {
            (false, _) => ProgressBar::hidden(),
            (true, Some(total)) => ProgressBar::new(total),
            (true, None) => ProgressBar::new_spinner(),
        };
        let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let (true, Some(_), Ok(style)) =
            (visible, total_bytes, ProgressStyle::with_template(template))
        {
            bar.set_style(style);
        }
        if visible {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar }
    }

    /// Moves to this many bytes.
    pub(crate) fn set(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
