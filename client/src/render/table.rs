//! Tables: columns as wide as their widest cell, two blanks between them, no blanks at the end.

use super::text::cut;

/// Lines of a table; only the last column is cut, to fit `width` where there is one.
pub fn lines(head: &[&str], rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let columns = head.len();
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (index, cell) in row.iter().enumerate().take(columns) {
            widths[index] = widths[index].max(cell.chars().count());
        }
    }
    let before_last: usize = widths.iter().rev().skip(1).map(|width| width + 2).sum();
    let last = width.map(|width| width.saturating_sub(before_last).max(8));
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let with_head = !head.iter().all(String::is_empty);
    std::iter::once(&head)
        .filter(|_| with_head)
        .chain(rows)
        .map(|row| line(row, &widths, last))
        .collect()
}

/// One line of the table.
fn line(row: &[String], widths: &[usize], last: Option<usize>) -> String {
    let mut text = String::new();
    for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
        if index + 1 < widths.len() {
            text.push_str(&format!("{cell:width$}  "));
        } else {
            text.push_str(&cut(cell, last.unwrap_or(usize::MAX), "..."));
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(cells: &[&[&str]]) -> Vec<Vec<String>> {
        cells
            .iter()
            .map(|row| row.iter().map(|&cell| cell.to_owned()).collect())
            .collect()
    }

    #[test]
    fn columns_line_up() {
        let rows = rows(&[&["a", "long", "x"], &["äää", "b", ""]]);
        assert_eq!(
            lines(&["ONE", "TWO", "THREE"], &rows, None),
            ["ONE  TWO   THREE", "a    long  x", "äää  b"]
        );
        assert_eq!(
            lines(&["", "", ""], &rows, None),
            ["a    long  x", "äää  b"]
        );
    }

    #[test]
    fn only_the_last_column_is_cut() {
        let rows = rows(&[&["first", "a text that is too long"]]);
        assert_eq!(
            lines(&["A", "B"], &rows, Some(20)),
            ["A      B", "first  a text tha..."]
        );
    }
}
