//! Those who are not let in: nothing is said to them.

use super::{
    raw::{all_of, configs, dial, endpoint, send},
    *,
};
use crate::link::{
    frame::{Kind, frame},
    quic,
    tls::Configs,
};

/// Greetings, with a question behind them, that let nobody in who holds `keypair`.
fn bad_greetings(keypair: &Keypair) -> Vec<(&'static str, Vec<u8>)> {
    let id = NodeId::of(&keypair.public()).expect("ed25519");
    let other = NodeId::of(&Keypair::generate_ed25519().public()).expect("ed25519");
    let expired = Claim { expires_ms: 1, ..claim(id) };
    let mut forged = issued(Claim { may_shield: false, ..claim(id) }, &cluster());
    forged.claim.may_shield = true;
    let tickets = [
        ("no signature", open(claim(id))),
        ("expired", issued(expired, &cluster())),
        ("another cluster's", issued(claim(id), &Keypair::generate_ed25519())),
        ("another node's", issued(claim(other), &cluster())),
        ("forged", forged),
    ];
    let question = frame(Kind::Fetch, &fetch("/")).expect("short");
    let good = frame(Kind::Hello, &hello(issued(claim(id), &cluster()), 0)).expect("short");
    let mut version = good.to_vec();
    version[5] = 99;
    let mut bad: Vec<_> = tickets
        .into_iter()
        .map(|(what, ticket)| (what, frame(Kind::Hello, &hello(ticket, 0)).expect("short").to_vec()))
        .collect();
    bad.push(("another version", version));
    bad.push(("HTTP", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()));
    bad.push(("a question first", question.to_vec()));
    bad.push(("too long", vec![Kind::Hello as u8, 0x7f, 0xff, 0xff, 0xff]));
    for (_, bytes) in &mut bad {
        bytes.extend_from_slice(&question);
    }
    bad
}

/// Configurations of this key with another protocol, or none.
fn other_protocols(keypair: &Keypair) -> Vec<Configs> {
    let protocols: [Vec<Vec<u8>>; 2] = [vec![b"h2".to_vec()], vec![]];
    let with = |protocols: Vec<Vec<u8>>| {
        let Configs { client, server } = configs(keypair);
        let mut client = (*client).clone();
        client.alpn_protocols = protocols;
        Configs { client: Arc::new(client), server }
    };
    protocols.into_iter().map(with).collect()
}

async fn learnt_nothing(mut asked: Node, strangers: u64) {
    eventually(|| asked.link.totals().strangers == strangers).await;
    assert!(asked.events.fetches.try_recv().is_err(), "nothing was acted on");
    assert!(asked.events.greetings.try_recv().is_err(), "nobody was introduced");
    assert!(asked.link.stats().is_empty(), "nobody is remembered");
}

#[tokio::test]
async fn over_tcp_a_stranger_gets_not_a_byte() {
    let asked = Node::start().await;
    let (address, _) = asked.link.addresses();
    let keypair = Keypair::generate_ed25519();
    let mut strangers = 0;
    for (what, bytes) in bad_greetings(&keypair) {
        let mut tls = dial(address, configs(&keypair).client).await.expect("its key is fine");
        send(&mut tls, &bytes).await;
        assert_eq!(all_of(&mut tls).await, b"", "{what}");
        strangers += 1;
    }
    for Configs { client, .. } in other_protocols(&keypair) {
        if let Ok(mut tls) = dial(address, client).await {
            send(&mut tls, &frame(Kind::Hello, &hello(identity(keypair.clone()).ticket, 0)).expect("short"))
                .await;
            assert_eq!(all_of(&mut tls).await, b"");
        }
        strangers += 1;
    }
    learnt_nothing(asked, strangers).await;
}

#[tokio::test]
async fn over_tcp_a_stranger_without_a_nodes_certificate_gets_no_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let asked = Node::start().await;
    let (address, _) = asked.link.addresses();
    // No certificate at all, and one that is no node's.
    let key = rcgen::generate_simple_self_signed(["node".to_owned()]).expect("made");
    let chain = vec![key.cert.der().clone()];
    let der = rustls_pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).expect("a key");
    let builder = || {
        let trusting = configs(&Keypair::generate_ed25519()).client;
        rustls::ClientConfig::builder_with_provider(trusting.crypto_provider().clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(crate::link::tls::any_node())
    };
    let alpn = |mut config: rustls::ClientConfig| {
        config.alpn_protocols = vec![crate::link::tls::ALPN.to_vec()];
        Arc::new(config)
    };
    let without = alpn(builder().with_no_client_auth());
    let with = alpn(builder().with_client_auth_cert(chain, der).expect("a certificate"));
    for client in [without, with] {
        // In TLS 1.3 the client is done before the server has seen its certificate.
        if let Ok(mut tls) = dial(address, client).await {
            assert_eq!(all_of(&mut tls).await, b"");
        }
    }
    // No TLS at all.
    let mut plain = tokio::net::TcpStream::connect(address).await.expect("connected");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    let mut bytes = Vec::new();
    let _ = soon(plain.read_to_end(&mut bytes)).await;
    assert!(
        bytes.len() <= 7 && bytes.first().is_none_or(|kind| *kind == 21),
        "a TLS alert at most: {bytes:?}"
    );
    learnt_nothing(asked, 3).await;
}

