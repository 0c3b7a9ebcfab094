//! Sizes in sentences.

/// A size: `512 MiB`, `1.5 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // In whole numbers: a report has dozens of sizes, and a float is formatted at ten times the cost.
    let bytes = u128::from(bytes);
    let (mut unit, mut shift) = (0, 10);
    // 1023.95 would be shown as 1024.0.
    while bytes * 20 >= 20_479 << shift && unit + 1 < UNITS.len() {
        (unit, shift) = (unit + 1, shift + 10);
    }
    let (tenths, rest) = (((bytes * 10) >> shift) as u64, (bytes * 10) & ((1 << shift) - 1));
    // A half goes to the even digit, as floats are rounded.
    let half = 1 << (shift - 1);
    let up = rest > half || (rest == half && tenths % 2 == 1);
    let tenths = tenths + u64::from(up);
    let mut text = (tenths / 10).to_string();
    if tenths % 10 > 0 {
        text.push('.');
        text.push(char::from(b'0' + (tenths % 10) as u8));
    }
    text.push(' ');
    text.push_str(UNITS[unit]);
    text
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_rounded_as_floats_are() {
        let float = |bytes: u64, exponent: i32| format!("{:.1}", bytes as f64 / 1024_f64.powi(exponent));
        for (exponent, unit) in (1..).zip(["KiB", "MiB", "GiB", "TiB"]) {
            let one = 1024_u64.pow(exponent);
            // Every twentieth and what is beside it, up to the last that is shown in this unit.
            for bytes in
                (20..20_479).map(|twentieths| one * twentieths / 20).flat_map(|it| [it - 1, it, it + 1])
            {
                let shown = float(bytes, exponent.cast_signed());
                let shown = format!("{} {unit}", shown.strip_suffix(".0").unwrap_or(&shown));
                if bytes >= one {
                    assert_eq!(size(bytes), shown, "{bytes}");
                }
            }
        }
    }
}
