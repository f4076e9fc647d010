//! The flags of `starling node`. Each stands for a key of the file; the rest of the keys by `--set`.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;

use crate::config::{Override, Sources};

/// How to run a node. Values are checked with the rest of the configuration, so that a mistake is told alike
/// wherever it was made.
#[derive(Args, Debug, Default)]
#[command(
    after_help = "Every key of the file can be set by --set SECTION.KEY=VALUE and by the environment, as\nSTARLING_SECTION_KEY ([node] goes without its name: STARLING_HTTP). Flags win over the environment,\nwhich wins over the file. [[services]], [[certificates]] and [[admin.tokens]] are set in a file.\n\nExamples:\n  starling node --origin https://example.com\n  starling node --origin http://a:8000 --origin http://b:8000 --http 0.0.0.0:80 --memory 2GiB\n  starling node --origin http://a:8000 --name n2 --mesh 127.0.0.1:7002 --peer 127.0.0.1:7001\n  starling node --config /etc/starling.toml --set log.access=full\n  starling config check /etc/starling.toml"
)]
pub struct NodeOptions {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "STARLING_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where misses go; alone it makes one service for every host; may be repeated. An origin given by name
    /// is asked for that name, one given by address for the host the client named
    #[arg(long, value_name = "URL", env = "STARLING_ORIGIN", value_delimiter = ',')]
    pub origin: Vec<String>,
    /// Listen for HTTP/1.1 and HTTP/2 without TLS [default: 127.0.0.1:8080]; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub http: Vec<String>,
    /// Listen for HTTP/1.1 and HTTP/2 over TLS; needs --cert and --key; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub https: Vec<String>,
    /// The certificate chain (PEM)
    #[arg(long, value_name = "FILE")]
    pub cert: Option<String>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub key: Option<String>,
    /// Listen for the admin API [default: 127.0.0.1:9000]
    #[arg(long, value_name = "ADDR")]
    pub admin: Vec<String>,
    /// Join a mesh: listen for other nodes here, on TCP and on UDP of the same number
    #[arg(long, value_name = "ADDR")]
    pub mesh: Option<String>,
    /// A node of the mesh, by its --mesh address; any one will do; may be repeated
    #[arg(long, value_name = "HOST:PORT")]
    pub peer: Vec<String>,
    /// The cluster's public key, from `starling cluster init`; without it a mesh is open, on loopback only
    #[arg(long, value_name = "FILE")]
    pub cluster_key_pub: Option<String>,
    /// This node's ticket, from `starling cluster admit`
    #[arg(long, value_name = "FILE")]
    pub ticket: Option<String>,
    /// Its share of the PoP's objects beside its neighbours' [default: 100]
    #[arg(long, value_name = "N")]
    pub weight: Option<String>,
    /// A new region forms its group when so many of its nodes see each other; the same on all of them
    #[arg(long, value_name = "N")]
    pub region_expect: Option<String>,
    /// What this node is called [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The region it stands in [default: local]
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// The place inside the region [default: local]
    #[arg(long, value_name = "NAME")]
    pub pop: Option<String>,
    /// Where it keeps what survives a restart [default: starling-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Budget of the memory tier [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Cap of the disk tier; 0 keeps bodies in memory only [default: 10GiB]
    #[arg(long, value_name = "SIZE")]
    pub disk: Option<String>,
    /// Which requests are logged: off, sampled or full [default: off]
    #[arg(long, value_name = "WHICH")]
    pub access_log: Option<String>,
    /// A level or filter, such as `debug` or `starling=trace,info` [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How events are written: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Set any key of the file, such as `limits.head_timeout_ms=5s`; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if key.contains('.') => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write SECTION.KEY=VALUE, such as store.disk_bytes_max=20GiB".to_owned()),
    }
}

impl NodeOptions {
    /// Where the node's configuration comes from, the environment of this process included.
    pub fn sources(&self) -> Sources {
        let sources = Sources {
            file: self.config.clone(),
            flags: self.flags(),
            environment: BTreeMap::new(),
            origins: self.origin.clone(),
        };
        sources.with_environment()
    }

    pub(super) fn flags(&self) -> BTreeMap<String, Override> {
        let lists = [
            ("node.http", "--http", &self.http),
            ("node.https", "--https", &self.https),
            ("node.admin", "--admin", &self.admin),
            ("node.peers", "--peer", &self.peer),
        ];
        let words = [
            ("node.cert", "--cert", &self.cert),
            ("node.key", "--key", &self.key),
            ("node.mesh", "--mesh", &self.mesh),
            ("node.cluster_key_pub", "--cluster-key-pub", &self.cluster_key_pub),
            ("node.ticket", "--ticket", &self.ticket),
            ("node.weight", "--weight", &self.weight),
            ("node.region_expect", "--region-expect", &self.region_expect),
            ("node.name", "--name", &self.name),
            ("node.region", "--region", &self.region),
            ("node.pop", "--pop", &self.pop),
            ("node.data", "--data", &self.data),
            ("store.memory_bytes_max", "--memory", &self.memory),
            ("store.disk_bytes_max", "--disk", &self.disk),
            ("log.access", "--access-log", &self.access_log),
            ("log.level", "--log-level", &self.log_level),
            ("log.format", "--log-format", &self.log_format),
        ];
        let lists = lists.into_iter().map(|(key, flag, values)| (key, flag, values.clone()));
        let words = words.into_iter().map(|(key, flag, value)| (key, flag, value.iter().cloned().collect()));
        let mut flags: BTreeMap<String, Override> = lists
            .chain(words)
            .filter(|(_, _, values): &(_, _, Vec<String>)| !values.is_empty())
            .map(|(key, flag, values)| (key.to_owned(), Override { flag: flag.to_owned(), values }))
            .collect();
        for (key, value) in &self.set {
            let given = Override { flag: format!("--set {key}"), values: vec![value.clone()] };
            flags.insert(key.clone(), given);
        }
        flags
    }
}
