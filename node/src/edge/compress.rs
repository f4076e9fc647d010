//! Content coding at the edge.
//!
//! A stored identity response is encoded once per coding, and the encoded body is stored as a sibling of the
//! variant it was made from: same key, same stamp, same tags, so that whatever purges the one purges the
//! other. Its ETag is weak, because two encoders need not agree on bytes; ranges are therefore served from
//! the identity response only. What goes past the cache is encoded on the way.

use std::sync::Arc;

use async_compression::{
    Level,
    tokio::write::{BrotliEncoder, GzipEncoder, ZstdEncoder},
};
use bytes::Bytes;
use futures_util::{
    FutureExt,
    stream::{self, BoxStream, StreamExt},
};
use http::{HeaderMap, Method, StatusCode, header};
use starling_proto::cache::{
    encoding::{self, Coding, CompressionRules},
    key::PrimaryKey,
};
use starling_proto::ring::Hop;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{
    Shared,
    door::BodyError,
    life::Life,
    stream::{FillingReader, Refill},
};
use crate::store::{BodyWriter, NewObject, Object};

/// Codings offered, best first where the client likes them equally.
const OFFERED: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

/// A body on its way.
type Stream = BoxStream<'static, Result<Bytes, BodyError>>;

/// Whether the response to this request depends on `Accept-Encoding` because of us.
pub fn offered(life: &Life, object: &Object) -> bool {
    is_compressible(life, object.head.status, &object.head.headers, object.body.total())
}

/// The encoded sibling of an object whose coding is [`offered`] that suits the client, made if there is none yet.
pub async fn choose(life: &Life, object: &Arc<Object>) -> Option<Arc<Object>> {
    let coding = suited(life);
    if coding == Coding::Identity {
        return None;
    }
    if let Some(sibling) = find(&life.shared, &life.key, object, coding) {
        return Some(sibling);
    }
    // A body that nobody reads is not encoded.
    if life.request.method == Method::HEAD {
        return None;
    }
    Some(make(life, object, coding).await)
}

/// Makes the fields of a 304 those of the sibling that the client holds, where codings are [`offered`]: its tag
/// is weak.
pub fn validated(life: &Life, headers: &mut HeaderMap) {
    match suited(life) {
        Coding::Identity => encoding::add_vary_accept_encoding(headers),
        coding => {
            *headers = encoding::encoded_headers(headers, coding);
            headers.remove(header::CONTENT_ENCODING);
        }
    }
}

/// The coding that suits this client. A range is cut from identity bytes only.
fn suited(life: &Life) -> Coding {
    if life.request.headers.contains_key(header::RANGE) {
        return Coding::Identity;
    }
    encoding::negotiate(&life.request.headers, &OFFERED)
}

/// The coding for a response that goes past the cache, if any.
pub fn for_passage(
    life: &Life,
    status: StatusCode,
    headers: &HeaderMap,
    bytes: Option<u64>,
) -> Option<Coding> {
    if life.request.method == Method::HEAD
        || status == StatusCode::PARTIAL_CONTENT
        || !is_compressible(life, status.as_u16(), headers, bytes)
    {
        return None;
    }
    Some(encoding::negotiate(&life.request.headers, &OFFERED)).filter(|coding| *coding != Coding::Identity)
}

fn is_compressible(life: &Life, status: u16, headers: &HeaderMap, bytes: Option<u64>) -> bool {
    let settings = &life.service.settings.compression;
    let rules = CompressionRules {
        bytes_min: settings.bytes_min,
        bytes_max: settings.bytes_max,
        types: &settings.types,
    };
    settings.enabled && encoding::compressible(status, headers, bytes, &rules)
}

/// A sibling in the store that was made from just this response.
fn find(shared: &Shared, key: &PrimaryKey, object: &Object, coding: Coding) -> Option<Arc<Object>> {
    let variants = shared.store.peek(&key.key)?;
    variants
        .objects
        .iter()
        .find(|sibling| {
            sibling.coding == coding
                && sibling.key_text == object.key_text
                && sibling.head.vary == object.head.vary
                && sibling.head.request_ms == object.head.request_ms
                && sibling.head.response_ms == object.head.response_ms
                && (sibling.body.is_whole() || sibling.body.is_arriving())
        })
        .cloned()
}

