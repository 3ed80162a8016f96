//! The matrix as a table of text that fits a width: with round trips, with a character per cell, or folded by network.

use std::fmt::Write as _;

use super::grid::{Fold, Grid, Places};
use super::text::{Style, color_of, paint, wrapped};
use super::{label, printable};
use crate::verify::{Cell, Matrix, Verdict};

/// The width where there is no terminal.
const WIDTH: usize = 120;
/// Rows of one table; a larger matrix is folded.
const ROWS: usize = 40;
/// The color of isolation (ECMA-48, 8.3.117).
const CYAN: u8 = 36;
/// What no cell is at.
const NONE: &str = "-";

/// Writes the matrix; each cell for which `changed` is true is marked with `*`.
pub(super) fn matrix(
    out: &mut String,
    matrix: &Matrix,
    places: &Places,
    style: Style,
    changed: &dyn Fn(&Cell) -> bool,
) {
    let grid = Grid::of(matrix, places);
    if grid.rows.is_empty() {
        return;
    }
    if let Some(table) = fitting(&grid, style, changed) {
        out.push_str(&table);
        return;
    }
    folded(out, &Fold::of(matrix, places), style);
    let exceptions = grid.exceptions(places);
    if let Some(table) = fitting(&exceptions, style, changed).filter(|_| !exceptions.rows.is_empty()) {
        let head = "Sources and targets of the cells that are not as expected:".to_owned();
        let head = wrapped(&[head], "", style.columns.unwrap_or(WIDTH));
        let _ = write!(out, "\n{head}{table}");
    }
}

/// Returns the table with the most in each cell that fits.
fn fitting(grid: &Grid, style: Style, changed: &dyn Fn(&Cell) -> bool) -> Option<String> {
    if grid.rows.len() > ROWS {
        return None;
    }
    let width = style.columns.unwrap_or(WIDTH);
    let mut out = String::new();
    let lines = full(grid, changed);
    if widths(&lines).iter().sum::<usize>() + 2 * grid.columns.len() <= width {
        align(&mut out, &lines, style);
        let entries = [
            "ok: reachable, round trip in ms",
            "isolated: unreachable, as expected",
            "FAIL: the opposite of what is expected",
            "MTU: only small packets pass",
            "lossy: replies/requests",
            "?: unknown",
            "-: not probed",
        ];
        legend(&mut out, &entries, style);
        return Some(out);
    }
    let digits = digits(grid.columns.len());
    let names = grid.rows.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let head = (digits + 1 + names).max("from \\ to".len());
    let step = [digits + 1, 2]
        .into_iter()
        .find(|step| head + step * grid.columns.len() <= width)?;
    short(&mut out, grid, (head, step), style, changed);
    let entries = [
        ".: reachable",
        "/: isolated, as expected",
        "F: the opposite of what is expected",
        "M: only small packets pass",
        "L: lossy",
        "?: unknown",
        "-: not probed",
    ];
    legend(&mut out, &entries, style);
    Some(out)
}

/// Texts, and their colors.
type Line = Vec<(String, Option<u8>)>;

/// The color of a cell: isolation has another one than replies.
fn color(cell: &Cell) -> u8 {
    let isolated = cell.verdict == Verdict::Pass && !cell.expectation.reach;
    if isolated { CYAN } else { color_of(cell.verdict) }
}

/// Returns the table with a label in each cell.
fn full(grid: &Grid, changed: &dyn Fn(&Cell) -> bool) -> Vec<Line> {
    let mut lines = vec![vec![("from \\ to".to_owned(), None)]];
    lines[0].extend(grid.columns.iter().map(|to| (printable(to), None)));
    for from in &grid.rows {
        let mut line = vec![(from.clone(), None)];
        line.extend(grid.columns.iter().map(|to| match grid.cell(from, to) {
            Some(cell) => {
                let mark = if changed(cell) { "*" } else { "" };
                (format!("{}{mark}", label(cell)), Some(color(cell)))
            }
            None => (NONE.to_owned(), None),
        }));
        lines.push(line);
    }
    lines
}

