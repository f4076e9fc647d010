//! Commands to a press that runs.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Method;
use serde::Deserialize;

use crate::client::{Answer, Ask, Client};

use super::{Behaviour, Editions, JSON_BYTES_MAX, Scope, Stats};

/// How long a press may take for a command: it stands near, and only objects wait.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Commands to a press that runs.
#[derive(Clone)]
pub struct Press {
    /// Where it is.
    pub address: SocketAddr,
    client: Client,
}

impl Press {
    /// The press at this address.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, client: Client::new(TIMEOUT, JSON_BYTES_MAX) }
    }

    /// Gives a scope a new edition; answers it. Every request that comes afterwards gets that.
    ///
    /// # Errors
    ///
    /// When the press did not say so: it may have a new edition all the same.
    pub async fn next(&self, scope: &Scope) -> anyhow::Result<u64> {
        #[derive(Deserialize)]
        struct Next {
            edition: u64,
        }
        let next: Next = self.send(Method::POST, "/press/next", serde_json::to_vec(scope)?).await?.json()?;
        Ok(next.edition)
    }

    /// All editions.
    ///
    /// # Errors
    ///
    /// When the press does not answer.
    pub async fn editions(&self) -> anyhow::Result<Editions> {
        self.send(Method::GET, "/press/editions", Bytes::new()).await?.json()
    }

    /// Sets them.
    ///
    /// # Errors
    ///
    /// When the press does not take them; it keeps those it had, unless it did not answer at all.
    pub async fn set_editions(&self, editions: &Editions) -> anyhow::Result<()> {
        self.send(Method::PUT, "/press/editions", serde_json::to_vec(editions)?).await.map(drop)
    }

    /// What it does from now on.
    ///
    /// # Errors
    ///
    /// When the press does not say that it will.
    pub async fn behave(&self, behaviour: Behaviour) -> anyhow::Result<()> {
        self.send(Method::POST, "/press/behave", serde_json::to_vec(&behaviour)?).await.map(drop)
    }

    /// What it was asked for.
    ///
    /// # Errors
    ///
    /// When the press does not answer.
    pub async fn stats(&self) -> anyhow::Result<Stats> {
        self.send(Method::GET, "/press/stats", Bytes::new()).await?.json()
    }

    /// Counts from nothing again.
    ///
    /// # Errors
    ///
    /// When the press does not say that it does.
    pub async fn reset_stats(&self) -> anyhow::Result<()> {
        self.send(Method::POST, "/press/stats/reset", Bytes::new()).await.map(drop)
    }

    async fn send(&self, method: Method, target: &str, body: impl Into<Bytes>) -> anyhow::Result<Answer> {
        let what = format!("{method} {target} of the origin");
        let ask = Ask { method, body: body.into(), ..Ask::get(self.address, "", target) };
        let answer = self.client.ask(&ask).await.with_context(|| what.clone())?;
        let text = || String::from_utf8_lossy(&answer.body[..answer.body.len().min(500)]).into_owned();
        ensure!(answer.status.is_success(), "{what}: {}: {}", answer.status, text());
        Ok(answer)
    }
}
