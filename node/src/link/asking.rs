//! The side that asks.
//!
//! A question holds its place and its connection until its answer has ended, and reads the connection itself:
//! nothing is buffered beyond what its caller takes. Dropped before that, it closes the connection, or stops the
//! stream, which tells the peer; unless the end is here already.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use starling_proto::{
    NodeId,
    wire::{self, Message},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::{
    Inner,
    error::{AskError, AskErrorKind},
    events::Greeting,
    frame::{self, Expect, Frame, Framed, Kind},
    peers::PeerEntry,
    settings::{Carrier, Peer},
};

/// A question that a peer has taken on: it is there, and works on it.
pub struct Asked {
    question: Question,
    head: Option<Box<wire::Answer>>,
}

/// An answer.
pub struct Answered {
    /// Its head.
    pub head: wire::Answer,
    /// Its body.
    pub body: Body,
}

/// A body as it arrives. Dropped before its end, the peer is told to stop.
pub struct Body(Question);

impl Asked {
    /// Waits for the head, as long as the peer says that it works on it.
    pub async fn answer(self) -> Result<Answered, AskError> {
        let Self { mut question, mut head } = self;
        loop {
            if let Some(head) = head {
                return Ok(Answered { head: *head, body: Body(question) });
            }
            head = match question.next().await? {
                Frame::Working => None,
                Frame::Answer(head) => Some(head),
                other => return Err(question.no_answer(other)),
            };
        }
    }
}

impl Body {
    /// The next bytes; `None` once it is whole. After an error, `None` too. May be given up and called again.
    pub async fn next(&mut self) -> Option<Result<Bytes, AskError>> {
        let question = &mut self.0;
        question.framed.as_ref()?;
        loop {
            return match question.next().await {
                Ok(Frame::Data(bytes)) => Some(Ok(bytes)),
                Ok(Frame::Working) => continue,
                Ok(Frame::End) => {
                    question.over();
                    None
                }
                Ok(other) => Some(Err(question.no_answer(other))),
                Err(error) => Some(Err(error)),
            };
        }
    }
}

/// A question under way.
struct Question {
    link: Arc<Inner>,
    peer: Arc<PeerEntry>,
    address: SocketAddr,
    /// Until its answer has ended, or failed.
    framed: Option<Framed>,
    _place: OwnedSemaphorePermit,
}

impl Question {
    async fn next(&mut self) -> Result<Frame, AskError> {
        let Some(framed) = &mut self.framed else { return Err(AskErrorKind::Broken.of(self.peer.id)) };
        let kind = match timeout(self.link.settings.silence_timeout, framed.next(Expect::Answer)).await {
            Ok(Ok(Some(frame))) => return Ok(frame),
            Ok(Ok(None)) => AskErrorKind::Broken,
            Ok(Err(error)) => error.into(),
            Err(_) => AskErrorKind::Silent,
        };
        Err(self.failed(kind))
    }

    /// A frame came that ends it, or that does not belong there.
    fn no_answer(&mut self, frame: Frame) -> AskError {
        let kind = match frame {
            Frame::Refusal(why) => AskErrorKind::Refused(why),
            Frame::Fail => AskErrorKind::Broken,
            _ => return self.failed(AskErrorKind::Protocol("an answer out of order".to_owned())),
        };
        self.peer.counters.failed(&kind);
        self.over();
        kind.of(self.peer.id)
    }

    fn failed(&mut self, kind: AskErrorKind) -> AskError {
        self.framed = None;
        self.link.failed(&self.peer, kind)
    }

    /// It has ended in order: the connection can carry another.
    fn over(&mut self) {
        if let Some(framed) = self.framed.take()
            && framed.is_connection()
            && framed.is_clean()
        {
            self.peer.keep_idle(framed, self.address);
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let Some(framed) = &mut self.framed else { return };
        if framed.is_connection() && framed.ends_here() {
            self.over();
        }
    }
}

/// Where a question goes, and how long its first frame may take.
struct Errand<'a> {
    to: Peer,
    peer: &'a Arc<PeerEntry>,
    question: Bytes,
    within: Duration,
}

impl Inner {
    pub(super) async fn ask(self: &Arc<Self>, to: Peer, fetch: &wire::Fetch) -> Result<Asked, AskError> {
        let peer = self.peers.of(to.id);
        let place = self.place(&peer, &peer.asking)?;
        let question = make(Kind::Fetch, fetch).map_err(|kind| kind.of(to.id))?;
        let errand = Errand { to, peer: &peer, question, within: self.settings.ack_timeout };
        let (framed, first) = self.put(errand).await?;
        let (link, address) = (self.clone(), to.address);
        let mut question = Question { link, peer, address, framed: Some(framed), _place: place };
        match first {
            Frame::Working => Ok(Asked { question, head: None }),
            Frame::Answer(head) => Ok(Asked { question, head: Some(head) }),
            other => Err(question.no_answer(other)),
        }
    }

    pub(super) async fn call(
        self: &Arc<Self>,
        to: Peer,
        call: &wire::Call,
        within: Duration,
    ) -> Result<wire::Reply, AskError> {
        let peer = self.peers.of(to.id);
        let place = self.place(&peer, &peer.calling)?;
        let question = make(Kind::Call, call).map_err(|kind| kind.of(to.id))?;
        let errand = Errand { to, peer: &peer, question, within };
        let (framed, first) = timeout(within, self.put(errand))
            .await
            .unwrap_or_else(|_| Err(self.failed(&peer, AskErrorKind::Silent)))?;
        let (link, address) = (self.clone(), to.address);
        let mut question = Question { link, peer, address, framed: Some(framed), _place: place };
        match first {
            Frame::Reply(reply) => {
                question.over();
                Ok(reply)
            }
            other => Err(question.no_answer(other)),
        }
    }

