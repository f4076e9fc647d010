//! The small language the tests of this module are told in.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;

use super::{
    Policy, StoredHead,
    storing::{Fetched, NoStoreReason, admit},
};
use crate::UnixMs;

/// When the tests play: 2026-01-01 00:00:00 GMT.
pub const T0: UnixMs = 1_767_225_600_000;

/// A header map of these lines, in this order.
pub fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().expect("a field name");
        map.append(name, HeaderValue::from_str(value).expect("a field value"));
    }
    map
}

/// What comes of a plain `GET` answered at [`T0`] by a 200 with these fields.
pub fn stored(response: &[(&str, &str)]) -> Result<StoredHead, NoStoreReason> {
    stored_as(200, &[], response, &Policy::default())
}

/// What comes of a `GET` with `request` fields, answered at [`T0`].
pub fn stored_as(
    status: u16,
    request: &[(&str, &str)],
    response: &[(&str, &str)],
    policy: &Policy,
) -> Result<StoredHead, NoStoreReason> {
    answered(&Method::GET, status, &headers(request), &headers(response), |fetched| admit(fetched, policy))
}

/// Calls `then` with a fetch of `/a` that was answered at [`T0`].
pub fn answered<T>(
    method: &Method,
    status: u16,
    request: &HeaderMap,
    response: &HeaderMap,
    then: impl FnOnce(&Fetched<'_>) -> T,
) -> T {
    then(&Fetched {
        method,
        request_headers: request,
        path: "/a",
        request_ms: T0,
        response_ms: T0,
        status: StatusCode::from_u16(status).expect("a status"),
        headers: response,
        initial_age_ms: None,
    })
}

/// Response fields that matter here, with values between sense and noise.
pub fn any_response_headers() -> impl Strategy<Value = HeaderMap> {
    any_headers(&[
        "age",
        "cache-control",
        "cdn-cache-control",
        "content-length",
        "content-location",
        "content-range",
        "date",
        "etag",
        "expires",
        "last-modified",
        "location",
        "pragma",
        "set-cookie",
        "surrogate-control",
        "surrogate-key",
        "cache-groups",
        "vary",
    ])
}

/// Request fields that matter here, likewise.
pub fn any_request_headers() -> impl Strategy<Value = HeaderMap> {
    any_headers(&["cache-control", "pragma", "authorization", "accept-language", "foo"])
}

fn any_headers(names: &'static [&'static str]) -> impl Strategy<Value = HeaderMap> {
    let value = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..24),
        any_directives().prop_map(String::into_bytes),
        prop_oneof![
            Just("\"a\""),
            Just("W/\"a\""),
            Just("Thu, 01 Jan 2026 00:00:00 GMT"),
            Just("Wed, 31 Dec 2025 00:00:00 GMT"),
            Just("foo, accept-language"),
            Just("*"),
            Just("3600"),
            Just("0"),
            Just("bytes 0-4/10"),
        ]
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    proptest::collection::vec((proptest::sample::select(names), value), 0..8).prop_map(|lines| {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                map.append(HeaderName::from_static(name), value);
            }
        }
        map
    })
}

fn any_directives() -> impl Strategy<Value = String> {
    let directive = proptest::sample::select(&[
        "max-age=60",
        "max-age=0",
        "s-maxage=60",
        "max-age=99999999999",
        "stale-while-revalidate=60",
        "stale-if-error=60",
        "no-store",
        "no-cache",
        "no-cache=\"foo\"",
        "private",
        "private=\"set-cookie\"",
        "public",
        "must-revalidate",
        "proxy-revalidate",
        "must-understand",
        "max-stale",
        "min-fresh=30",
        "x=\"",
        "max-age=60+30",
    ]);
    proptest::collection::vec(directive, 0..5).prop_map(|directives| directives.join(", "))
}
