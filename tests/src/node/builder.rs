//! How a node is to be started.

use std::{fs, net::SocketAddr, path::Path};

use tempfile::TempDir;

use super::{
    Node,
    process::{Running, not_ready},
};
use crate::CertFiles;

/// How a node is to be started.
#[derive(Clone, Debug)]
pub struct NodeBuilder {
    pub(super) name: String,
    http: String,
    admin: String,
    pub(super) token: Option<String>,
    pub(super) namespace: Option<String>,
    origins: Vec<String>,
    toml: Option<String>,
    certificates: Vec<CertFiles>,
    arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
}

impl NodeBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: "test-1".to_owned(),
            http: "127.0.0.1:0".to_owned(),
            admin: "127.0.0.1:0".to_owned(),
            token: None,
            namespace: None,
            origins: Vec::new(),
            toml: None,
            certificates: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// `--name NAME`.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// `--http ADDRESS`, instead of a loopback port of the node's choosing.
    pub fn http(mut self, address: SocketAddr) -> Self {
        self.http = address.to_string();
        self
    }

    /// `--admin ADDRESS`, instead of a loopback port of the node's choosing.
    pub fn admin(mut self, address: SocketAddr) -> Self {
        self.admin = address.to_string();
        self
    }

    /// The bearer token that the test shows to the admin API; the configuration must name it.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Runs the process in this network namespace.
    pub fn inside(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// `--origin URL`.
    pub fn origin(mut self, url: impl Into<String>) -> Self {
        self.origins.push(url.into());
        self
    }

    /// The text of the file given by `--config`.
    pub fn toml(mut self, text: impl Into<String>) -> Self {
        self.toml = Some(text.into());
        self
    }

    /// A TLS listener with this certificate; more calls add certificates.
    pub fn certificate(mut self, files: &CertFiles) -> Self {
        self.certificates.push(files.clone());
        self
    }

    /// More arguments of `starling node`.
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the node with an empty data directory and waits until it is ready.
    pub async fn start(self) -> Node {
        let dir = tempfile::Builder::new().prefix("starling-test-").tempdir();
        self.start_in(dir.expect("a temporary directory can be made")).await
    }

    /// Starts the node with its data, log and configuration in `dir`, and waits until it is ready.
    pub async fn start_in(self, dir: TempDir) -> Node {
        self.try_start_in(dir).await.unwrap_or_else(|log| panic!("{}", not_ready(&log)))
    }

    /// The same for a node that may refuse to start; then its standard error is the answer.
    pub async fn try_start_in(self, dir: TempDir) -> Result<Node, String> {
        let running = Running::start(&self, dir.path()).await?;
        Ok(Node { builder: self, dir, running: Some(running) })
    }

    pub(super) fn arguments(&self, dir: &Path) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["node", "--name", &self.name, "--http", &self.http, "--admin", &self.admin, "--data"]
                .map(str::to_owned)
                .to_vec();
        arguments.push(dir.join("data").display().to_string());
        if let Some(text) = &self.toml {
            let file = dir.join("starling.toml");
            fs::write(&file, text).expect("the configuration can be written");
            arguments.extend(["--config".to_owned(), file.display().to_string()]);
        }
        for origin in &self.origins {
            arguments.extend(["--origin".to_owned(), origin.clone()]);
        }
        if !self.certificates.is_empty() {
            arguments.extend(["--https".to_owned(), "127.0.0.1:0".to_owned()]);
        }
        for CertFiles { cert, key } in &self.certificates {
            let pair = [
                "--cert".to_owned(),
                cert.display().to_string(),
                "--key".to_owned(),
                key.display().to_string(),
            ];
            arguments.extend(pair);
        }
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }
}
