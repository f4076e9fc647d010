//! The side that answers.
//!
//! The task of the connection (or stream) speaks for the one who works on the answer: it tells the asker that work
//! goes on, however busy that one is, sends what comes through a short queue, and notices when the asker goes.

use std::{io, time::Duration};

use bytes::Bytes;
use starling_proto::wire::{self, Refusal};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    Inner,
    error::Gone,
    events::{Incoming, IncomingCall},
    frame::{FrameError, Framed, Kind},
    peers::PeerEntry,
};

/// Pieces of an answer between who makes it and the connection's task.
const QUEUE_MAX: usize = 2;
/// An answer that comes within this acknowledges its question by itself.
const AT_ONCE: Duration = Duration::from_millis(1);

/// What is said on the way back.
enum Said {
    Head(Box<wire::Answer>),
    Data(Bytes),
    End,
    No(Refusal),
}

/// The way back to who asked. While it is held the peer is told, again and again, that work goes on.
pub struct Answering {
    way: mpsc::Sender<Said>,
}

impl Answering {
    /// Sends the head; the body follows.
    pub async fn answer(self, head: wire::Answer) -> Result<BodySender, Gone> {
        self.way.send(Said::Head(Box::new(head))).await.map_err(|_| Gone)?;
        Ok(BodySender { way: self.way })
    }

    /// Says no.
    pub async fn refuse(self, why: Refusal) {
        // Who has gone needs no refusal.
        let _ = self.way.send(Said::No(why)).await;
    }

    /// Returns when the asker has given up.
    pub async fn cancelled(&mut self) {
        self.way.closed().await;
    }
}

/// Sends a body. Dropped before [`finish`](Self::finish), the body ends in an error at the asker. While it is
/// held and silent, the peer is told that work goes on.
pub struct BodySender {
    way: mpsc::Sender<Said>,
}

impl BodySender {
    /// Sends the next bytes; waits while the asker reads slower.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.way.send(Said::Data(bytes)).await.map_err(|_| Gone)
    }

    /// Says that the body is whole.
    pub async fn finish(self) -> Result<(), Gone> {
        self.way.send(Said::End).await.map_err(|_| Gone)
    }

    /// Returns when the asker has given up.
    pub async fn cancelled(&mut self) {
        self.way.closed().await;
    }
}

/// One answer on its way.
struct Telling<'a> {
    framed: &'a mut Framed,
    /// Longest wait for the asker to read on.
    stall: Duration,
    is_headed: bool,
}

impl Telling<'_> {
    /// Sends or keeps what was said; whether that was the last of it.
    async fn tell(&mut self, said: Option<Said>) -> Result<bool, FrameError> {
        match said {
            Some(Said::Head(head)) => {
                if let Err(error) = self.framed.put(Kind::Answer, &*head) {
                    return self.refuse(&Refusal::Failed(format!("the head: {error}")));
                }
                self.is_headed = true;
                return Ok(false);
            }
            Some(Said::Data(bytes)) => {
                self.framed.send_data(bytes, self.stall).await?;
                return Ok(false);
            }
            Some(Said::End) => self.framed.put_bare(Kind::End),
            Some(Said::No(why)) => return self.refuse(&why),
            None if self.is_headed => self.framed.put_bare(Kind::Fail),
            None => return self.refuse(&Refusal::Failed("it was given up".to_owned())),
        }
        Ok(true)
    }

    fn refuse(&mut self, why: &Refusal) -> Result<bool, FrameError> {
        if self.framed.put(Kind::Refusal, why).is_err() {
            let short = Refusal::Failed("for a reason too long to tell".to_owned());
            self.framed.put(Kind::Refusal, &short).expect("it is short");
        }
        Ok(true)
    }
}

impl Inner {
    /// Hands a fetch over and carries its answer back. Fails when the connection is of no more use.
    pub(super) async fn answer_fetch(
        &self,
        framed: &mut Framed,
        peer: &PeerEntry,
        fetch: wire::Fetch,
    ) -> Result<(), FrameError> {
        let stall = self.limits.stall_timeout;
        let (way, mut said) = mpsc::channel(QUEUE_MAX);
        let incoming = Incoming { from: peer.id, fetch, answering: Answering { way } };
        let place = peer.answering.try_acquire();
        let refusal = match &place {
            Err(_) => Some(Refusal::Busy),
            Ok(_) => match self.doors.fetches.try_send(incoming) {
                Ok(()) => None,
                Err(mpsc::error::TrySendError::Full(_)) => Some(Refusal::Busy),
                Err(mpsc::error::TrySendError::Closed(_)) => Some(Refusal::Draining),
            },
        };
        let mut telling = Telling { framed, stall, is_headed: false };
        if let Some(refusal) = refusal {
            self.totals.busy.add(1);
            telling.refuse(&refusal)?;
            return telling.framed.flush(stall).await;
        }
        let every = self.settings.silence_timeout / 4;
        let mut tell_at = Instant::now() + AT_ONCE.min(every);
        loop {
            let next = tokio::select! {
                biased;
                next = said.recv() => next,
                () = telling.framed.gone() => return Err(gone(telling.framed)),
                () = sleep_until(tell_at) => {
                    telling.framed.put_bare(Kind::Working);
                    telling.framed.flush(stall).await?;
                    tell_at = Instant::now() + every;
                    continue;
                }
            };
            let mut is_over = telling.tell(next).await?;
            // A small body leaves with its head, if it is as good as there.
            while !is_over && telling.framed.has_unsent() {
                match said.try_recv() {
                    Ok(next) => is_over = telling.tell(Some(next)).await?,
                    Err(_) => {
                        tokio::task::yield_now().await;
                        match said.try_recv() {
                            Ok(next) => is_over = telling.tell(Some(next)).await?,
                            Err(_) => break,
                        }
                    }
                }
            }
            telling.framed.flush(stall).await?;
            if is_over {
                return Ok(());
            }
            tell_at = Instant::now() + every;
        }
    }

    /// Hands a call over and carries its reply back.
    pub(super) async fn answer_call(
        &self,
        framed: &mut Framed,
        peer: &PeerEntry,
        call: wire::Call,
    ) -> Result<(), FrameError> {
        let stall = self.limits.stall_timeout;
        let (reply, replied) = oneshot::channel();
        let handed = self.doors.calls.try_send(IncomingCall { from: peer.id, call, reply });
        let reply = match handed {
            Ok(()) => tokio::select! {
                biased;
                reply = replied => reply.unwrap_or(wire::Reply::Refused(Refusal::NotServed)),
                () = framed.gone() => return Err(gone(framed)),
            },
            Err(mpsc::error::TrySendError::Full(_)) => wire::Reply::Refused(Refusal::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => wire::Reply::Refused(Refusal::Draining),
        };
        if let Err(error) = framed.put(Kind::Reply, &reply) {
            let refused = wire::Reply::Refused(Refusal::Failed(format!("the reply is {error}")));
            framed.put(Kind::Reply, &refused).expect("it is short");
        }
        framed.flush(stall).await
    }
}

fn gone(framed: &mut Framed) -> FrameError {
    match framed.is_clean() {
        true => FrameError::Broken(io::ErrorKind::ConnectionAborted.into()),
        false => FrameError::Protocol("it speaks while it is being answered".to_owned()),
    }
}
