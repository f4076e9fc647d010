//! Bytes that are known by their position, so that any range of a large body can be checked.

/// `len` bytes of the endless body `seed`, from `position` on.
pub fn pattern(seed: u64, position: u64, len: usize) -> Vec<u8> {
    let offset = (position % 8) as usize;
    let mut bytes = Vec::with_capacity(offset + len + 8);
    let mut word = position / 8;
    while bytes.len() < offset + len {
        bytes.extend_from_slice(&mixed(seed, word).to_le_bytes());
        word = word.wrapping_add(1);
    }
    bytes.truncate(offset + len);
    bytes.drain(..offset);
    bytes
}

/// SplitMix64: every word of every seed looks random, and none depends on the one before it.
fn mixed(seed: u64, word: u64) -> u64 {
    let mut z = seed.wrapping_add(word.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_range_is_that_part_of_the_whole(seed: u64, from in 0usize..300, len in 0usize..300) {
            let whole = pattern(seed, 0, 600);
            prop_assert_eq!(&pattern(seed, from as u64, len)[..], &whole[from..from + len]);
        }

        #[test]
        fn another_place_or_seed_has_other_bytes(seed: u64, from in 0u64..1 << 40) {
            let here = pattern(seed, from, 32);
            prop_assert_ne!(&here, &pattern(seed, from + 1, 32));
            prop_assert_ne!(&here, &pattern(seed.wrapping_add(1), from, 32));
        }
    }
}
