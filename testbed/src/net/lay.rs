//! How a network is laid.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    Net, State, ip,
    plan::{self, Plan},
    process,
    record::{self, Record},
    wan::{
        self,
        talk::{self, say},
    },
};
use crate::{
    cluster::{Process, testbed_binary},
    topology::Topology,
};

/// How long the link's process may take until it answers.
const LINK_TIMEOUT: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(10);

/// A network that is taken away again if nobody keeps it.
pub struct Laid(Option<Net>);

impl Laid {
    pub fn keep(mut self) -> Net {
        self.0.take().expect("it is taken only here")
    }
}

impl Drop for Laid {
    fn drop(&mut self) {
        let Some(net) = self.0.take() else { return };
        if let Err(error) = record::lock().and_then(|_lock| record::take_away(&net.state)) {
            eprintln!("starling-testbed: taking a network away: {error:#}");
        }
    }
}

/// Lays it; the lock keeps two testbeds from choosing the same addresses.
pub fn lay(topology: &Topology, dir: &Path) -> Result<Laid> {
    ip::is_possible()?;
    let dir = dir.canonicalize().with_context(|| format!("{}", dir.display()))?;
    let _lock = record::lock()?;
    record::sweep_locked(Some(&dir))?;
    let routes = ip::run(&["-4", "route", "list", "table", "all"])?;
    let names = [ip::namespaces(), ip::links()].concat();
    let second = plan::free(&plan::networks(&routes), &names);
    let second = second.context("there is no 10.x.0.0/16 that is not in use")?;
    let plan = Plan::new(topology, second)?;
    let mut record = Record {
        dir: dir.clone(),
        layer: process::own(),
        state: State {
            prefix: plan.prefix.clone(),
            namespaces: plan.namespaces(),
            wan: Process { pid: 0, began: 0 },
            wan_socket: dir.join("wan.sock"),
            routers: plan.routers.clone(),
        },
    };
    // Before there is anything: what is not in a record is never found.
    record.write()?;
    if let Err(error) = build(&plan, &mut record) {
        let undone = record::take_away(&record.state);
        return Err(error.context(undone.map_or_else(
            |undone| format!("laying the network (and then taking it away: {undone:#})"),
            |()| "laying the network".to_owned(),
        )));
    }
    let (places, origin) = plan.placed();
    Ok(Laid(Some(Net { state: record.state, places, origin })))
}

fn build(plan: &Plan, record: &mut Record) -> Result<()> {
    for number in 0..plan.routers.len() {
        router(plan, number)?;
    }
    for (number, (_, router, place)) in plan.places.iter().enumerate() {
        let (near, far) = (&plan.routers[*router].namespace, &place.namespace);
        let (cable, address, gateway) = (format!("node{number}"), place.address, plan.gateway(*router));
        ip::run(&["netns", "add", far])?;
        ip::run(&[
            "-n", near, "link", "add", &cable, "type", "veth", "peer", "name", "uplink", "netns", far,
        ])?;
        let there = format!(
            "link set lo up\n\
             address add {address}/32 dev uplink\n\
             link set uplink up\n\
             route add {gateway}/32 dev uplink\n\
             route add default via {gateway}\n"
        );
        ip::batch(Some(far), &there, &[])?;
        let here = format!("link set {cable} up\nroute add {address}/32 dev {cable}\n");
        ip::batch(Some(near), &here, &[])?;
    }
    record.state.wan = link(plan, record)?;
    record.write()?;
    for router in &plan.routers {
        ip::run(&["-n", &router.namespace, "route", "add", &plan.all(), "dev", wan::DEVICE])?;
    }
    Ok(())
}

/// A router, with the cable to the host.
fn router(plan: &Plan, number: usize) -> Result<()> {
    let namespace = &plan.routers[number].namespace;
    let (subnet, cable) = (plan.routers[number].subnet, plan.cable(number));
    let (host, gateway) = (plan.host(), plan.gateway(number));
    ip::run(&["netns", "add", namespace])?;
    ip::inside(namespace, || {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        // A kernel without IPv6 has none to switch off.
        let _ = fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
        let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        // What the host's own settings are must not matter.
        fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0")?;
        fs::write("/proc/sys/net/ipv4/conf/default/rp_filter", "0")
    })?
    .with_context(|| format!("settings of {namespace}"))?;
    ip::run(&["link", "add", &cable, "type", "veth", "peer", "name", "host", "netns", namespace])?;
    let there = format!(
        "link set lo up\n\
         address add {gateway}/32 dev lo\n\
         link set host up\n\
         route add {host}/32 dev host\n\
         route add blackhole {subnet}/24\n"
    );
    ip::batch(Some(namespace), &there, &[])?;
    let here = format!(
        "address add {host}/32 dev {cable}\n\
         link set {cable} up\n\
         route add {gateway}/32 dev {cable} src {host}\n\
         route add {subnet}/24 via {gateway} dev {cable} src {host}\n"
    );
    ip::batch(None, &here, &[])
}

/// Starts the link's process and waits until it answers.
fn link(plan: &Plan, record: &Record) -> Result<Process> {
    let (socket, file) = (&record.state.wan_socket, record.dir.join("wan.json"));
    // A longer one cannot be bound: unix(7).
    ensure!(socket.as_os_str().len() < 108, "{} is too long for a socket's name", socket.display());
    let _ = fs::remove_file(socket);
    fs::write(&file, serde_json::to_vec_pretty(&plan.link())?)
        .with_context(|| format!("{}", file.display()))?;
    let log = record.dir.join("wan.log");
    let out = File::create(&log).with_context(|| format!("{}", log.display()))?;
    let mut command = Command::new(testbed_binary()?);
    command.arg("wan").arg("--socket").arg(socket).arg("--plan").arg(&file);
    command.current_dir("/").stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    let child = command.spawn().context("cannot start the link's process")?;
    let process = Process::of(child.id() as i32).context("the link's process ended at once")?;
    let began = Instant::now();
    loop {
        if socket.exists() && say(socket, &talk::Command::Stats).is_ok() {
            return Ok(process);
        }
        let said = || fs::read_to_string(&log).unwrap_or_default();
        if !process.is_alive() {
            bail!("the link's process ended: {}", said().trim());
        }
        if began.elapsed() > LINK_TIMEOUT {
            bail!("the link's process did not answer within {LINK_TIMEOUT:?}: {}", said().trim());
        }
        thread::sleep(STEP);
    }
}
