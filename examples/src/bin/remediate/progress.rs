//! Progress on standard error: bars on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(crate) struct Progress {
    hidden: bool,
}

impl Progress {
    /// `quiet` hides every bar; a standard error that is no terminal does so too.
    pub(crate) fn new(quiet: bool) -> Self {
        Self { hidden: quiet }
    }

    /// A bar for `total` steps, or a spinner where that is not known.
    pub(crate) fn bar(&self, what: &str, total: Option<usize>) -> ProgressBar {
        let bar = match total {
            Some(total) => ProgressBar::new(total as u64),
            None => ProgressBar::new_spinner(),
        };
        if self.hidden {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = match total {
            Some(_) => "{prefix:<24} [{bar:30}] {pos}/{len} {wide_msg}",
            None => "{prefix:<24} {spinner} {pos} {wide_msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(what.to_owned());
        bar
    }
}
