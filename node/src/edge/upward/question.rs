//! What is asked, in the words of each way.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version, header};
use starling_proto::{
    NodeId,
    cache::range::{Asked, ByteRange, asked},
    purge::Versions,
    ring::Hop,
    wire::HttpRequest,
};
use tokio::sync::mpsc;

use super::super::{
    Shared,
    door::{ClientHead, Interim, Scheme},
    forward::{self, Forward},
};

/// For whom something is asked.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Where its request stands at this node.
    pub hop: Hop,
    /// The peer that asks; none for a client.
    pub node: Option<NodeId>,
    /// How far the peer that asks, or one for whom it asks, had applied each log; none for a client.
    pub versions: Option<Arc<Versions>>,
    /// Names the client's request in the logs of all nodes it passes; 0 before it was given a name.
    pub trace: u64,
}

impl Asker {
    /// A client of this node.
    pub fn client() -> Self {
        Self { hop: Hop::Client, node: None, versions: None, trace: 0 }
    }
}

/// One question.
pub struct Question<'a> {
    /// The request that causes it.
    pub request: &'a ClientHead,
    /// The fields of that request that peers are told.
    pub headers: &'a HeaderMap,
    /// The request as the origin sees it, with its conditions and its range.
    pub forward: &'a Forward,
    /// Whether the answer may end where the shard that is asked for ends.
    pub may_be_cut: bool,
    /// Whether the asker itself sees to it that a part is of the representation it has: a peer that has
    /// another should say so, not send that.
    pub resumes: bool,
    /// Where 1xx responses of the origin go.
    pub interim: Option<mpsc::Sender<Interim>>,
}

impl Question<'_> {
    /// The question for a peer: the client's request under the conditions of this node.
    pub(super) fn wire(&self, shared: &Shared) -> HttpRequest {
        let mut headers = self.headers.clone();
        for name in forward::CONDITIONS {
            headers.remove(&name);
            if let Some(value) =
                self.forward.headers.get(&name).filter(|_| !(self.resumes && name == header::IF_RANGE))
            {
                headers.insert(name, value.clone());
            }
        }
        forward::mark(shared, self.request.version, &mut headers);
        HttpRequest {
            method: self.forward.method.as_str().to_owned(),
            is_https: self.request.scheme == Scheme::Https,
            authority: self.request.authority.clone(),
            path_and_query: self.request.path_and_query.clone(),
            version: version_number(self.request.version),
            headers: wire_fields(&headers),
            client: self.request.peer,
        }
    }
}

/// A `Range` field that asks for no more than what lies before `end`, where it asks for more and begins before;
/// none where it may stay as it is.
pub fn range_cut(range: &HeaderValue, end: u64) -> Option<HeaderValue> {
    let mut headers = HeaderMap::new();
    headers.insert(header::RANGE, range.clone());
    let (first, last) = match asked(&headers) {
        Asked::One(ByteRange::FromTo(first, last)) => (first, last),
        Asked::One(ByteRange::From(first)) => (first, u64::MAX),
        _ => return None,
    };
    if end == u64::MAX || first >= end || last < end {
        return None;
    }
    HeaderValue::from_str(&format!("bytes={first}-{}", end - 1)).ok()
}

/// The version of HTTP as nodes say it.
pub fn version_number(version: Version) -> u8 {
    match version {
        Version::HTTP_10 => 10,
        Version::HTTP_2 => 20,
        Version::HTTP_3 => 30,
        _ => 11,
    }
}

/// Fields as nodes say them.
pub fn wire_fields(headers: &HeaderMap) -> Vec<(String, Bytes)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_where_its_shard_ends() {
        let cut = |range: &'static str| {
            let cut = range_cut(&HeaderValue::from_static(range), 100)?;
            Some(cut.to_str().expect("ASCII").to_owned())
        };
        assert_eq!(cut("bytes=90-110").as_deref(), Some("bytes=90-99"));
        assert_eq!(cut("bytes=90-").as_deref(), Some("bytes=90-99"));
        assert_eq!(cut("bytes=90-99"), None);
        assert_eq!(cut("bytes=100-110"), None);
        assert_eq!(cut("bytes=-20"), None);
    }
}
