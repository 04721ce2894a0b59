//! Progress on stderr: a bar on a terminal, plain lines now and then elsewhere. Rate and time to go in both.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::output;
use crate::units;

/// Between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Between two looks at the clock, where nothing else moves.
const TICK: Duration = Duration::from_millis(500);

/// How far something is.
pub struct Progress {
    what: &'static str,
    unit: &'static str,
    bar: Option<ProgressBar>,
    said: Duration,
}

impl Progress {
    /// `what` is under way, counted in `unit`s.
    pub fn new(what: &'static str, unit: &'static str) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(8));
            let rate = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{}/s", units::show_rate(state.per_sec()));
            };
            let style = ProgressStyle::with_template(
                "{prefix}  {bar:32}  {human_pos}/{human_len} {unit}  {rate}  ETA {eta}  {msg}",
            );
            if let Ok(style) = style {
                let unit = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
                    let _ = out.write_str(unit);
                };
                bar.set_style(style.with_key("rate", rate).with_key("unit", unit).progress_chars("=> "));
            }
            bar.set_prefix(what);
            bar
        });
        Progress { what, unit, bar, said: Duration::ZERO }
    }

    /// `done` of `total` after `elapsed`; `remark` follows, `no violation` for one.
    pub fn set(&mut self, done: u64, total: u64, elapsed: Duration, remark: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(remark.to_owned());
            }
            None if done == total || elapsed.saturating_sub(self.said) >= PLAIN_EVERY => {
                self.said = elapsed;
                output::note(plain(self.what, self.unit, done, total, elapsed, remark));
            }
            None => {}
        }
    }

    /// What follows is told by its name alone: nobody knows how far it is.
    pub fn stage(&mut self, what: &'static str) {
        match &self.bar {
            Some(bar) => {
                if let Ok(style) = ProgressStyle::with_template("{prefix}  {elapsed}") {
                    bar.set_style(style);
                }
                bar.reset_elapsed();
                bar.set_prefix(what);
                bar.enable_steady_tick(TICK);
            }
            None => output::note(what),
        }
    }

    /// Takes the bar away, so that the report stands alone.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn plain(what: &str, unit: &str, done: u64, total: u64, elapsed: Duration, remark: &str) -> String {
    let seconds = elapsed.as_secs_f64();
    let rate = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
    let to_go = if rate > 0.0 {
        let left = total.saturating_sub(done) as f64 / rate;
        format!("ETA {}", units::show_duration(Duration::from_secs(left.ceil() as u64)))
    } else {
        "ETA unknown".to_owned()
    };
    let share = (done * 100).checked_div(total).unwrap_or(100);
    format!("{what}: {done}/{total} {unit} ({share} %), {}/s, {to_go}, {remark}", units::show_rate(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_says_how_far_how_fast_and_how_long() {
        assert_eq!(
            plain("gate", "seeds", 40, 150, Duration::from_secs(10), "no violation"),
            "gate: 40/150 seeds (26 %), 4.0/s, ETA 28s, no violation"
        );
        assert_eq!(
            plain("gate", "seeds", 0, 150, Duration::ZERO, "no violation"),
            "gate: 0/150 seeds (0 %), 0.0/s, ETA unknown, no violation"
        );
    }
}
