//! `starling cluster`: the key of a cluster, and the tickets it signs. Neither needs a running node.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};
use starling_proto::{
    NodeId, UnixMs,
    ticket::{Claim, Ticket, cluster_key_to_text},
};

use super::{DONE, FAILED, show};
use crate::{
    access_log::timestamp,
    clock::Clock,
    config::{is_name, parse_duration},
    identity::{self, IdentityError},
};

const KEY_FILE: &str = "cluster.key";
const PUBLIC_FILE: &str = "cluster.pub";

/// Commands about the key of a cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Make the key of a new cluster: `cluster.key`, which signs tickets, and `cluster.pub`, which every node gets
    Init(InitOptions),
    /// Sign a node's ticket
    Admit(AdmitOptions),
}

/// Where a new cluster's key goes.
#[derive(Args, Debug)]
pub struct InitOptions {
    /// The directory for both files
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Print what was made as JSON
    #[arg(long)]
    pub json: bool,
}

/// Who is let in, and as what.
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("who").required(true).args(["node_id", "data"])),
    after_help = "Examples:\n  starling cluster admit --name lon-1 --region eu --pop lon --data /var/lib/starling\n  starling cluster admit --name nyc-1 --region us --pop nyc --node-id 12D3KooW... --no-shield --expires 90d"
)]
pub struct AdmitOptions {
    /// What the node is called; must be its `--name`
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub name: String,
    /// The region it stands in; must be its `--region`
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub region: String,
    /// The place inside the region; must be its `--pop`
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub pop: String,
    /// The node's id, as its log and `starling peers` tell it
    #[arg(long, value_name = "ID")]
    pub node_id: Option<NodeId>,
    /// The node's data directory, on this machine: its key is made there if there is none yet
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// It may not stand between a region and the origins
    #[arg(long)]
    pub no_shield: bool,
    /// How long the ticket is good, with a unit; or `never`
    #[arg(long, value_name = "TIME", default_value = "365d")]
    pub expires: Expiry,
    /// The cluster's secret key
    #[arg(long, value_name = "FILE", default_value = KEY_FILE)]
    pub key: PathBuf,
    /// Where the ticket goes; `-` is standard output [default: NAME.ticket]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print what was signed as JSON
    #[arg(long)]
    pub json: bool,
}

/// How long a ticket is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// For so long.
    After(Duration),
    /// For ever.
    Never,
}

impl std::str::FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            time => match parse_duration(time) {
                Ok(Duration::ZERO) => Err("a ticket is good for some time".to_owned()),
                Ok(time) => Ok(Self::After(time)),
                Err(_) => Err(format!("`{time}` is not a time such as `365d` or `12h`, nor `never`")),
            },
        }
    }
}

impl Expiry {
    fn from(self, now: UnixMs) -> UnixMs {
        match self {
            Self::After(time) => now.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            Self::Never => u64::MAX,
        }
    }
}

/// Something was written: for people, and as JSON.
struct Written {
    text: String,
    json: Value,
}

/// Runs a command about the cluster.
pub(super) fn run(command: ClusterCommand) -> ExitCode {
    let (written, json) = match command {
        ClusterCommand::Init(options) => (init(&options.dir), options.json),
        ClusterCommand::Admit(options) => (admit(&options, Clock::start().now_ms()), options.json),
    };
    match written {
        Ok(Written { text, json: answer }) => {
            show::print(&answer, json, |_| text);
            ExitCode::from(DONE)
        }
        Err(error) => {
            eprintln!("starling: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn init(dir: &Path) -> anyhow::Result<Written> {
    let (key_file, public_file) = (dir.join(KEY_FILE), dir.join(PUBLIC_FILE));
    let keypair = identity::make_key(&key_file).map_err(|error| match error {
        IdentityError::Write { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
            anyhow::anyhow!(
                "{} is there already: whoever replaces a cluster's key shuts out all its nodes",
                key_file.display()
            )
        }
        error => error.into(),
    })?;
    let id = NodeId::of(&keypair.public())?;
    fs::write(&public_file, format!("{}\n", cluster_key_to_text(id)))
        .with_context(|| format!("{} cannot be written", public_file.display()))?;
    let text = format!(
        "wrote {}, which signs tickets: keep it off the nodes\nwrote {}, which every node gets by \
         --cluster-key-pub\nthe cluster is {id}",
        key_file.display(),
        public_file.display()
    );
    let json = json!({ "cluster": id.to_string(), "key": key_file, "pub": public_file });
    Ok(Written { text, json })
}

fn admit(options: &AdmitOptions, now: UnixMs) -> anyhow::Result<Written> {
    let cluster =
        identity::read_key(&options.key).context("no cluster key, which `starling cluster init` makes")?;
    let node = match (&options.node_id, &options.data) {
        (Some(id), _) => *id,
        (None, Some(data)) => {
            let keypair = identity::load_key(data)?;
            NodeId::of(&keypair.public())?
        }
        (None, None) => bail!("give --node-id or --data"),
    };
    let claim = Claim {
        node,
        name: options.name.clone(),
        region: options.region.clone(),
        pop: options.pop.clone(),
        may_shield: !options.no_shield,
        expires_ms: options.expires.from(now),
    };
    let ticket = Ticket::issue(claim, &cluster)?;
    let file = options.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.ticket", options.name)));
    let expires = match ticket.claim.expires_ms {
        u64::MAX => "never".to_owned(),
        at => timestamp(at),
    };
    let json = json!({
        "node": options.name, "id": node.to_string(), "region": options.region, "pop": options.pop,
        "may_shield": ticket.claim.may_shield, "expires": expires,
        "file": if file == Path::new("-") { Value::Null } else { json!(file) },
    });
    if file == Path::new("-") {
        return Ok(Written { text: ticket.to_text(), json });
    }
    fs::write(&file, format!("{ticket}\n"))
        .with_context(|| format!("{} cannot be written", file.display()))?;
    let text = format!(
        "wrote {}: {} ({}/{}) is {node}{}, {}",
        file.display(),
        options.name,
        options.region,
        options.pop,
        if options.no_shield { ", no shield" } else { "" },
        if options.expires == Expiry::Never { "for ever".to_owned() } else { format!("until {expires}") },
    );
    Ok(Written { text, json })
}

fn name(text: &str) -> Result<String, String> {
    if is_name(text) {
        return Ok(text.to_owned());
    }
    Err("a name has 1 to 64 letters, digits, `-`, `_` and `.`".to_owned())
}
