//! Many clients that read at once, each checking its body as it comes and keeping none of it.

use std::fs;

use bytes::Bytes;
use starling_tests::{Check, Head, Node, RawConn, Request};
use tokio::task::JoinSet;

/// Clients that have read the head of their responses and none of the bodies. Dropped, they all hang up.
pub struct Crowd {
    clients: Vec<Client>,
}

struct Client {
    conn: RawConn,
    head: Head,
    check: Check,
}

/// What the clients of a crowd saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The whole body, every byte right.
    pub whole: usize,
    /// Right bytes, then a reset or a close that the framing exposes.
    pub cut: usize,
    /// Fewer (or more) bytes than the body has, framed as all of it.
    pub short: usize,
    /// Wrong bytes.
    pub wrong: usize,
    /// Another status than 200.
    pub refused: usize,
}

impl Crowd {
    /// Has `count` clients ask for the same target and waits until each has its head.
    pub async fn begin(node: &Node, target: &str, count: usize, body: Bytes) -> Self {
        Self::begin_each(node, (0..count).map(|_| (Request::get(target), body.clone()))).await
    }

    /// Has one client for each request and expected body.
    pub async fn begin_each(node: &Node, asks: impl Iterator<Item = (Request, Bytes)>) -> Self {
        let address = node.http();
        let mut begun = JoinSet::new();
        for (request, body) in asks {
            begun.spawn(async move {
                let mut conn = RawConn::connect(address).await.expect("the node accepts every client");
                let head = conn.begin(&request).await.expect("every client gets a head");
                Client { conn, head, check: Check::against(body) }
            });
        }
        Self { clients: begun.join_all().await }
    }

    /// Reads all bodies to their ends.
    pub async fn finish(self) -> Seen {
        let mut reading = JoinSet::new();
        for client in self.clients {
            reading.spawn(client.finish());
        }
        reading.join_all().await.into_iter().fold(Seen::default(), |sum, one| Seen {
            whole: sum.whole + one.whole,
            cut: sum.cut + one.cut,
            short: sum.short + one.short,
            wrong: sum.wrong + one.wrong,
            refused: sum.refused + one.refused,
        })
    }
}

impl Client {
    async fn finish(mut self) -> Seen {
        if self.head.status != 200 {
            return Seen { refused: 1, ..Seen::default() };
        }
        let check = &mut self.check;
        let ended = self.conn.read_body("GET", &self.head, |piece| check.push(piece)).await;
        match ended {
            _ if !self.check.is_prefix() => Seen { wrong: 1, ..Seen::default() },
            Ok(_) if self.check.is_whole() => Seen { whole: 1, ..Seen::default() },
            Ok(_) => Seen { short: 1, ..Seen::default() },
            Err(_) => Seen { cut: 1, ..Seen::default() },
        }
    }
}

/// Panics when this process may not open as many files as a crowd needs.
pub fn need_open_files(count: u64) {
    let limits = fs::read_to_string("/proc/self/limits").expect("Linux tells the limits of a process");
    let line =
        limits.lines().find(|line| line.starts_with("Max open files")).expect("open files are limited");
    let soft = line.split_whitespace().nth(3).and_then(|number| number.parse().ok()).unwrap_or(u64::MAX);
    assert!(soft >= count, "a crowd needs {count} open files and {soft} are allowed: ulimit -n {count}");
}
