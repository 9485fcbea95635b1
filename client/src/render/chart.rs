//! A chart of bytes: one bar for each step, against a budget.
//!
//! The bar's solid part stays when the step is done, its light part goes. Everything is to one
//! scale, from nothing to the highest bar or the budget.

use super::style::Style;
use super::text::{bytes, cut};

/// What is drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chart {
    /// What it shows, in a few words.
    pub title: String,
    /// From the first moment to the last.
    pub bars: Vec<Bar>,
    /// What may be used.
    pub budget: Option<u64>,
}

/// One moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bar {
    /// Name of the moment.
    pub label: String,
    /// Bytes that stay.
    pub stays: u64,
    /// Bytes that go when the moment has passed.
    pub goes: u64,
}

impl Bar {
    /// Bytes at the highest moment.
    pub fn high(&self) -> u64 {
        self.stays.saturating_add(self.goes)
    }
}

impl Chart {
    /// Bytes at the end of the scale.
    pub fn top(&self) -> u64 {
        let bars = self.bars.iter().map(Bar::high);
        bars.chain(self.budget).max().unwrap_or(0).max(1)
    }
}

/// Narrowest and widest bars.
const NARROW: usize = 10;
const WIDE: usize = 100;
/// Widest label.
const LABEL: usize = 16;

/// Lines of a chart in so many columns.
pub fn lines(chart: &Chart, width: usize, utf8: bool, style: Style) -> Vec<String> {
    let mark = if utf8 { "…" } else { "." };
    let labels: Vec<String> = chart
        .bars
        .iter()
        .map(|bar| cut(&bar.label, LABEL, mark))
        .collect();
    let amounts: Vec<String> = chart.bars.iter().map(|bar| bytes(bar.high())).collect();
    let longest = |texts: &[String]| texts.iter().map(|text| text.chars().count()).max();
    let label = longest(&labels).unwrap_or(0);
    let amount = longest(&amounts).unwrap_or(0);
    let columns = width.saturating_sub(label + amount + 4).clamp(NARROW, WIDE);
    let mut lines = Vec::with_capacity(chart.bars.len() + 1);
    for ((bar, name), size) in chart.bars.iter().zip(&labels).zip(&amounts) {
        let drawn = draw(chart, bar, columns, utf8, style);
        lines.push(format!("{name:>label$}  {drawn}  {size:>amount$}"));
    }
    if let Some(budget) = chart.budget {
        let place = column(budget, chart.top(), columns);
        let text = format!("budget {}", bytes(budget));
        // Under its line where there is room, else as far right as it goes.
        let end = label + 2 + columns;
        let start = (label + 2 + place).min(end.saturating_sub(text.len()));
        lines.push(format!("{:start$}{}", "", style.dim(&text)));
    }
    lines
}

/// A bar in exactly so many columns, with the budget's line.
fn draw(chart: &Chart, bar: &Bar, columns: usize, utf8: bool, style: Style) -> String {
    let (full, light, line) = if utf8 {
        ('█', '▒', '│')
    } else {
        ('#', '+', '|')
    };
    let top = chart.top();
    let stays = column(bar.stays, top, columns);
    let high = column(bar.high(), top, columns);
    let budget = chart.budget.map(|budget| column(budget, top, columns - 1));
    let above = chart.budget.is_some_and(|budget| bar.high() > budget);
    let part = |range: std::ops::Range<usize>| -> String {
        let glyph = |at| match at {
            _ if at < stays => full,
            _ if at < high => light,
            _ if Some(at) == budget => line,
            _ => ' ',
        };
        range.map(glyph).collect()
    };
    let shown = part(0..high);
    let shown = if above {
        style.bad(&shown)
    } else {
        style.good(&shown)
    };
    shown + &part(high..columns)
}

/// How many columns so many bytes are; something is at least one.
fn column(bytes: u64, top: u64, columns: usize) -> usize {
    let exact = u128::from(bytes) * columns as u128;
    let rounded = (exact + u128::from(top) / 2) / u128::from(top);
    (rounded as usize).clamp(usize::from(bytes > 0), columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let bar = |label: &str, stays, goes| Bar {
            label: label.to_owned(),
            stays,
            goes,
        };
        Chart {
            title: "disk".to_owned(),
            bars: vec![
                bar("now", 1024, 0),
                bar("step 1", 1024, 512),
                bar("step 2", 0, 1),
            ],
            budget: Some(2048),
        }
    }

    #[test]
    fn bars_are_to_scale() {
        assert_eq!(
            lines(&chart(), 32, true, Style::PLAIN),
            [
                "   now  ████████      │  1.0 KiB",
                "step 1  ████████▒▒▒   │  1.5 KiB",
                "step 2  ▒             │      1 B",
                "         budget 2.0 KiB",
            ]
        );
    }

    #[test]
    fn other_locales_have_plain_bars() {
        let lines = lines(&chart(), 32, false, Style::PLAIN);
        assert_eq!(lines[1], "step 1  ########+++   |  1.5 KiB");
        assert!(lines.iter().all(|line| line.is_ascii()));
    }

    #[test]
    fn what_is_above_the_budget_stands_out() {
        let chart = Chart {
            budget: Some(1024),
            ..chart()
        };
        let lines = lines(&chart, 32, true, Style::COLOUR);
        assert!(lines[0].contains("\x1b[32m") && lines[1].contains("\x1b[1;31m"));
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(lines(&Chart::default(), 80, true, Style::PLAIN).is_empty());
    }
}
