//! Which stored variant a request selects (RFC 9111 section 4.1).
//!
//! Two requests select the same variant when, for every field that `Vary` names, both lack it or their values
//! are equal after a normalisation that cannot change the meaning:
//!
//! | fields | normalisation |
//! | --- | --- |
//! | all | lines joined by a comma |
//! | all but those known to be no lists | no whitespace around commas outside quotes |
//! | `Accept`, `Accept-*` | also none around `;`; letter case ignored for languages, codings and charsets |
//!
//! The order of languages is kept: servers may and do prefer the first. An absent field differs from an
//! empty one.

use http::{
    HeaderMap, HeaderName,
    header::{
        ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, FROM, HOST,
        IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, ORIGIN, REFERER, USER_AGENT, VARY,
    },
};

use super::{
    fields,
    storing::{NoStoreReason, StoredHead},
};

/// More fields than this are not told apart: every request would be its own variant.
const VARY_FIELDS_MAX: usize = 32;

/// Request fields whose value is not a list, where a comma is just a character.
const NO_LISTS: [HeaderName; 9] =
    [AUTHORIZATION, COOKIE, FROM, HOST, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, ORIGIN, REFERER, USER_AGENT];

/// Whether the request selects the stored response.
pub fn matches(stored: &StoredHead, request_headers: &HeaderMap) -> bool {
    stored.vary.iter().all(|(name, value)| {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { return false };
        normalised(request_headers, &name) == *value
    })
}

/// What of the request selects the response: the fields that `Vary` names, with their normalised values.
pub fn selecting(
    response_headers: &HeaderMap,
    request_headers: &HeaderMap,
) -> Result<Vec<(String, Option<String>)>, NoStoreReason> {
    let mut selecting: Vec<(String, Option<String>)> = Vec::new();
    for line in response_headers.get_all(VARY) {
        for member in fields::list(line.as_bytes()) {
            // `*` is a token too, but it names no field: it says that anything may have mattered.
            let name = HeaderName::from_bytes(member)
                .ok()
                .filter(|name| name != "*")
                .ok_or(NoStoreReason::VaryAny)?;
            if selecting.iter().any(|(known, _)| known == name.as_str()) {
                continue;
            }
            if selecting.len() == VARY_FIELDS_MAX {
                return Err(NoStoreReason::VaryTooMany);
            }
            let value = normalised(request_headers, &name);
            selecting.push((name.as_str().to_owned(), value));
        }
    }
    Ok(selecting)
}

/// The value of a request field in the form in which values are compared; `None` when it is absent.
fn normalised(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = fields::joined(headers, name)?;
    if NO_LISTS.contains(name) {
        return Some(latin1(fields::trim(&value)));
    }
    let mut text = String::with_capacity(value.len());
    for member in fields::list(&value) {
        if !text.is_empty() {
            text.push(',');
        }
        if [ACCEPT_LANGUAGE, ACCEPT_ENCODING, ACCEPT_CHARSET].contains(name) {
            text.push_str(&without_space_around_semicolons(member).to_ascii_lowercase());
        } else if name == ACCEPT {
            text.push_str(&without_space_around_semicolons(member));
        } else {
            text.push_str(&latin1(member));
        }
    }
    Some(text)
}

fn without_space_around_semicolons(mut member: &[u8]) -> String {
    let mut text = String::with_capacity(member.len());
    while let Some(at) = fields::unquoted_position(member, b';') {
        text.push_str(&latin1(fields::trim(&member[..at])));
        text.push(';');
        member = &member[at + 1..];
    }
    text + &latin1(fields::trim(member))
}

/// Every byte as the character with its number, so that different bytes never look the same.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::{
        Policy,
        testing::{any_request_headers, any_response_headers, headers, stored_as},
    };

    /// Whether the second request selects what the first one brought.
    fn same(vary: &str, first: &[(&str, &str)], second: &[(&str, &str)]) -> bool {
        let head =
            stored_as(200, first, &[("cache-control", "max-age=60"), ("vary", vary)], &Policy::default())
                .expect("it may be stored");
        matches(&head, &headers(second))
    }

    #[test]
    fn every_named_field_must_agree() {
        let first = [("foo", "1"), ("bar", "abc")];
        assert!(same("Foo, BAR", &first, &[("bar", "abc"), ("foo", "1"), ("other", "x")]));
        assert!(!same("Foo, Bar", &first, &[("foo", "1"), ("bar", "abcd")]));
        assert!(!same("Foo, Bar", &first, &[("foo", "1")]));
        assert!(!same("Foo", &[], &[("foo", "1")]));
        assert!(same("Foo, Baz", &[("foo", "1")], &[("foo", "1")]), "absent in both");
        assert!(!same("Foo", &[], &[("foo", "")]), "absent is not empty");
    }

    #[test]
    fn normalisation_keeps_the_meaning() {
        assert!(same("foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")]));
        assert!(same("foo", &[("foo", "1,2")], &[("foo", " 1, 2 ")]));
        assert!(!same("foo", &[("foo", "\"1,2\"")], &[("foo", "\"1, 2\"")]));
        assert!(!same("foo", &[("foo", "a")], &[("foo", "A")]));
        assert!(!same("user-agent", &[("user-agent", "a, b")], &[("user-agent", "a,b")]));
        assert!(same(
            "accept-language",
            &[("accept-language", "en, de")],
            &[("accept-language", "eN ,   De")]
        ));
        assert!(same(
            "accept-language",
            &[("accept-language", "en;q=1, de")],
            &[("accept-language", "en ; q=1,de")]
        ));
        assert!(!same("accept-language", &[("accept-language", "en, de")], &[("accept-language", "de, en")]));
    }

    #[test]
    fn a_star_anywhere_is_never_selected() {
        for lines in
            [&["*"][..], &["*, *"], &["*", "*"], &[", *"], &["", "*"], &["*, foo"], &["foo, *"], &["f oo"]]
        {
            let response: Vec<_> = lines.iter().map(|line| ("vary", *line)).collect();
            assert_eq!(
                selecting(&headers(&response), &HeaderMap::new()),
                Err(NoStoreReason::VaryAny),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn the_number_of_fields_is_bounded() {
        let many = (0..40).map(|number| format!("x{number}")).collect::<Vec<_>>().join(",");
        assert_eq!(
            selecting(&headers(&[("vary", &many)]), &HeaderMap::new()),
            Err(NoStoreReason::VaryTooMany)
        );
    }

    proptest! {
        #[test]
        fn the_request_that_brought_it_selects_it(response in any_response_headers(), request in any_request_headers()) {
            if let Ok(vary) = selecting(&response, &request) {
                let mut head = crate::cache::testing::stored(&[("cache-control", "max-age=60")]).expect("storable");
                head.vary = vary;
                prop_assert!(matches(&head, &request));
            }
        }
    }
}