async fn make(life: &Life, object: &Arc<Object>, coding: Coding) -> Arc<Object> {
    let mut head = object.head.clone();
    head.headers = encoding::encoded_headers(&head.headers, coding);
    let (sibling, writer) = life.shared.store.begin(NewObject {
        key: object.key,
        key_text: object.key_text.clone(),
        service: Arc::clone(&object.service),
        url: object.url.clone(),
        head,
        stamp: Arc::clone(&object.stamp),
        total: None,
        from: 0,
        until: None,
        coding,
        // Made from what a peer may give; nobody but clients reads it.
        fed_by: Hop::Owner,
        transient: false,
    });
    life.shared.store.commit(&sibling).await;
    let source =
        FillingReader::new(Arc::clone(object), 0..u64::MAX, Some(Refill::of(life))).into_stream(None);
    life.shared.spawn(fill(encode(source, coding), writer));
    sibling
}

async fn fill(mut encoded: Stream, mut writer: BodyWriter) {
    while let Some(chunk) = encoded.next().await {
        match chunk {
            Ok(chunk) => {
                if writer.push(chunk).await.is_err() {
                    return;
                }
            }
            Err(_) => return writer.abort("source-failed"),
        }
    }
    if let Err(error) = writer.finish().await {
        tracing::debug!(%error, "an encoded body was given up at its end");
    }
}

/// Encodes a stream. What has arrived is flushed when nothing more is at hand, so that a slow body is not
/// held back by its coding.
pub fn encode(source: Stream, coding: Coding) -> Stream {
    match coding {
        Coding::Identity => source,
        Coding::Gzip => encode_with(source, GzipEncoder::with_quality(Vec::new(), Level::Precise(6))),
        Coding::Brotli => encode_with(source, BrotliEncoder::with_quality(Vec::new(), Level::Precise(5))),
        Coding::Zstd => encode_with(source, ZstdEncoder::with_quality(Vec::new(), Level::Precise(3))),
    }
}

/// An encoder into memory.
trait Encoder: AsyncWrite + Unpin + Send + 'static {
    fn output(&mut self) -> &mut Vec<u8>;
}

impl Encoder for GzipEncoder<Vec<u8>> {
    fn output(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }
}

impl Encoder for BrotliEncoder<Vec<u8>> {
    fn output(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }
}

impl Encoder for ZstdEncoder<Vec<u8>> {
    fn output(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }
}

struct Encoding<E> {
    /// Says again that it has ended when it is asked again.
    source: Stream,
    encoder: E,
}

fn encode_with<E: Encoder>(source: Stream, encoder: E) -> Stream {
    let encoding = Encoding { source: source.fuse().boxed(), encoder };
    stream::unfold(Some(encoding), |encoding| async move {
        let mut encoding = encoding?;
        match encoding.step().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(encoding))),
            Ok(None) => encoding.end().await.map(|end| (end, None)),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

impl<E: Encoder> Encoding<E> {
    /// The next encoded bytes; `None` when the source has ended.
    async fn step(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let Some(chunk) = self.source.next().await else { return Ok(None) };
            self.write(&chunk?).await?;
            while let Some(next) = self.source.next().now_or_never() {
                let Some(chunk) = next else { return Ok(self.take()) };
                self.write(&chunk?).await?;
                if self.encoder.output().len() >= FLUSH_BYTES {
                    return Ok(self.take());
                }
            }
            self.encoder.flush().await.map_err(failed)?;
            if let Some(bytes) = self.take() {
                return Ok(Some(bytes));
            }
        }
    }

    async fn write(&mut self, chunk: &[u8]) -> Result<(), BodyError> {
        self.encoder.write_all(chunk).await.map_err(failed)
    }

    async fn end(&mut self) -> Option<Result<Bytes, BodyError>> {
        match self.encoder.shutdown().await {
            Ok(()) => self.take().map(Ok),
            Err(error) => Some(Err(failed(error))),
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        let bytes = std::mem::take(self.encoder.output());
        (!bytes.is_empty()).then(|| Bytes::from(bytes))
    }
}

/// Encoded bytes that are handed on without waiting for more.
const FLUSH_BYTES: usize = 32 << 10;

fn failed(error: std::io::Error) -> BodyError {
    BodyError(format!("encoding failed: {error}").into())
}
