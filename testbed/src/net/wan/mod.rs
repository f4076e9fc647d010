//! The link between PoPs, a process of its own: a TUN device in the namespace of each PoP's router, and [`link`]
//! between them. The kernels that this runs on need not have netem.
//!
//! One thread for each device reads, one writes what is due. They are given a real-time priority where that is
//! allowed, since the nodes keep the machine busy and the delays are to be right.

pub mod link;
pub mod talk;

use std::{
    path::Path,
    process::Stdio,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use parking_lot::{Condvar, Mutex};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, mpsc},
};
use tun_rs::{DeviceBuilder, SyncDevice};

use self::{
    link::Link,
    talk::{Command, LINE_BYTES_MAX, Plan, Reply},
};

/// The name of the device in each router.
pub const DEVICE: &str = "wan";

const MTU: u16 = 1500;
/// What waits in the kernel for a reader; more is dropped there.
const DEVICE_PACKETS_MAX: u32 = 2_000;
/// So many packets are taken out of the link while it is locked.
const BATCH: usize = 64;
const CONNECTIONS_MAX: usize = 16;
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Carries packets until it is told to stop, by its socket or SIGTERM.
///
/// # Errors
///
/// When a device or the socket cannot be had, or a device went away.
pub async fn run(plan: &Path, socket: &Path) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let text = std::fs::read(plan).with_context(|| format!("cannot read {}", plan.display()))?;
    let plan: Plan = serde_json::from_slice(&text).with_context(|| format!("{}", plan.display()))?;
    let shared = Arc::new(Shared {
        link: Mutex::new(Link::new(&plan)?),
        sooner: Condvar::new(),
        began: Instant::now(),
    });
    let (tell, mut told) = mpsc::channel(1);
    carry(&plan, &shared, &tell)?;
    prefer();
    // Devices first: who can speak to the socket can use them.
    let listener =
        UnixListener::bind(socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
    eprintln!("{} PoPs are linked", plan.pops.len());
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = connections.clone().acquire_owned().await.context("nobody closes it")?;
        tokio::select! {
            stream = listener.accept() => {
                let (stream, _) = stream.context("cannot accept a connection")?;
                let (shared, tell) = (shared.clone(), tell.clone());
                tokio::spawn(async move {
                    let _permit = permit;
                    let answered = tokio::time::timeout(COMMAND_TIMEOUT, answer(stream, &shared, &tell)).await;
                    if let Ok(Err(error)) = answered {
                        eprintln!("a command: {error:#}");
                    }
                });
            }
            _ = terminate.recv() => break,
            end = told.recv() => {
                if let Some(End::Broken(why)) = end {
                    let _ = std::fs::remove_file(socket);
                    anyhow::bail!(why);
                }
                break;
            }
        }
    }
    let _ = std::fs::remove_file(socket);
    let stats = serde_json::to_string(&shared.link.lock().stats())?;
    eprintln!("ends as it was told; {stats}");
    Ok(())
}

struct Shared {
    link: Mutex<Link>,
    /// The next packet is due sooner than the writer thinks.
    sooner: Condvar,
    began: Instant,
}

/// Why the process ends.
enum End {
    Told,
    Broken(String),
}

/// Makes the devices, and starts the threads; these live as long as the process.
fn carry(plan: &Plan, shared: &Arc<Shared>, tell: &mpsc::Sender<End>) -> Result<()> {
    let mut devices = Vec::new();
    for pop in &plan.pops {
        let device = super::inside(&pop.namespace, open)?;
        devices.push(Arc::new(
            device.with_context(|| format!("cannot make a TUN device in {}", pop.namespace))?,
        ));
    }
    for (number, device) in devices.iter().enumerate() {
        let (device, shared, tell) = (device.clone(), shared.clone(), tell.clone());
        let name = plan.pops[number].name.clone();
        let reader = move || {
            let error = read(number, &device, &shared);
            let _ = tell.blocking_send(End::Broken(format!("the device of {name}: {error}")));
        };
        thread::Builder::new().name(format!("from-{number}")).spawn(reader)?;
    }
    let shared = shared.clone();
    thread::Builder::new().name("due".to_owned()).spawn(move || write(&devices, &shared))?;
    Ok(())
}

fn open() -> std::io::Result<SyncDevice> {
    // Without offloads a packet read is one packet of the wire, and a loss is the loss of one.
    DeviceBuilder::new().name(DEVICE).mtu(MTU).tx_queue_len(DEVICE_PACKETS_MAX).offload(false).build_sync()
}

/// Gives what a device has to the link, until that fails.
fn read(number: usize, device: &SyncDevice, shared: &Shared) -> std::io::Error {
    let mut packet = vec![0; 65_536];
    loop {
        let bytes = match device.recv(&mut packet) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return error,
        };
        if shared.link.lock().take(shared.began.elapsed(), number, &packet[..bytes]) {
            shared.sooner.notify_one();
        }
    }
}

/// Gives what is due to the devices.
fn write(devices: &[Arc<SyncDevice>], shared: &Shared) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let mut link = shared.link.lock();
        while batch.len() < BATCH {
            match link.give(shared.began.elapsed()) {
                Some(packet) => batch.push(packet),
                None => break,
            }
        }
        if batch.is_empty() {
            match link.next_due() {
                Some(due) => drop(shared.sooner.wait_until(&mut link, shared.began + due)),
                None => shared.sooner.wait(&mut link),
            }
            continue;
        }
        drop(link);
        for (to, packet) in batch.drain(..) {
            // A packet that the kernel does not take is one that is lost.
            let _ = devices[to].send(&packet);
        }
    }
}

/// A real-time priority for all threads, if that is allowed.
fn prefer() {
    let pid = std::process::id().to_string();
    let arguments = ["--all-tasks", "--fifo", "--pid", "10", &pid];
    let changed = std::process::Command::new("chrt").args(arguments).stdin(Stdio::null()).output();
    if !changed.is_ok_and(|output| output.status.success()) {
        eprintln!("no real-time priority is to be had: delays are less exact");
    }
}

/// Carries out the commands of one connection.
async fn answer(stream: UnixStream, shared: &Shared, tell: &mpsc::Sender<End>) -> Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = String::new();
        (&mut reader).take(LINE_BYTES_MAX).read_line(&mut line).await?;
        if line.is_empty() {
            return Ok(());
        }
        ensure!(line.ends_with('\n'), "a command of more than {LINE_BYTES_MAX} bytes, or that breaks off");
        let command = serde_json::from_str(&line).context("makes no sense");
        let reply = command.and_then(|command| obey(&command, &mut shared.link.lock()));
        let ends = matches!(reply, Ok((_, true)));
        let reply = reply.map_or_else(|error| Reply::Failed(format!("{error:#}")), |(reply, _)| reply);
        let mut answer = serde_json::to_vec(&reply)?;
        answer.push(b'\n');
        writer.write_all(&answer).await?;
        if ends {
            let _ = tell.send(End::Told).await;
        }
    }
}

/// Carries out one; and is the process to end?
fn obey(command: &Command, link: &mut Link) -> Result<(Reply, bool)> {
    match command {
        Command::Way { from, to, quality } => link.change(from, to, *quality)?,
        Command::Cut { from, to } => link.cut(from, to)?,
        Command::Heal => link.heal(),
        Command::Stats => return Ok((Reply::Stats(link.stats()), false)),
        Command::Stop => return Ok((Reply::Done, true)),
    }
    Ok((Reply::Done, false))
}
