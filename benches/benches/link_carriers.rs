//! What the link's carriers cost: TCP with TLS 1.3 against QUIC, between two processes on loopback.
//!
//! One process answers from memory, another asks, 16 questions at a time; both print what they cost. Rounds of
//! the carriers take turns, so that a disturbance meets both; the medians count. CPU is user and system time of
//! both processes together.
//!
//! `cargo bench -p starling-benches --bench link_carriers -- [--rounds N] [--seconds N]`

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use starling::{
    identity::Identity,
    link::{Carrier, Events, Incoming, Link, Peer, Settings},
};
use starling_proto::{
    NodeId,
    members::{Addresses, Health, Load, NodeState, Profile},
    ring::Hop,
    ticket::Admission,
    wire,
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

const AT_ONCE: usize = 16;
const SIZES: [(&str, usize); 3] = [("1 KiB", 1 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)];
const CARRIERS: [(&str, Carrier); 2] = [("TCP", Carrier::Tcp), ("QUIC", Carrier::Quic)];
/// The answering side hands its body over in pieces of this size, as the store does.
const PIECE_BYTES: usize = 256 << 10;
/// `/proc/PID/stat` counts in hundredths of a second.
const TICKS_PER_S: f64 = 100.0;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("answer") => runtime()?.block_on(answer(&arguments[1])),
        Some("ask") => runtime()?.block_on(ask(&arguments[1..])),
        _ => compare(number(&arguments, "--rounds", 5)?, number(&arguments, "--seconds", 2)?),
    }
}

fn number(arguments: &[String], name: &str, default: u64) -> Result<u64> {
    let Some(at) = arguments.iter().position(|argument| argument == name) else { return Ok(default) };
    let value = arguments.get(at + 1).with_context(|| format!("{name} takes a number"))?;
    value.parse().with_context(|| format!("{name} takes a number, not {value:?}"))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// A child that ends with this process's interest in it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn compare(rounds: u64, seconds: u64) -> Result<()> {
    let files = tempfile::tempdir()?;
    let me = std::env::current_exe()?;
    let dir = files.path().to_str().context("the temporary directory has a name in UTF-8")?;
    let mut answering = Command::new(&me).args(["answer", dir]).stdout(Stdio::piped()).spawn()?;
    let output = answering.stdout.take().context("its output is piped")?;
    let answering = Running(answering);
    let mut addresses = String::new();
    BufReader::new(output).read_line(&mut addresses)?;
    let addresses: Vec<&str> = addresses.split_whitespace().collect();
    let [id, tcp, quic] = addresses[..] else { bail!("the answering side did not start") };

    let mut runs = Vec::new();
    for round in 0..rounds {
        for (size, bytes) in SIZES {
            for nth in 0..CARRIERS.len() as u64 {
                let (name, carrier) = CARRIERS[((nth + round) % 2) as usize];
                let address = if carrier == Carrier::Tcp { tcp } else { quic };
                let before = cpu_s(answering.0.id())?;
                let asking = Command::new(&me)
                    .args(["ask", dir, id, name, address, &bytes.to_string(), &seconds.to_string()])
                    .output()?;
                let said = String::from_utf8_lossy(&asking.stdout);
                let figures: Vec<f64> =
                    said.split_whitespace().filter_map(|text| text.parse().ok()).collect();
                let [requests, elapsed_s, asking_s] = figures[..] else {
                    bail!("the asking side failed: {}", String::from_utf8_lossy(&asking.stderr));
                };
                let cpu_s = asking_s + cpu_s(answering.0.id())? - before;
                runs.push((size, bytes, name, requests / elapsed_s, cpu_s / requests));
            }
        }
    }
    let load = fs::read_to_string("/proc/loadavg")?;
    println!("{rounds} rounds of {seconds} s, {AT_ONCE} questions at a time; load average {}", load.trim());
    println!("\n| object | carrier | requests/s | MB/s | CPU us/request | CPU s/GB |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (size, bytes) in SIZES {
        for (name, _) in CARRIERS {
            let of = |figure: fn(&(&str, usize, &str, f64, f64)) -> f64| {
                let runs = runs.iter().filter(|run| run.0 == size && run.2 == name);
                median(runs.map(figure).collect())
            };
            let (rate, cpu_s) = (of(|run| run.3), of(|run| run.4));
            println!(
                "| {size} | {name} | {rate:.0} | {:.0} | {:.1} | {:.2} |",
                rate * bytes as f64 / 1e6,
                cpu_s * 1e6,
                cpu_s * 1e9 / bytes as f64
            );
        }
    }
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// User and system time of a process.
fn cpu_s(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).context("a stat");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_S)
}

