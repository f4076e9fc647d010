//! The way upward: the one place where somebody else is asked for an object on behalf of a request.
//!
//! ```text
//!   plan(key, hop) ─►  owner ──► next owner ──► shield ──► next shield ──► origin     at the hop of a client
//!                        ╎ slow: hedge, stored only ╎
//!                      previous owner, stored only ──► shield ──► next ──► origin   at the hop of the owner
//!                      origin                                                       at the hop of the shield
//! ```
//!
//! A way that fails, refuses, is silent too long, or gives what is older than a purge or a change known here,
//! is left for the next; the last is the origin, and its failure is the failure of all. Where there is no
//! mesh the origin is the only way. What may be answered from a cache, be it a miss, a validation, a range or a
//! HEAD, goes this way; so the origin hears of it from the shield alone, as long as one can be reached.
//!
//! The stamp of what the origin gives is taken right before it is asked; what a peer gives carries its own. So
//! whoever stores an answer checks it against the purge table after, and promise P1 holds on every way.

mod peers;
mod question;
mod reply;

use std::{pin::pin, sync::Arc, time::Duration};

use starling_proto::{
    NodeId,
    cache::tags,
    members::View,
    purge::{Purged, Stamp, Subject, Versions},
    ring::{self, Hop, Way},
    wire::{self, Refusal},
};

pub use self::{
    peers::{PeerAnswer, PeerBody, Peers, Taken},
    question::{Asker, Question, range_cut, wire_fields},
    reply::{Reply, ReplyBody, Upper},
};
use super::{Shared, mesh::Mesh, service::Service, ways::WayKind};
use crate::{
    link::{AskError, AskErrorKind, Peer},
    origin::FetchError,
};

/// An answer from what is stored comes at once, or the peer is in trouble.
const STORED_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The ways that are left to one object, or to the shard of it that holds one byte.
#[derive(Clone)]
pub struct Upward {
    shared: Arc<Shared>,
    service: Arc<Service>,
    asker: Asker,
    /// What purges see of the object.
    url: String,
    key: starling_proto::Key,
    view: Option<Arc<View>>,
    hop: Hop,
    /// The best first; without any, the origin is asked.
    ways: Vec<Way>,
    /// The end of the shard that is asked for; `u64::MAX` where objects are not cut.
    shard_end: u64,
    failed: bool,
}

/// Why a way led nowhere.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("no head in time")]
    TooSlow,
    #[error("the node is not known any more")]
    Unknown,
    #[error("its answer is older than a purge or a change known here")]
    Outdated,
    #[error("its answer makes no sense: {0}")]
    Nonsense(&'static str),
}

impl Trouble {
    /// Whether the peer did what it could, and its origin failed it.
    fn is_of_origin(&self) -> bool {
        matches!(self, Self::Ask(AskError { kind: AskErrorKind::Refused(Refusal::Failed(_)), .. }))
    }
}

impl Upward {
    /// The ways to the byte at `at` of an object, for who asks.
    pub fn new(shared: &Arc<Shared>, service: &Arc<Service>, asker: &Asker, wanted: Wanted<'_>) -> Self {
        let Wanted { key, url, at } = wanted;
        let mut upward = Self {
            shared: Arc::clone(shared),
            service: Arc::clone(service),
            asker: asker.clone(),
            url: url.to_owned(),
            key,
            view: None,
            hop: asker.hop.max(Hop::Owner),
            ways: Vec::new(),
            shard_end: u64::MAX,
            failed: false,
        };
        if let Some(mesh) = &shared.mesh {
            if asker.trace == 0 {
                upward.asker.trace = rand::random();
            }
            let view = mesh.view();
            let shard_bytes = mesh.settings.shard_bytes;
            let shard = at.checked_div(shard_bytes).unwrap_or_default();
            let mut plan = mesh.plan(&view, service, ring::shard_key(key, shard), asker.hop);
            // It would not ask for what it has.
            plan.ways.retain(|way| !matches!(way, Way::Previous(node) if asker.node == Some(*node)));
            if shard_bytes > 0 {
                upward.shard_end = (shard + 1).saturating_mul(shard_bytes);
            }
            (upward.hop, upward.ways, upward.view) = (plan.hop, plan.ways, Some(view));
        }
        upward
    }

