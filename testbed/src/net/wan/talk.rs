//! What is said to the link's process: a plan in a file at its start, then commands at a socket, each a line of
//! JSON that is answered by one.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::Ipv4Addr,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::topology::Quality;

/// No command and no answer is longer.
pub const LINE_BYTES_MAX: u64 = 4 << 20;
/// The process answers at once, unless the machine is very busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which PoPs there are, and what is between them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Chooses what is lost, reordered and so on.
    pub seed: u64,
    /// The PoPs.
    pub pops: Vec<PopPlan>,
    /// The directions of the ways between them; those not named are perfect.
    pub lines: Vec<LinePlan>,
}

/// A PoP's end of the link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PopPlan {
    /// Its name.
    pub name: String,
    /// The namespace of its router, in which the device is made.
    pub namespace: String,
    /// Its addresses: a /24.
    pub subnet: Ipv4Addr,
}

/// One direction of a way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinePlan {
    /// From this PoP.
    pub from: String,
    /// To that.
    pub to: String,
    /// What it is like.
    pub quality: Quality,
}

/// What the process can be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Command {
    /// One direction of a way is like this now; null carries nothing.
    Way {
        /// From this PoP.
        from: String,
        /// To that.
        to: String,
        /// What it is like.
        quality: Option<Quality>,
    },
    /// Nothing from one of these addresses reaches one of those.
    Cut {
        /// Who is not heard.
        from: Vec<Ipv4Addr>,
        /// Who does not hear.
        to: Vec<Ipv4Addr>,
    },
    /// All cuts end, and all ways are as they were.
    Heal,
    /// What was done so far; after the answer to it all devices are there.
    Stats,
    /// The process is to end.
    Stop,
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// It is done.
    Done,
    /// What was done so far.
    Stats(Stats),
    /// It is not done.
    Failed(String),
}

/// What was done so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Each direction of each way.
    pub lines: Vec<LineStats>,
    /// Packets that no PoP was the right one for.
    pub strays: u64,
    /// Pairs of addresses that are cut.
    pub cuts: usize,
    /// Packets on their way.
    pub held: usize,
    /// Their bytes.
    pub held_bytes: usize,
    /// How much later than due a packet was given, at most.
    pub late_max_us: u64,
}

/// One direction of a way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LineStats {
    /// From this PoP.
    pub from: String,
    /// To that.
    pub to: String,
    /// What it is like now.
    pub quality: Option<Quality>,
    /// What was done.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What became of the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Those that came.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that arrived, and copies.
    pub delivered: u64,
    /// Lost, as the quality demands.
    pub lost: u64,
    /// Overtook others.
    pub reordered: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Found a queue full.
    pub overflowed: u64,
    /// Between addresses that are cut.
    pub cut: u64,
    /// Came while the way carried nothing.
    pub down: u64,
}

/// Says one thing to the process at this socket, and waits for the answer.
pub fn say(socket: &Path, command: &Command) -> Result<Reply> {
    let exchange = || -> Result<Reply> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = String::new();
        BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut answer)?;
        if answer.is_empty() {
            bail!("it closed without an answer");
        }
        Ok(serde_json::from_str(&answer)?)
    };
    match exchange().with_context(|| format!("the link's process at {}", socket.display()))? {
        Reply::Failed(why) => bail!("the link's process: {why}"),
        reply => Ok(reply),
    }
}
