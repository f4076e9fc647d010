//! The language of the mesh tests is tested itself: loads against origins that lie, cuts against plain sockets.

use std::{net::SocketAddr, time::Duration};

use starling_tests::{Load, Received, Reply, Site, TestOrigin, netns::Net, until};
use tokio::{net::UdpSocket, process::Command, time::timeout};

/// Requests after which every lie of an origin has been told.
const REQUESTS: usize = 60;

/// What an origin of a site answers instead of the truth.
type Lie = fn(&Site, &Received) -> Reply;

async fn failures(handler: impl Fn(&Site, &Received) -> Reply + Send + Sync + 'static) -> Vec<String> {
    let site = Site::new(0);
    let served = site.clone();
    let origin = TestOrigin::start(move |request| handler(&served, request)).await;
    let load = Load::begin(&site, origin.address(), 500);
    load.goes_on(REQUESTS).await;
    let tally = load.finish().await;
    assert_eq!(tally.asked.values().sum::<usize>(), tally.whole + tally.failures.len());
    tally.failures
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_finds_nothing_wrong_with_an_honest_origin() {
    assert!(failures(Site::reply).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_sees_a_cut_a_lie_and_a_refusal() {
    let lies: [(&str, Lie); 5] = [
        ("cut after", |site, request| site.reply(request).die_after(500)),
        ("framed as whole", |_, _| Reply::cacheable(vec![0; 1024])),
        ("framed as whole", |site, request| {
            let body = site.body(request.path()).expect("the load asks for what there is");
            Reply::cacheable(body.slice(..body.len() - 1))
        }),
        ("status 503", |_, _| Reply::new(503)),
        ("no head", |_, _| Reply::drop_connection()),
    ];
    for (word, lie) in lies {
        let failures = failures(lie).await;
        assert!(failures.len() >= REQUESTS, "{word}: {}", failures.len());
        assert!(failures.iter().all(|failure| failure.contains(word)), "{word}: {}", failures[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_target_of_a_site_has_its_own_body() {
    let site = Site::new(5_000_000);
    let lengths = [("/1k/1", 1 << 10), ("/plain/1", 1 << 10), ("/1m/1", 1 << 20), ("/big/1", 5_000_000)];
    for (target, length) in lengths {
        assert_eq!(site.body(target).map(|body| body.len()), Some(length), "{target}");
    }
    assert_ne!(site.body("/1k/1"), site.body("/1k/2"));
    assert_ne!(site.body("/1k/1"), site.body("/plain/1"));
    assert!(site.body("/nothing/1").is_none() && site.body("/1k/x").is_none());
}

/// Runs a line of shell in a namespace; whether it succeeded within a second.
async fn succeeds_in(namespace: &str, line: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "bash", "-c", line]).kill_on_drop(true);
    command.stderr(std::process::Stdio::null());
    let status = timeout(Duration::from_secs(1), command.status()).await;
    status.is_ok_and(|status| status.is_ok_and(|status| status.success()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_is_one_way_and_a_network_leaves_nothing_behind() {
    let net = match Net::new() {
        Ok(net) => net,
        Err(why) => return println!("a network of namespaces: {why}"),
    };
    let place = net.place("a");
    let other = net.place("b");
    assert_ne!(place.address, other.address);
    let origin = TestOrigin::start_at(SocketAddr::new(net.host(), 0), |_| Reply::new(200)).await;
    let socket = UdpSocket::bind(SocketAddr::new(net.host(), 0)).await.expect("the host has its address");
    let port = socket.local_addr().expect("it is bound").port();
    let connect = format!("exec 3<>/dev/tcp/{}/{}", net.host(), origin.address().port());
    let speak = format!("echo -n hello > /dev/udp/{}/{port}", net.host());
    assert!(succeeds_in(&place.namespace, &connect).await, "a node reaches the origin");

    // The answers to the node are cut: it cannot connect, and is still heard.
    net.cut(net.host(), place.address);
    assert!(!succeeds_in(&place.namespace, &connect).await, "the origin's answers still arrive");
    assert!(succeeds_in(&place.namespace, &speak).await);
    let mut heard = [0; 16];
    let count = timeout(starling_tests::PATIENCE, socket.recv(&mut heard)).await.expect("it is heard");
    assert_eq!(&heard[..count.expect("a datagram comes")], b"hello");
    assert!(succeeds_in(&other.namespace, &connect).await, "the other node is not cut off");
    net.heal();
    assert!(succeeds_in(&place.namespace, &connect).await, "a healed path carries again");

    // What the node says is cut: nobody tells it, and it is not heard before the path is healed.
    net.cut(place.address, net.host());
    assert!(
        succeeds_in(&place.namespace, &format!("{speak}; echo -n lost > /dev/udp/{}/{port}", net.host()))
            .await
    );
    net.heal();
    assert!(succeeds_in(&place.namespace, &speak.replace("hello", "again")).await);
    let count = timeout(starling_tests::PATIENCE, socket.recv(&mut heard)).await.expect("it is heard");
    assert_eq!(&heard[..count.expect("a datagram comes")], b"again", "what was cut arrived after all");

    drop(net);
    until("the namespaces are gone", async || {
        let list =
            Command::new("ip").args(["netns", "list"]).output().await.map_err(|error| error.to_string())?;
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        if list.contains(&place.namespace) { Err(list) } else { Ok(()) }
    })
    .await;
}
