//! Kubernetes' quantities: `128Mi`, `0.5Gi`, `1500m`, `1e9`. PURE and total.
//!
//! ```text
//! quantity = [ "+" | "-" ] number suffix
//! number   = digits | digits "." digits | digits "." | "." digits
//! suffix   = "Ki" "Mi" "Gi" "Ti" "Pi" "Ei" | "n" "u" "m" "" "k" "M" "G" "T" "P" "E" | ("e" | "E") [ "+" | "-" ] digits
//! ```
//!
//! The crate that reads them (`kube_quantity`) takes them out of the API types of `k8s-openapi`, which are not needed for
//! anything else here.

/// The bytes that a quantity stands for, rounded up to a whole one, as Kubernetes does it (`Quantity.Value`). `None` where it
/// is none, and where no memory can be so: below zero, and above Kubernetes' own greatest (`i64::MAX`).
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.bytes().position(|byte| !byte.is_ascii_digit() && byte != b'.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let (binary, decimal) = powers(suffix)?;
    let fraction = fraction.trim_end_matches('0');
    let digits = whole.bytes().chain(fraction.bytes()).map(|byte| u128::from(byte - b'0'));
    let value = digits.into_iter().try_fold(0_u128, |sum, digit| sum.checked_mul(10)?.checked_add(digit))?;
    if value == 0 {
        return Some(0);
    }
    let value = value.checked_mul(1 << binary)?;
    let decimal = i64::from(decimal) - i64::try_from(fraction.len()).ok()?;
    let power = u32::try_from(decimal.unsigned_abs()).ok().and_then(|power| 10_u128.checked_pow(power));
    let value = match power {
        Some(power) if decimal < 0 => value.div_ceil(power),
        Some(power) => value.checked_mul(power)?,
        // More than there are digits in `value`: less than one.
        None if decimal < 0 => 1,
        None => return None,
    };
    u64::try_from(value).ok().filter(|value| *value <= i64::MAX.unsigned_abs())
}

/// The powers of two and of ten that a suffix stands for.
fn powers(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
        "" => (0, 0),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        _ => (0, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}
