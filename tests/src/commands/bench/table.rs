//! Numbers beside each other, with the goal where there is one.

use std::fmt;
use std::time::Duration;

/// What was measured several times.
#[derive(Debug, Clone)]
pub struct Series(Vec<f64>);

impl Series {
    /// Of durations, in milliseconds.
    pub fn of(durations: &[Duration]) -> Self {
        let milliseconds = durations.iter().map(|one| one.as_secs_f64() * 1000.0);
        Self::from(milliseconds.collect::<Vec<_>>())
    }

    /// The middle one.
    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => self.0[middle],
            _ => f64::midpoint(self.0[middle - 1], self.0[middle]),
        }
    }

    fn bounds(&self) -> (f64, f64) {
        let end = |one: Option<&f64>| one.copied().unwrap_or(f64::NAN);
        (end(self.0.first()), end(self.0.last()))
    }
}

impl From<Vec<f64>> for Series {
    fn from(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }
}

/// The report.
#[derive(Debug, Default)]
pub struct Table(Vec<[String; 4]>);

impl Table {
    /// One thing that was measured several times.
    pub fn series(&mut self, what: &str, series: &Series) {
        self.amount(what, series, "ms");
    }

    /// The same in another unit than milliseconds.
    pub fn amount(&mut self, what: &str, series: &Series, unit: &str) {
        let (least, most) = series.bounds();
        let spread = format!("{least:.1} to {most:.1}, {} runs", series.0.len());
        self.row(what, &format!("{:.1} {unit}", series.median()), &spread, "");
    }

    /// Ratios of what was measured side by side.
    pub fn ratios(&mut self, what: &str, series: &Series) {
        let (least, most) = series.bounds();
        let spread = format!("{least:.2} to {most:.2}, {} runs", series.0.len());
        self.row(what, &format!("{:.2} x", series.median()), &spread, "");
    }

    /// The same with a goal for the median.
    pub fn series_goal(&mut self, what: &str, series: &Series, goal: f64) {
        self.series(what, series);
        if let Some(row) = self.0.last_mut() {
            row[3] = judge(series.median(), goal, "ms");
        }
    }

    /// A value with a goal not to be passed.
    pub fn goal(&mut self, what: &str, value: f64, unit: &str, goal: f64) {
        let text = format!("{value:.2} {unit}");
        self.row(what, &text, "", &judge(value, goal, unit));
    }

    /// A remark, or a value without a goal.
    pub fn row(&mut self, what: &str, value: &str, spread: &str, goal: &str) {
        let row = [what, value, spread, goal];
        println!("lab: {what}: {value} {spread} {goal}");
        self.0.push(row.map(str::to_owned));
    }
}

fn judge(value: f64, goal: f64, unit: &str) -> String {
    let verdict = if value <= goal { "met" } else { "MISSED" };
    format!("goal {goal} {unit}: {verdict}")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["what", "median", "range", "goal"].map(str::to_owned);
        let widths = [0, 1, 2].map(|column: usize| {
            let cells = std::iter::once(&head).chain(&self.0);
            let longest = cells.map(|row| row[column].chars().count()).max();
            longest.unwrap_or(0)
        });
        for row in std::iter::once(&head).chain(&self.0) {
            let [what, value, spread, goal] = row;
            let [a, b, c] = widths;
            let line = format!("{what:a$}  {value:>b$}  {spread:c$}  {goal}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_middle_of_two() {
        assert!((Series::from(vec![9.0, 1.0, 2.0]).median() - 2.0).abs() < 1e-9);
        assert!((Series::from(vec![4.0, 1.0, 2.0, 9.0]).median() - 3.0).abs() < 1e-9);
        assert!(Series::from(Vec::new()).median().is_nan());
    }

    #[test]
    fn a_missed_goal_says_so() {
        let mut table = Table::default();
        table.series_goal("start", &Series::from(vec![51.0]), 50.0);
        table.goal("ratio", 1.25, "x", 1.25);
        let text = table.to_string();
        assert!(
            text.contains("goal 50 ms: MISSED") && text.contains("goal 1.25 x: met"),
            "{text}"
        );
    }
}
