//! The chart as a picture: SVG, made of rectangles, lines and text alone.

use std::fmt::Write;

use super::chart::Chart;
use super::text::bytes;

/// The picture, and the part of it that the bars fill.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
/// Lines across.
const LINES: u32 = 4;
/// Bars that have room for their label.
const LABELLED: usize = 24;
/// Room above the highest bar, as a part of its height.
const HEADROOM: f64 = 1.05;

const STAYS: &str = "#4878a8";
const GOES: &str = "#b8cce0";
const ABOVE: &str = "#c0392b";

/// A whole SVG document.
pub fn draw(chart: &Chart) -> String {
    let mut picture = Picture {
        text: String::new(),
        top: chart.top() as f64 * HEADROOM,
    };
    picture.begin(chart);
    picture.grid();
    picture.bars(chart);
    if let Some(budget) = chart.budget {
        picture.budget(budget);
    }
    picture.legend();
    picture.text.push_str("</svg>\n");
    picture.text
}

struct Picture {
    text: String,
    /// Bytes at the upper edge.
    top: f64,
}

impl Picture {
    fn begin(&mut self, chart: &Chart) {
        let title = escape(&chart.title);
        self.push(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n\
             <title>{title}</title>\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{title}</text>"
        ));
    }

    fn grid(&mut self) {
        for line in 0..=LINES {
            let amount = self.top * f64::from(line) / f64::from(LINES);
            let y = self.y(amount);
            let label = bytes(amount as u64);
            self.line(y, "#dddddd", "");
            self.label(LEFT - 6.0, y + 4.0, "end", &label);
        }
    }

    fn bars(&mut self, chart: &Chart) {
        let room = (WIDTH - LEFT - RIGHT) / chart.bars.len().max(1) as f64;
        let every = chart.bars.len().div_ceil(LABELLED).max(1);
        for (index, bar) in chart.bars.iter().enumerate() {
            let x = LEFT + room * index as f64;
            let above = chart.budget.is_some_and(|budget| bar.high() > budget);
            let (stays, high) = (bar.stays as f64, bar.high() as f64);
            let goes = if above { ABOVE } else { GOES };
            self.bar(x + room * 0.1, room * 0.8, 0.0, stays, STAYS);
            self.bar(x + room * 0.1, room * 0.8, stays, high, goes);
            if index % every == 0 {
                let y = HEIGHT - BOTTOM + 16.0;
                self.label(x + room / 2.0, y, "middle", &bar.label);
            }
        }
    }

    fn budget(&mut self, budget: u64) {
        let y = self.y(budget as f64);
        self.line(y, ABOVE, " stroke-dasharray=\"6 4\"");
        let label = format!("budget {}", bytes(budget));
        self.label(WIDTH - RIGHT, y - 5.0, "end", &label);
    }

    fn legend(&mut self) {
        let y = HEIGHT - 18.0;
        for (x, colour, text) in [(LEFT, STAYS, "stays"), (LEFT + 90.0, GOES, "is released")] {
            self.push(&format!(
                "<rect x=\"{x}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>",
                y - 10.0
            ));
            self.label(x + 18.0, y, "start", text);
        }
    }

    fn bar(&mut self, x: f64, width: f64, from: f64, to: f64, colour: &str) {
        let (y, height) = (self.y(to), self.y(from) - self.y(to));
        if height > 0.0 {
            self.push(&format!(
                "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" \
                 fill=\"{colour}\"/>"
            ));
        }
    }

    fn line(&mut self, y: f64, colour: &str, dashes: &str) {
        let right = WIDTH - RIGHT;
        self.push(&format!(
            "<line x1=\"{LEFT}\" y1=\"{y:.2}\" x2=\"{right}\" y2=\"{y:.2}\" \
             stroke=\"{colour}\"{dashes}/>"
        ));
    }

    fn label(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escape(text);
        self.push(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    fn y(&self, amount: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * amount / self.top
    }

    fn push(&mut self, element: &str) {
        // Writing into a string does not fail.
        let _ = writeln!(self.text, "{element}");
    }
}

/// Text that is safe inside of an element; what XML cannot hold at all becomes a question mark.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('?'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::chart::Bar;

    fn chart(bars: usize, budget: Option<u64>) -> Chart {
        let bar = |number| Bar {
            label: format!("<{number}>"),
            stays: 1000,
            goes: 10 * number as u64,
        };
        Chart {
            title: "a & b".to_owned(),
            bars: (0..bars).map(bar).collect(),
            budget,
        }
    }

    #[test]
    fn bars_the_budget_and_what_is_above_it() {
        let picture = draw(&chart(4, Some(1025)));
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert_eq!(picture.matches(&format!("fill=\"{STAYS}\"")).count(), 4 + 1);
        assert_eq!(picture.matches(&format!("fill=\"{GOES}\"")).count(), 2 + 1);
        assert_eq!(picture.matches(&format!("fill=\"{ABOVE}\"")).count(), 1);
        assert!(picture.contains(">budget 1.0 KiB</text>"));
    }

    #[test]
    fn text_is_escaped() {
        let picture = draw(&chart(1, None));
        assert!(picture.contains("a &amp; b") && picture.contains("&lt;0&gt;"));
        assert!(!picture.contains("budget"));
        assert_eq!(escape("\"\u{1b}[0m'\u{ffff}"), "&quot;?[0m'?");
    }

    #[test]
    fn many_bars_do_not_write_over_each_other() {
        let picture = draw(&chart(1000, None));
        assert!(picture.matches("&lt;").count() <= LABELLED);
        draw(&Chart::default());
    }
}
