//! A picture of free memory: how many blocks of each size a zone has, and in which of them its memory lies.
//!
//! The picture is for a quick look: where all bars stand to the left of the rule, memory is free and fragmented.
//!
//! ```text
//!                                                                   too small│enough
//!   zone              index   4K   8K  16K  32K  64K 128K 256K 512K   1M   2M│  4M
//!   NUMA 0 DMA         kept    0    0    0    0    0    0    0    0    1    1│   3
//!      15M free, 16M kept                                           ▁▁▁▁ ▂▂▂▂│████
//!   NUMA 0 Normal     0.999 2900 1210   88   12    3    0    0    0    0    0│   0
//!    22.7M free, 1.2M kept  ████ ▇▇▇▇ ▁▁▁▁ ▁▁▁▁ ▁▁▁▁                         │
//! ```
//!
//! Without colour no information is lost: ineligible zones are named in words. 11 orders take 80 columns, 14 take 95.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{Page, Style, harmless};
use crate::fragmentation::block_pages;

/// Columns left of the first order.
const LEFT: usize = 24;
/// Columns of a number of blocks, or of a bar.
const CELL: usize = 4;
/// Orders that are shown at most: as many as a record has room for.
const ORDERS: usize = crashtrace_ebpf::MAX_ORDERS;

/// The zones, and whether they can serve an allocation of one order.
#[derive(Clone, Debug)]
pub(crate) struct Picture<'a> {
    pub(crate) zones: Vec<Row<'a>>,
    /// Bytes of a page; `None` heads columns with their order.
    pub(crate) page_size_bytes: Option<u64>,
    /// Position of the rule: left of the blocks of this order. There is none for 0 and `None`.
    pub(crate) order: Option<u32>,
    /// Labels left and right of the rule, and the style of the bars there.
    pub(crate) sides: [(Style, &'static str); 2],
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row<'a> {
    pub(crate) numa_node: Option<u32>,
    /// The kernel's name, escaped like any text of a report.
    pub(crate) name: Option<&'a str>,
    /// The zone is not eligible for the allocation.
    pub(crate) ineligible: bool,
    pub(crate) free_bytes: Option<u64>,
    /// The part of free memory that this allocation may not use.
    pub(crate) kept_bytes: Option<u64>,
    /// Enough is left for the allocation.
    pub(crate) room: Option<bool>,
    /// The kernel's fragmentation index for [`Picture::order`].
    pub(crate) index: Option<f64>,
    /// Free blocks by order.
    pub(crate) free_blocks: Option<&'a [u64]>,
}

impl Row<'_> {
    /// The zone has a block of `order`, but within its reserve. An ineligible zone is shown as ineligible in any case.
    fn withholds(&self, order: Option<u32>) -> bool {
        let larger = || self.free_blocks.unwrap_or_default().iter().skip(order.unwrap_or_default() as usize);
        !self.ineligible && self.room == Some(false) && larger().any(|blocks| *blocks > 0)
    }
}

/// Draws the picture, indented by two columns.
pub(crate) fn draw(page: &mut Page, picture: &Picture<'_>) {
    let longest = picture.zones.iter().filter_map(|zone| zone.free_blocks).map(<[u64]>::len).max();
    let Some(orders) = longest.filter(|orders| *orders > 0) else { return };
    let shown = orders.min(ORDERS);
    let rule = picture.order.and_then(|order| usize::try_from(order).ok()).filter(|order| *order > 0);
    let grid = Grid { orders: shown, rule: rule.map(|order| order.min(shown)) };
    if let Some(at) = grid.rule {
        let [(left_style, left), (right_style, right)] = picture.sides;
        let before = "  ".width() + LEFT + at * (CELL + 1) - 1;
        page.put(left_style, &format!("{left:>before$}")).plain("│").put(right_style, right).end();
    }
    let heads = (0_u32..).map(|order| head(picture.page_size_bytes, order)).take(shown);
    let index = picture.zones.iter().any(|zone| zone.index.is_some() && !zone.ineligible);
    let left = format!("{:<16}{:>7} ", "zone", if index { "index" } else { "" });
    grid.line(page, (Style::Faint, &left), heads.map(|head| (Style::Faint, head)));
    for zone in &picture.zones {
        row(page, &grid, picture, zone);
    }
    legend(page, picture, orders - shown);
}

/// Layout of the columns.
struct Grid {
    orders: usize,
    /// Left of this order, or behind the last.
    rule: Option<usize>,
}

impl Grid {
    /// A line: text on the left, and a cell for each order.
    fn line(
        &self,
        page: &mut Page,
        (style, left): (Style, &str),
        cells: impl Iterator<Item = (Style, String)>,
    ) {
        page.plain("  ").put(style, left);
        // Blanks wait for the text after them, so that no line ends with blanks.
        let mut blanks = LEFT.saturating_sub(left.width());
        for (order, (style, cell)) in cells.enumerate() {
            if self.rule == Some(order) {
                page.plain(&" ".repeat(blanks)).plain("│");
                blanks = 0;
            } else if order > 0 {
                blanks += 1;
            }
            let cell_blanks = CELL.saturating_sub(cell.width());
            if cell.is_empty() {
                blanks += cell_blanks;
            } else {
                page.plain(&" ".repeat(blanks + cell_blanks)).put(style, &cell);
                blanks = 0;
            }
        }
        if self.rule == Some(self.orders) {
            page.plain(&" ".repeat(blanks)).plain("│");
        }
        page.end();
    }
}

