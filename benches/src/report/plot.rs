//! Results as a plot: horizontal bars on one logarithmic scale, in groups by measure, as SVG.

use std::fmt::Write;

use super::table::{by_measure, shown};
use super::{Record, remarks};
use crate::candidate::Measure;
use crate::rotation::{Outcome, Row};

const WIDTH: f64 = 1_000.0;
const LABELS: f64 = 330.0;
const BARS: f64 = 540.0;
const LINE: f64 = 20.0;
const TOP: f64 = 64.0;

const OURS: &str = "#c0392b";
const LIMIT: &str = "#7f8c8d";
const PEER: &str = "#2e86c1";

/// A picture of the figures that count. Whiskers run from the smallest to the largest sample; what has no figure is
/// named with its reason.
pub fn plot(record: &Record) -> String {
    let rows = by_measure(&record.results);
    let scale = Scale::over(&rows);
    let mut body = String::new();
    let (mut y, mut last) = (TOP, None);
    for row in rows {
        if last != Some(row.identity.measure) {
            y += LINE * 0.6;
            heading(&mut body, y, row.identity.measure);
            y += LINE;
            last = Some(row.identity.measure);
        }
        bar(&mut body, y, row, &scale);
        y += LINE;
    }
    let height = y + 5.0 * LINE;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">"#
    );
    let _ = writeln!(svg, r#"<rect width="{WIDTH}" height="{height}" fill="white"/>"#);
    text(
        &mut svg,
        10.0,
        22.0,
        "font-size=\"16\" font-weight=\"bold\"",
        "nanoseconds, less is better (log scale)",
    );
    text(&mut svg, 10.0, 42.0, "fill=\"#555\"", &record.headline());
    scale.grid(&mut svg, y);
    svg.push_str(&body);
    footing(&mut svg, y + 2.0 * LINE, &record.footing());
    svg.push_str("</svg>\n");
    svg
}

/// Decades of nanoseconds over the width of the bars.
struct Scale {
    first: i32,
    last: i32,
}

impl Scale {
    fn over(rows: &[&Row]) -> Self {
        let figures = rows.iter().filter_map(|row| match &row.outcome {
            Outcome::Measured(summary) => Some((summary.min, summary.max)),
            _ => None,
        });
        let (min, max) = figures.fold((f64::INFINITY, 0.0_f64), |(min, max), (low, high)| {
            (min.min(low), max.max(high))
        });
        let first = if min.is_finite() { min.log10().floor() as i32 } else { 0 };
        let last = if max > 0.0 { max.log10().ceil() as i32 } else { 1 };
        Self { first, last: last.max(first + 1) }
    }

    fn x(&self, figure: f64) -> f64 {
        let decades = f64::from(self.last - self.first);
        LABELS + BARS * ((figure.log10() - f64::from(self.first)) / decades).clamp(0.0, 1.0)
    }

    fn grid(&self, svg: &mut String, bottom: f64) {
        for decade in self.first..=self.last {
            let figure = 10_f64.powi(decade);
            let x = self.x(figure);
            let _ = writeln!(
                svg,
                r##"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}" stroke="#ddd"/>"##
            );
            text(svg, x, TOP - 4.0, "text-anchor=\"middle\" fill=\"#555\"", &shown(figure));
        }
    }
}

fn heading(svg: &mut String, y: f64, measure: Measure) {
    text(svg, 10.0, y + LINE * 0.7, "font-weight=\"bold\"", measure.title());
}

fn bar(svg: &mut String, y: f64, row: &Row, scale: &Scale) {
    let middle = y + LINE * 0.5;
    let label = format!("{}, {}", row.identity, row.identity.sides);
    text(svg, LABELS - 8.0, middle + 4.0, "text-anchor=\"end\"", &label);
    let Outcome::Measured(summary) = &row.outcome else {
        text(svg, LABELS + 4.0, middle + 4.0, "fill=\"#999\"", &remarks(row));
        return;
    };
    let (width, height) = (scale.x(summary.counted) - LABELS, LINE * 0.7);
    let _ = writeln!(
        svg,
        r#"<rect x="{LABELS}" y="{:.1}" width="{width:.1}" height="{height:.1}" fill="{}"/>"#,
        y + LINE * 0.15,
        colour(row),
    );
    let (low, high) = (scale.x(summary.min), scale.x(summary.max));
    let _ = writeln!(
        svg,
        r##"<line x1="{low:.1}" y1="{middle:.1}" x2="{high:.1}" y2="{middle:.1}" stroke="#222"/>"##
    );
    let star = if summary.counted != summary.median { " (faster state)" } else { "" };
    let figure = format!("{}{star}", shown(summary.counted));
    text(svg, high.max(scale.x(summary.counted)) + 5.0, middle + 4.0, "", &figure);
}

fn colour(row: &Row) -> &'static str {
    match row.identity.peer.as_str() {
        "ringbar" => OURS,
        "limit" => LIMIT,
        _ => PEER,
    }
}

fn footing(svg: &mut String, mut y: f64, footing: &str) {
    for line in wrapped(footing, 150) {
        text(svg, 10.0, y, "fill=\"#555\"", &line);
        y += LINE * 0.8;
    }
}

fn wrapped(paragraphs: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in paragraphs.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.len() + word.len() >= columns {
                lines.push(std::mem::take(&mut line));
            }
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

fn text(svg: &mut String, x: f64, y: f64, attributes: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" {attributes}>{content}</text>"#);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decade_is_the_same_width_everywhere() {
        let scale = Scale { first: 0, last: 5 };
        assert!((scale.x(1.0) - LABELS).abs() < 1e-9);
        assert!((scale.x(100.0) - scale.x(10.0) - BARS / 5.0).abs() < 1e-9);
        assert!((scale.x(100_000.0) - LABELS - BARS).abs() < 1e-9);
    }

    #[test]
    fn wrapping_keeps_every_word() {
        let text = "one two three four five\nsix";
        assert_eq!(wrapped(text, 9), ["one two", "three", "four five", "six"]);
    }
}
