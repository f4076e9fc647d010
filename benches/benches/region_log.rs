//! What a purge costs: commits per second and their latency in groups of one, three and five nodes, beside what the
//! disk takes to sync one small write; and how long a purge takes to be applied by twelve nodes in three regions.
//!
//! All nodes run in this process, on loopback, with their data in one directory (`--dir`, else a temporary one). A
//! purge is one URL, sent to the admin API of a node; nodes take turns.
//!
//! `cargo bench -p starling-benches --bench region_log -- [--seconds N] [--dir DIR]`

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use starling::{
    app::Running,
    config::{self, Override, Sources},
};
use starling_benches::client::{Answer, connect, read_answer};

/// Purges that are under way at one time, in the rounds of commits.
const AT_A_TIME: [usize; 3] = [1, 16, 64];
/// Purges that are followed to all nodes.
const FOLLOWED: usize = 200;
const SETTLE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let seconds = match value(&arguments, "--seconds")? {
        Some(text) => text.parse().context("--seconds takes a number")?,
        None => 5,
    };
    let temporary = tempfile::tempdir()?;
    let dir = value(&arguments, "--dir")?.map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;

    println!(
        "| a synced write of 256 bytes to the same disk | p50 {} | p99 {} |\n",
        sync(&dir)?.0,
        sync(&dir)?.1
    );
    println!("| nodes | purges at a time | commits/s | p50 | p99 |\n| ---: | ---: | ---: | ---: | ---: |");
    for nodes in [1, 3, 5] {
        let seats: Vec<Seat> = (0..nodes).map(|number| seat("eu", "lon", number)).collect();
        let mesh = runtime.block_on(Mesh::start(&dir.join(format!("group-{nodes}")), &seats))?;
        mesh.led(nodes)?;
        for at_a_time in AT_A_TIME {
            let (per_second, p50, p99) = commits(&mesh.admins, at_a_time, Duration::from_secs(seconds))?;
            println!("| {nodes} | {at_a_time} | {per_second:.0} | {p50} | {p99} |");
        }
        runtime.block_on(mesh.stop());
    }
    let places = [("eu", "lon"), ("eu", "par"), ("us", "nyc"), ("ap", "sin")];
    let seats: Vec<Seat> =
        places.iter().flat_map(|(region, pop)| (0..3).map(|number| seat(region, pop, number))).collect();
    let mesh = runtime.block_on(Mesh::start(&dir.join("twelve"), &seats))?;
    mesh.led(5)?;
    followed(&mesh.admins, seats.len())?;
    runtime.block_on(mesh.stop());
    Ok(())
}

fn value(arguments: &[String], name: &str) -> Result<Option<String>> {
    let Some(at) = arguments.iter().position(|argument| argument == name) else { return Ok(None) };
    Ok(Some(arguments.get(at + 1).with_context(|| format!("{name} takes a value"))?.clone()))
}

