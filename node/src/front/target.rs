//! The path and query of a request: which bytes may stand there.
//!
//! More is allowed than RFC 3986 section 3.3 does, because browsers send it (`"`, `{`, `|`, `^`), and less
//! than a lenient parser takes: no fragment, nothing outside visible ASCII, no `%` that encodes nothing,
//! and no backslash in the path, which some servers take for a slash.

use super::refusal::Refusal;

/// Checks an origin-form target: a path with an optional query.
pub(crate) fn check(target: &[u8]) -> Result<(), Refusal> {
    if target.first() != Some(&b'/') {
        return Err(Refusal::Target);
    }
    let mut in_query = false;
    let mut at = 0;
    while let Some(&byte) = target.get(at) {
        match byte {
            b'%' => {
                let encodes = |offset| target.get(at + offset).is_some_and(u8::is_ascii_hexdigit);
                if !(encodes(1) && encodes(2)) {
                    return Err(Refusal::Target);
                }
                at += 2;
            }
            b'?' => in_query = true,
            b'\\' if !in_query => return Err(Refusal::Target),
            b'#' | b'<' | b'>' | b'`' => return Err(Refusal::Target),
            b'!'..=b'~' => {}
            _ => return Err(Refusal::Target),
        }
        at += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_visible_ascii_whose_percent_signs_encode() {
        for target in ["/", "/a/../b//c", "/a?b=c&d", "/%2F%e4", "/a?x=\\\"{|}^", "/a;b=1,2"] {
            assert_eq!(check(target.as_bytes()), Ok(()), "{target}");
        }
        for target in [
            "", "a", "*", "/a#b", "/%", "/%2", "/%2g", "/a b", "/a\tb", "/\u{e4}", "/a\\b", "/a\u{7f}", "/<",
            "/a?#",
        ] {
            assert_eq!(check(target.as_bytes()), Err(Refusal::Target), "{target}");
        }
    }
}
