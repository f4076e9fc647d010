//! A stored body as a stream, which fills its gaps from above on the way.
//!
//! A gap is where bytes are missing that the head promises: a slice that was evicted or damaged, the rest
//! of a fill that broke, the parts of a body of which only ranges are stored, the shards that others own. It is
//! fetched by range, from whoever owns that range, under the condition that the representation is still the
//! same (RFC 9110 section 13.1.5). Where that cannot be asked, or is not so, the stream ends in an error: a
//! client's download ends whole or is reset, never short.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{HeaderValue, StatusCode, header};
use starling_proto::{cache::range::ContentRange, ring::Hop};

use super::{
    Shared,
    door::{BodyError, ClientHead},
    errand,
    forward::Forward,
    life::Life,
    service::Service,
    upward::{Asker, Question, Reply, Upward, Wanted},
};
use crate::store::{BodyReader, BodyWriter, Object, ReadError};

/// How many refills of one response may bring less than a slice.
const REFILLS_MAX: u32 = 16;

/// How missing bytes can be asked for again.
pub struct Refill {
    shared: Arc<Shared>,
    service: Arc<Service>,
    asker: Asker,
    request: Arc<ClientHead>,
}

impl Refill {
    /// For the object that a request asks for.
    pub fn of(life: &Life) -> Self {
        Self {
            shared: Arc::clone(&life.shared),
            service: Arc::clone(&life.service),
            asker: life.asker.clone(),
            request: Arc::clone(&life.request),
        }
    }

    /// The ways to the byte at `at`.
    fn upward(&self, object: &Object, at: u64) -> Upward {
        let wanted = Wanted { key: object.key, url: &object.url, at };
        Upward::new(&self.shared, &self.service, &self.asker, wanted)
    }

    /// Asks for what a writer is to bring of what is still the same representation.
    async fn ask(
        &self,
        upward: &mut Upward,
        object: &Object,
        range: &Range<u64>,
    ) -> Result<Reply, &'static str> {
        let (Some(etag), total) = (object.head.strong_etag(), object.body.total()) else {
            return Err("without a strong validator it cannot be resumed");
        };
        let forward = Forward::of(&self.shared, &self.service, &self.request);
        let mut forward = forward.storable(&self.service.settings.key);
        let field = format!("bytes={}-{}", range.start, range.end - 1);
        forward
            .headers
            .insert(header::RANGE, HeaderValue::from_str(&field).expect("digits are a valid value"));
        forward.headers.insert(header::IF_RANGE, etag.clone());
        let question = Question {
            request: &self.request,
            headers: &self.request.headers,
            forward: &forward,
            may_be_cut: false,
            resumes: true,
            interim: None,
        };
        loop {
            let reply = upward.ask(&question).await.map_err(|error| error.as_str())?;
            let content = reply.headers.get(header::CONTENT_RANGE).and_then(ContentRange::parse);
            let is_same = reply.status == StatusCode::PARTIAL_CONTENT
                && reply.headers.get(header::ETAG) == Some(etag)
                && content.is_some_and(|content| content.range == *range && content.total == total);
            // A peer may have the same of before a purge that the object came after.
            let may_join = !reply.is_of_peer() || self.shared.may_join(object, &reply.stamp);
            match is_same && may_join {
                true => return Ok(reply),
                // It may have an older one, or a newer.
                false if reply.is_of_peer() => upward.leave(),
                false => return Err("the origin has another representation now"),
            }
        }
    }
}

/// Reads a range of a body, and fills what is missing.
pub struct FillingReader {
    object: Arc<Object>,
    reader: BodyReader,
    end: u64,
    /// None: what is missing stays missing.
    refill: Option<Refill>,
    /// Refills one after another that brought less than a slice, and where the last one began.
    barren: u32,
    last_at: Option<u64>,
}

impl FillingReader {
    /// A reader of `range` of the object's body; an end of `u64::MAX` means the end of the body. Without a
    /// refill nothing is waited for.
    pub fn new(object: Arc<Object>, range: Range<u64>, refill: Option<Refill>) -> Self {
        let hop = refill.as_ref().map_or(Hop::Origin, |refill| refill.asker.hop);
        let reader = object.body.reader_at(range.clone(), hop);
        Self { object, reader, end: range.end, refill, barren: 0, last_at: None }
    }

    /// The next bytes; `None` at the end of the range.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            match self.reader.next().await {
                Ok(chunk) => return Ok(chunk),
                Err(error @ ReadError::Below { .. }) => return Err(BodyError(error.to_string().into())),
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

    /// Has somebody asked for what is missing at the reader's position.
    async fn fill(&mut self, error: &ReadError) -> Result<(), BodyError> {
        let failed = |why: &str| BodyError(format!("{error}: {why}").into());
        let Some(refill) = &self.refill else { return Err(failed("nobody is asked for it")) };
        let at = self.reader.position();
        let slice = refill.shared.store.slice_bytes();
        match self.last_at.replace(at) {
            Some(last) if at - last < slice => self.barren += 1,
            _ => self.barren = 0,
        }
        if self.barren == REFILLS_MAX {
            return Err(failed("too many gaps"));
        }
        let (Some(_), Some(total)) = (self.object.head.strong_etag(), self.object.body.total()) else {
            return Err(failed("without a strong validator and a length it cannot be resumed"));
        };
        let mut upward = refill.upward(&self.object, at);
        // Up to the end of a slice, so that many small ranges leave few gaps; not beyond what its owner owns.
        let until = self.end.min(total).max((at + 1).next_multiple_of(slice)).min(total);
        let until = until.min(upward.shard_end());
        // Who was asked before takes the question on and gives nothing.
        match self.barren {
            0 | 1 => {}
            2 | 3 => upward.go_higher(),
            _ => upward.go_to_origin(),
        }
        let Some(writer) = self.object.body.writer(at..until, upward.fed_by()) else {
            // Somebody else has begun to fill it.
            return Ok(());
        };
        let asked = writer.range();
        let asking = refill.ask(&mut upward, &self.object, &asked);
        match asking.await {
            Ok(reply) => {
                refill.shared.spawn(errand::pump(reply.body, writer, false));
                Ok(())
            }
            Err(why) => Err(give_up(writer, failed(why))),
        }
    }
}

fn give_up(writer: BodyWriter, error: BodyError) -> BodyError {
    writer.abort("refill-failed");
    error
}