#[tokio::test]
async fn over_quic_a_stranger_gets_not_a_byte() {
    let asked = Node::start().await;
    let (_, address) = asked.link.addresses();
    let keypair = Keypair::generate_ed25519();
    let mut strangers = 0;
    for (what, bytes) in bad_greetings(&keypair) {
        let endpoint = endpoint(&configs(&keypair));
        let connection =
            endpoint.connect(address, "node").expect("an address").await.expect("its key is fine");
        let (mut send, mut recv) = connection.open_bi().await.expect("a stream");
        // It may be refused already.
        let _ = send.write_all(&bytes).await;
        let mut byte = [0];
        let got = soon(recv.read(&mut byte)).await;
        assert!(!matches!(got, Ok(Some(_))), "{what}: {got:?}");
        match soon(connection.closed()).await {
            quinn::ConnectionError::ApplicationClosed(close) => {
                assert_eq!((close.error_code.into_inner(), &close.reason[..]), (0, &b""[..]), "{what}");
            }
            other => panic!("{what}: {other}"),
        }
        strangers += 1;
    }
    for configs in other_protocols(&keypair) {
        let endpoint = endpoint(&configs);
        let refused = endpoint.connect(address, "node").expect("an address").await;
        assert!(refused.is_err() || quic::peer_of(&refused.expect("connected")).is_err());
        strangers += 1;
    }
    learnt_nothing(asked, strangers).await;
}

#[tokio::test]
async fn who_says_nothing_is_cut_in_time() {
    let hasty = Settings { connect_timeout: Duration::from_millis(200), ..settings() };
    let asked = Node::start_with(hasty, Limits::default(), Keypair::generate_ed25519()).await;
    let (tcp, udp) = asked.link.addresses();
    let configs = configs(&Keypair::generate_ed25519());
    let mut tls = dial(tcp, configs.client.clone()).await.expect("its key is fine");
    assert_eq!(all_of(&mut tls).await, b"");
    let connection =
        endpoint(&configs).connect(udp, "node").expect("an address").await.expect("its key is fine");
    soon(connection.closed()).await;
    learnt_nothing(asked, 2).await;
}

#[tokio::test]
async fn who_was_refused_says_so() {
    for carrier in BOTH {
        let asked = Node::start().await;
        let keypair = Keypair::generate_ed25519();
        let ticket =
            issued(claim(NodeId::of(&keypair.public()).expect("ed25519")), &Keypair::generate_ed25519());
        let stranger = Identity { ticket: ticket.clone(), ..identity(keypair) };
        let (_hello, heard) = watch::channel(Arc::new(hello(ticket, 0)));
        let (link, _events) = Link::bind(settings(), Arc::new(stranger), heard).await.expect("bound");
        let error = soon(link.ask(asked.peer(carrier), &fetch("/"))).await.map(drop).expect_err("refused");
        assert!(matches!(error.kind, AskErrorKind::NotAdmitted(_)), "{carrier:?}: {:?}", error.kind);
    }
}

#[tokio::test]
async fn a_ticket_that_expires_ends_the_connection_at_the_next_question() {
    for carrier in BOTH {
        let mut asked = Node::start().await;
        asked.serve();
        let keypair = Keypair::generate_ed25519();
        let id = NodeId::of(&keypair.public()).expect("ed25519");
        let life_ms = 1_500;
        let expires_ms = crate::clock::Clock::start().now_ms() + life_ms;
        let ticket = issued(Claim { expires_ms, ..claim(id) }, &cluster());
        let (_hello, heard) = watch::channel(Arc::new(hello(ticket.clone(), 0)));
        let member = Identity { ticket, ..identity(keypair) };
        let (link, _events) = Link::bind(settings(), Arc::new(member), heard).await.expect("bound");
        let ask =
            || async { link.ask(asked.peer(carrier), &fetch("/1")).await?.answer().await.map(|a| a.head) };
        soon(ask()).await.expect("answered while it is valid");
        tokio::time::sleep(Duration::from_millis(life_ms + 10)).await;
        let error = soon(ask()).await.expect_err("it has expired");
        assert!(
            matches!(error.kind, AskErrorKind::NotAdmitted(_) | AskErrorKind::Broken),
            "{:?}",
            error.kind
        );
        assert_eq!(asked.link.totals().cut_off, 1, "{carrier:?}");
    }
}
