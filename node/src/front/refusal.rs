//! Why a request is answered by the front itself, and with what.

use http::StatusCode;

/// A request that is not handed to the edge, because it cannot be read in one way only, asks for what is
/// not offered, or costs more than a client may.
///
/// After a refusal nothing on an HTTP/1.1 connection can be trusted to be the start of a request, so the
/// connection is closed. On HTTP/2 framing is not in question: the stream is answered, the others go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A line that does not end with CRLF, a CR elsewhere, or an empty line too many.
    #[error("a line must end with CR LF, and neither may stand elsewhere")]
    LineEnd,
    /// Not `method SP target SP version`.
    #[error("the request line is not `method SP target SP version`")]
    RequestLine,
    /// A version other than 1.0 and 1.1.
    #[error("this version of HTTP is not spoken here")]
    Version,
    /// A field line that is not `name ":" value`, a folded line, or a control character.
    #[error("a field line is malformed")]
    Field,
    /// A target that is neither a path, `*` nor an absolute URI of this host.
    #[error("the request target is malformed")]
    Target,
    /// No `Host`, several, one that names no host, or one that the target contradicts.
    #[error("the request must name exactly one valid host")]
    Host,
    /// A `Content-Length` that is not one plain number.
    #[error("Content-Length must be one plain number")]
    ContentLength,
    /// A `Transfer-Encoding` that leaves the length of the body in doubt.
    #[error("the transfer coding leaves the length of the body in doubt")]
    TransferEncoding,
    /// A transfer coding that is well-formed and unknown.
    #[error("the transfer coding is not known")]
    UnknownCoding,
    /// A chunk that is malformed.
    #[error("the chunked body is malformed")]
    Chunk,
    /// The body ended before its length.
    #[error("the body ended early")]
    BodyCut,
    /// `CONNECT`.
    #[error("CONNECT is not offered")]
    Connect,
    /// `TRACE`.
    #[error("TRACE is not offered")]
    Trace,
    /// An `Expect` that is not `100-continue`.
    #[error("the expectation cannot be met")]
    Expectation,
    /// A request for a host that the certificate of this connection does not cover.
    #[error("the certificate of this connection is not for that host")]
    Misdirected,
    /// The request line is too long.
    #[error("the request line is too long")]
    LineTooLong,
    /// The head is too long, or has too many fields.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// The body is larger than allowed.
    #[error("the request body is too large")]
    BodyTooLarge,
    /// The head did not arrive in time.
    #[error("the request head did not arrive in time")]
    HeadTimeout,
    /// The body stopped arriving.
    #[error("the request body stopped arriving")]
    BodyTimeout,
}

impl Refusal {
    /// Every refusal, in the order of the counters.
    pub const ALL: [Self; 20] = [
        Self::LineEnd,
        Self::RequestLine,
        Self::Version,
        Self::Field,
        Self::Target,
        Self::Host,
        Self::ContentLength,
        Self::TransferEncoding,
        Self::UnknownCoding,
        Self::Chunk,
        Self::BodyCut,
        Self::Connect,
        Self::Trace,
        Self::Expectation,
        Self::Misdirected,
        Self::LineTooLong,
        Self::HeadTooLarge,
        Self::BodyTooLarge,
        Self::HeadTimeout,
        Self::BodyTimeout,
    ];

    /// What the client is told.
    pub fn status(self) -> StatusCode {
        match self {
            Self::LineEnd
            | Self::RequestLine
            | Self::Field
            | Self::Target
            | Self::Host
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::Chunk
            | Self::BodyCut => StatusCode::BAD_REQUEST,
            Self::Trace => StatusCode::METHOD_NOT_ALLOWED,
            Self::HeadTimeout | Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::LineTooLong => StatusCode::URI_TOO_LONG,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UnknownCoding | Self::Connect => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LineEnd => "line-end",
            Self::RequestLine => "request-line",
            Self::Version => "version",
            Self::Field => "field",
            Self::Target => "target",
            Self::Host => "host",
            Self::ContentLength => "content-length",
            Self::TransferEncoding => "transfer-encoding",
            Self::UnknownCoding => "unknown-coding",
            Self::Chunk => "chunk",
            Self::BodyCut => "body-cut",
            Self::Connect => "connect",
            Self::Trace => "trace",
            Self::Expectation => "expectation",
            Self::Misdirected => "misdirected",
            Self::LineTooLong => "line-too-long",
            Self::HeadTooLarge => "head-too-large",
            Self::BodyTooLarge => "body-too-large",
            Self::HeadTimeout => "head-timeout",
            Self::BodyTimeout => "body-timeout",
        }
    }
}
