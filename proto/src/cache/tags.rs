//! The names under which an origin lets a response be purged.

use http::HeaderMap;
use sfv::{BareItem, List, ListEntry, Parser};

use super::fields::{self, CACHE_GROUPS, CACHE_TAG, SURROGATE_KEY};

/// Tags beyond this number are dropped.
const TAGS_MAX: usize = 1000;
/// Longer tags are dropped.
const TAG_BYTES_MAX: usize = 256;

/// The tags of a response: `Surrogate-Key` (separated by spaces), `Cache-Tag` (by commas) and `Cache-Groups`
/// (RFC 9875, a Structured Field), each tag once.
pub fn tags(headers: &HeaderMap) -> Vec<String> {
    let mut tags = Tags::default();
    for line in headers.get_all(SURROGATE_KEY) {
        line.as_bytes().split(u8::is_ascii_whitespace).for_each(|tag| tags.add(tag));
    }
    for line in headers.get_all(CACHE_TAG) {
        line.as_bytes().split(|byte| *byte == b',').for_each(|tag| tags.add(fields::trim(tag)));
    }
    groups_of(headers, &CACHE_GROUPS).iter().for_each(|group| tags.add(group.as_bytes()));
    tags.in_order
}

/// The members of a List of Strings; none when the field is no such List (RFC 9875 section 2).
pub(super) fn groups_of(headers: &HeaderMap, name: &http::HeaderName) -> Vec<String> {
    let Some(value) = fields::joined(headers, name) else { return Vec::new() };
    let Ok(list) = Parser::new(&value).parse::<List>() else { return Vec::new() };
    let group = |entry: &ListEntry| match entry {
        ListEntry::Item(item) => match &item.bare_item {
            BareItem::String(text) if text.as_str().len() <= TAG_BYTES_MAX => Some(text.as_str().to_owned()),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    };
    list.iter().filter_map(group).take(TAGS_MAX).collect()
}

#[derive(Default)]
struct Tags {
    in_order: Vec<String>,
    seen: std::collections::HashSet<String>,
}

impl Tags {
    fn add(&mut self, tag: &[u8]) {
        let Ok(tag) = std::str::from_utf8(tag) else { return };
        let fits = !tag.is_empty() && tag.len() <= TAG_BYTES_MAX && self.in_order.len() < TAGS_MAX;
        if fits && self.seen.insert(tag.to_owned()) {
            self.in_order.push(tag.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::testing::headers;

    #[test]
    fn each_field_has_its_own_separator() {
        let response = headers(&[
            ("surrogate-key", "a b  a"),
            ("surrogate-key", "c"),
            ("cache-tag", "d e, f ,b"),
            ("cache-groups", "\"g, h\", \"i\";x=1, token"),
        ]);
        assert_eq!(tags(&response), ["a", "b", "c", "d e", "f", "g, h", "i"]);
    }

    #[test]
    fn groups_that_are_no_structured_field_are_ignored() {
        assert!(tags(&headers(&[("cache-groups", "\"a\", &")])).is_empty());
    }

    #[test]
    fn number_and_length_are_bounded() {
        let many = (0..2000).map(|number| format!("t{number}")).collect::<Vec<_>>().join(" ");
        assert_eq!(tags(&headers(&[("surrogate-key", &many)])).len(), TAGS_MAX);
        let long = "x".repeat(TAG_BYTES_MAX + 1);
        assert!(
            tags(&headers(&[("surrogate-key", &long), ("cache-groups", &format!("\"{long}\""))])).is_empty()
        );
    }
}
