//! A cluster key and the tickets it signs, made by the commands that operators use.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::starling;

/// A cluster that admits only nodes with its tickets.
pub struct Cluster {
    dir: TempDir,
}

/// What a ticket is to say.
#[derive(Clone, Copy, Debug)]
pub struct Admission<'a> {
    /// The node's name.
    pub name: &'a str,
    /// Its region.
    pub region: &'a str,
    /// Its PoP.
    pub pop: &'a str,
    /// How long it is good for (`365d`).
    pub expires: &'a str,
}

impl Cluster {
    /// `starling cluster init`.
    pub async fn init() -> Self {
        let dir = tempfile::Builder::new().prefix("starling-cluster-").tempdir();
        let dir = dir.expect("a temporary directory can be made");
        done(&["cluster", "init", "--dir", &text(dir.path())]).await;
        Self { dir }
    }

    /// The file of the public key.
    pub fn public_key(&self) -> PathBuf {
        self.dir.path().join("cluster.pub")
    }

    /// `starling cluster admit` for the node with this data directory, whose key is made if need be; the ticket
    /// is written to `out`.
    pub async fn admit(&self, admission: Admission<'_>, data: &Path, out: &Path) {
        let Admission { name, region, pop, expires } = admission;
        let key = text(&self.dir.path().join("cluster.key"));
        let mut arguments = vec!["cluster", "admit", "--name", name, "--region", region, "--pop", pop];
        let (data, out) = (text(data), text(out));
        arguments.extend(["--expires", expires, "--data", &data, "--key", &key, "--out", &out]);
        done(&arguments).await;
    }
}

async fn done(arguments: &[&str]) {
    let output = starling(arguments).await;
    assert_eq!(output.code, Some(0), "starling {arguments:?}: {}{}", output.stdout, output.stderr);
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