    /// The hop reached here: who waits for this stands no higher.
    pub fn hop(&self) -> Hop {
        self.hop
    }

    /// The end of the shard that is asked for.
    pub fn shard_end(&self) -> u64 {
        self.shard_end
    }

    /// The lowest hop that may come to give the bytes.
    pub fn fed_by(&self) -> Hop {
        self.ways.iter().map(|way| hop_of(*way)).min().unwrap_or(Hop::Origin)
    }

    /// Leaves the ways of the lowest hop.
    pub fn go_higher(&mut self) {
        let lowest = self.fed_by();
        self.ways.retain(|way| hop_of(*way) > lowest);
    }

    /// Leaves all ways but the origin.
    pub fn go_to_origin(&mut self) {
        self.ways.clear();
    }

    /// The same, and has the origin asked for all that is wanted, whosever shard it is.
    pub fn go_whole(&mut self) {
        self.go_to_origin();
        self.shard_end = u64::MAX;
    }

    /// The last answer was of no use: the next question goes the next way.
    pub fn leave(&mut self) {
        if !self.ways.is_empty() {
            self.ways.remove(0);
        }
        self.failed = true;
    }

    /// Asks, one way after the other. The way that answered is asked again by the next question, unless it is
    /// [left](Self::leave).
    pub async fn ask(&mut self, question: &Question<'_>) -> Result<Reply, FetchError> {
        let shared = Arc::clone(&self.shared);
        if let Some(mesh) = &shared.mesh {
            while let Some(way) = self.ways.first().copied().filter(|way| *way != Way::Origin) {
                self.count_failover(mesh);
                match self.ask_peer(mesh, way, question).await {
                    Ok(reply) => return Ok(reply),
                    Err(trouble) => {
                        tracing::debug!(%trouble, ?way, url = %self.url, trace = self.asker.trace, "a way led nowhere");
                        self.leave();
                        match way {
                            // The shield may be there though the owner cannot reach it.
                            Way::Owner(_) if trouble.is_of_origin() => {
                                self.ways.retain(|way| !matches!(way, Way::Owner(_)));
                            }
                            // Another one would ask the same origin.
                            _ if trouble.is_of_origin() => self.go_to_origin(),
                            _ => {}
                        }
                    }
                }
            }
            self.count_failover(mesh);
        }
        self.ask_origin(question).await
    }

    fn count_failover(&mut self, mesh: &Mesh) {
        if std::mem::take(&mut self.failed) {
            mesh.tallies.failed_over();
        }
    }

    async fn ask_origin(&self, question: &Question<'_>) -> Result<Reply, FetchError> {
        let tallies = self.shared.mesh.as_ref().map(|mesh| &mesh.tallies);
        if let Some(tallies) = tallies {
            tallies.asked(WayKind::Origin);
        }
        // Before the origin is asked, so that no purge that comes after is taken for one that came before.
        let stamp = self.asker.stamped(self.shared.store.stamp());
        let request_ms = self.shared.clock.now_ms();
        let fetched = self.service.pool.fetch(question.forward.request(question.interim.clone())).await;
        if let Some(tallies) = tallies {
            if fetched.is_ok() { tallies.answered(WayKind::Origin) } else { tallies.failed(WayKind::Origin) }
        }
        Ok(Reply::of_origin(fetched?, stamp, request_ms, self.shared.clock.now_ms()))
    }

    async fn ask_peer(&self, mesh: &Mesh, way: Way, question: &Question<'_>) -> Result<Reply, Trouble> {
        match way {
            Way::Owner(node) => self.ask_first(mesh, WayKind::Owner, node, question).await,
            Way::Shield(node) => self.ask_first(mesh, WayKind::Shield, node, question).await,
            Way::Previous(node) => self.ask_stored(mesh, WayKind::Previous, node, question).await,
            Way::Origin => Err(Trouble::Unknown),
        }
    }

