//! Damage to files on disk, repeatable by its seed.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use starling_tests::content;

/// Flips one bit pattern about every `every` bytes in all files under `dir`; answers how many bytes it changed.
pub fn flip_bytes(dir: &Path, seed: u64, every: u64) -> usize {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let mut flipped = 0;
    for (number, path) in paths.iter().enumerate() {
        if path.is_dir() {
            flipped += flip_bytes(path, seed, every);
            continue;
        }
        let file = OpenOptions::new().read(true).write(true).open(path).expect("a segment can be opened");
        let length = file.metadata().expect("an open file has metadata").len();
        let chance =
            content(seed.wrapping_mul(31).wrapping_add(number as u64), 16 * (length / every + 2) as usize);
        let mut at = 0;
        for word in chance.chunks_exact(16) {
            at += draw(&word[..8]) % (2 * every);
            if at >= length {
                break;
            }
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).expect("a segment can be read");
            byte[0] ^= word[8].max(1);
            file.write_all_at(&byte, at).expect("a segment can be written");
            flipped += 1;
        }
    }
    flipped
}

fn draw(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
