//! A stored body as a stream, which fills its gaps from the origin on the way.
//!
//! A gap is where bytes are missing that the head promises: a slice that was evicted or damaged, the rest
//! of a fill that broke, the parts of a body of which only ranges are stored. It is fetched by range, under
//! the condition that the representation is still the same (RFC 9110 section 13.1.5). Where that cannot be
//! asked, or is not so, the stream ends in an error: a client's download ends whole or is reset, never short.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{HeaderValue, StatusCode, header};
use starling_proto::cache::range::ContentRange;

use super::{
    Shared,
    door::{BodyError, ClientHead},
    errand,
    forward::Forward,
    life::Life,
    service::Service,
};
use crate::{
    origin::{FetchError, Response},
    store::{BodyReader, Object, ReadError},
};

/// How many gaps one response may fill.
const REFILLS_MAX: u32 = 16;

/// How missing bytes can be asked for again.
pub struct Refill {
    shared: Arc<Shared>,
    service: Arc<Service>,
    request: Arc<ClientHead>,
}

impl Refill {
    /// For the object that a request asks for.
    pub fn of(life: &Life) -> Self {
        Self {
            shared: Arc::clone(&life.shared),
            service: Arc::clone(&life.service),
            request: Arc::clone(&life.request),
        }
    }

    /// Asks for a range of what is still the same representation.
    async fn ask(&self, range: &Range<u64>, etag: &HeaderValue) -> Result<Response, FetchError> {
        let forward = Forward::of(&self.shared, &self.service, &self.request);
        let mut forward = forward.storable(&self.service.settings.key);
        let range = format!("bytes={}-{}", range.start, range.end - 1);
        forward
            .headers
            .insert(header::RANGE, HeaderValue::from_str(&range).expect("digits are a valid value"));
        forward.headers.insert(header::IF_RANGE, etag.clone());
        self.service.pool.fetch(forward.request(None)).await
    }
}

/// Reads a range of a body, and fills what is missing.
pub struct FillingReader {
    object: Arc<Object>,
    reader: BodyReader,
    end: u64,
    refill: Refill,
    refills: u32,
}

impl FillingReader {
    /// A reader of `range` of the object's body; an end of `u64::MAX` means the end of the body.
    pub fn new(object: Arc<Object>, range: Range<u64>, refill: Refill) -> Self {
        let reader = object.body.reader(range.clone());
        Self { object, reader, end: range.end, refill, refills: 0 }
    }

    /// The next bytes; `None` at the end of the range.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            match self.reader.next().await {
                Ok(chunk) => return Ok(chunk),
                Err(error) => self.fill(&error).await?,
            }
        }
    }

    /// The rest as a stream, with `first` before it.
    pub fn into_stream(self, first: Option<Bytes>) -> BoxStream<'static, Result<Bytes, BodyError>> {
        let rest = stream::unfold(Some(self), |reader| async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        stream::iter(first.map(Ok)).chain(rest).boxed()
    }

    /// Has the origin asked for what is missing at the reader's position.
    async fn fill(&mut self, error: &ReadError) -> Result<(), BodyError> {
        let failed = |why: &str| BodyError(format!("{error}: {why}").into());
        if self.refills == REFILLS_MAX {
            return Err(failed("too many gaps"));
        }
        self.refills += 1;
        let at = self.reader.position();
        let (Some(etag), Some(total)) = (self.object.head.strong_etag(), self.object.body.total()) else {
            return Err(failed("without a strong validator and a length it cannot be resumed"));
        };
        // Up to the end of a slice, so that many small ranges leave few gaps.
        let slice = self.refill.shared.store.slice_bytes();
        let until = self.end.min(total).max((at + 1).next_multiple_of(slice)).min(total);
        let Some(writer) = self.object.body.writer(at..until) else {
            // Somebody else has begun to fill it.
            return Ok(());
        };
        let asked = writer.range();
        let response = match self.refill.ask(&asked, etag).await {
            Ok(response) => response,
            Err(error) => {
                writer.abort("refill-failed");
                return Err(failed(error.as_str()));
            }
        };
        let content = response.headers.get(header::CONTENT_RANGE).and_then(ContentRange::parse);
        let same = response.status == StatusCode::PARTIAL_CONTENT
            && response.headers.get(header::ETAG) == Some(etag)
            && content.is_some_and(|content| content.range == asked && content.total == Some(total));
        if !same {
            writer.abort("refill-changed");
            return Err(failed("the origin has another representation now"));
        }
        self.refill.shared.spawn(errand::pump(response.body, writer));
        Ok(())
    }
}
