//! Where an origin is, and the request line and fields that go there.

use super::{
    error::{FetchErrorKind, PoolError},
    request::Request,
};
use http::{
    HeaderMap, HeaderValue, Method, Uri, header,
    uri::{Authority, PathAndQuery, Scheme},
};

/// An origin's address, parsed from `scheme://host[:port]`.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) tls: bool,
    /// Without the brackets of an IPv6 literal.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Place {
    pub(super) fn parse(url: &str) -> Result<Self, PoolError> {
        let refused = || PoolError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| refused())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refused()),
        };
        let authority = uri.authority().ok_or_else(refused)?;
        if !matches!(uri.path_and_query().map(PathAndQuery::as_str), None | Some("/"))
            || url.contains('#')
            || !is_host(authority)
        {
            return Err(refused());
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host: bare(authority.host()).to_owned(), port })
    }
}

/// A host with an optional port, and nothing else that an authority might hold.
pub(super) fn host(text: &str) -> Option<Authority> {
    text.parse::<Authority>().ok().filter(is_host)
}

fn is_host(authority: &Authority) -> bool {
    let text = authority.as_str();
    let port_parses = text.len() == authority.host().len() || authority.port_u16().is_some();
    !authority.host().is_empty() && !text.contains('@') && port_parses
}

/// A host without the brackets of an IPv6 literal.
pub(super) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
}

/// What goes to an origin, before it is known over which version of HTTP.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    target: PathAndQuery,
    authority: Authority,
    headers: HeaderMap,
    body_bytes: Option<u64>,
}

impl Outgoing {
    /// Takes what can be sent unchanged, or refuses: a target that would go out with other bytes than it came
    /// with would be another resource than the one that was looked up.
    pub(super) fn new(
        request: &mut Request,
        host_header: Option<&Authority>,
    ) -> Result<Self, FetchErrorKind> {
        let target = target(&request.method, &request.path_and_query).ok_or(FetchErrorKind::BadRequest)?;
        let authority = match host_header {
            Some(authority) => authority.clone(),
            None => host(&request.host).ok_or(FetchErrorKind::BadRequest)?,
        };
        if request.method == Method::CONNECT {
            return Err(FetchErrorKind::BadRequest);
        }
        let mut headers = std::mem::take(&mut request.headers);
        for name in [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
            headers.remove(name);
        }
        // This side keeps no protocol to switch to and sends the body without waiting.
        headers.remove(header::UPGRADE);
        headers.remove(header::EXPECT);
        Ok(Self {
            method: request.method.clone(),
            target,
            authority,
            headers,
            body_bytes: request.body_bytes,
        })
    }

    /// Whether sending it twice changes nothing at the origin (RFC 9110 section 9.2.1), and it can be done.
    pub(super) fn is_safe_and_bodyless(&self) -> bool {
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(&self.method);
        safe && self.body_bytes == Some(0)
    }

    /// Whether it has no body, so that there is something left to send.
    pub(super) fn is_bodyless(&self) -> bool {
        self.body_bytes == Some(0)
    }

    /// The request for HTTP/1.1: origin-form, `Host`, and the framing of the body in so many words.
    pub(super) fn http1<B>(&self, body: B) -> http::Request<B> {
        let mut request = http::Request::new(body);
        *request.uri_mut() = Uri::from(self.target.clone());
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 2);
        let authority = HeaderValue::from_str(self.authority.as_str());
        headers.insert(header::HOST, authority.expect("an authority is visible ASCII"));
        headers.extend(self.headers.clone());
        match self.body_bytes {
            Some(0) if !self.expects_body() => {}
            Some(bytes) => drop(headers.insert(header::CONTENT_LENGTH, bytes.into())),
            None => drop(headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
        }
        *request.headers_mut() = headers;
        *request.method_mut() = self.method.clone();
        request
    }

    /// The request for HTTP/2: the authority is in the target (RFC 9113 section 8.3.1).
    pub(super) fn http2<B>(&self, body: B) -> http::Request<B> {
        let mut request = http::Request::new(body);
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(self.target.clone());
        *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path make an absolute URI");
        *request.headers_mut() = self.headers.clone();
        match self.body_bytes {
            Some(0) if !self.expects_body() => {}
            Some(bytes) => drop(request.headers_mut().insert(header::CONTENT_LENGTH, bytes.into())),
            None => {}
        }
        *request.method_mut() = self.method.clone();
        *request.version_mut() = http::Version::HTTP_2;
        request
    }

    /// Methods that define a meaning for content say so even when there is none (RFC 9110 section 8.6).
    fn expects_body(&self) -> bool {
        matches!(self.method, Method::POST | Method::PUT | Method::PATCH)
    }
}

/// The target, if it goes out as the very bytes it is.
fn target(method: &Method, path_and_query: &str) -> Option<PathAndQuery> {
    let form_is_known =
        path_and_query.starts_with('/') || (path_and_query == "*" && method == Method::OPTIONS);
    let visible = path_and_query.bytes().all(|b| b.is_ascii_graphic());
    let parsed: PathAndQuery = path_and_query.parse().ok().filter(|_| form_is_known && visible)?;
    (parsed.as_str() == path_and_query).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_goes_out_as_it_is_or_not_at_all() {
        for same in ["/", "/a//b/../c?x=%2f&y", "//evil/x", "/?", "/%zz", "/a?b?c", "/;,:@!$'()", "/a|b{}"] {
            match target(&Method::GET, same) {
                Some(parsed) => assert_eq!(Uri::from(parsed).to_string(), same),
                None => panic!("{same} refused"),
            }
        }
        for other in [
            "",
            "a",
            "*",
            "?x",
            "http://h/",
            "/a b",
            "/a#b",
            "/a\r\nX: y",
            "/\u{e9}",
            "/\u{0}",
            "/\u{7f}",
            "/?\"q",
        ] {
            assert!(target(&Method::GET, other).is_none(), "{other:?}");
        }
        assert!(target(&Method::OPTIONS, "*").is_some());
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        let place = Place::parse("https://[::1]:8443").expect("parses");
        assert_eq!((place.tls, place.host.as_str(), place.port), (true, "::1", 8443));
        assert_eq!(Place::parse("http://example.com/").expect("parses").port, 80);
        for bad in
            ["example.com", "ftp://h", "http://h/path", "http://u@h", "http://", "http://h:x", "http://h?q"]
        {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }
}
