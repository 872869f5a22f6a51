//! Numbers from 0 to 1 with at most three places, such as priorities (RFC 3863 section 4.1.5) and q-values (RFC 3261
//! section 25.1), kept in thousandths.

/// `None`: it is none.
pub(crate) fn read(text: &str) -> Option<u16> {
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let whole: u16 = whole.parse().ok().filter(|whole| *whole <= 1)?;
    if places.len() > 3 || !places.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = places.bytes().chain(std::iter::repeat(b'0')).take(3);
    let places = thousandths.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    Some(whole * 1000 + places).filter(|thousandths| *thousandths <= 1000)
}

/// Such as `0.8`.
pub(crate) fn write(thousandths: u16, out: &mut Vec<u8>) {
    let mut places = thousandths % 1000;
    out.extend_from_slice(if thousandths >= 1000 { b"1" } else { b"0" });
    if places > 0 {
        out.push(b'.');
    }
    while places > 0 {
        out.push(b'0' + (places / 100) as u8);
        places = places % 100 * 10;
    }
}
