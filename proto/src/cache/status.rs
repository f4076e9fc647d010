//! `Cache-Status` (RFC 9211): what this cache did with the request, for whoever debugs it.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The field's name.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The largest magnitude of a structured field's integer (RFC 9651 section 3.3.1).
const INTEGER_MAX: i64 = 999_999_999_999_999;

/// What one cache did: one member of the field.
#[derive(Clone, Copy, Debug, Default)]
pub struct HopStatus<'a> {
    /// The name of the cache.
    pub cache: &'a str,
    /// Whether the answer came from here without asking further (RFC 9211 section 2.1).
    pub hit: bool,
    /// Why the request went further (section 2.2), a token; ignored on a hit.
    pub fwd: Option<&'a str>,
    /// What the next hop answered, when that is not the status of this response (section 2.3).
    pub fwd_status: Option<u16>,
    /// Whether the response was stored (section 2.5).
    pub stored: bool,
    /// Whether the request was collapsed with another (section 2.6).
    pub collapsed: bool,
    /// The remaining freshness in seconds, negative when stale (section 2.4).
    pub ttl_s: Option<i64>,
    /// The finer reason (section 2.8).
    pub detail: Option<&'a str>,
}

impl HopStatus<'_> {
    /// The member, as a field value of its own.
    pub fn render(&self) -> HeaderValue {
        HeaderValue::try_from(self.text()).expect("a structured field is visible ASCII")
    }

    /// Adds the member after those of the caches nearer to the origin (RFC 9211 section 2), as one line.
    pub fn append_to(&self, headers: &mut HeaderMap) {
        let mut line = Vec::new();
        for upstream in headers.get_all(CACHE_STATUS).iter().filter(|value| !value.is_empty()) {
            line.extend_from_slice(upstream.as_bytes());
            line.extend_from_slice(b", ");
        }
        line.extend_from_slice(self.text().as_bytes());
        let value = HeaderValue::try_from(line).expect("field values joined by a comma are a field value");
        headers.insert(CACHE_STATUS, value);
    }

    fn text(&self) -> String {
        let mut text = String::with_capacity(64);
        push_token_or_string(&mut text, self.cache);
        if self.hit {
            text.push_str("; hit");
        } else if let Some(fwd) = self.fwd.filter(|fwd| is_token(fwd)) {
            text.push_str("; fwd=");
            text.push_str(fwd);
            if let Some(status) = self.fwd_status {
                push_integer(&mut text, "fwd-status", i64::from(status));
            }
        }
        if let Some(ttl_s) = self.ttl_s {
            push_integer(&mut text, "ttl", ttl_s.clamp(-INTEGER_MAX, INTEGER_MAX));
        }
        // RFC 9211 sections 2.5 and 2.6 give these a meaning only for a request that went further.
        if self.stored && !self.hit {
            text.push_str("; stored");
        }
        if self.collapsed && !self.hit {
            text.push_str("; collapsed");
        }
        if let Some(detail) = self.detail {
            text.push_str("; detail=");
            push_token_or_string(&mut text, detail);
        }
        text
    }
}

fn push_integer(text: &mut String, name: &str, value: i64) {
    write!(text, "; {name}={value}").expect("writing to a string cannot fail");
}

/// A token where the value is one, else a string (RFC 9651 sections 3.3.3 and 3.3.4).
fn push_token_or_string(text: &mut String, value: &str) {
    if is_token(value) {
        text.push_str(value);
        return;
    }
    text.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            ' '..='~' => text.push(character),
            _ => text.push('?'),
        }
    }
    text.push('"');
}

fn is_token(value: &str) -> bool {
    let token_character = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
    value.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*')
        && value.bytes().all(token_character)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sfv::{BareItem, ListEntry, Parser};

    use super::*;

    #[test]
    fn a_hit_has_its_ttl_and_no_fwd() {
        let status = HopStatus {
            cache: "lon-1",
            hit: true,
            fwd: Some("stale"),
            stored: true,
            ttl_s: Some(-3),
            ..HopStatus::default()
        };
        assert_eq!(status.render(), "lon-1; hit; ttl=-3");
    }

    #[test]
    fn a_miss_says_why_and_what_came() {
        let status = HopStatus {
            cache: "lon-1",
            fwd: Some("uri-miss"),
            fwd_status: Some(200),
            stored: true,
            collapsed: true,
            ttl_s: Some(60),
            detail: Some("not found: \"x\""),
            ..HopStatus::default()
        };
        let expected =
            r#"lon-1; fwd=uri-miss; fwd-status=200; ttl=60; stored; collapsed; detail="not found: \"x\"""#;
        assert_eq!(status.render(), expected);
    }

    #[test]
    fn a_name_that_is_no_token_is_a_string() {
        assert_eq!(HopStatus { cache: "1 lon", ..HopStatus::default() }.render(), "\"1 lon\"");
        assert_eq!(HopStatus { cache: "", ..HopStatus::default() }.render(), "\"\"");
        assert_eq!(HopStatus { cache: "é", ..HopStatus::default() }.render(), "\"?\"");
    }

    #[test]
    fn the_caches_nearer_to_the_origin_stand_first() {
        let mut headers = HeaderMap::new();
        headers.append(CACHE_STATUS, HeaderValue::from_static("a; hit"));
        headers.append(CACHE_STATUS, HeaderValue::from_static("b; fwd=miss"));
        HopStatus { cache: "c", hit: true, ..HopStatus::default() }.append_to(&mut headers);
        let lines: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(lines, ["a; hit, b; fwd=miss, c; hit"]);
    }

    proptest! {
        #[test]
        fn whatever_the_texts_it_parses(cache in ".{0,12}", detail in ".{0,12}", fwd in ".{0,6}", ttl in any::<i64>()) {
            let status = HopStatus {
                cache: &cache, fwd: Some(&fwd), ttl_s: Some(ttl), detail: Some(&detail), ..HopStatus::default()
            };
            let list: sfv::List = Parser::new(status.render().as_bytes()).parse().unwrap();
            prop_assert_eq!(list.len(), 1);
            let ListEntry::Item(item) = &list[0] else { panic!("not an item") };
            let is_text = |item: &BareItem| matches!(item, BareItem::Token(_) | BareItem::String(_));
            prop_assert!(is_text(&item.bare_item));
            prop_assert!(is_text(&item.params["detail"]));
        }
    }
}
