//! Shares as bars: a table of names, sizes, shares and bars, the way `df` and its kin are read.
//!
//! ```text
//!   host unit batch.service             5.8 GiB   74 %  ██████████████████████▏
//!   pod shop/api-7f9c4d8b6-x2x7q        1.7 GiB   21 %  ██████▍
//!   unaccounted                       310.2 MiB    3 %  █▏
//! ```

use unicode_width::UnicodeWidthStr as _;

use super::{Page, Style, zones::fitted};

/// Columns of a name.
const NAME: usize = 34;
/// Columns of a size.
const SIZE: usize = 11;
/// Columns of a bar of all.
const BAR: usize = 24;

/// A row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) style: Style,
    pub(crate) name: String,
    pub(crate) size: String,
    /// Of the whole; more than that is shown as the whole.
    pub(crate) permille: u32,
}

/// Draws the rows, indented by two columns.
pub(crate) fn draw(page: &mut Page, rows: &[Row]) {
    let widest = rows.iter().map(|row| row.name.width()).max().unwrap_or_default().min(NAME);
    for row in rows {
        let share = match row.permille {
            0 => "0 %".to_owned(),
            1..10 => "<1 %".to_owned(),
            permille => format!("{} %", permille / 10),
        };
        let bar = bar(row.permille);
        page.plain("  ").put(row.style, &fitted(&row.name, widest));
        page.plain(&format!("{:>SIZE$} {share:>6}", row.size));
        if !bar.is_empty() {
            page.plain("  ").put(row.style, &bar);
        }
        page.end();
    }
}

/// A bar of eighths of columns; any share shows.
fn bar(permille: u32) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let permille = usize::try_from(permille).unwrap_or(usize::MAX).min(1000);
    let eighths = (permille * BAR * 8).div_ceil(1000);
    format!("{}{}", "█".repeat(eighths / 8), PARTS.get(eighths % 8).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rows: &[(&str, u32)]) -> String {
        let mut page = Page::new(false);
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, permille)| Row {
                style: Style::Plain,
                name: (*name).to_owned(),
                size: "1 MiB".to_owned(),
                permille: *permille,
            })
            .collect();
        draw(&mut page, &rows);
        page.into_string()
    }

    #[test]
    fn bars_are_as_long_as_shares() {
        assert_eq!(
            shown(&[("all", 1000), ("half", 500), ("a little", 4), ("none", 0), ("too much", 5000)]),
            "  all           1 MiB  100 %  ████████████████████████\n  \
             half          1 MiB   50 %  ████████████\n  \
             a little      1 MiB   <1 %  ▏\n  \
             none          1 MiB    0 %\n  \
             too much      1 MiB  500 %  ████████████████████████\n"
        );
    }

    #[test]
    fn a_long_or_harmful_name_keeps_to_its_column() {
        let shown = shown(&[(&"n".repeat(200), 1000), ("a\x1b[2J", 1)]);
        let lines: Vec<_> = shown.lines().collect();
        assert!(lines.iter().all(|line| line.width() <= 80), "{shown}");
        assert!(lines[0].contains('…') && lines[1].contains("a\\x1b[2J"), "{shown}");
    }
}
