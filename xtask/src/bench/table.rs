//! Medians with their spread, as a Markdown table.

use std::fmt::{self, Write};

/// What one turn measured.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Answers.
    pub per_second: f64,
    /// Latency that half of the exchanges did not exceed.
    pub p50_ms: f64,
    /// Latency that 99 of 100 exchanges did not exceed.
    pub p99_ms: f64,
    /// Processor time of the server for each answer.
    pub cpu_us: f64,
    /// Share of the machine that others had.
    pub foreign: f64,
}

/// A median and what it lies between.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            median: at(values.len() / 2),
            min: at(0),
            max: at(values.len().saturating_sub(1)),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let Self { median, min, max } = self;
        write!(f, "{median:.digits$} ({min:.digits$}–{max:.digits$})")
    }
}

/// A contender's line.
#[derive(Debug, Clone)]
pub struct Row {
    /// Who.
    pub name: &'static str,
    /// From how many connections.
    pub connections: usize,
    /// Answers in a second.
    pub per_second: Spread,
    /// To the first contender, round by round.
    pub ratio: Spread,
    /// In milliseconds.
    pub p50: Spread,
    /// In milliseconds.
    pub p99: Spread,
    cpu_us: Spread,
    foreign: Spread,
    /// Rounds that count although others had too much of the machine.
    pub noisy: usize,
}

impl Row {
    /// A line from the figures of each round; `ceilings` are those of the first contender.
    pub fn new(
        name: &'static str,
        connections: usize,
        figures: &[Figures],
        ceilings: &[f64],
        noisy: usize,
    ) -> Self {
        let of = |value: fn(&Figures) -> f64| Spread::of(figures.iter().map(value).collect());
        let pairs = figures.iter().zip(ceilings);
        Self {
            name,
            connections,
            per_second: of(|figures| figures.per_second),
            ratio: Spread::of(pairs.map(|(of, ceiling)| of.per_second / ceiling).collect()),
            p50: of(|figures| figures.p50_ms),
            p99: of(|figures| figures.p99_ms),
            cpu_us: of(|figures| figures.cpu_us),
            foreign: of(|figures| figures.foreign * 100.0),
            noisy,
        }
    }
}

/// The table.
pub fn render(rows: &[Row]) -> String {
    let mut table = String::from(
        "| connections | what | req/s | × first | p50 ms | p99 ms | server CPU µs | foreign % |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let noisy = match row.noisy {
            0 => String::new(),
            noisy => format!(" **noisy: {noisy} rounds**"),
        };
        let line = format!(
            "| {} | {} | {:.0} | {:.2} | {:.3} | {:.3} | {:.1} | {:.0}{noisy} |",
            row.connections,
            row.name,
            row.per_second,
            row.ratio,
            row.p50,
            row.p99,
            row.cpu_us,
            row.foreign,
        );
        writeln!(table, "{line}").expect("a string takes any text");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_show_the_median_between_the_extremes() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(format!("{spread:.1}"), "2.0 (1.0–3.0)");
        let figures = Figures {
            per_second: 50.0,
            p50_ms: 1.0,
            p99_ms: 2.0,
            cpu_us: 3.0,
            foreign: 0.04,
        };
        let row = Row::new("a", 64, &[figures], &[100.0], 1);
        assert!(render(&[row]).contains("| 64 | a | 50 (50–50) | 0.50 (0.50–0.50) |"));
    }
}
