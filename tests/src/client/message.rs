//! Requests to write and responses as they were read.

use bytes::Bytes;

/// A request to be written as HTTP/1.1, or carried by HTTP/2.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) host: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Request {
    /// `GET target`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// `method target`.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            host: None,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// The value of `Host`; the address asked, when not set.
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// One more field. `host` sets the authority instead.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if name.eq_ignore_ascii_case("host") {
            return self.host(value);
        }
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A body, announced by its length.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// `GET /path`, for messages.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// The bytes of the request in HTTP/1.1.
    pub fn encode(&self, default_host: &str) -> Vec<u8> {
        let host = self.host.as_deref().unwrap_or(default_host);
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let announces = |(name, _): &(String, String)| {
            name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
        };
        if !self.body.is_empty() && !self.headers.iter().any(announces) {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The head of a response; names in lower case, in the order received.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// The fields.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// Reads status line and fields, without the empty line that ends them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let status_line = lines.next()?;
        let status = status_line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(Self { status, headers })
    }

    /// The value of a field; of the first, if there are more.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The values of all fields of this name, joined by `, `; empty when there is none.
    pub fn joined(&self, name: &str) -> String {
        let values: Vec<&str> = self
            .headers
            .iter()
            .filter(|(held, _)| held.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        values.join(", ")
    }

    pub(super) fn is_chunked(&self) -> bool {
        self.joined("transfer-encoding")
            .to_ascii_lowercase()
            .split(',')
            .any(|coding| coding.trim() == "chunked")
    }
}

/// A response that was read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The fields; names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    /// The content, without its framing.
    pub body: Bytes,
    /// The interim responses before it.
    pub interim: Vec<Head>,
}

impl Response {
    pub(super) fn new(head: Head, body: Bytes, interim: Vec<Head>) -> Self {
        Self { status: head.status, headers: head.headers, body, interim }
    }

    /// The value of a field; of the first, if there are more.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The values of all fields of this name, joined by `, `; empty when there is none.
    pub fn joined(&self, name: &str) -> String {
        Head { status: self.status, headers: self.headers.clone() }.joined(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// This node's member of `Cache-Status` (RFC 9211): the last one.
    pub fn cache_status(&self) -> String {
        let joined = self.joined("cache-status");
        joined.rsplit(", ").next().unwrap_or_default().to_owned()
    }

    /// Whether this node says that it answered from what it had stored.
    pub fn is_hit(&self) -> bool {
        self.cache_status().split(';').any(|parameter| parameter.trim() == "hit")
    }

    /// Panics unless the status is `status`; gives the response back, so that calls chain.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "headers: {:#?}\nbody: {:.500}", self.headers, self.text());
        self
    }
}
