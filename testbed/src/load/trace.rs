//! Traces of caches, a request a line: `id size` or `id` alone; and which object of the press an id becomes.
//!
//! | id | object |
//! | --- | --- |
//! | a number `N` below 1000 * 2^32 | `/o/(N / 1000)/(N mod 1000)` |
//! | any other word | the first 8 bytes of its BLAKE3 hash: 4 of the group, 4 of the name |
//!
//! The length stands in the query. So an id that comes again with another size is another object: its content
//! was another one.

use crate::press::{Host, Object};

/// How many names a group has, when ids are numbers.
const NAMES: u64 = 1_000;
/// No id is longer.
const ID_BYTES_MAX: usize = 256;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Group and name of the object.
    pub place: (u32, u32),
    /// Its size, if the trace tells it.
    pub bytes: Option<u64>,
}

/// Reads a line.
///
/// # Errors
///
/// Why it is no line of such a trace.
pub fn parse(line: &str) -> Result<Entry, &'static str> {
    let mut words = line.split_ascii_whitespace();
    let id = words.next().ok_or("no id")?;
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    if id.len() > ID_BYTES_MAX || !id.bytes().all(is_fit) {
        return Err("an id that is no number or word");
    }
    let bytes = words.next().map(str::parse).transpose().map_err(|_| "a size that is no number")?;
    if words.next().is_some() {
        return Err("more than an id and a size");
    }
    Ok(Entry { place: id.parse().map_or_else(|_| place_of_text(id), place_of_number), bytes })
}

/// Group and name for a number.
pub fn place_of_number(number: u64) -> (u32, u32) {
    match u32::try_from(number / NAMES) {
        Ok(group) => (group, (number % NAMES) as u32),
        Err(_) => place_of_text(&number.to_string()),
    }
}

/// Group and name for any text.
pub fn place_of_text(text: &str) -> (u32, u32) {
    let hash = hash(text);
    ((hash >> 32) as u32, hash as u32)
}

/// A number for a text, always the same.
pub fn hash(text: &str) -> u64 {
    let hash = blake3::hash(text.as_bytes());
    let first: [u8; 8] = hash.as_bytes()[..8].try_into().expect("a hash is longer");
    u64::from_be_bytes(first)
}

/// The object of this place and length.
pub fn object(host: Host, place: (u32, u32), bytes: u64) -> Object {
    Object { host, group: place.0, name: place.1, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_with_and_without_sizes_become_objects() {
        assert_eq!(parse("0"), Ok(Entry { place: (0, 0), bytes: None }));
        assert_eq!(parse("  258367 \t7454 "), Ok(Entry { place: (258, 367), bytes: Some(7_454) }));
        let far = parse("18446744073709551615").unwrap();
        assert_eq!(far.place, place_of_text("18446744073709551615"));
        let word = parse("a3:f_-.9 12").unwrap();
        assert_eq!((word.place, word.bytes), (place_of_text("a3:f_-.9"), Some(12)));
        assert_eq!(object(Host::Available, (258, 367), 7_454).target(), "/o/258/367?bytes=7454");
    }

    #[test]
    fn neighbours_do_not_share_a_place() {
        let places: std::collections::HashSet<_> = (0..100_000).map(place_of_number).collect();
        assert_eq!(places.len(), 100_000);
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        for (line, why) in [
            ("", "no id"),
            ("<html>", "an id that is no number or word"),
            ("é 5", "an id that is no number or word"),
            ("5 x", "a size that is no number"),
            ("5 -", "a size that is no number"),
            ("5 -1", "a size that is no number"),
            ("1 2 3", "more than an id and a size"),
        ] {
            assert_eq!(parse(line), Err(why), "{line}");
        }
    }
}
