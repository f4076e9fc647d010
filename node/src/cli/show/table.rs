//! Rows in columns, for people.

use std::fmt::Write;

/// A column: its head, and whether its cells stand at its right, as numbers do.
pub(super) enum Column {
    /// Text.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

/// Columns as wide as their widest cell, two spaces apart.
pub(super) fn table<const N: usize>(columns: [Column; N], rows: &[[String; N]]) -> String {
    let length = |text: &str| text.chars().count();
    let heads = columns.each_ref().map(|(Column::Left(head) | Column::Right(head))| (*head).to_owned());
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().chain([&heads]).map(|row| length(&row[column])).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in [&heads].into_iter().chain(rows) {
        let mut line = String::new();
        for ((cell, column), width) in row.iter().zip(&columns).zip(widths) {
            let _ = match column {
                Column::Left(_) => write!(line, "{cell:<width$}  "),
                Column::Right(_) => write!(line, "{cell:>width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_numbers_stand_right() {
        let rows = [["lon-1", "12 ms", "me"], ["ny", "-", ""]].map(|row| row.map(str::to_owned));
        let text = table([Column::Left("NODE"), Column::Right("RTT"), Column::Left("")], &rows);
        assert_eq!(text, "NODE     RTT\nlon-1  12 ms  me\nny         -\n");
    }
}