    pub(super) async fn greet(
        self: &Arc<Self>,
        address: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<Greeting, AskError> {
        let nobody = |kind| AskError { peer: expected, kind };
        let (mut framed, id) = self.dial_tcp(address, expected).await.map_err(nobody)?;
        let peer = self.peers.of(id);
        framed.belongs_to(&peer);
        peer.counters.connects.add(1);
        let within = self.settings.connect_timeout;
        let exchange = async {
            self.reception.put_hello(&mut framed);
            framed.flush(within).await?;
            self.hear_hello(&mut framed, id, address).await?;
            // Only now is it known that what this node knows goes to one of its own.
            self.reception.put_greet(&mut framed);
            framed.flush(within).await?;
            match framed.next(Expect::Answer).await? {
                Some(Frame::Greet(hello)) => {
                    let checked = self.reception.check(&hello, id, address);
                    checked.map_err(|why| AskErrorKind::NotAdmitted(why.to_string()))?;
                    Ok(*hello)
                }
                Some(_) => Err(AskErrorKind::Protocol("an answer out of order".to_owned())),
                None => Err(AskErrorKind::Broken),
            }
        };
        let hello = timeout(within, exchange).await.unwrap_or(Err(AskErrorKind::Silent));
        let hello = hello.map_err(|kind| self.failed(&peer, kind))?;
        if framed.is_clean() {
            peer.keep_idle(framed, address);
        }
        Ok(Greeting { from: id, address, hello })
    }

    fn place(&self, peer: &PeerEntry, places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, AskError> {
        peer.counters.asked.add(1);
        places.clone().try_acquire_owned().map_err(|_| {
            // It says nothing of the peer, so nobody is told.
            peer.counters.failed(&AskErrorKind::Full);
            AskErrorKind::Full.of(peer.id)
        })
    }

    /// Sends a question and waits for the first frame that comes back. A connection that had been used before and
    /// breaks before a frame came was closed meanwhile: then the question is sent once more, on a fresh one.
    async fn put(&self, errand: Errand<'_>) -> Result<(Framed, Frame), AskError> {
        let peer = errand.peer;
        let mut may_be_stale = true;
        loop {
            let connected = self.connection(&errand, may_be_stale).await;
            let (mut framed, is_fresh) = connected.map_err(|kind| self.failed(peer, kind))?;
            framed.belongs_to(peer);
            if !is_fresh {
                peer.counters.reuses.add(1);
            }
            let sent = Instant::now();
            let exchange = self.exchange(&mut framed, &errand, is_fresh);
            match timeout(errand.within, exchange).await.unwrap_or(Err(AskErrorKind::Silent)) {
                Ok(frame) => {
                    let took = sent.elapsed();
                    peer.acks.lock().add(took);
                    self.doors.report(peer.id, Ok(took));
                    return Ok((framed, frame));
                }
                Err(AskErrorKind::Broken) if !is_fresh && may_be_stale => {
                    may_be_stale = false;
                    peer.drop_idle();
                }
                Err(kind) => return Err(self.failed(peer, kind)),
            }
        }
    }

    async fn connection(
        &self,
        errand: &Errand<'_>,
        may_be_stale: bool,
    ) -> Result<(Framed, bool), AskErrorKind> {
        let Errand { to, peer, .. } = errand;
        match to.carrier {
            Carrier::Quic => self.quic_stream(peer, to.address).await,
            Carrier::Tcp => {
                let idle = || peer.take_idle(to.address, self.settings.idle_timeout);
                if let Some(framed) = may_be_stale.then(idle).flatten() {
                    return Ok((framed, false));
                }
                let (mut framed, _) = self.dial_tcp(to.address, Some(to.id)).await?;
                peer.counters.connects.add(1);
                // The question follows at once: a round trip less.
                self.reception.put_hello(&mut framed);
                Ok((framed, true))
            }
        }
    }

    async fn exchange(
        &self,
        framed: &mut Framed,
        errand: &Errand<'_>,
        is_fresh: bool,
    ) -> Result<Frame, AskErrorKind> {
        framed.put_made(&errand.question);
        framed.flush(errand.within).await?;
        framed.finish();
        if is_fresh && framed.is_connection() {
            self.hear_hello(framed, errand.to.id, errand.to.address).await?;
        }
        framed.next(Expect::Answer).await?.ok_or(AskErrorKind::Broken)
    }

    async fn hear_hello(
        &self,
        framed: &mut Framed,
        id: NodeId,
        address: SocketAddr,
    ) -> Result<(), AskErrorKind> {
        let first = framed.next(Expect::Hello).await;
        let welcome = self.reception.welcome(first, id, address);
        welcome.map(drop).map_err(|why| AskErrorKind::NotAdmitted(why.to_string()))
    }

    /// Counts a failure and tells of it.
    pub(super) fn failed(&self, peer: &PeerEntry, kind: AskErrorKind) -> AskError {
        peer.counters.failed(&kind);
        if let AskErrorKind::NotAdmitted(why) = &kind {
            tracing::warn!(node = %peer.id, %why, "no connection is had to a peer");
        }
        self.doors.report(peer.id, Err(kind.clone()));
        kind.of(peer.id)
    }
}

fn make<M: Message>(kind: Kind, question: &M) -> Result<Bytes, AskErrorKind> {
    frame::frame(kind, question).map_err(|error| AskErrorKind::Protocol(format!("the question is {error}")))
}
