//! Where `Location` and `Content-Location` point, when that is on the same host (RFC 3986 section 5.2).
//!
//! A response speaks for its own origin alone (RFC 9111 section 4.4): a reference to another host, another
//! kind of URI, or one with user information resolves to nothing.

/// The path and query that `reference` means on `host`, seen from the base `path_and_query`.
pub(super) fn resolve(host: &str, path_and_query: &str, reference: &[u8]) -> Option<String> {
    let reference = std::str::from_utf8(reference).ok()?.trim_ascii();
    if reference.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\') {
        return None;
    }
    let reference = reference.split('#').next().unwrap_or(reference);
    let (base_path, _) = split_query(path_and_query);
    if reference.is_empty() {
        return Some(path_and_query.to_owned());
    }
    if reference.starts_with('?') {
        return Some(format!("{base_path}{reference}"));
    }
    let local = match after_authority(reference) {
        Ok(Some((authority, local))) => {
            if !is_host(authority, host) {
                return None;
            }
            local
        }
        Ok(None) => reference,
        Err(NotHttp) => return None,
    };
    let (path, query) = split_query(local);
    let path = match path {
        "" => "/".to_owned(),
        _ if path.starts_with('/') => without_dot_segments(path),
        _ => {
            let directory = base_path.rfind('/').map_or("/", |slash| &base_path[..=slash]);
            without_dot_segments(&format!("{directory}{path}"))
        }
    };
    Some(path + query)
}

/// The reference is a URI of a scheme that is not HTTP.
struct NotHttp;

/// Authority and the rest, when the reference has an authority.
fn after_authority(reference: &str) -> Result<Option<(&str, &str)>, NotHttp> {
    let hierarchical = match reference.split_once(':') {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
                return Err(NotHttp);
            }
            rest.strip_prefix("//").ok_or(NotHttp)?
        }
        _ => match reference.strip_prefix("//") {
            Some(rest) => rest,
            None => return Ok(None),
        },
    };
    let end = hierarchical.find(['/', '?']).unwrap_or(hierarchical.len());
    Ok(Some(hierarchical.split_at(end)))
}

/// Whether the authority is our host. Cache keys know no scheme, so either default port is none.
fn is_host(authority: &str, host: &str) -> bool {
    fn bare(authority: &str) -> &str {
        let authority =
            authority.strip_suffix(":443").or_else(|| authority.strip_suffix(":80")).unwrap_or(authority);
        let authority = authority.strip_suffix(':').unwrap_or(authority);
        authority.strip_suffix('.').unwrap_or(authority)
    }
    !authority.contains('@') && !authority.is_empty() && bare(authority).eq_ignore_ascii_case(bare(host))
}

/// The path, and the query with its `?`.
fn split_query(text: &str) -> (&str, &str) {
    text.find('?').map_or((text, ""), |at| text.split_at(at))
}

/// RFC 3986 section 5.2.4, of a path that begins with `/`.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_resolve_as_the_standard_says() {
        for (reference, expected) in [
            ("", "/b/c/d?q"),
            ("g", "/b/c/g"),
            ("./g/", "/b/c/g/"),
            ("/g", "/g"),
            ("?y", "/b/c/d?y"),
            ("g?y#s", "/b/c/g?y"),
            ("..", "/b/"),
            ("../../../g", "/g"),
            ("/./g/../h", "/h"),
            ("http://a/x", "/x"),
            ("HTTPS://A:443/x?y", "/x?y"),
            ("//a", "/"),
            ("http://a?x", "/?x"),
        ] {
            assert_eq!(
                resolve("a", "/b/c/d?q", reference.as_bytes()).as_deref(),
                Some(expected),
                "{reference}"
            );
        }
    }

    #[test]
    fn another_origin_is_nowhere() {
        for reference in [
            "http://b/x",
            "//b/x",
            "http://a:8080/x",
            "http://a@b/x",
            "http://b@a/x",
            "ftp://a/x",
            "mailto:a",
            "http:/x",
            "/a b",
            "\\\\a",
        ] {
            assert_eq!(resolve("a", "/b", reference.as_bytes()), None, "{reference}");
        }
    }

    proptest! {
        #[test]
        fn whatever_resolves_is_a_path(reference in proptest::collection::vec(any::<u8>(), 0..40), base in "/[a-z./?]{0,12}") {
            if let Some(path) = resolve("a", &base, &reference) {
                prop_assert!(path.starts_with('/'), "{path}");
            }
        }
    }
}
