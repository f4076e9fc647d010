//! Objects whose right bodies can be told from their targets and heads, however often they change.

use std::{
    net::SocketAddr,
    ops::AddAssign,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use starling_tests::{Node, Reply, Request, TestOrigin, content, try_send};
use tokio::task::JoinSet;

/// The edition in which an object was sent; head and body must agree on it.
const EDITION: &str = "x-edition";

/// The node's port changes with a restart; the name it is asked by must not.
const HOST: &str = "www.example.org";

/// Numbered objects of one length. Each edition has other bodies.
pub struct Shelf {
    objects: usize,
    length: usize,
    /// Bodies are windows of these bytes, so that a shelf costs no more memory than two objects.
    base: Bytes,
    edition: Arc<AtomicU64>,
    /// Editions before this were purged.
    oldest: AtomicU64,
}

/// What reading some objects came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Right, from the cache.
    pub hits: usize,
    /// Right, from the origin.
    pub misses: usize,
    /// Framed as whole, and wrong or purged.
    pub wrong: usize,
    /// No whole answer.
    pub failed: usize,
}

impl Shelf {
    /// `objects` objects of `length` bytes.
    pub fn new(objects: usize, length: usize) -> Self {
        let base = content(objects as u64, 2 * length + 8 * objects);
        Self { objects, length, base, edition: Arc::default(), oldest: AtomicU64::new(0) }
    }

    /// From now on the origin answers with this edition.
    pub fn turn_to(&self, edition: u64) {
        self.edition.store(edition, Ordering::SeqCst);
    }

    /// From now on an older edition is a wrong answer.
    pub fn nothing_before(&self, edition: u64) {
        self.oldest.store(edition, Ordering::SeqCst);
    }

    /// The right body of an object in an edition.
    pub fn body(&self, object: usize, edition: u64) -> Bytes {
        body(&self.base, self.length, object, edition)
    }

    /// An origin that answers `/OBJECT` in the present edition.
    pub async fn origin(&self) -> TestOrigin {
        let (base, length, edition) = (self.base.clone(), self.length, self.edition.clone());
        TestOrigin::start(move |request| {
            let edition = edition.load(Ordering::SeqCst);
            match request.path().trim_start_matches('/').parse() {
                Ok(object) => {
                    let etag = format!("\"{object}-{edition}\"");
                    Reply::file(request, body(&base, length, object, edition), &etag)
                        .header(EDITION, &edition.to_string())
                }
                Err(_) => Reply::new(404),
            }
        })
        .await
    }

    /// Reads one object.
    pub async fn read(&self, node: &Node, object: usize) -> Verdict {
        self.read_at(node.http(), object).await
    }

    /// Reads one object from the node at this address.
    pub async fn read_at(&self, address: SocketAddr, object: usize) -> Verdict {
        let Ok(response) = try_send(address, Request::get(&format!("/{object}")).host(HOST)).await else {
            return Verdict { failed: 1, ..Verdict::default() };
        };
        if response.status != 200 {
            return Verdict { failed: 1, ..Verdict::default() };
        }
        let edition = response.header(EDITION).and_then(|edition| edition.parse().ok());
        let oldest = self.oldest.load(Ordering::SeqCst);
        let right =
            edition.is_some_and(|edition| edition >= oldest && response.body == self.body(object, edition));
        match (right, response.is_hit()) {
            (false, _) => Verdict { wrong: 1, ..Verdict::default() },
            (true, true) => Verdict { hits: 1, ..Verdict::default() },
            (true, false) => Verdict { misses: 1, ..Verdict::default() },
        }
    }

    /// Reads all objects, some at a time.
    pub async fn read_all(self: &Arc<Self>, node: &Node, at_a_time: usize) -> Verdict {
        let mut readers = JoinSet::new();
        let address = node.http();
        for reader in 0..at_a_time {
            let shelf = self.clone();
            readers.spawn(async move {
                let mut sum = Verdict::default();
                for object in (reader..shelf.objects).step_by(at_a_time) {
                    sum += shelf.read_at(address, object).await;
                }
                sum
            });
        }
        readers.join_all().await.into_iter().fold(Verdict::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

impl AddAssign for Verdict {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.wrong += other.wrong;
        self.failed += other.failed;
    }
}

fn body(base: &Bytes, length: usize, object: usize, edition: u64) -> Bytes {
    let shift = (edition as usize * 4099) % length;
    let from = 8 * object + shift;
    base.slice(from..from + length)
}
