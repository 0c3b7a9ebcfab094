//! PURE: swap devices from `/proc/swaps` (`swap_show`, `mm/swapfile.c`, 5.10 to 7.3).

use crate::event::{SwapDevice, SwapKind};

/// Reads the file's text.
///
/// ```text
/// Filename                                Type     Size     Used     Priority
/// /dev/zram0                              partition 430076     412160     100
/// ```
#[must_use]
pub fn parse(swaps: &[u8]) -> Vec<SwapDevice> {
    let text = String::from_utf8_lossy(swaps);
    let device = |line: &str| {
        // A path has its blanks escaped.
        let mut words = line.split_whitespace();
        let (path, kind, kib) = (words.next()?, words.next()?, words.next()?);
        let kind = match (kind, path.rsplit_once('/')) {
            (_, Some((_, name))) if is_zram(name) => SwapKind::Zram,
            ("file", _) => SwapKind::File,
            _ => SwapKind::Partition,
        };
        Some(SwapDevice { kind, bytes: kib.parse::<u64>().ok()?.checked_mul(1024)? })
    };
    text.lines().skip(1).filter_map(device).collect()
}

/// `zram0`
fn is_zram(name: &str) -> bool {
    name.strip_prefix("zram")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_type_and_by_the_name_of_zram() {
        let text = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                     /dev/zram0                              partition\t430076\t\t412160\t\t100\n\
                     /dev/vda2                               partition\t1024\t\t0\t\t-2\n\
                     /var/zram1\\040x                         file\t\t2048\t\t0\t\t-3\n\
                     /broken partition x\n";
        let device = |kind, bytes| SwapDevice { kind, bytes };
        let expected = [
            device(SwapKind::Zram, 430_076 << 10),
            device(SwapKind::Partition, 1 << 20),
            device(SwapKind::File, 2 << 20),
        ];
        assert_eq!(parse(text), expected);
        assert_eq!(parse(b""), []);
    }
}
