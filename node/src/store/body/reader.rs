//! Reading a body, at its own pace, while it arrives or after.

use std::{
    ops::Range,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use starling_proto::ring::Hop;

use super::{
    super::{errors::ReadError, memory::SliceBuf, record::Place},
    Body, Look,
};

/// Reads a range of a body. Dropping it harms no one.
#[derive(Debug)]
pub struct BodyReader {
    body: Body,
    position: u64,
    end: u64,
    /// How many fills had failed before: those are gaps, not failures of somebody this reader followed.
    born: u64,
    /// Where this reader stands: it waits for what comes from above only.
    hop: Hop,
}

impl BodyReader {
    pub(super) fn new(body: Body, range: Range<u64>, born: u64, hop: Hop) -> Self {
        Self { body, position: range.start, end: range.end, born, hop }
    }

    /// The next bytes, as soon as there are any; None at the end. At most one slice at a time, shared with all
    /// who read it. After an error the position is that of the first byte that is missing: once somebody
    /// brings it, this can be called again.
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            match self.look() {
                Look::Bytes(bytes) => return Ok(Some(self.advance(bytes))),
                Look::End => return Ok(None),
                Look::Gap => return Err(ReadError::Gap { at: self.position }),
                Look::Below => return Err(ReadError::Below { at: self.position }),
                Look::Aborted(why) => return Err(ReadError::Aborted { at: self.position, why }),
                Look::Stored { start, len, live, place } => {
                    if let Some(slice) = self.load(start, len, live, place).await {
                        let to = self.end.min(start + u64::from(len)) - start;
                        let bytes = slice.bytes().slice((self.position - start) as usize..to as usize);
                        return Ok(Some(self.advance(bytes)));
                    }
                    self.body.lose(start, place);
                }
                Look::Coming(changed) => {
                    let notified = changed.notified();
                    tokio::pin!(notified);
                    notified.as_mut().enable();
                    // What came between the look and the registration wakes nobody: look again.
                    if matches!(self.look(), Look::Coming(_)) {
                        notified.await;
                    }
                }
            }
        }
    }

    /// The offset in the body of the next byte.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn look(&self) -> Look {
        self.body.look(self.position, self.end, (self.born, self.hop))
    }

    fn advance(&mut self, bytes: Bytes) -> Bytes {
        self.position += bytes.len() as u64;
        bytes
    }

    async fn load(
        &self,
        start: u64,
        len: u32,
        live: Weak<SliceBuf>,
        place: Option<Place>,
    ) -> Option<Arc<SliceBuf>> {
        let tiers = self.body.0.tiers.upgrade()?;
        let slice = tiers.slice(self.body.id(), start, len, live, place).await?;
        self.body.with_extents(|extents| extents.revive(start, &slice));
        Some(slice)
    }
}
