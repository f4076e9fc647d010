//! How a front ends: nothing new, nothing cut that can finish in time.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{limits, read_until, run};
use crate::front::{Drained, settings::Limits};

#[tokio::test]
async fn a_drain_closes_idle_connections_and_finishes_requests() {
    let front = run(limits()).await;
    let mut fresh = front.connect().await;
    let mut idle = front.connect().await;
    idle.write_all(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut idle, "/1\n").await;
    let mut busy = front.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    front.seen.waiting.notified().await;

    front.stop.cancel();
    assert_eq!(fresh.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
    front.seen.answer.notify_one();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("waited"), "{answer:?}");
    drop((fresh, idle, busy));
    let drained = front.ended.await.unwrap();
    assert_eq!(drained.aborted, 0);
    assert!(tokio::net::TcpStream::connect(front.address).await.is_err());
}

#[tokio::test]
async fn a_drain_does_not_wait_for_ever() {
    let front = run(Limits { drain_timeout: Duration::from_millis(50), ..limits() }).await;
    let mut busy = front.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    front.seen.waiting.notified().await;
    front.stop.cancel();
    assert_eq!(front.ended.await.unwrap(), Drained { finished: 0, aborted: 1 });
    assert_eq!(front.counters.connections_open.get(), 0);
}
