//! A network of namespaces, laid for real. Needs root and `ip`; without, the tests say so and pass.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use starling_testbed::{
    net::{Net, State, inside},
    topology::{OriginPlace, Pop, Quality, Topology, Way},
};

const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing has to come for it to count as silence.
const SILENCE: Duration = Duration::from_millis(300);
const PORT: u16 = 7_777;

/// Two nodes in `lon`, one in `nyc`, and the origin beside `nyc`.
fn topology(quality: Quality) -> Topology {
    let pop = |name: &str, nodes| Pop { name: name.to_owned(), region: "eu".to_owned(), nodes };
    Topology {
        name: String::new(),
        title: String::new(),
        origin: OriginPlace { pop: Some("nyc".to_owned()) },
        pops: vec![pop("lon", 2), pop("nyc", 1)],
        paths: vec![Way { between: ["lon".to_owned(), "nyc".to_owned()], quality }],
        default_path: Quality::default(),
        node: toml::Table::new(),
    }
}

/// A network that is gone when the test is over.
struct Laid {
    net: Net,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Laid {
    fn new(quality: Quality) -> Option<Self> {
        if let Err(error) = Net::is_possible() {
            println!("skipped: {error:#}");
            return None;
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let net = runtime.block_on(Net::lay(&topology(quality), dir.path())).unwrap();
        Some(Self { net, runtime, _dir: dir })
    }

    fn state(&self) -> &State {
        &self.net.state
    }

    fn cut(&self, from: &[&str], to: &[&str]) {
        let addresses = |names: &[&str]| names.iter().map(|name| self.address(name)).collect::<Vec<_>>();
        self.runtime.block_on(self.state().cut(&addresses(from), &addresses(to))).unwrap();
    }

    fn heal(&self) {
        self.runtime.block_on(self.state().heal()).unwrap();
    }

    fn degrade(&self, from: &str, to: &str, quality: Option<Quality>) {
        self.runtime.block_on(self.state().degrade(from, to, quality)).unwrap();
    }

    fn address(&self, name: &str) -> IpAddr {
        if name == "origin" { self.net.origin.address } else { self.net.places[name].address }
    }

    fn namespace(&self, name: &str) -> &str {
        if name == "origin" { &self.net.origin.namespace } else { &self.net.places[name].namespace }
    }

    /// Does something where a node stands.
    fn at<T: Send>(&self, name: &str, act: impl FnOnce() -> T + Send) -> T {
        inside(self.namespace(name), act).unwrap()
    }

    fn udp(&self, name: &str) -> UdpSocket {
        let socket = self.at(name, || UdpSocket::bind(SocketAddr::new(self.address(name), PORT))).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn to(&self, name: &str) -> SocketAddr {
        SocketAddr::new(self.address(name), PORT)
    }
}

impl Drop for Laid {
    fn drop(&mut self) {
        let removed = self.runtime.block_on(self.state().remove());
        if !thread::panicking() {
            removed.unwrap();
        }
    }
}

/// Who sent the next packet. A machine that is put to sleep meanwhile interrupts the wait.
fn receive(socket: &UdpSocket, packet: &mut [u8]) -> std::io::Result<SocketAddr> {
    loop {
        match socket.recv_from(packet) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result.map(|(_, from)| from),
        }
    }
}

/// Sends one packet and waits for it; the time it took.
fn one_way(from: &UdpSocket, to: &UdpSocket) -> Duration {
    let began = Instant::now();
    from.send_to(b"x", to.local_addr().unwrap()).expect("nobody tells the sender of anything");
    receive(to, &mut [0; 16]).expect("it arrives");
    began.elapsed()
}

/// Sends one packet; nothing arrives, and the sender is not told.
fn no_way(from: &UdpSocket, to: &UdpSocket) {
    to.set_read_timeout(Some(SILENCE)).unwrap();
    from.send_to(b"x", to.local_addr().unwrap()).expect("nobody tells the sender of anything");
    assert!(receive(to, &mut [0; 16]).is_err(), "it must not arrive");
    from.send_to(b"x", to.local_addr().unwrap()).expect("no ICMP error came back");
    assert!(receive(to, &mut [0; 16]).is_err(), "it must not arrive");
    to.set_read_timeout(Some(PATIENCE)).unwrap();
}

#[test]
fn everybody_reaches_everybody_and_the_delay_is_between_pops_only() {
    let Some(laid) = Laid::new(Quality { delay_ms: 60.0, ..Quality::default() }) else { return };
    let names = ["lon-1", "lon-2", "nyc-1", "origin"];
    let sockets = names.map(|name| laid.udp(name));
    for (from, sender) in names.iter().zip(&sockets) {
        for (to, receiver) in names.iter().zip(&sockets).filter(|(to, _)| *to != from) {
            let took = one_way(sender, receiver);
            if from.starts_with("lon") != to.starts_with("lon") {
                assert!(took >= Duration::from_millis(60), "{from} to {to} took {took:?}");
            }
        }
    }
    // The host reaches all, not by the link, and is reached.
    let host = UdpSocket::bind("0.0.0.0:0").unwrap();
    host.set_read_timeout(Some(PATIENCE)).unwrap();
    for (name, socket) in names.iter().zip(&sockets) {
        host.send_to(b"x", laid.to(name)).unwrap();
        let from = receive(socket, &mut [0; 16]).unwrap();
        socket.send_to(b"x", from).unwrap();
        receive(&host, &mut [0; 16]).unwrap();
    }
    let stats = laid.runtime.block_on(laid.state().stats()).unwrap();
    let passed: u64 = stats.lines.iter().map(|line| line.counts.delivered).sum();
    assert_eq!(passed, 8, "what is between PoPs, and only that, passes the link");
}

#[test]
fn a_cut_is_one_way_and_silent_inside_a_pop_and_between_them() {
    let Some(laid) = Laid::new(Quality { delay_ms: 20.0, ..Quality::default() }) else { return };
    let [a, b, c, origin] = ["lon-1", "lon-2", "nyc-1", "origin"].map(|name| laid.udp(name));
    // Everybody has reached everybody before: cuts must hold for ways that were in use.
    one_way(&a, &b);
    one_way(&a, &c);
    laid.cut(&["lon-1"], &["lon-2", "nyc-1"]);
    no_way(&a, &b);
    no_way(&a, &c);
    for (from, to) in [(&b, &a), (&c, &a), (&b, &c), (&c, &b), (&a, &origin), (&origin, &a)] {
        one_way(from, to);
    }
    // The same again is no error, and neither is more of it.
    laid.cut(&["lon-1", "nyc-1"], &["lon-2", "nyc-1", "origin"]);
    no_way(&c, &origin);
    one_way(&origin, &c);
    laid.heal();
    for (from, to) in [(&a, &b), (&a, &c), (&c, &origin)] {
        one_way(from, to);
    }
    laid.heal();
}

#[test]
fn what_is_on_its_way_when_it_is_cut_does_not_arrive() {
    let Some(laid) = Laid::new(Quality { delay_ms: 200.0, ..Quality::default() }) else { return };
    let (a, c) = (laid.udp("lon-1"), laid.udp("nyc-1"));
    a.send_to(b"x", laid.to("nyc-1")).unwrap();
    laid.cut(&["lon-1"], &["nyc-1"]);
    no_way(&a, &c);
}

#[test]
fn a_connection_hears_nothing_while_it_is_cut_and_goes_on_after() {
    use std::io::{Read, Write};
    let Some(laid) = Laid::new(Quality::default()) else { return };
    for (from, to) in [("lon-1", "lon-2"), ("lon-1", "nyc-1")] {
        let listener = laid.at(to, || TcpListener::bind(laid.to(to))).unwrap();
        let mut near = laid.at(from, || TcpStream::connect_timeout(&laid.to(to), PATIENCE)).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"a").unwrap();
        far.read_exact(&mut [0]).unwrap();
        laid.cut(&[from], &[to]);
        near.write_all(b"b").unwrap();
        far.set_read_timeout(Some(SILENCE)).unwrap();
        let error = far.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "silence, not an error: {error}");
        let connected = laid.at(from, || TcpStream::connect_timeout(&laid.to(to), SILENCE));
        assert_eq!(connected.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        laid.heal();
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        far.read_exact(&mut [0]).expect("it is sent again");
    }
}

#[test]
fn a_way_gets_worse_in_one_direction_until_it_is_healed() {
    let Some(laid) = Laid::new(Quality::default()) else { return };
    let (a, b, c) = (laid.udp("lon-1"), laid.udp("lon-2"), laid.udp("nyc-1"));
    laid.degrade("lon", "nyc", Some(Quality { delay_ms: 150.0, ..Quality::default() }));
    assert!(one_way(&a, &c) >= Duration::from_millis(150));
    laid.degrade("lon", "nyc", None);
    no_way(&a, &c);
    no_way(&b, &c);
    one_way(&c, &a);
    one_way(&a, &b);
    laid.heal();
    one_way(&a, &c);
    let error = laid.runtime.block_on(laid.state().degrade("lon", "mars", None)).unwrap_err();
    assert!(format!("{error:#}").contains("mars"), "{error:#}");
}

#[test]
fn loss_and_duplicates_are_those_of_the_way() {
    let Some(laid) = Laid::new(Quality { loss_percent: 20.0, duplicate_percent: 10.0, ..Quality::default() })
    else {
        return;
    };
    let (a, c) = (laid.udp("lon-1"), laid.udp("nyc-1"));
    let mut times = vec![0; 2_000];
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..2_000_u32 {
                a.send_to(&number.to_be_bytes(), laid.to("nyc-1")).unwrap();
                // The receiver's buffer is not what is tried here.
                thread::sleep(Duration::from_micros(200));
            }
        });
        let mut packet = [0; 4];
        while receive(&c, &mut packet).is_ok() {
            times[u32::from_be_bytes(packet) as usize] += 1;
            c.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        }
    });
    let share = |wanted: i32| times.iter().filter(|times| **times == wanted).count() as f64 / 2_000.0;
    assert!((share(0) - 0.2).abs() < 0.04 && (share(2) - 0.08).abs() < 0.03, "{} {}", share(0), share(2));
}

