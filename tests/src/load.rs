//! Clients that go on asking, and check every body: what a mesh must serve while its nodes come and go.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::AddAssign,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{Check, PATIENCE, RawConn, Received, Reply, Request, TestOrigin, content};

/// Connections that each load keeps.
const CLIENTS: u64 = 4;

/// Objects whose bodies follow from their targets.
///
/// | target | what it is |
/// | --- | --- |
/// | `/1k/N` | 1 KiB with a strong ETag |
/// | `/plain/N` | 1 KiB without any validator |
/// | `/1m/N` | 1 MiB with a strong ETag |
/// | `/big/N` | as long as the site was told, with a strong ETag |
#[derive(Clone)]
pub struct Site {
    base: Bytes,
    big_bytes: usize,
}

impl Site {
    /// The host that all requests name, so that all nodes mean the same object.
    pub const HOST: &str = "www.example.org";

    /// A site whose `/big/N` is this long.
    pub fn new(big_bytes: usize) -> Self {
        Self { base: content(77, (3 << 20).max(big_bytes + (1 << 20))), big_bytes }
    }

    /// The whole URL of a target.
    pub fn url(target: &str) -> String {
        format!("http://{}{target}", Self::HOST)
    }

    /// `GET target` of this site.
    pub fn get(target: &str) -> Request {
        Request::get(target).host(Self::HOST)
    }

    /// The right body of a target.
    pub fn body(&self, target: &str) -> Option<Bytes> {
        let (kind, number) = target.trim_start_matches('/').split_once('/')?;
        let number: usize = number.parse().ok()?;
        let (shift, length) = match kind {
            "1k" => (0, 1 << 10),
            "plain" => (1, 1 << 10),
            "1m" => (2, 1 << 20),
            "big" => (3, self.big_bytes),
            _ => return None,
        };
        let from = (8 * number) % (1 << 20) + shift;
        Some(self.base.slice(from..from + length))
    }

    /// How the origin answers.
    pub fn reply(&self, request: &Received) -> Reply {
        match self.body(request.path()) {
            Some(body) if request.path().starts_with("/plain/") => Reply::cacheable(body),
            Some(body) => Reply::file(request, body, &format!("\"{}\"", request.path())),
            None => Reply::new(404),
        }
    }

    /// An origin of this site.
    pub async fn origin(&self) -> TestOrigin {
        let site = self.clone();
        TestOrigin::start(move |request| site.reply(request)).await
    }
}

/// What the clients of a load saw.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests that were answered as they should be.
    pub whole: usize,
    /// Of these, how many the node that was asked says it had stored.
    pub hits: usize,
    /// What happened to the others.
    pub failures: Vec<String>,
    /// How long the slowest took.
    pub slowest: Duration,
    /// The requests of each target.
    pub asked: BTreeMap<String, usize>,
}

impl Tally {
    /// Panics unless all requests were answered as they should be.
    #[track_caller]
    pub fn expect_whole(&self) {
        let shown: Vec<&String> = self.failures.iter().take(10).collect();
        let all = self.whole + self.failures.len();
        assert!(self.failures.is_empty(), "{} of {all} requests failed: {shown:#?}", self.failures.len());
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.whole += other.whole;
        self.hits += other.hits;
        self.failures.extend(other.failures);
        self.slowest = self.slowest.max(other.slowest);
        for (target, count) in other.asked {
            *self.asked.entry(target).or_default() += count;
        }
    }
}

/// Clients at one node, who ask at a steady rate until the load is finished.
pub struct Load {
    clients: JoinSet<Tally>,
    stop: watch::Sender<bool>,
    made: watch::Sender<usize>,
}

/// Which targets a load asks for: one for each number, as the number wills.
pub type Choice = fn(u64) -> String;

impl Load {
    /// Has clients ask the node at `address` for a mix of small and large objects, old and new, `per_second` together.
    pub fn begin(site: &Site, address: SocketAddr, per_second: u64) -> Self {
        Self::begin_with(site, address, per_second, mixed)
    }

