//! Results as a table for a terminal.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

use super::remarks;
use crate::candidate::Measure;
use crate::rotation::{Outcome, Results, Row};
use crate::stats::Summary;

const HEADINGS: [&str; 9] =
    ["measure", "transport", "sides", "payload B", "counts", "median", "min", "max", "remarks"];

/// One row a candidate, by measure and best first; figures in nanoseconds.
pub fn table(results: &Results) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    if !table.is_tty() {
        table.set_width(150);
    }
    table.set_header(HEADINGS);
    let mut last = None;
    for row in by_measure(results) {
        table.add_row(cells(row, last != Some(row.identity.measure)));
        last = Some(row.identity.measure);
    }
    table
}

/// Rows by measure; within one the best first, those without a figure last.
pub(super) fn by_measure(results: &Results) -> Vec<&Row> {
    let mut rows: Vec<&Row> = results.rows.iter().collect();
    rows.sort_by(|a, b| {
        let figure = |row: &Row| row.counted().unwrap_or(f64::INFINITY);
        let measures = a.identity.measure.cmp(&b.identity.measure);
        measures.then(figure(a).total_cmp(&figure(b)))
    });
    rows
}

fn cells(row: &Row, is_first: bool) -> Vec<Cell> {
    let title = if is_first { Measure::title(row.identity.measure) } else { "" };
    let mut cells = vec![
        Cell::new(title),
        Cell::new(&row.identity),
        Cell::new(row.identity.sides),
        right(row.identity.payload_bytes.to_string()),
    ];
    cells.extend(figures(&row.outcome).map(right));
    cells.push(Cell::new(remarks(row)));
    cells
}

fn figures(outcome: &Outcome) -> [String; 4] {
    match outcome {
        Outcome::Measured(Summary { counted, median, min, max, .. }) => {
            [counted, median, min, max].map(|&figure| shown(figure))
        }
        _ => [(); 4].map(|()| "-".into()),
    }
}

/// Three digits of a figure, whole from 100 on, thousands apart.
pub(super) fn shown(figure: f64) -> String {
    match figure {
        f if f < 9.995 => format!("{f:.2}"),
        f if f < 99.95 => format!("{f:.1}"),
        f => with_commas(f.round() as u64),
    }
}

fn with_commas(whole: u64) -> String {
    match whole {
        0..1_000 => whole.to_string(),
        _ => format!("{},{:03}", with_commas(whole / 1_000), whole % 1_000),
    }
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn figures_keep_three_digits() {
        let shown = [1.954, 9.999, 51.04, 232.4, 999.7, 47_254.4, 1_000_007.0].map(shown);
        assert_eq!(shown, ["1.95", "10.0", "51.0", "232", "1,000", "47,254", "1,000,007"]);
    }
}
