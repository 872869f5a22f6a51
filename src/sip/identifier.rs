//! Identifiers that we make and that come back to us: To-tags and Via branches.
//!
//! Both carry the presentity's slot, so that any reader knows whose they are, and the place of the subscription in
//! its table, so that nothing is searched. Neither can be guessed: a tag holds 64 random bits, a branch 32 others.
//!
//! ```text
//! tag     sss iiiiiiii rrrrrrrrrrrrrrrr                slot, index, random
//! branch  z9hG4bK sss iiiiiiii cccccccc kkkkkkkk       slot, index, CSeq, the subscription's key
//! ```

use lamplighter_model::Slot;

/// Begins every branch of RFC 3261.
pub const COOKIE: &[u8] = b"z9hG4bK";
/// How long a tag of ours is.
pub const TAG_LEN: usize = 27;
/// How long a branch of ours is.
pub const BRANCH_LEN: usize = 34;

/// A tag of ours.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Tag {
    /// Whose.
    pub slot: Slot,
    /// The place in the table.
    pub index: u32,
    /// Makes it unique and unguessable.
    pub random: u64,
}

/// A branch of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Branch {
    /// Whose.
    pub slot: Slot,
    /// The place in the table.
    pub index: u32,
    /// Which NOTIFY.
    pub cseq: u32,
    /// Makes it unguessable.
    pub key: u32,
}

/// Appends `digits` lower-case hexadecimal digits.
pub fn hex(out: &mut Vec<u8>, value: u64, digits: u32) {
    out.extend((0..digits).rev().map(|place| hex_digit(value >> (4 * place))));
}

/// Overwrites eight digits.
pub fn hex_at(out: &mut [u8], value: u32) {
    for (place, digit) in out.iter_mut().take(8).enumerate() {
        *digit = hex_digit(u64::from(value >> (28 - 4 * place)));
    }
}

fn hex_digit(value: u64) -> u8 {
    b"0123456789abcdef"[(value & 15) as usize]
}

fn read_hex(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |value, &byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

fn read_slot(text: &[u8]) -> Option<Slot> {
    Slot::new(read_hex(text)? as u16)
}

impl Tag {
    /// Appends it.
    pub fn write(self, out: &mut Vec<u8>) {
        hex(out, u64::from(self.slot.number()), 3);
        hex(out, u64::from(self.index), 8);
        hex(out, self.random, 16);
    }

    /// Reads what [`Self::write`] wrote; anything else is not ours.
    pub fn read(text: &[u8]) -> Option<Self> {
        if text.len() != TAG_LEN {
            return None;
        }
        let slot = read_slot(&text[..3])?;
        Some(Self { slot, index: read_hex(&text[3..11])? as u32, random: read_hex(&text[11..])? })
    }
}

impl Branch {
    /// Appends it.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(COOKIE);
        hex(out, u64::from(self.slot.number()), 3);
        hex(out, u64::from(self.index), 8);
        hex(out, u64::from(self.cseq), 8);
        hex(out, u64::from(self.key), 8);
    }

    /// Reads what [`Self::write`] wrote; anything else is not ours.
    pub fn read(text: &[u8]) -> Option<Self> {
        let text = text.strip_prefix(COOKIE)?;
        if text.len() != BRANCH_LEN - COOKIE.len() {
            return None;
        }
        let slot = read_slot(&text[..3])?;
        let number = |from: usize| read_hex(&text[from..from + 8]).map(|value| value as u32);
        Some(Self { slot, index: number(3)?, cseq: number(11)?, key: number(19)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let slot = Slot::new(0xabc).unwrap();
        let tag = Tag { slot, index: 77, random: u64::MAX - 5 };
        let branch = Branch { slot, index: u32::MAX, cseq: 1, key: 0xdead_beef };
        let (mut tag_text, mut branch_text) = (Vec::new(), Vec::new());
        tag.write(&mut tag_text);
        branch.write(&mut branch_text);
        assert_eq!((tag_text.len(), branch_text.len()), (TAG_LEN, BRANCH_LEN));
        assert_eq!((Tag::read(&tag_text), Branch::read(&branch_text)), (Some(tag), Some(branch)));
        hex_at(&mut branch_text[18..26], 0x0102_0304);
        assert_eq!(Branch::read(&branch_text), Some(Branch { cseq: 0x0102_0304, ..branch }));
    }

    #[test]
    fn foreign_identifiers_are_not_ours() {
        assert_eq!(Tag::read(b"1"), None);
        assert_eq!(Tag::read(b"abc0000004Dfffffffffffffffa"), None);
        assert_eq!(Branch::read(b"z9hG4bKabc"), None);
        assert_eq!(Branch::read(&[b'z'; BRANCH_LEN]), None);
    }
}
