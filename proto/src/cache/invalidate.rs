//! What a request that changes things makes stale (RFC 9111 section 4.4, RFC 9875 section 3).

use http::{
    HeaderMap, Method, StatusCode,
    header::{CONTENT_LOCATION, LOCATION},
};

use super::{fields::CACHE_GROUP_INVALIDATION, locations, tags};

/// Methods that are safe beside those of RFC 9110 section 9.2.1, by the IANA registry.
const SAFE_EXTENSIONS: [&str; 4] = ["PROPFIND", "QUERY", "REPORT", "SEARCH"];

/// The paths with queries, on this host, whose stored responses an answer makes invalid: its own, and those
/// that `Location` and `Content-Location` name. None when the method is safe or the answer is an error.
pub fn targets(
    method: &Method,
    status: StatusCode,
    host: &str,
    path_and_query: &str,
    response_headers: &HeaderMap,
) -> Vec<String> {
    if !changes_things(method, status) {
        return Vec::new();
    }
    let mut targets = vec![path_and_query.to_owned()];
    for name in [LOCATION, CONTENT_LOCATION] {
        let target = response_headers
            .get(name)
            .and_then(|value| locations::resolve(host, path_and_query, value.as_bytes()))
            .filter(|target| !targets.contains(target));
        targets.extend(target);
    }
    targets
}

/// The groups, which are tags, whose stored responses of this host an answer makes invalid.
pub fn groups(method: &Method, status: StatusCode, response_headers: &HeaderMap) -> Vec<String> {
    if !changes_things(method, status) {
        return Vec::new();
    }
    tags::groups_of(response_headers, &CACHE_GROUP_INVALIDATION)
}

/// Whether the method is unsafe or unknown and the answer is no error.
fn changes_things(method: &Method, status: StatusCode) -> bool {
    let is_safe = method.is_safe() || SAFE_EXTENSIONS.contains(&method.as_str());
    !is_safe && (status.is_success() || status.is_redirection())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::testing::headers;

    fn told(method: &str, status: u16, response: &[(&str, &str)]) -> Vec<String> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        targets(&method, StatusCode::from_u16(status).expect("a status"), "h", "/a/b?c", &headers(response))
    }

    #[test]
    fn unsafe_and_unknown_methods_invalidate_their_url() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
            assert_eq!(told(method, 200, &[]), ["/a/b?c"], "{method}");
            assert_eq!(told(method, 303, &[]), ["/a/b?c"], "{method}");
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND"] {
            assert!(told(method, 200, &[]).is_empty(), "{method}");
        }
    }

    #[test]
    fn a_failed_request_invalidates_nothing() {
        assert!(told("POST", 500, &[]).is_empty());
        assert!(told("M-SEARCH", 404, &[("location", "/x")]).is_empty());
    }

    #[test]
    fn locations_count_on_the_same_host_only() {
        let response = [("location", "x"), ("content-location", "http://h/y")];
        assert_eq!(told("POST", 201, &response), ["/a/b?c", "/a/x", "/y"]);
        let response = [("location", "http://other/x"), ("content-location", "//other/y")];
        assert_eq!(told("POST", 201, &response), ["/a/b?c"]);
        assert_eq!(told("POST", 200, &[("content-location", "")]), ["/a/b?c"]);
    }

    #[test]
    fn groups_need_an_unsafe_method_too() {
        let response = headers(&[("cache-group-invalidation", "\"a\", \"b\"")]);
        assert_eq!(groups(&Method::POST, StatusCode::OK, &response), ["a", "b"]);
        assert!(groups(&Method::GET, StatusCode::OK, &response).is_empty());
        assert!(groups(&Method::POST, StatusCode::BAD_GATEWAY, &response).is_empty());
    }
}