/// The time a small write takes to be on the disk: half of them, and all but one in a hundred, at most.
fn sync(dir: &Path) -> Result<(String, String)> {
    let path = dir.join("sync");
    let mut file = File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..FOLLOWED {
        let begun = Instant::now();
        file.write_all(&[7; 256])?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(percentiles(times))
}

fn percentiles(mut times: Vec<Duration>) -> (String, String) {
    times.sort();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
    let tell = |time: Option<&Duration>| {
        time.map_or("-".to_owned(), |time| format!("{:.2} ms", time.as_secs_f64() * 1e3))
    };
    (tell(at(50)), tell(at(99)))
}

struct Seat {
    name: String,
    region: &'static str,
    pop: &'static str,
}

fn seat(region: &'static str, pop: &'static str, number: usize) -> Seat {
    Seat { name: format!("{pop}-{}", number + 1), region, pop }
}

struct Mesh {
    nodes: Vec<Running>,
    admins: Vec<SocketAddr>,
}

impl Mesh {
    async fn start(dir: &Path, seats: &[Seat]) -> Result<Self> {
        let mut nodes: Vec<Running> = Vec::new();
        for seat in seats {
            let peer = nodes.first().and_then(|node| node.addresses().mesh);
            nodes.push(start(dir, seat, seats, peer).await?);
        }
        let admins = nodes.iter().map(|node| node.addresses().admin[0]).collect();
        Ok(Self { nodes, admins })
    }

    /// Waits until each node knows a leader, and its region's group has as many voters as it can.
    fn led(&self, voters: usize) -> Result<()> {
        let until = Instant::now() + SETTLE;
        for admin in &self.admins {
            loop {
                let status = ask(*admin, "GET", "/v1/status", "")?;
                let region = &status["group"];
                let known = region["voters"].as_array().map_or(0, Vec::len);
                let others = self.admins.len() > 5;
                if region["leader"].is_string()
                    && status["fence_valid"] == true
                    && (known == voters || others)
                {
                    break;
                }
                ensure!(Instant::now() < until, "no leader of {voters} voters: {region}");
                thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

async fn start(dir: &Path, seat: &Seat, seats: &[Seat], peer: Option<SocketAddr>) -> Result<Running> {
    let expect = seats.iter().filter(|other| other.region == seat.region).count().to_string();
    let peer = peer.map(|peer| peer.to_string());
    let data = dir.join(&seat.name).display().to_string();
    let set = [
        ("node.name", seat.name.as_str()),
        ("node.region", seat.region),
        ("node.pop", seat.pop),
        ("node.data", &data),
        ("node.http", "127.0.0.1:0"),
        ("node.admin", "127.0.0.1:0"),
        ("node.mesh", "127.0.0.1:0"),
        ("node.region_expect", &expect),
        ("store.memory_bytes_max", "16MiB"),
        ("store.disk_bytes_max", "0"),
    ];
    let mut flags: BTreeMap<String, Override> = BTreeMap::new();
    for (key, value) in set.into_iter().chain(peer.as_deref().map(|peer| ("node.peers", peer))) {
        flags.insert(key.to_owned(), Override { flag: key.to_owned(), values: vec![value.to_owned()] });
    }
    let sources = Sources { flags, origins: vec!["http://127.0.0.1:1".to_owned()], ..Sources::default() };
    Running::start(config::load(&sources)?).await
}

/// Clients purge, one URL after another, each at a node of its own, until the time is over.
fn commits(admins: &[SocketAddr], clients: usize, time: Duration) -> Result<(f64, String, String)> {
    let stop = Arc::new(AtomicBool::new(false));
    let number = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let clients: Vec<_> = (0..clients)
        .map(|client| {
            let (stop, number, admin) =
                (Arc::clone(&stop), Arc::clone(&number), admins[client % admins.len()]);
            thread::spawn(move || -> Result<Vec<Duration>> {
                let mut times = Vec::new();
                let mut stream = BufReader::new(connect(admin)?);
                while !stop.load(Relaxed) {
                    let url = format!("www.example.org/{}", number.fetch_add(1, Relaxed));
                    let begun = Instant::now();
                    purge(&mut stream, &url, "committed")?;
                    times.push(begun.elapsed());
                }
                Ok(times)
            })
        })
        .collect();
    thread::sleep(time);
    stop.store(true, Relaxed);
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.join().map_err(|_| anyhow::anyhow!("a client was lost"))??);
    }
    let per_second = times.len() as f64 / begun.elapsed().as_secs_f64();
    let (p50, p99) = percentiles(times);
    Ok((per_second, p50, p99))
}

/// Follows purges to all nodes, one after the other.
fn followed(admins: &[SocketAddr], nodes: usize) -> Result<()> {
    let (mut last, mut whole) = (Vec::new(), Vec::new());
    for number in 0..FOLLOWED {
        let mut stream = BufReader::new(connect(admins[number % admins.len()])?);
        let begun = Instant::now();
        let receipt = purge(&mut stream, &format!("www.example.org/followed/{number}"), "applied")?;
        whole.push(begun.elapsed());
        let applied = receipt["applied"].as_array().context("no receipt")?;
        ensure!(applied.len() == nodes, "{receipt}");
        let slowest = applied.iter().filter_map(|line| line["after_ms"].as_u64()).max().unwrap_or_default();
        last.push(Duration::from_millis(slowest));
    }
    let most = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
    println!("\n| {nodes} nodes, {FOLLOWED} purges | p50 | p99 | max |\n| --- | ---: | ---: | ---: |");
    for (what, times) in [("commit to the last node's word", last), ("request to receipt", whole)] {
        let max = most(&times).as_secs_f64() * 1e3;
        let (p50, p99) = percentiles(times);
        println!("| {what} | {p50} | {p99} | {max:.2} ms |");
    }
    Ok(())
}

fn purge(stream: &mut BufReader<std::net::TcpStream>, url: &str, wait: &str) -> Result<Value> {
    let body = serde_json::json!({ "urls": [url], "wait": wait, "timeout_ms": 20_000 }).to_string();
    let answer = exchange(stream, "POST", "/v1/purge", &body)?;
    ensure!(answer.status == 200, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    let receipt: Value = serde_json::from_slice(&answer.body)?;
    if receipt["complete"] != true {
        bail!("not complete: {receipt}");
    }
    Ok(receipt)
}

fn ask(admin: SocketAddr, method: &str, path: &str, body: &str) -> Result<Value> {
    let answer = exchange(&mut BufReader::new(connect(admin)?), method, path, body)?;
    Ok(serde_json::from_slice(&answer.body)?)
}

fn exchange(
    stream: &mut BufReader<std::net::TcpStream>,
    method: &str,
    path: &str,
    body: &str,
) -> Result<Answer> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.get_mut().write_all(request.as_bytes())?;
    read_answer(stream)
}
