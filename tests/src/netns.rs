//! A small network of namespaces, whose paths can be cut one way; needs root and `ip`.
//!
//! Every node has a namespace of its own, and one more between them all routes. The test's own process is a
//! neighbour of that router. A cut is a routing rule of the router that swallows what goes from one address to
//! another, so that neither end is told; what goes the other way still arrives. Addresses are of 198.18.0.0/15
//! (RFC 2544, for benchmarks), names hold the process id, and everything is removed on drop. What a killed test
//! run left behind is removed by the next.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{Command, id},
    sync::{
        Mutex,
        atomic::{AtomicU8, Ordering},
    },
};

const PREFIX: &str = "starling-";

/// How many places a network has room for.
const PLACES_MAX: u8 = 60;

/// The network. Dropped, it is gone.
pub struct Net {
    /// `starling-PID-NUMBER-`, with which the names of its namespaces begin.
    prefix: String,
    /// The end of the cable to the test's own process.
    cable: String,
    /// The third number of its addresses.
    third: u8,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    places: u8,
    cuts: Vec<String>,
}

/// Where a node stands.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its namespace.
    pub namespace: String,
    /// Its address.
    pub address: IpAddr,
}

impl Net {
    /// A network without nodes; or why there can be none on this machine, for who skips the test.
    pub fn new() -> Result<Self, String> {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        if !is_root() {
            return Err("skipped: needs root".to_owned());
        }
        run(&["-Version"]).map_err(|error| format!("skipped: needs iproute2: {error}"))?;
        sweep();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let net = Self {
            prefix: format!("{PREFIX}{}-{number}-", id()),
            cable: format!("sl{}n{number}", id()),
            third: (id() % 256) as u8 ^ number,
            state: Mutex::default(),
        };
        // From here on a failure removes what was made: the network is dropped.
        net.lay().map_err(|error| format!("skipped: no namespaces can be had: {error}"))?;
        Ok(net)
    }

    /// The address of the test's own process, at which nodes reach its origins.
    pub fn host(&self) -> IpAddr {
        self.address(0, 2)
    }

    /// A place for one more node.
    pub fn place(&self, name: &str) -> Place {
        let number = {
            let mut state = self.state.lock().expect("nothing panics while it is held");
            state.places += 1;
            state.places
        };
        assert!(number <= PLACES_MAX, "a network has room for {PLACES_MAX} nodes");
        let namespace = format!("{}{name}", self.prefix);
        self.connect(&namespace, number).unwrap_or_else(|error| panic!("a place for {name}: {error}"));
        Place { namespace, address: self.address(number, 2) }
    }

    /// From now on nothing that `from` sends arrives at `to`; the other way is left as it is.
    pub fn cut(&self, from: IpAddr, to: IpAddr) {
        let mut state = self.state.lock().expect("nothing panics while it is held");
        let priority = (100 + state.cuts.len()).to_string();
        let (from, to) = (from.to_string(), to.to_string());
        let rule = ["rule", "add", "from", &from, "to", &to, "blackhole", "priority", &priority];
        self.route(&rule).unwrap_or_else(|error| panic!("the cut: {error}"));
        state.cuts.push(priority);
    }

    /// Ends all cuts.
    pub fn heal(&self) {
        let mut state = self.state.lock().expect("nothing panics while it is held");
        for priority in state.cuts.drain(..) {
            self.route(&["rule", "del", "priority", &priority]).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    /// The `end`th address of the `number`th cable: the router has the first, who stands there the second.
    fn address(&self, number: u8, end: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(198, 18, self.third, 4 * number + end))
    }

    fn router(&self) -> String {
        format!("{}router", self.prefix)
    }

    /// Runs `ip` at the router.
    fn route(&self, arguments: &[&str]) -> Result<(), String> {
        run(&[&["-n", &self.router()], arguments].concat())
    }

    /// The router, and the cable to the test's own process.
    fn lay(&self) -> Result<(), String> {
        let router = self.router();
        let (here, there) = (format!("{}/30", self.address(0, 2)), format!("{}/30", self.address(0, 1)));
        run(&["netns", "add", &router])?;
        self.route(&["link", "set", "lo", "up"])?;
        run(&["netns", "exec", &router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
        run(&["link", "add", &self.cable, "type", "veth", "peer", "name", "host0", "netns", &router])?;
        run(&["address", "add", &here, "dev", &self.cable])?;
        run(&["link", "set", &self.cable, "up"])?;
        self.route(&["address", "add", &there, "dev", "host0"])?;
        self.route(&["link", "set", "host0", "up"])?;
        let all = format!("198.18.{}.0/24", self.third);
        run(&["route", "add", &all, "via", &self.address(0, 1).to_string()])
    }

    fn connect(&self, namespace: &str, number: u8) -> Result<(), String> {
        let cable = format!("node{number}");
        let (near, far) =
            (format!("{}/30", self.address(number, 1)), format!("{}/30", self.address(number, 2)));
        let gateway = self.address(number, 1).to_string();
        run(&["netns", "add", namespace])?;
        self.route(&["link", "add", &cable, "type", "veth", "peer", "name", "uplink", "netns", namespace])?;
        self.route(&["address", "add", &near, "dev", &cable])?;
        self.route(&["link", "set", &cable, "up"])?;
        run(&["-n", namespace, "link", "set", "lo", "up"])?;
        run(&["-n", namespace, "address", "add", &far, "dev", "uplink"])?;
        run(&["-n", namespace, "link", "set", "uplink", "up"])?;
        run(&["-n", namespace, "route", "add", "default", "via", &gateway])
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // The namespace lives on while a dying process is in it; the cable is to go now.
        let _ = run(&["link", "delete", &self.cable]);
        for namespace in namespaces().iter().filter(|name| name.starts_with(&self.prefix)) {
            let _ = run(&["netns", "delete", namespace]);
        }
    }
}

/// Removes the namespaces of test runs that are no more.
fn sweep() {
    for namespace in namespaces() {
        let owner = namespace.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let owner = owner.and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = run(&["netns", "delete", &namespace]);
        }
    }
}

fn namespaces() -> Vec<String> {
    let output = Command::new("ip").args(["netns", "list"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    // Real, effective, saved and file system ids; the second counts.
    uid.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

fn run(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