    /// The same for targets of the test's own choice.
    pub fn begin_with(site: &Site, address: SocketAddr, per_second: u64, choose: Choice) -> Self {
        let (stop, made) = (watch::Sender::new(false), watch::Sender::new(0));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let seed = u64::from(address.port()) * CLIENTS + number;
            let client = Client { site: site.clone(), address, seed, choose, conn: None };
            clients.spawn(client.run(per_second, stop.subscribe(), made.clone()));
        }
        Self { clients, stop, made }
    }

    /// Waits until this many more requests were answered, rightly or not.
    pub async fn goes_on(&self, requests: usize) {
        let mut changed = self.made.subscribe();
        let until = *changed.borrow_and_update() + requests;
        let waited = timeout(2 * PATIENCE, changed.wait_for(|made| *made >= until)).await;
        assert!(waited.is_ok(), "the load came to a stand at {} of {until} requests", *self.made.borrow());
    }

    /// Ends it, after the requests under way.
    pub async fn finish(self) -> Tally {
        self.stop.send_replace(true);
        self.clients.join_all().await.into_iter().fold(Tally::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

/// Seven small with a validator, two small without, one large; half of them from a few that are asked for often.
fn mixed(random: u64) -> String {
    let often = random.is_multiple_of(2);
    match (random >> 8) % 10 {
        0 => format!("/1m/{}", (random >> 16) % if often { 10 } else { 1_000 }),
        1 | 2 => format!("/plain/{}", (random >> 16) % if often { 50 } else { 100_000 }),
        _ => format!("/1k/{}", (random >> 16) % if often { 50 } else { 100_000 }),
    }
}

struct Client {
    site: Site,
    address: SocketAddr,
    seed: u64,
    choose: Choice,
    conn: Option<RawConn>,
}

impl Client {
    async fn run(
        mut self,
        per_second: u64,
        stop: watch::Receiver<bool>,
        made: watch::Sender<usize>,
    ) -> Tally {
        let mut tally = Tally::default();
        let mut pace = interval(Duration::from_micros(CLIENTS * 1_000_000 / per_second.max(1)));
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut state = self.seed;
        while !*stop.borrow() {
            pace.tick().await;
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let target = (self.choose)(state >> 20);
            let begun = Instant::now();
            match self.ask(&target).await {
                Ok(hit) => {
                    tally.whole += 1;
                    tally.hits += usize::from(hit);
                }
                Err(failure) => {
                    self.conn = None;
                    let after = begun.elapsed();
                    tally.failures.push(format!("{target} of {} after {after:?}: {failure}", self.address));
                }
            }
            tally.slowest = tally.slowest.max(begun.elapsed());
            *tally.asked.entry(target).or_default() += 1;
            made.send_modify(|made| *made += 1);
        }
        tally
    }

    /// One request; `Ok` only for a whole and right body.
    async fn ask(&mut self, target: &str) -> Result<bool, String> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => {
                let conn =
                    RawConn::connect(self.address).await.map_err(|error| format!("connect: {error}"))?;
                none.insert(conn)
            }
        };
        let head = conn.begin(&Site::get(target)).await.map_err(|error| format!("no head: {error}"))?;
        let status = head.joined("cache-status");
        let expected = self.site.body(target).ok_or("the load asks for what its site has not")?;
        let mut check = Check::against(expected);
        let read = conn.read_body("GET", &head, |piece| check.push(piece)).await;
        if head.status != 200 {
            return Err(format!("status {} ({status})", head.status));
        }
        match read {
            Ok(_) if check.is_whole() => Ok(is_hit(&status)),
            Ok(_) => Err(format!("framed as whole, but {} ({status})", check.verdict())),
            Err(cut) => Err(format!("cut after {} bytes: {} ({status})", cut.bytes, cut.why)),
        }
    }
}

/// Whether the last member, that of the node that was asked, is a hit.
fn is_hit(cache_status: &str) -> bool {
    let last = cache_status.rsplit(", ").next().unwrap_or_default();
    last.split(';').any(|parameter| parameter.trim() == "hit")
}