/// Writes the table with a character in each cell; columns have numbers, those of guests the numbers of their rows.
fn short(out: &mut String, grid: &Grid, (head, step): (usize, usize), style: Style, changed: &dyn Fn(&Cell) -> bool) {
    let digits = digits(grid.columns.len());
    let number = |name: &str| grid.columns.iter().position(|to| *to == name).map(|at| at + 1);
    // Numbers wider than a column are written downwards.
    let stacked = step <= digits;
    for at in 0..if stacked { digits } else { 1 } {
        let first = if at == 0 { "from \\ to" } else { "" };
        let mut line = format!("{first:<head$}");
        for number in 1..=grid.columns.len() {
            let number = format!("{number:>digits$}");
            let text = if stacked { &number[at..=at] } else { &number };
            let _ = write!(line, "{text:>step$}");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for from in &grid.rows {
        let own = number(from).map_or_else(String::new, |number| number.to_string());
        let _ = write!(out, "{:<head$}", format!("{own:>digits$} {from}"));
        for to in &grid.columns {
            let cell = grid.cell(from, to);
            let gap = if cell.is_some_and(changed) { "*" } else { " " };
            let (text, code) = cell.map_or((NONE, None), |cell| (symbol(cell), Some(color(cell))));
            let _ = write!(out, "{}{gap}{}", " ".repeat(step - 2), paint(text, code, style.color));
        }
        out.push('\n');
    }
    let others = grid
        .columns
        .iter()
        .zip(1..)
        .filter(|(to, _)| !grid.rows.iter().any(|from| from == *to));
    let others: Vec<String> = others
        .map(|(to, number)| format!("{number}: {}", printable(to)))
        .collect();
    if !others.is_empty() {
        let _ = write!(out, "\n{}", wrapped(&others, "; ", style.columns.unwrap_or(WIDTH)));
    }
}

/// The character of a cell.
fn symbol(cell: &Cell) -> &'static str {
    match cell.verdict {
        Verdict::Pass if cell.expectation.reach => ".",
        Verdict::Pass => "/",
        Verdict::Fail if cell.small_only => "M",
        Verdict::Fail => "F",
        Verdict::Lossy => "L",
        Verdict::Unknown => "?",
    }
}

/// Writes the counts of groups as a table, or one line for each two groups where that is too wide.
fn folded(out: &mut String, fold: &Fold, style: Style) {
    let name = |(group, count): &(super::grid::Group, usize)| format!("{} ({count})", printable(&group.text));
    let mut lines = vec![vec![("from \\ to".to_owned(), None)]];
    lines[0].extend(fold.columns.iter().map(|group| (name(group), None)));
    for (at, row) in fold.rows.iter().enumerate() {
        let mut line = vec![(name(row), None)];
        line.extend((0..fold.columns.len()).map(|to| match fold.counts.get(&(at, to)) {
            Some(counts) => (counts.text(), Some(color_of(counts.verdict()))),
            None => (NONE.to_owned(), None),
        }));
        lines.push(line);
    }
    let width = style.columns.unwrap_or(WIDTH);
    if lines.len() <= ROWS && widths(&lines).iter().sum::<usize>() + 2 * fold.columns.len() <= width {
        align(out, &lines, style);
        return;
    }
    // A line for each two groups with something that is not as expected, and the sum of the others.
    let good = |counts: &&super::grid::Counts| counts.verdict() == Verdict::Pass;
    let bad = fold.counts.iter().filter(|(_, counts)| !good(counts));
    for ((from, to), counts) in bad {
        let text = paint(&counts.text(), Some(color_of(counts.verdict())), style.color);
        let _ = writeln!(
            out,
            "{} -> {}: {text}",
            name(&fold.rows[*from]),
            name(&fold.columns[*to])
        );
    }
    let mut sum = super::grid::Counts::default();
    let mut pairs = 0;
    for counts in fold.counts.values().filter(good) {
        sum.reached += counts.reached;
        sum.isolated += counts.isolated;
        pairs += 1;
    }
    if pairs > 0 {
        let text = paint(&sum.text(), Some(color_of(Verdict::Pass)), style.color);
        let (rows, columns) = (fold.rows.len(), fold.columns.len());
        let _ = writeln!(
            out,
            "{pairs} pairs of {rows} groups of sources and {columns} of targets: {text}"
        );
    }
}

fn digits(count: usize) -> usize {
    count.to_string().len()
}

fn widths(lines: &[Line]) -> Vec<usize> {
    let width = |at: usize| lines.iter().map(|line| line[at].0.chars().count()).max().unwrap_or(0);
    (0..lines.first().map_or(0, Vec::len)).map(width).collect()
}

/// Writes aligned columns; color is added after padding, because escape sequences have no width.
fn align(out: &mut String, lines: &[Line], style: Style) {
    let widths = widths(lines);
    for line in lines {
        for (at, (cell, code)) in line.iter().enumerate() {
            out.push_str(&paint(cell, *code, style.color));
            if at + 1 < line.len() {
                out.extend(std::iter::repeat_n(' ', widths[at] - cell.chars().count() + 2));
            }
        }
        out.push('\n');
    }
}

fn legend(out: &mut String, entries: &[&str], style: Style) {
    let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
    let _ = write!(
        out,
        "\n{}",
        wrapped(&entries, "; ", style.columns.unwrap_or(WIDTH).min(100))
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::tests::lab;

    fn shown(matrix: &Matrix, places: &Places, columns: usize) -> String {
        let mut out = String::new();
        let style = Style {
            columns: Some(columns),
            color: false,
        };
        super::matrix(&mut out, matrix, places, style, &|_| false);
        out
    }

    #[test]
    fn every_matrix_fits_the_width_and_no_name_is_broken() {
        for guests in [2, 4, 14, 32, 40, 64, 200] {
            let (matrix, places) = lab(guests, &[(1, 0)]);
            for columns in [60, 80, 120, 400] {
                let text = shown(&matrix, &places, columns);
                let widest = text.lines().map(str::len).max().unwrap_or(0);
                assert!(
                    widest <= columns,
                    "{guests} guests, {columns} columns: {widest}\n{text}"
                );
                assert!(text.contains('F'), "{text}");
                assert!(text.lines().count() < 60, "{guests} guests:\n{text}");
            }
        }
    }

    #[test]
    fn a_matrix_with_a_character_per_cell_has_numbers_for_its_columns() {
        let (matrix, places) = lab(14, &[(1, 0)]);
        let text = shown(&matrix, &places, 60);
        let head = "from \\ to  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16\n";
        assert!(text.starts_with(head), "{text}");
        assert!(text.contains("\n 2 vm2     F  -  .  .  .  .  .  /"), "{text}");
        assert!(text.contains("15: gw net0; 16: gw net1\n"), "{text}");
    }

    #[test]
    fn a_large_matrix_is_folded_by_network_and_its_exceptions_are_shown() {
        let (matrix, places) = lab(64, &[(1, 0), (40, 2)]);
        let text = shown(&matrix, &places, 80);
        assert!(text.contains("net0 (32)  1 FAIL, 991 ok"), "{text}");
        assert!(text.contains("net1 (32)  1 FAIL, 1023 isolated"), "{text}");
        assert!(text.contains("Sources and targets of the cells"), "{text}");
        assert!(text.contains("FAIL"), "{text}");
    }
}
