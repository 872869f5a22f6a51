//! Base64 (RFC 4648 section 4).

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends `bytes`, padded.
pub(super) fn write(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            if place <= chunk.len() {
                out.push(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]);
            } else {
                out.push(b'=');
            }
        }
    }
}

/// Reads what [`write`] wrote, with its padding or without.
pub(super) fn read(text: &str) -> Option<Vec<u8>> {
    let padding = text.bytes().rev().take_while(|&byte| byte == b'=').count();
    let (digits, padding) = text.as_bytes().split_at(text.len() - padding);
    if digits.len() % 4 == 1 || !(padding.is_empty() || (padding.len() < 3 && text.len().is_multiple_of(4))) {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.chunks(4) {
        let mut bits = 0_u32;
        for &digit in chunk {
            bits = bits << 6 | value(digit)?;
        }
        bits <<= 6 * (4 - chunk.len());
        out.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Some(out)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_remainder_both_ways() {
        let encoded = |text: &str| {
            let mut out = Vec::new();
            write(text.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        // RFC 4648 section 10.
        assert_eq!(["", "f", "fo", "foo", "foob"].map(encoded), ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
        let all: Vec<u8> = (0..=255).collect();
        for end in 0..all.len() {
            let mut out = Vec::new();
            write(&all[..end], &mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(read(&text).as_deref(), Some(&all[..end]));
            assert_eq!(read(text.trim_end_matches('=')).as_deref(), Some(&all[..end]));
        }
        for bad in ["Z", "Zg=", "Zg===", "====", "=", "Zm9v====", "Z g=", "Zm9v\n", "Zm-v", "Zm9vY"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