    /// Asks an owner or a shield; if it does not take the question on soon, the next is asked beside it for what
    /// it has.
    async fn ask_first(
        &self,
        mesh: &Mesh,
        kind: WayKind,
        node: NodeId,
        question: &Question<'_>,
    ) -> Result<Reply, Trouble> {
        let sent_ms = self.shared.clock.now_ms();
        mesh.tallies.asked(kind);
        let asked = async {
            let fetch = self.fetch(question, kind.hop(), false);
            let outcome = mesh.peers.ask(self.peer(node)?, fetch).await;
            Ok::<Taken, Trouble>(outcome?)
        };
        let mut asked = pin!(asked);
        let taken = match self.ways.get(1) {
            Some(Way::Owner(other) | Way::Shield(other)) => tokio::select! {
                biased;
                taken = &mut asked => taken,
                () = tokio::time::sleep(self.patience(mesh, node)) => {
                    return self.hedge(mesh, (kind, node), *other, question, async {
                        let taken = asked.await?;
                        self.answer(mesh, kind, (node, sent_ms), taken, question).await
                    }).await;
                }
            },
            _ => asked.await,
        };
        let answered = match taken {
            Ok(taken) => self.answer(mesh, kind, (node, sent_ms), taken, question).await,
            Err(trouble) => Err(trouble),
        };
        self.count(mesh, kind, answered)
    }

    /// Whoever of the two gives an answer first.
    async fn hedge(
        &self,
        mesh: &Mesh,
        (kind, node): (WayKind, NodeId),
        other: NodeId,
        question: &Question<'_>,
        first: impl Future<Output = Result<Reply, Trouble>>,
    ) -> Result<Reply, Trouble> {
        tracing::debug!(?node, ?other, url = %self.url, "a node is slow to take a question on");
        let mut first = pin!(first);
        let mut second = pin!(self.ask_stored(mesh, WayKind::Hedge, other, question));
        tokio::select! {
            biased;
            answered = &mut first => match self.count(mesh, kind, answered) {
                Ok(reply) => Ok(reply),
                Err(trouble) => second.await.map_err(|_| trouble),
            },
            answered = &mut second => match answered {
                Ok(reply) => Ok(reply),
                Err(_) => self.count(mesh, kind, first.await),
            },
        }
    }

    /// Asks a node for what it has. It asks nobody and waits for nobody, so this is over soon.
    async fn ask_stored(
        &self,
        mesh: &Mesh,
        kind: WayKind,
        node: NodeId,
        question: &Question<'_>,
    ) -> Result<Reply, Trouble> {
        mesh.tallies.asked(kind);
        let sent_ms = self.shared.clock.now_ms();
        let patience = match kind {
            WayKind::Previous => self.patience(mesh, node),
            _ => STORED_ANSWER_TIMEOUT,
        };
        let answered = async {
            let asked = mesh.peers.ask(self.peer(node)?, self.fetch(question, kind.hop(), true));
            let taken = tokio::time::timeout(patience, asked).await.map_err(|_| Trouble::TooSlow)??;
            let answer = self.answer(mesh, kind, (node, sent_ms), taken, question);
            tokio::time::timeout(STORED_ANSWER_TIMEOUT, answer).await.map_err(|_| Trouble::TooSlow)?
        };
        self.count(mesh, kind, answered.await)
    }

    fn count(&self, mesh: &Mesh, kind: WayKind, answered: Result<Reply, Trouble>) -> Result<Reply, Trouble> {
        match &answered {
            Ok(_) | Err(Trouble::Outdated) => mesh.tallies.answered(kind),
            Err(_) => mesh.tallies.failed(kind),
        }
        answered
    }

    /// How long a peer may take to take a question on, before somebody else is thought of. Who is far off is given
    /// the time that the way there and back takes.
    fn patience(&self, mesh: &Mesh, node: NodeId) -> Duration {
        let settings = &mesh.settings;
        let rtt_us = self.view.as_ref().and_then(|view| view.members.get(&node)?.rtt_us);
        let longest = settings.hedge_max + Duration::from_micros(rtt_us.unwrap_or_default().into());
        mesh.peers.usual_ack(node).map_or(longest, |usual| usual * 3).clamp(settings.hedge_min, longest)
    }

    fn peer(&self, node: NodeId) -> Result<Peer, Trouble> {
        self.view.as_ref().and_then(|view| Peer::of(view, node)).ok_or(Trouble::Unknown)
    }

