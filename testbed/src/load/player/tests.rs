use std::{
    convert::Infallible,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{
    load::{arrivals::poisson, report::Percentiles, tally::Counts},
    origin::Origin,
    press::Host,
};

type Reply = Response<Full<Bytes>>;

/// No test waits longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server whose answers are what a test says of the `n`th request, from 1.
async fn server<F>(answer: F) -> SocketAddr
where
    F: Fn(u64, Request<Incoming>) -> BoxFuture<'static, Reply> + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let (answer, number) = (Arc::new(answer), Arc::new(AtomicU64::new(0)));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let (answer, number) = (Arc::clone(&answer), Arc::clone(&number));
            let service = service_fn(move |request| {
                let reply = answer(number.fetch_add(1, Relaxed) + 1, request);
                async move { Ok::<_, Infallible>(reply.await) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
        }
    });
    to
}

fn reply(status: u16, cache: &str, body: &'static [u8]) -> Reply {
    let status = StatusCode::from_u16(status).unwrap();
    let reply = Response::builder().status(status).header("cache-status", cache);
    reply.body(Full::new(Bytes::from_static(body))).unwrap()
}

async fn good() -> SocketAddr {
    server(|_, _| Box::pin(async { reply(200, "lon-1; hit", b"good") })).await
}

/// Nobody listens there.
fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn settings(to: &[SocketAddr]) -> Settings {
    Settings {
        nodes: to.iter().map(|to| Node { name: to.to_string(), to: *to }).collect(),
        known: None,
        spread: Spread::RoundRobin,
        host: "site.test".to_owned(),
        moves_max: 0,
        timeout: Duration::from_secs(30),
        in_flight_max: 500,
        body_bytes_max: 1 << 20,
        warm: Duration::ZERO,
        end: None,
        requests_max: None,
    }
}

fn wanted(what: What) -> Wanted {
    Wanted { logged_s: None, client: 5, method: Method::GET, what, range: None, protocol: Protocol::H1 }
}

/// So many requests for a path, this long apart.
fn every(gap: Duration, number: u32) -> impl Iterator<Item = anyhow::Result<Due>> + Send {
    (0..number).map(move |number| Ok((gap * number, wanted(What::Path("/x".to_owned())))))
}

async fn played(
    settings: Settings,
    arrivals: impl Iterator<Item = anyhow::Result<Due>> + Send + 'static,
) -> (Counts, Played) {
    let tally = Arc::new(Tally::new(settings.nodes.len()));
    let (began, _is_begun) = oneshot::channel();
    let stop = CancellationToken::new();
    let played = play(settings, Box::new(arrivals), Arc::clone(&tally), stop, began).await.unwrap();
    let counts = tally.counts();
    assert_eq!(counts.due, counts.answered().0 + counts.failed(), "nothing is lost");
    (counts, played)
}

fn failures(counts: &Counts) -> Vec<(Failure, u64)> {
    counts.failures.iter().map(|(failure, number)| (*failure, *number)).collect()
}

