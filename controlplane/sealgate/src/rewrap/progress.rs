//! One line on a terminal that says how far a run has come.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use sealgate_gateway::rewrap::Outcome;

use super::report::{Report, skip_reason};

/// Between two drawings.
const REDRAW: Duration = Duration::from_millis(200);
/// Characters of the bar.
const BAR: u64 = 24;

pub(crate) struct Progress {
    shown: bool,
    started: Instant,
    drawn: Option<Instant>,
    /// Objects of this run, whatever the report holds of earlier ones.
    objects: u64,
    total: Option<(u64, bool)>,
}

impl Progress {
    pub(crate) fn new(resumed: bool) -> Self {
        let shown = stderr().is_terminal();
        if shown && resumed {
            let _ = writeln!(stderr(), "going on where the last run ended");
        }
        Self {
            shown,
            started: Instant::now(),
            drawn: None,
            objects: 0,
            total: None,
        }
    }

    pub(crate) fn is_shown(&self) -> bool {
        self.shown
    }

    /// One more object; what needs somebody is said at once.
    pub(crate) fn tell(&mut self, key: &str, outcome: &Outcome) {
        self.objects += 1;
        let what = match outcome {
            Outcome::Failed { reason, .. } => reason.as_str(),
            Outcome::Skipped(skip) if skip.matters() => skip_reason(*skip),
            _ => return,
        };
        self.clear();
        let _ = writeln!(stderr(), "{key}: {what}");
    }

    pub(crate) fn counted(&mut self, objects: u64, all: bool) {
        self.total = Some((objects, all));
    }

    pub(crate) fn draw(&mut self, report: &Report) {
        if !self.shown || self.drawn.is_some_and(|at| at.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        let line = line(self.objects, self.total, self.started.elapsed(), report);
        let mut out = stderr().lock();
        let _ = write!(out, "\r\x1b[K{line}");
        let _ = out.flush();
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn line(objects: u64, total: Option<(u64, bool)>, elapsed: Duration, report: &Report) -> String {
    let rate = objects as f64 / elapsed.as_secs_f64().max(0.001);
    let counts = format!(
        "{rate:.0}/s, {} re-wrapped, {} failed",
        report.rewrapped,
        report.failures()
    );
    match total {
        Some((total, true)) if total > 0 => {
            let done = (objects * BAR / total).min(BAR) as usize;
            let rest = BAR as usize - done;
            let left = total.saturating_sub(objects) as f64 / rate.max(0.001);
            format!(
                "[{}{}] {objects} of {total}, {counts}, {left:.0} s to go",
                "=".repeat(done),
                " ".repeat(rest)
            )
        }
        Some((total, false)) => format!("{objects} of {total} or more, {counts}"),
        _ => format!("{objects} objects, {counts}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_what_is_known() {
        let report = Report {
            rewrapped: 40,
            ..Report::default()
        };
        let ten = Duration::from_secs(10);
        let text = line(50, Some((200, true)), ten, &report);
        assert_eq!(
            text,
            "[======                  ] 50 of 200, 5/s, 40 re-wrapped, 0 failed, 30 s to go"
        );
        assert!(line(50, Some((50, false)), ten, &report).starts_with("50 of 50 or more, 5/s"));
        assert!(line(0, None, Duration::ZERO, &report).starts_with("0 objects, 0/s"));
    }
}
