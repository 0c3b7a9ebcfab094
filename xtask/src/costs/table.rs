//! All figures of the tools, for a terminal. Pure.

use super::record::KernelCosts;
use std::fmt::Write as _;

/// Figures by tools, with the ratio of the first to the best of the others.
pub(crate) fn tools(costs: &KernelCosts) -> String {
    let mut tools: Vec<&str> = Vec::new();
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for measured in &costs.tools {
        if !tools.contains(&measured.label.as_str()) {
            tools.push(&measured.label);
        }
        for name in measured.figures.keys() {
            if !rows.contains(&(&measured.of, name)) {
                rows.push((&measured.of, name));
            }
        }
    }
    let mut text = format!("{:<44}", costs.label);
    for tool in &tools {
        write!(text, "{tool:>15}").unwrap_or_default();
    }
    text.push('\n');
    for (of, name) in rows {
        write!(text, "{:<44}", format!("{of} {name}")).unwrap_or_default();
        for tool in &tools {
            let measured = costs.tools.iter().find(|measured| measured.label == *tool && measured.of == of);
            let value = measured.and_then(|measured| measured.figures.get(name));
            let value = value.map_or_else(|| "-".to_owned(), ToString::to_string);
            write!(text, "{value:>15}").unwrap_or_default();
        }
        if let Some(ratio) = ratio(costs, &tools, of, name) {
            write!(text, "{ratio:>9.2}").unwrap_or_default();
        }
        text.push('\n');
    }
    text
}

/// Of the first of these tools to the best of the others, if both are more than nothing.
pub(crate) fn ratio(costs: &KernelCosts, tools: &[&str], of: &str, name: &str) -> Option<f64> {
    let (own, others) = tools.split_first()?;
    let own = costs.figure(own, of, name)?;
    let best = others.iter().filter_map(|tool| costs.figure(tool, of, name)).min()?;
    (best > 0).then(|| own as f64 / best as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::costs::record::tests::OUTPUT;

    #[test]
    fn the_ratio_is_to_the_best_of_the_others() {
        let costs = KernelCosts::read("6.1", "linux-image-6.1 1", OUTPUT);
        let tools = ["crashtrace", "oomkill", "dmesg"];
        assert_eq!(ratio(&costs, &tools, "basics", "start_ns"), Some(3.0));
        assert_eq!(ratio(&costs, &tools, "basics", "lost_kills"), None);
        assert_eq!(ratio(&costs, &tools[..1], "basics", "start_ns"), None);
    }

    #[test]
    fn a_row_for_each_figure() {
        let text = tools(&KernelCosts::read("6.1", "linux-image-6.1 1", OUTPUT));
        let rows: Vec<Vec<_>> = text.lines().map(|row| row.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["6.1", "crashtrace", "oomkill", "dmesg"]);
        assert!(rows.contains(&vec!["basics", "start_ns", "3000", "1000", "2000", "3.00"]), "{text}");
        assert!(rows.contains(&vec!["basics", "lost_kills", "0", "0", "4"]), "{text}");
    }
}