/// A node of an open mesh, in a folder of its own below `dir`.
async fn node(dir: &str, name: &str) -> Result<(Link, Events, NodeId, watch::Sender<Arc<wire::Hello>>)> {
    let data = std::path::Path::new(dir).join(name);
    let identity = Identity::load(&data, name, "eu", "lon", None, Admission::Open)?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let profile = Profile {
        ticket: identity.ticket.clone(),
        incarnation: 1,
        addresses: Addresses { mesh: any, link_quic: any },
        weight: 100,
    };
    let state = NodeState {
        profile,
        seq: 1,
        load: Load::default(),
        health: Health::default(),
        versions: Default::default(),
        hot: Vec::new(),
        leaving: false,
    };
    let (hello, heard) = watch::channel(Arc::new(wire::Hello { state, roster: Vec::new() }));
    let settings = Settings {
        listen: any,
        listen_quic: any,
        connect_timeout: Duration::from_secs(5),
        ack_timeout: Duration::from_secs(5),
        silence_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(60),
        connections_max: 256,
        questions_max: 256,
    };
    let id = identity.id;
    let (link, events) = Link::bind(settings, Arc::new(identity), heard).await?;
    Ok((link, events, id, hello))
}

async fn answer(dir: &str) -> Result<()> {
    let (link, mut events, id, _hello) = node(dir, "answering").await?;
    let (tcp, quic) = link.addresses();
    println!("{id} {tcp} {quic}");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { link.run(CancellationToken::new()).await });
    let whole = Bytes::from(vec![7; 1 << 20]);
    while let Some(Incoming { fetch, answering, .. }) = events.fetches.recv().await {
        while tasks.try_join_next().is_some() {}
        let whole = whole.clone();
        tasks.spawn(async move {
            let bytes = fetch.until.unwrap_or_default() as usize;
            let head = wire::Answer {
                status: 200,
                headers: Vec::new(),
                stored: None,
                range: (0, u64::MAX),
                cache_status: String::new(),
                source: String::new(),
            };
            // An asker that has gone is at the end of its time.
            let Ok(mut body) = answering.answer(head).await else { return };
            for at in (0..bytes).step_by(PIECE_BYTES) {
                if body.send(whole.slice(at..bytes.min(at + PIECE_BYTES))).await.is_err() {
                    return;
                }
            }
            let _ = body.finish().await;
        });
    }
    Ok(())
}

async fn ask(arguments: &[String]) -> Result<()> {
    let [dir, id, carrier, address, bytes, seconds] = arguments else { bail!("six arguments") };
    let (link, _events, _, _hello) = node(dir, "asking").await?;
    let carrier = CARRIERS.into_iter().find(|(name, _)| name == carrier).context("a carrier")?.1;
    let to = Peer { id: id.parse()?, address: address.parse()?, carrier };
    let bytes: usize = bytes.parse()?;
    let fetch = Arc::new(wire::Fetch {
        request: wire::HttpRequest {
            method: "GET".to_owned(),
            is_https: false,
            authority: "www.example.org".to_owned(),
            path_and_query: "/some/path/to/an/object.bin".to_owned(),
            version: 11,
            headers: vec![("accept".to_owned(), Bytes::from_static(b"*/*"))],
            client: to.address,
        },
        hop: Hop::Owner,
        stored_only: false,
        until: Some(bytes as u64),
        versions: Default::default(),
        deadline_ms: 1_000,
        trace: 0,
    });
    let done = Arc::new(AtomicU64::new(0));
    let mut askers = JoinSet::new();
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds.parse()?);
    for _ in 0..AT_ONCE {
        let (link, fetch, done) = (link.clone(), fetch.clone(), done.clone());
        askers.spawn(async move {
            while Instant::now() < end {
                let mut body = link.ask(to, &fetch).await?.answer().await?.body;
                let mut read = 0;
                while let Some(piece) = body.next().await {
                    read += piece?.len();
                }
                anyhow::ensure!(read == bytes, "{read} bytes came of {bytes}");
                done.fetch_add(1, Relaxed);
            }
            Ok(())
        });
    }
    while let Some(ended) = askers.join_next().await {
        ended??;
    }
    let elapsed_s = start.elapsed().as_secs_f64();
    println!("{} {elapsed_s} {}", done.load(Relaxed), cpu_s(std::process::id())?);
    Ok(())
}
