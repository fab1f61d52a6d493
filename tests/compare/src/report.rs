//! Figures: medians with their spread, a table for people, JSON for tools.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// The subject that is the generator's own ceiling: it takes part in no ratio.
pub(crate) const CEILING: &str = "relay";
/// The subject whose ratio to the best of the others matters.
pub(crate) const OURS: &str = "caracal";

/// The unit of what is the better the more it is. Of all else that several subjects have, less is better.
const MORE_IS_BETTER: &str = "Gbit/s";

/// One figure of one measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    /// What it is.
    pub(crate) metric: &'static str,
    /// In what.
    pub(crate) unit: &'static str,
    /// The number.
    pub(crate) value: f64,
}

/// A figure over all rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    case: String,
    subject: String,
    metric: String,
    unit: String,
    median: f64,
    min: f64,
    max: f64,
    runs: usize,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    values: BTreeMap<(usize, usize, usize), (Summary, Vec<f64>)>,
    failures: Vec<String>,
}

impl Report {
    /// Adds what one measurement gave. `order` is the place of the case and of the subject in the tables.
    pub(crate) fn add(&mut self, order: (usize, usize), case: &str, subject: &str, figures: &[Figure]) {
        for (place, figure) in figures.iter().enumerate() {
            let key = (order.0, place, order.1);
            let entry = self.values.entry(key).or_insert_with(|| {
                let summary = Summary {
                    case: case.to_owned(),
                    subject: subject.to_owned(),
                    metric: figure.metric.to_owned(),
                    unit: figure.unit.to_owned(),
                    median: 0.0,
                    min: 0.0,
                    max: 0.0,
                    runs: 0,
                };
                (summary, Vec::new())
            });
            entry.1.push(figure.value);
        }
    }

    /// Notes a measurement that gave nothing.
    pub(crate) fn fail(&mut self, case: &str, subject: &str, why: &anyhow::Error) {
        self.failures.push(format!("({case}) {subject}: {why:#}"));
    }

    /// Every figure with its median and spread.
    pub(crate) fn summaries(&self) -> Vec<Summary> {
        let all = self.values.values().map(|(summary, values)| {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            Summary {
                median: median(&sorted),
                min: sorted.first().copied().unwrap_or(0.0),
                max: sorted.last().copied().unwrap_or(0.0),
                runs: sorted.len(),
                ..summary.clone()
            }
        });
        all.collect()
    }

    /// Prints the table, and writes the figures as JSON where that is asked for.
    pub(crate) fn finish(&self, json: Option<&Path>) -> anyhow::Result<()> {
        println!("{}", self.text());
        if let Some(path) = json {
            let text = serde_json::to_string_pretty(&self.summaries()).context("writing JSON")?;
            std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    /// The table.
    pub(crate) fn text(&self) -> String {
        let all = self.summaries();
        let mut text = String::new();
        let mut last = "";
        for one in &all {
            if one.case != last {
                writeln_to(&mut text, &format!("\n{}\n", one.case));
                let head = ["metric", "subject", "median", "min", "max", "", "to the best of the others"];
                writeln_to(&mut text, &line(head.map(str::to_owned)));
                last = &one.case;
            }
            let ratio = best_other(&all, one).map(|best| format!("{:.2}", one.median / best));
            writeln_to(
                &mut text,
                &line([
                    one.metric.clone(),
                    one.subject.clone(),
                    number(one.median),
                    number(one.min),
                    number(one.max),
                    one.unit.clone(),
                    ratio.unwrap_or_default(),
                ]),
            );
        }
        for failure in &self.failures {
            writeln_to(&mut text, &format!("\nno figure: {failure}"));
        }
        text
    }
}

/// Figures in a line.
pub(crate) fn words(figures: &[Figure]) -> String {
    let each = figures.iter().map(|one| format!("{} {:.2} {}", one.metric, one.value, one.unit));
    each.collect::<Vec<_>>().join(", ")
}

/// The best of those that a subject is held against: all but itself, the ceiling, and us in whatever circumstances.
fn best_other(all: &[Summary], one: &Summary) -> Option<f64> {
    let others = all.iter().filter(|other| {
        (&other.case, &other.metric) == (&one.case, &one.metric)
            && other.subject != one.subject
            && other.subject != CEILING
            && !other.subject.starts_with(OURS)
    });
    let medians = others.map(|other| other.median);
    let best = match one.unit.as_str() {
        MORE_IS_BETTER => medians.max_by(f64::total_cmp),
        _ => medians.min_by(f64::total_cmp),
    };
    best.filter(|best| *best > 0.0 && one.subject != CEILING)
}

/// Of what is sorted.
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match (sorted.get(half), sorted.len() % 2, half.checked_sub(1).and_then(|below| sorted.get(below))) {
        (Some(middle), 1, _) => *middle,
        (Some(upper), _, Some(lower)) => f64::midpoint(*upper, *lower),
        _ => 0.0,
    }
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn line([metric, subject, median, min, max, unit, ratio]: [String; 7]) -> String {
    format!("{metric:<22}{subject:<16}{median:>10}{min:>10}{max:>10} {unit:<8}{ratio}").trim_end().to_owned()
}

fn writeln_to(text: &mut String, line: &str) {
    if writeln!(text, "{line}").is_err() {
        // A String takes everything.
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rounds: &[(&str, f64)]) -> Report {
        let mut report = Report::default();
        for (subject, value) in rounds {
            let place = usize::from(*subject != OURS);
            report.add((0, place), "a", subject, &[Figure { metric: "time", unit: "s", value: *value }]);
        }
        report
    }

    #[test]
    fn medians_and_spread_of_all_rounds() {
        let all = report(&[(OURS, 3.0), (OURS, 1.0), (OURS, 2.0)]).summaries();
        let [one] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((one.median, one.min, one.max, one.runs), (2.0, 1.0, 3.0, 3));
        assert_eq!(median(&[1.0, 2.0]), 1.5);
    }

    #[test]
    fn the_ratio_is_to_the_best_of_the_others_and_never_to_the_ceiling() {
        let mut report = report(&[(OURS, 2.0), ("bird", 4.0)]);
        report.add((0, 2), "a", "frr", &[Figure { metric: "time", unit: "s", value: 8.0 }]);
        report.add((0, 3), "a", CEILING, &[Figure { metric: "time", unit: "s", value: 0.1 }]);
        let all = report.summaries();
        let of = |subject: &str| best_other(&all, all.iter().find(|one| one.subject == subject).unwrap());
        assert_eq!((of(OURS), of("frr"), of("bird"), of(CEILING)), (Some(4.0), Some(4.0), Some(8.0), None));
    }

    #[test]
    fn of_a_throughput_the_best_is_the_most() {
        let mut report = Report::default();
        for (place, (subject, value)) in [(OURS, 9.0), ("one", 10.0), ("other", 5.0)].into_iter().enumerate()
        {
            let figure = Figure { metric: "throughput", unit: "Gbit/s", value };
            report.add((0, place), "a", subject, &[figure]);
        }
        let all = report.summaries();
        assert_eq!(best_other(&all, &all[0]), Some(10.0));
    }
}