/// All names of a network that are in use.
fn left(state: &State) -> Vec<String> {
    let names = |path: &str| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let all = [names("/var/run/netns"), names("/sys/class/net"), names("/run/starling-testbed")].concat();
    all.into_iter().filter(|name| name.starts_with(&state.prefix)).collect()
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_frozen_namespace_stands_still_and_goes_on() {
    let Some(laid) = Laid::new(Quality::default()) else { return };
    let freeze = |frozen| laid.runtime.block_on(laid.state().freeze(laid.namespace("lon-1"), frozen));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ticks");
    let _child = Killed(
        Command::new("ip")
            .args(["netns", "exec", laid.namespace("lon-1"), "sh", "-c"])
            .arg("while true; do echo x >> \"$0\"; sleep 0.01; done")
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let ticks = || std::fs::metadata(&file).map_or(0, |file| file.len());
    let goes_on = || {
        let (before, began) = (ticks(), Instant::now());
        while ticks() <= before {
            assert!(began.elapsed() < PATIENCE, "nothing moves");
            thread::sleep(Duration::from_millis(5));
        }
    };
    goes_on();
    freeze(false).expect("what is not frozen goes on");
    if let Err(error) = freeze(true) {
        println!("skipped: {error:#}");
        return;
    }
    let before = ticks();
    thread::sleep(SILENCE);
    assert_eq!(ticks(), before, "it stands still");
    freeze(false).unwrap();
    goes_on();
    // A network is taken away with what is frozen in it.
    freeze(true).unwrap();
    assert!(laid.runtime.block_on(laid.state().freeze("sltb0-nobody", true)).is_err());
}

#[test]
fn nothing_of_a_network_is_left() {
    let Some(laid) = Laid::new(Quality::default()) else { return };
    let (state, dir) = (laid.state().clone(), laid._dir.path().to_owned());
    assert_eq!(left(&state).len(), state.namespaces.len() + state.routers.len() + 1);
    assert!(dir.join("wan.sock").exists() && dir.join("wan.log").exists());
    let is_there = || Path::new(&format!("/proc/{}/stat", state.wan.pid)).exists();
    assert!(is_there());
    drop(laid);
    assert_eq!(left(&state), [""; 0]);
    assert!(!dir.join("wan.sock").exists() && !is_there());
}

#[test]
fn what_a_dead_one_left_behind_is_taken_away_unless_a_testbed_names_it() {
    let Some(laid) = Laid::new(Quality::default()) else { return };
    let (state, dir) = (laid.state().clone(), laid._dir.path().to_owned());
    // As if who laid it had died: another process has its number now.
    let path = format!("/run/starling-testbed/{}net.json", state.prefix);
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    record["layer"]["began"] = 1.into();
    std::fs::write(&path, record.to_string()).unwrap();
    let cluster = dir.join("cluster.json");
    std::fs::write(&cluster, serde_json::json!({ "net": { "prefix": &state.prefix } }).to_string()).unwrap();
    laid.runtime.block_on(starling_testbed::net::sweep()).unwrap();
    assert!(!left(&state).is_empty(), "a testbed names it");
    // Who looks for the link's process by its number does not find it.
    record["state"]["wan"] = serde_json::json!({ "pid": 0, "began": 0 });
    std::fs::write(&path, record.to_string()).unwrap();
    std::fs::write(&cluster, "{}").unwrap();
    laid.runtime.block_on(starling_testbed::net::sweep()).unwrap();
    assert_eq!(left(&state), [""; 0], "nobody names it any more");
    assert!(!Path::new(&format!("/proc/{}/fd", state.wan.pid)).exists(), "the link's process is ended, too");
    // The next one may have its names; whoever takes the first one away once more must not take that.
    let other = Laid::new(Quality::default()).unwrap();
    drop(laid);
    assert_eq!(left(other.state()).len(), other.state().namespaces.len() + other.state().routers.len() + 1);
}
