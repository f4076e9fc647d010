//! Bodies in which every eight bytes differ, so that a cut, a shift or a mix shows.

use bytes::Bytes;

/// `length` bytes that follow from `seed`; they do not compress.
pub fn content(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // SplitMix64.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// Compares a body with what it should be while it arrives, and keeps none of it.
pub struct Check {
    expected: Bytes,
    position: usize,
    wrong_at: Option<usize>,
}

impl Check {
    /// A body is to equal `expected`.
    pub fn against(expected: Bytes) -> Self {
        Self { expected, position: 0, wrong_at: None }
    }

    /// The next piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        let end = self.position + piece.len();
        if self.wrong_at.is_none() && self.expected.get(self.position..end) != Some(piece) {
            self.wrong_at = Some(self.position);
        }
        self.position = end;
    }

    /// How much has come.
    pub fn bytes(&self) -> usize {
        self.position
    }

    /// Whether all that came so far is right; the whole need not be there.
    pub fn is_prefix(&self) -> bool {
        self.wrong_at.is_none()
    }

    /// Whether the whole body came and is right.
    pub fn is_whole(&self) -> bool {
        self.is_prefix() && self.position == self.expected.len()
    }

    /// What is wrong, for the message of a failed test.
    pub fn verdict(&self) -> String {
        match self.wrong_at {
            Some(at) => format!("wrong bytes in the piece at {at}"),
            None if self.is_whole() => "whole".to_owned(),
            None => format!("{} of {} bytes", self.position, self.expected.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Check, content};

    #[test]
    fn content_follows_from_its_seed() {
        assert_eq!(content(1, 1000), content(1, 1000));
        assert_ne!(content(1, 1000), content(2, 1000));
        assert_eq!(content(1, 1000).slice(..13), content(1, 13));
    }

    #[test]
    fn a_check_sees_wrong_short_and_long_bodies() {
        let body = content(1, 100);
        let mut check = Check::against(body.clone());
        check.push(&body[..60]);
        assert!(check.is_prefix() && !check.is_whole());
        check.push(&body[60..]);
        assert!(check.is_whole());
        check.push(b"more");
        assert!(!check.is_prefix());
        let mut check = Check::against(body.clone());
        check.push(&body[1..20]);
        assert!(!check.is_prefix());
    }
}
