//! Quantities, by example and against whole numbers.

use proptest::prelude::*;

use super::super::quantity::bytes;

#[test]
fn examples() {
    let good = [
        ("128Mi", 128 << 20),
        ("1e9", 1_000_000_000),
        ("0.5Gi", 512 << 20),
        ("128974848", 128_974_848),
        ("1500m", 2),
        ("1G", 1_000_000_000),
        ("2Ki", 2048),
        ("0", 0),
        ("0Ei", 0),
        ("0e999999", 0),
        ("+1", 1),
        ("1.", 1),
        (".5k", 500),
        ("1E", 1_000_000_000_000_000_000),
        ("1E3", 1000),
        ("1e+3", 1000),
        ("12e-1", 2),
        ("1e-400", 1),
        ("1n", 1),
        ("1000000000n", 1),
        ("1000000001n", 2),
        ("0.1u", 1),
        ("7Ei", 7 << 60),
        ("9223372036854775807", i64::MAX.unsigned_abs()),
        ("9223372036854775806.1", i64::MAX.unsigned_abs()),
        (
            "000000000000000000000000000000000000000000000000000001.50000000000000000000000000000000000000000Ki",
            1536,
        ),
    ];
    for (text, expected) in good {
        assert_eq!(bytes(text), Some(expected), "{text}");
    }
    let bad = [
        "",
        "+",
        "-",
        ".",
        "Mi",
        "-5Gi",
        "-0",
        "+-1",
        "1 ",
        " 1",
        "1.2.3",
        "1Kb",
        "1K",
        "1KI",
        "1ki",
        "1mi",
        "1Zi",
        "1e",
        "1e1.5",
        "1ee1",
        "1e400",
        "1e99999999999",
        "8Ei",
        "9223372036854775808",
        "9223372036854775807.1",
        "10E",
        "NaN",
        "inf",
        "0x10",
        "１Mi",
        "1_000",
        "1,5",
    ];
    for text in bad {
        assert_eq!(bytes(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_has_an_answer(text in "\\PC*") {
        let _ = bytes(&text);
    }

    /// A number in any notation that means whole bytes is that number.
    #[test]
    fn whole_bytes_are_exact(number in 0_u64..1 << 50, zeros in 0_usize..60) {
        let zeros = "0".repeat(zeros);
        for text in [
            format!("{number}"),
            format!("{number}.{zeros}"),
            format!("{zeros}{number}"),
            format!("{number}000m"),
            format!("{number}000000u"),
            format!("{number}000000000n"),
            format!("{number}e0"),
            format!("{number}0E-1"),
            format!("{}.{:03}k", number / 1000, number % 1000),
            format!("{}.{:06}M", number / 1_000_000, number % 1_000_000),
        ] {
            prop_assert_eq!(bytes(&text), Some(number), "{}", text);
        }
        prop_assert_eq!(bytes(&format!("{number}Ki")), Some(number << 10));
    }

    /// A number that is not whole is rounded up, never down.
    #[test]
    fn fractions_are_rounded_up(whole in 0_u64..1 << 20, thousandths in 0_u64..1000, shift in 0_u32..5) {
        let suffix = ["", "Ki", "Mi", "Gi", "Ti"][shift as usize];
        let exact = u128::from(whole * 1000 + thousandths) << (10 * shift);
        let expected = exact / 1000 + u128::from(!exact.is_multiple_of(1000));
        prop_assert_eq!(bytes(&format!("{whole}.{thousandths:03}{suffix}")).map(u128::from), Some(expected));
    }
}
