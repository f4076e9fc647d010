//! Several processes that form one mesh: they find each other, share a ring, and survive each other's deaths.
//!
//! The default is sized for a small machine; the long mode runs the loops as often as the promises say
//! (`STARLING_MESH_ROUNDS` sets another number). What needs cut paths needs root, and says so where it is skipped.

mod changes;
mod collapse;
mod cuts;
mod deaths;
mod flood;
mod forming;
mod hot;
mod large;
mod strangers;
mod twelve;
mod ways;

use starling_tests::{Check, Mesh, RawConn, Response, Site, long_mode};
use tokio::sync::{Semaphore, SemaphorePermit};

const MB: usize = 1_000_000;

/// Two small meshes at a time, or one that loads the machine: each is as many processes as a small machine carries.
static MACHINE: Semaphore = Semaphore::const_new(2);

/// The machine for a test that loads it, or measures.
async fn alone() -> SemaphorePermit<'static> {
    MACHINE.acquire_many(2).await.expect("the semaphore is never closed")
}

/// A place beside another test, for one that mostly waits.
async fn beside_another() -> SemaphorePermit<'static> {
    MACHINE.acquire().await.expect("the semaphore is never closed")
}

/// How often a loop of deaths runs.
fn rounds(default: usize, long: usize) -> usize {
    let told = std::env::var("STARLING_MESH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    told.unwrap_or(if long_mode() { long } else { default })
}

/// `GET target` of the site at this node.
async fn get(mesh: &Mesh, name: &str, target: &str) -> Response {
    mesh.node(name).send(Site::get(target)).await
}

/// The caches that a response passed, the one nearest to the origin first, by `Cache-Status`.
fn hops(response: &Response) -> Vec<String> {
    let members = response.joined("cache-status");
    let name =
        |member: &str| member.split(';').next().unwrap_or_default().trim().trim_matches('"').to_owned();
    members.split(", ").map(name).filter(|name| !name.is_empty()).collect()
}

/// A long download that is read in two parts, so that something can happen in between.
struct Download {
    conn: RawConn,
    check: Check,
    left: u64,
    node: String,
}

impl Download {
    /// Asks the node for `target` and reads its first `bytes`.
    async fn begin(mesh: &Mesh, node: &str, site: &Site, target: &str, bytes: usize) -> Self {
        let mut conn = mesh.node(node).connect().await;
        let head = conn.begin(&Site::get(target)).await.expect("the head comes");
        assert_eq!(head.status, 200, "{node}: {:?}", head.headers);
        let expected = site.body(target).expect("the site has it");
        assert_eq!(head.header("content-length"), Some(expected.len().to_string().as_str()));
        let left = (expected.len() - bytes) as u64;
        let mut check = Check::against(expected);
        let begun = conn.read_exactly(bytes as u64, &mut |piece: &[u8]| check.push(piece)).await;
        begun.unwrap_or_else(|error| panic!("the first part at {node}: {error}"));
        Self { conn, check, left, node: node.to_owned() }
    }

    /// Reads the rest; panics unless it is whole and right.
    async fn finish(mut self) {
        let check = &mut self.check;
        let read = self.conn.read_exactly(self.left, &mut |piece: &[u8]| check.push(piece)).await;
        let verdict = self.check.verdict();
        assert!(read.is_ok() && self.check.is_whole(), "the download at {}: {verdict}, {read:?}", self.node);
    }
}
