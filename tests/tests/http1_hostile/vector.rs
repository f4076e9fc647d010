//! One vector: the bytes of a request that no two parsers need agree on, and what the node must do about it.

use std::{sync::Arc, time::Duration};

use starling_tests::{Closed, End, Node, RawConn, Received, Reply, TestOrigin};
use tokio::{task::JoinSet, time::timeout};

/// How long a connection may take to be closed. A bound, not an expectation.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);

/// Vectors under way at a time.
const TOGETHER: usize = 8;

/// A node may cut a client short that still sends after it was refused (RFC 9112 section 9.6); beyond this many
/// bytes the refusal itself need not have arrived.
const LINGER_BYTES: usize = 64 << 10;

/// What must happen to a vector. In every case but the accepted one the connection is closed, and what follows
/// on it is neither answered nor forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// One answer with one of these statuses; the origin never hears of it.
    Refused(&'static [u16]),
    /// As refused, but without an answer is as good: the bytes were no HTTP/1.1.
    Broken,
    /// The head was good, the body is not: refused or cut off, and the origin never sees a complete request.
    Unfinished(&'static [u16]),
    /// Refused; or forwarded once with this body, and the next request on the connection answered by itself.
    Either(&'static [u8]),
}

pub struct Vector {
    clause: &'static str,
    name: String,
    bytes: Vec<u8>,
    fate: Fate,
}

/// Refused with a 400, or with what [`Vector::with`] says.
pub fn refused(clause: &'static str, name: impl Into<String>, bytes: impl AsRef<[u8]>) -> Vector {
    Vector::new(clause, name, bytes, Fate::Refused(&[400]))
}

/// Refused, or closed without a word.
pub fn broken(clause: &'static str, name: impl Into<String>, bytes: impl AsRef<[u8]>) -> Vector {
    Vector::new(clause, name, bytes, Fate::Broken)
}

/// Never a complete request at the origin.
pub fn unfinished(clause: &'static str, name: impl Into<String>, bytes: impl AsRef<[u8]>) -> Vector {
    Vector::new(clause, name, bytes, Fate::Unfinished(&[400]))
}

/// Refused, or read as the RFC says; a `POST` carries `hello`.
pub fn either(clause: &'static str, name: impl Into<String>, bytes: impl AsRef<[u8]>) -> Vector {
    let body: &[u8] = if bytes.as_ref().starts_with(b"POST") { b"hello" } else { b"" };
    Vector::new(clause, name, bytes, Fate::Either(body))
}

/// [`either`] for a body whose framing is odd.
pub fn either_body(clause: &'static str, name: impl Into<String>, bytes: impl AsRef<[u8]>) -> Vector {
    either(clause, name, bytes)
}

impl Vector {
    fn new(clause: &'static str, name: impl Into<String>, bytes: impl AsRef<[u8]>, fate: Fate) -> Self {
        Self { clause, name: name.into(), bytes: bytes.as_ref().to_vec(), fate }
    }

    /// The statuses a refusal may have.
    pub fn with(mut self, statuses: &'static [u16]) -> Self {
        self.fate = match self.fate {
            Fate::Refused(_) => Fate::Refused(statuses),
            Fate::Unfinished(_) => Fate::Unfinished(statuses),
            other => other,
        };
        self
    }

    /// What is wrong with how it went.
    fn fault(&self, closed: &Closed, of_it: &[Received], after_it: usize) -> Option<String> {
        let statuses = closed.statuses();
        if !matches!(closed.end, End::Eof | End::Reset) {
            return Some(format!("the connection was not closed ({:?}); answered {statuses:?}", closed.end));
        }
        if let (Fate::Either(body), [200, ..]) = (self.fate, &statuses[..]) {
            let sound = statuses == [200, 200] && of_it.len() == 1 && of_it[0].body == body && after_it == 1;
            return (!sound).then(|| {
                format!("answered {statuses:?}; the origin saw it as {of_it:?} and the next request {after_it} times")
            });
        }
        if !of_it.is_empty() {
            return Some(format!("the origin was asked: {:?}", of_it[0].raw_head));
        }
        if after_it != 0 {
            return Some("the request after it reached the origin".to_owned());
        }
        let (allowed, silence): (&[u16], bool) = match self.fate {
            Fate::Refused(allowed) => (allowed, self.bytes.len() > LINGER_BYTES),
            Fate::Broken => (&[400, 405, 414, 501, 505], true),
            Fate::Unfinished(allowed) => (allowed, true),
            Fate::Either(_) => (&[400, 501], false),
        };
        match &statuses[..] {
            [] if silence => None,
            [status] if allowed.contains(status) => {
                let closes = closed.text().to_ascii_lowercase().contains("\r\nconnection: close\r\n");
                (!closes).then(|| "the refusal does not say Connection: close".to_owned())
            }
            _ => Some(format!("answered {statuses:?}, expected one of {allowed:?}: {:.300}", closed.text())),
        }
    }
}

/// Plays all vectors against one node. Between them a well-formed client is served as ever.
pub async fn play(family: &'static str, vectors: Vec<Vector>) {
    let origin = TestOrigin::start(|request: &Received| {
        Reply::new(200)
            .header("cache-control", "no-store")
            .body(format!("{} {}", request.method, request.target))
    })
    .await;
    let node = Node::before(&origin).await;
    let stage = Arc::new((origin, node));
    let count = vectors.len();
    let (mut faults, mut running) = (Vec::new(), JoinSet::new());
    for (index, vector) in vectors.into_iter().enumerate() {
        if running.len() >= TOGETHER {
            faults.extend(
                running.join_next().await.expect("some are running").expect("a vector does not panic"),
            );
        }
        running.spawn(play_one(stage.clone(), format!("/hostile/{family}/{index:04}"), vector));
    }
    while let Some(fault) = running.join_next().await {
        faults.extend(fault.expect("a vector does not panic"));
    }
    let (origin, _node) = &*stage;
    if origin.requests().iter().any(|request| request.target.starts_with("/inner")) {
        faults.push("a request hidden inside another reached the origin".to_owned());
    }
    assert!(faults.is_empty(), "{} of {count} vectors:\n{}", faults.len(), faults.join("\n"));
}

async fn play_one(stage: Arc<(TestOrigin, Node)>, path: String, vector: Vector) -> Option<String> {
    let (origin, node) = &*stage;
    let next = format!("{path}/next");
    let path = format!("{path}/this");
    let mut bytes = replace(&vector.bytes, b"$PATH", path.as_bytes());
    bytes.extend(
        format!("GET {next} HTTP/1.1\r\nHost: hostile.test\r\nConnection: close\r\n\r\n").into_bytes(),
    );
    let fault = async {
        let mut connection = RawConn::connect(node.http()).await.map_err(|error| error.to_string())?;
        // A node that has seen enough may close while the rest is being sent.
        let _ = connection.write(&bytes).await;
        let closed = timeout(CLOSED_WITHIN, connection.read_to_close(1 << 20)).await;
        let closed = closed.map_err(|_| "the connection was not closed".to_owned())?;
        let requests = origin.requests();
        let of_it: Vec<Received> =
            requests.iter().filter(|request| request.target.contains(&path)).cloned().collect();
        let after_it = requests.iter().filter(|request| request.target == next).count();
        if let Some(fault) = vector.fault(&closed, &of_it, after_it) {
            return Err(fault);
        }
        let well_formed = node.try_send(starling_tests::Request::get("/well-formed")).await;
        match well_formed {
            Ok(response) if response.status == 200 => Ok(()),
            other => Err(format!("a well-formed request after it: {other:?}")),
        }
    };
    let fault = fault.await.err()?;
    Some(format!("  {} | {}: {fault}", vector.clause, vector.name))
}

fn replace(bytes: &[u8], token: &[u8], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + by.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(token.len()).position(|window| window == token) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(by);
        rest = &rest[at + token.len()..];
    }
    out.extend_from_slice(rest);
    out
}