/// A measurement that waits for each answer before it sends the next request meets a stall once: 1 of 300 here.
/// Clients who do not know of each other meet it for as long as it lasts.
#[tokio::test(flavor = "multi_thread")]
async fn a_stall_is_seen_by_all_who_would_have_come_meanwhile() {
    const STALL: Duration = Duration::from_millis(800);
    let stalled_at = Arc::new(parking_lot::Mutex::new(None::<Instant>));
    let to = server(move |number, _| {
        let stalled_at = Arc::clone(&stalled_at);
        Box::pin(async move {
            if number == 100 {
                *stalled_at.lock() = Some(Instant::now());
            }
            let until = stalled_at.lock().map(|at| at + STALL);
            if let Some(until) = until {
                tokio::time::sleep_until(tokio::time::Instant::from_std(until)).await;
            }
            reply(200, "lon-1; hit", b"good")
        })
    })
    .await;
    // All 200 that are due after the 100th are due within 400 ms of it, so each waits for 400 ms or longer.
    let (counts, _) = played(settings(&[to]), every(Duration::from_millis(2), 300)).await;
    let whole = Percentiles::of(&counts.whole);
    assert_eq!(counts.answered().0, 300);
    assert!(whole.p50 >= 400_000 && whole.p90 >= whole.p50, "{whole:?}");
    assert!(whole.max >= 799_000, "{whole:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_is_lost_before_sending_counts() {
    let to = good().await;
    // Reading stops for a while: what was due meanwhile is sent late, and its latency says so.
    let late = every(Duration::from_millis(1), 100).inspect(|item| {
        if item.as_ref().is_ok_and(|(at, _)| at.as_millis() == 50) {
            thread::sleep(Duration::from_millis(600));
        }
    });
    let (counts, _) = played(settings(&[to]), late).await;
    let (whole, late) = (Percentiles::of(&counts.whole), Percentiles::of(&counts.late));
    // The clock begins 100 ms after the first was read: the 51st was due 150 ms later, and came after 600 ms.
    assert!(whole.p90 >= 300_000 && late.p90 >= 300_000, "{whole:?} {late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_place_is_counted_and_not_sent() {
    let gate = Arc::new(Semaphore::new(0));
    let opens = Arc::clone(&gate);
    let to = server(move |_, _| {
        let gate = Arc::clone(&gate);
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            reply(200, "", b"good")
        })
    })
    .await;
    let settings = Settings { in_flight_max: 5, ..settings(&[to]) };
    let tally = Arc::new(Tally::new(1));
    let (began, _is_begun) = oneshot::channel();
    let arrivals = Box::new(every(Duration::from_millis(1), 100));
    let playing = play(settings, arrivals, Arc::clone(&tally), CancellationToken::new(), began);
    let opening = async {
        while tally.counts().failed() < 95 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        opens.add_permits(5);
    };
    let both = async { tokio::join!(playing, opening) };
    let (played, ()) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert!(!played.unwrap().is_interrupted);
    let counts = tally.counts();
    assert_eq!((counts.due, counts.answered().0), (100, 5));
    assert_eq!(failures(&counts), [(Failure::Overload, 95)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_nobody_asks_another_if_it_may() {
    let (here, gone) = (good().await, nobody());
    let (counts, _) = played(settings(&[here, gone]), every(Duration::from_millis(1), 40)).await;
    assert_eq!((failures(&counts), counts.moves), (vec![(Failure::Connect, 20)], 0));
    assert_eq!((counts.nodes[0].failures, counts.nodes[1].failures), (0, 20));
    let moving = Settings { moves_max: 2, ..settings(&[here, gone, nobody()]) };
    let (counts, _) = played(moving, every(Duration::from_millis(1), 30)).await;
    assert_eq!((failures(&counts), counts.moved, counts.moves), (vec![], 20, 30));
    assert_eq!(counts.nodes[0].moved_here, 20);
    let nowhere = Settings { moves_max: 2, ..settings(&[gone]) };
    let (counts, _) = played(nowhere, every(Duration::from_millis(1), 10)).await;
    assert_eq!((failures(&counts), counts.moves), (vec![(Failure::Connect, 10)], 0));
}

/// Promises ten bytes, sends four, and leaves.
async fn leaver() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 1_024];
            if connection.read(&mut request).await.is_ok() {
                let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
            }
        }
    });
    to
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_left_midway_asks_another_if_it_may() {
    let (here, leaver) = (good().await, leaver().await);
    let (counts, _) = played(settings(&[leaver]), every(Duration::from_millis(1), 10)).await;
    assert_eq!(failures(&counts), [(Failure::Broken, 10)]);
    let moving = Settings { moves_max: 2, ..settings(&[leaver, here]) };
    let (counts, _) = played(moving, every(Duration::from_millis(1), 20)).await;
    assert_eq!((failures(&counts), counts.moved), (vec![], 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_bad_statuses_are_told_apart() {
    let to = server(|number, _| {
        Box::pin(async move {
            match number % 4 {
                0 => std::future::pending().await,
                1 => reply(404, "lon-1; fwd=uri-miss", b""),
                2 => reply(503, "lon-1; detail=busy", b""),
                _ => reply(200, "lon-2; hit, lon-1; fwd=uri-miss", b"good"),
            }
        })
    })
    .await;
    let settings = Settings { timeout: Duration::from_millis(500), ..settings(&[to]) };
    let (counts, _) = played(settings, every(Duration::from_millis(1), 20)).await;
    let expected = [(Failure::Timeout, 5), (Failure::Status4xx, 5), (Failure::Status5xx, 5)];
    assert_eq!(failures(&counts), expected);
    let owner = &counts.tiers[Tier::Owner as usize];
    assert_eq!((owner.requests, owner.bytes), (5, 20));
    assert!(counts.first_failures[&Failure::Status5xx].contains("lon-1; detail=busy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_warm_up_is_left_out() {
    let to = good().await;
    let settings = Settings { warm: Duration::from_millis(50), ..settings(&[to]) };
    let (counts, _) = played(settings, every(Duration::from_millis(5), 30)).await;
    assert_eq!((counts.warm, counts.due, counts.whole.len()), (10, 20, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_a_number_and_a_torn_file_end_it() {
    let to = good().await;
    let forever = || every(Duration::from_millis(1), 1_000_000);
    let ended = Settings { end: Some(Duration::from_millis(49)), ..settings(&[to]) };
    assert_eq!(played(ended, forever()).await.0.due, 50);
    let few = Settings { requests_max: Some(7), ..settings(&[to]) };
    assert_eq!(played(few, forever()).await.0.due, 7);
    let torn = every(Duration::from_millis(1), 5).chain([Err(anyhow::anyhow!("torn"))]);
    let (counts, played) = played(settings(&[to]), torn.chain(forever())).await;
    assert_eq!((counts.due, played.torn.unwrap().to_string()), (5, "torn".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stopped_tells_what_there_was_until_then() {
    let held = server(|_, _| Box::pin(std::future::pending())).await;
    let settings = settings(&[good().await, held]);
    let tally = Arc::new(Tally::new(2));
    let stop = CancellationToken::new();
    let (began, _is_begun) = oneshot::channel();
    let arrivals = Box::new(every(Duration::from_millis(1), 40).chain(std::iter::from_fn(|| {
        thread::sleep(Duration::from_millis(50));
        Some(Ok((Duration::from_secs(3_600), wanted(What::Path("/never".to_owned())))))
    })));
    let playing = play(settings, arrivals, Arc::clone(&tally), stop.clone(), began);
    let stopping = async {
        while tally.counts().answered().0 < 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(playing, stopping) };
    let (played, ()) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    let counts = tally.counts();
    assert!(played.unwrap().is_interrupted);
    assert_eq!((counts.due, counts.answered().0), (40, 20));
    assert_eq!(failures(&counts), [(Failure::Unfinished, 20)]);
}

/// Hands on what the press answers, but for one byte if that is what a test wants.
async fn through(
    press: SocketAddr,
    flip: Option<usize>,
    field: Option<(&'static str, &'static str)>,
) -> SocketAddr {
    let client = Client::new(Duration::from_secs(10), 1 << 20);
    server(move |_, request| {
        let client = client.clone();
        Box::pin(async move {
            let target = request.uri().path_and_query().unwrap().to_string();
            let mut ask = Ask::get(press, Host::Available.name(), &target);
            ask.method = request.method().clone();
            if let Some(range) = request.headers().get("range") {
                ask = ask.field("range", range.to_str().unwrap());
            }
            let answer = client.ask(&ask).await.unwrap();
            let mut body = answer.body.to_vec();
            if let Some(at) = flip {
                body[at] ^= 1;
            }
            let mut reply = Response::new(Full::new(Bytes::from(body)));
            *reply.status_mut() = answer.status;
            for name in ["content-range", "x-edition"] {
                if let Some(value) = answer.headers.get(name) {
                    reply.headers_mut().insert(name, value.clone());
                }
            }
            if let Some((name, value)) = field {
                reply.headers_mut().insert(name, value.parse().unwrap());
            }
            reply
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_body_of_the_press_is_checked() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let origin = Origin::start(crate::origin::Settings { listen, ..Default::default() }).await.unwrap();
    let object = Object { host: Host::Available, group: 3, name: 4, bytes: 5_000 };
    let asks = |method: Method, range| {
        let item = Wanted { method, range, ..wanted(What::Object(object.clone())) };
        (0..4_u32).map(move |number| Ok((Duration::from_millis(1) * number, item.clone())))
    };
    let whole_and_part = || asks(Method::GET, None).chain(asks(Method::GET, Some((100, 2_000))));
    let (counts, _) = played(settings(&[through(origin.addr(), None, None).await]), whole_and_part()).await;
    assert_eq!((failures(&counts), counts.answered()), (vec![], (8, 4 * 5_000 + 4 * 1_900)));
    let head = played(settings(&[origin.addr()]), asks(Method::HEAD, None)).await.0;
    assert_eq!(head.answered(), (4, 0));
    for (flip, field) in
        [(Some(1_899), None), (None, Some(("x-edition", "2"))), (None, Some(("x-edition", "none")))]
    {
        let bad = through(origin.addr(), flip, field).await;
        let (counts, _) = played(settings(&[bad]), whole_and_part()).await;
        assert_eq!(failures(&counts), [(Failure::Damaged, 8)], "{flip:?} {field:?}");
    }
    let elsewhere = through(origin.addr(), None, Some(("content-range", "bytes 101-2000/5000"))).await;
    let (counts, _) = played(settings(&[elsewhere]), asks(Method::GET, Some((100, 2_000)))).await;
    assert_eq!(failures(&counts), [(Failure::Damaged, 4)]);
    origin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stays_with_its_node_if_it_is_to() {
    let to = [good().await, good().await, good().await];
    let settings = Settings { spread: Spread::Client, ..settings(&to) };
    let times = poisson(1_000.0, 1).take(30);
    let arrivals = times.map(|at| Ok((at, wanted(What::Path("/x".to_owned())))));
    let (counts, _) = played(settings, arrivals).await;
    let requests: Vec<u64> = counts.nodes.iter().map(|node| node.requests).collect();
    assert_eq!(requests, [0, 0, 30], "client 5 of 3 nodes");
}