    fn fetch(&self, question: &Question<'_>, hop: Hop, stored_only: bool) -> wire::Fetch {
        let timeout = self.shared.mesh.as_ref().map_or(Duration::ZERO, |mesh| mesh.settings.answer_timeout);
        wire::Fetch {
            request: question.wire(&self.shared),
            hop,
            stored_only,
            until: (question.may_be_cut && self.shard_end != u64::MAX).then_some(self.shard_end),
            // What the one above asks the origin for has also seen the purges of those who asked this node.
            versions: Versions::clone(&self.asker.stamped(self.shared.store.stamp())),
            deadline_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
            trace: self.asker.trace,
        }
    }

    /// What a peer that has taken the question on makes of it, if it is of use here.
    async fn answer(
        &self,
        mesh: &Mesh,
        kind: WayKind,
        (node, sent_ms): (NodeId, u64),
        taken: Taken,
        question: &Question<'_>,
    ) -> Result<Reply, Trouble> {
        let answered = tokio::time::timeout(mesh.settings.answer_timeout, taken).await;
        let answer = answered.map_err(|_| Trouble::TooSlow)??;
        let name = self.view.as_ref().map_or_else(|| "".into(), |view| view.name_of(&node).into());
        let received_ms = self.shared.clock.now_ms();
        let mut reply =
            Reply::of_peer(answer, name, kind.hop(), (sent_ms, received_ms)).map_err(Trouble::Nonsense)?;
        let is_bodiless = question.forward.method == http::Method::HEAD;
        if !is_bodiless && !reply.is_resumable() {
            mesh.tallies.held_back();
            let settings = &mesh.settings;
            reply.body.hold_back(settings.held_back_bytes, settings.held_back_for).await?;
        }
        // Last, for nothing waits between this look and the reply's use.
        if self.is_outdated(mesh, &reply) {
            mesh.tallies.unusable();
            return Err(Trouble::Outdated);
        }
        Ok(reply)
    }

    /// Whether this node knows better than the peer: a purge, or an unsafe request that went through here.
    fn is_outdated(&self, mesh: &Mesh, reply: &Reply) -> bool {
        if reply.shared().is_none() {
            return false;
        }
        let tags = tags::tags(&reply.headers);
        let subject = Subject { service: &self.service.name, url: &self.url, tags: &tags };
        self.shared.store.purged_subject(subject, &reply.stamp) != Purged::No
            || mesh.is_outdated(&self.key, reply.request_ms)
    }
}

/// The hop at which what is asked on this way may wait for others; [`Hop::Origin`] where it waits for no node.
fn hop_of(way: Way) -> Hop {
    match way {
        Way::Owner(_) => Hop::Owner,
        Way::Shield(_) => Hop::Shield,
        Way::Previous(_) | Way::Origin => Hop::Origin,
    }
}

/// Which byte of which object is wanted.
pub struct Wanted<'a> {
    /// The object.
    pub key: starling_proto::Key,
    /// What purges see of it.
    pub url: &'a str,
    /// The first byte that is wanted: it says whose shard it is.
    pub at: u64,
}

impl Asker {
    /// What is asked of the origin now has seen the purges of this node, and those of the peer that asked for
    /// it: it applied them before it asked.
    fn stamped(&self, own: Stamp) -> Stamp {
        let Some(theirs) = &self.versions else { return own };
        let mut both = Versions::clone(&own);
        for (region, theirs) in theirs.iter() {
            let ahead =
                own.get(region).is_none_or(|own| own.epoch == theirs.epoch && own.index < theirs.index);
            if ahead {
                both.set(region.clone(), theirs);
            }
        }
        if both == *own { own } else { Arc::new(both) }
    }
}

/// Why a peer gave no body, or not all of it, in a word.
fn word(error: &AskErrorKind) -> &'static str {
    match error {
        AskErrorKind::Connect => "peer-connect",
        AskErrorKind::NotAdmitted(_) => "peer-not-admitted",
        AskErrorKind::Silent => "peer-silent",
        AskErrorKind::Broken => "peer-broken",
        AskErrorKind::Refused(_) => "peer-refused",
        AskErrorKind::Protocol(_) => "peer-protocol",
        AskErrorKind::Full => "peer-full",
    }
}
