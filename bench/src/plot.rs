//! Plots as SVG, written by hand: bars with their spread, and goals with how far they were reached.

use std::fmt::Write as _;

use crate::compare::{Samples, Verdict, Work};
use crate::units::median;

const WIDTH: f64 = 880.0;
const ROW: f64 = 22.0;
const TOP: f64 = 44.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 70.0;

const STYLE: &str = "<style>text{font:12px sans-serif;fill:#222}.t{font-size:14px;font-weight:bold}\
.e{text-anchor:end}.s{fill:#666}</style>";

/// Colours of the gateway, of floors and everything else, and of what is missed.
const OURS: &str = "#2166ac";
const OTHERS: &str = "#b8b8b8";
const MISSED: &str = "#c0392b";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn open(title: &str, rows: usize) -> String {
    let height = TOP + ROW * rows as f64 + 16.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\">{STYLE}\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\
         <text class=\"t\" x=\"12\" y=\"24\">{}</text>\n",
        escape(title)
    )
}

/// Medians of one work as bars, with a line from the least to the most.
pub(crate) fn bars(samples: &Samples, work: &Work) -> String {
    let rows: Vec<_> = samples
        .cells()
        .filter(|(cell, _)| cell.work == *work)
        .map(|(cell, samples)| {
            let costs: Vec<f64> = samples.iter().map(|s| s.cost).collect();
            let driver = cell
                .driver
                .map_or(String::new(), |d| format!(", {}", d.name()));
            let label = format!("{}{driver}, {} conn.", cell.contender, cell.connections);
            (label, cell.contender.starts_with("gateway"), costs)
        })
        .collect();
    let most = rows
        .iter()
        .flat_map(|(_, _, costs)| costs)
        .copied()
        .fold(0.0, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / most.max(f64::MIN_POSITIVE);
    let mut svg = open(&format!("{}: {}", work.title, work.unit.name()), rows.len());
    for (n, (label, ours, costs)) in rows.iter().enumerate() {
        let y = TOP + ROW * n as f64;
        let middle = median(costs);
        let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
        let top = costs.iter().copied().fold(0.0, f64::max);
        let fill = if *ours { OURS } else { OTHERS };
        let line = y + ROW / 2.0 - 2.0;
        let digits = work.unit.digits();
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<text class=\"e\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{fill}\"/>\
             <path d=\"M{:.1} {line:.1}H{:.1}\" stroke=\"#222\" stroke-width=\"1.5\"/>\
             <text class=\"s\" x=\"{:.1}\" y=\"{:.1}\">{middle:.digits$}</text>",
            LEFT - 8.0,
            y + 13.0,
            escape(label),
            middle.max(0.0) * scale,
            ROW - 5.0,
            LEFT + least.max(0.0) * scale,
            LEFT + top * scale,
            LEFT + top * scale + 6.0,
            y + 13.0,
        );
    }
    svg + "</svg>\n"
}

/// How much of each goal is used up: 100 % is the goal itself.
pub(crate) fn goals(verdicts: &[Verdict]) -> String {
    const LABELS: f64 = 560.0;
    let scale = (WIDTH - LABELS - RIGHT) / 2.0;
    let mut svg = open(
        "Goals: what is used of each (the line is the goal)",
        verdicts.len(),
    );
    for (n, verdict) in verdicts.iter().enumerate() {
        let y = TOP + ROW * n as f64;
        let used = (verdict.result / verdict.limit).clamp(0.0, 2.2);
        let fill = if verdict.met() { OURS } else { MISSED };
        let _ = writeln!(
            svg,
            "<text class=\"e\" x=\"{:.1}\" y=\"{:.1}\">{} {}</text>\
             <rect x=\"{LABELS}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{fill}\"/>\
             <text class=\"s\" x=\"{:.1}\" y=\"{:.1}\">{:.0} %</text>",
            LABELS - 8.0,
            y + 13.0,
            verdict.goal,
            escape(&verdict.what),
            used * scale,
            ROW - 5.0,
            LABELS + used * scale + 6.0,
            y + 13.0,
            100.0 * verdict.result / verdict.limit,
        );
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{0:.1} {TOP}V{1:.1}\" stroke=\"#222\"/>",
        LABELS + scale,
        TOP + ROW * verdicts.len() as f64,
    );
    svg + "</svg>\n"
}

/// A file's name made of a title.
pub(crate) fn file_name(title: &str) -> String {
    let words = title
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase() + ".svg"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Cell, Unit};

    #[test]
    fn plots_are_well_formed_and_show_all() {
        let work = Work::new("PUT & <GET>", Unit::CpuPerGib);
        let mut samples = Samples::default();
        for contender in ["gateway", "nginx"] {
            let cell = Cell {
                work: work.clone(),
                contender: contender.into(),
                connections: 1,
                driver: None,
            };
            samples.add(cell.clone(), 1.0);
            samples.add(cell, 3.0);
        }
        let verdicts = [Verdict::ratio("G1", "a < b", (1.0, 2.0), 0.4, None)];
        for svg in [bars(&samples, &work), goals(&verdicts)] {
            let mut reader = quick_xml::Reader::from_str(&svg);
            while reader.read_event().unwrap() != quick_xml::events::Event::Eof {}
        }
        assert_eq!(bars(&samples, &work).matches("2.000").count(), 2);
        assert!(goals(&verdicts).contains(MISSED));
        assert_eq!(file_name(&work.title), "put-get.svg");
    }
}