/// Two lines: numbers, and bars below them.
fn row(page: &mut Page, grid: &Grid, picture: &Picture<'_>, zone: &Row<'_>) {
    let node = zone.numa_node.map_or_else(|| "?".to_owned(), |node| node.to_string());
    let name = fitted(&format!("NUMA {node} {}", zone.name.unwrap_or("?")), 16);
    let withholds = zone.withholds(picture.order);
    let index = match zone.index {
        _ if zone.ineligible => "n/a".to_owned(),
        _ if withholds => "kept".to_owned(),
        Some(index) => format!("{index:.3}"),
        None => String::new(),
    };
    let style = if zone.ineligible { Style::Faint } else { Style::Plain };
    let blocks = zone.free_blocks.unwrap_or_default();
    let at = |order: usize| blocks.get(order).copied();
    let numbers = (0..grid.orders).map(|order| {
        let number = at(order).map_or_else(|| "?".to_owned(), count);
        // A zero carries no information: the other numbers must stand out.
        let style = if at(order) == Some(0) { Style::Faint } else { style };
        (style, number)
    });
    grid.line(
        page,
        (if zone.ineligible { Style::Faint } else { Style::Heading }, &format!("{name}{index:>7} ")),
        numbers,
    );

    let figure = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), short_size);
    let facts = format!("{:>6} free, {} kept", figure(zone.free_bytes), figure(zone.kept_bytes));
    let bars = bars(blocks);
    let bars = (0..grid.orders).map(|order| {
        let side = usize::from(grid.rule.is_some_and(|rule| order >= rule));
        let style = match grid.rule {
            _ if zone.ineligible || withholds => Style::Faint,
            Some(_) => picture.sides[side].0,
            None => Style::Plain,
        };
        (
            style,
            bars.get(order).copied().flatten().map_or_else(String::new, |bar| bar.to_string().repeat(CELL)),
        )
    });
    grid.line(page, (style, &facts), bars);
}

/// Eighths of the memory of the order that has most, by order; any free memory shows.
fn bars(blocks: &[u64]) -> Vec<Option<char>> {
    const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let pages = |(order, blocks): (u32, &u64)| {
        u128::from(*blocks).saturating_mul(block_pages(order).unwrap_or(u64::MAX).into())
    };
    let pages: Vec<u128> = (0..).zip(blocks).map(pages).collect();
    let most = pages.iter().copied().max().unwrap_or_default();
    let eighth = |pages: u128| {
        // From 1 to 8, as `pages` is at most `most`.
        let eighths = pages.saturating_mul(8).checked_div(most)?;
        let rounded = eighths + u128::from(eighths * most < pages.saturating_mul(8));
        EIGHTHS.get(usize::try_from(rounded).ok()?.checked_sub(1)?).copied()
    };
    pages.into_iter().map(eighth).collect()
}

fn legend(page: &mut Page, picture: &Picture<'_>, more_orders: usize) {
    let mut lines = vec!["bars: the share of the zone's free memory in blocks of each size".to_owned()];
    let any = |is: &dyn Fn(&Row<'_>) -> bool| picture.zones.iter().any(is);
    if any(&|zone| zone.kept_bytes.is_some()) {
        lines.push("kept: min watermark, lowmem reserve, and what is not for such an allocation".to_owned());
    }
    if let Some(order) = picture.order.filter(|_| any(&|zone| zone.index.is_some() && !zone.ineligible)) {
        lines.push(format!(
            "index (for {}): 0 memory is short, 1 it is fragmented, -1 a block is free",
            head(picture.page_size_bytes, order)
        ));
    }
    if any(&|zone| zone.withholds(picture.order)) {
        lines.push("\"kept\" for an index: such a block is free, but within the reserve".to_owned());
    }
    if any(&|zone| zone.ineligible) {
        lines.push("n/a: the zone is not eligible for such an allocation".to_owned());
    }
    if more_orders > 0 {
        lines.push(format!("{more_orders} larger sizes are not shown"));
    }
    for line in lines {
        page.put(Style::Faint, &format!("  {line}")).end();
    }
}

/// Heading of a column.
fn head(page_size_bytes: Option<u64>, order: u32) -> String {
    let bytes = page_size_bytes.and_then(|page| page.checked_mul(block_pages(order)?));
    bytes.map_or_else(|| format!("2^{order}"), short_size)
}

/// In at most five columns: `4K`, `16.9M`, `1023M`.
pub(crate) fn short_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["", "K", "M", "G", "T", "P", "E"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    // 1023.5 would be shown as 1024.
    while value >= 1023.5 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1024.0, next);
    }
    let shown = if value < 99.95 { format!("{value:.1}") } else { format!("{value:.0}") };
    format!("{}{unit}", shown.strip_suffix(".0").unwrap_or(&shown))
}

/// In at most four columns, rounded down: `9999`, `10k`, `1.2M`.
fn count(blocks: u64) -> String {
    if blocks < 10_000 {
        return blocks.to_string();
    }
    let (mut whole, mut rest, mut unit) = (blocks, 0, "");
    for next in ["k", "M", "G", "T", "P", "E"] {
        (rest, whole, unit) = (whole % 1000, whole / 1000, next);
        if whole < 1000 {
            break;
        }
    }
    if whole < 10 { format!("{whole}.{}{unit}", rest / 100) } else { format!("{whole}{unit}") }
}

/// `text` escaped, in exactly `columns`.
pub(super) fn fitted(text: &str, columns: usize) -> String {
    let text = harmless(text);
    let mut left = columns;
    if text.width() > columns {
        // Room for the mark of a cut.
        left -= 1;
    }
    let mut fitted = String::new();
    for c in text.chars() {
        let Some(rest) = left.checked_sub(c.width().unwrap_or_default()) else { break };
        fitted.push(c);
        left = rest;
    }
    if text.width() > columns {
        fitted.push('…');
    }
    let blank = columns.saturating_sub(fitted.width());
    fitted + &" ".repeat(blank)
}

#[cfg(test)]
mod tests;
