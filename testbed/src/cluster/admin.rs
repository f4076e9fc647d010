//! The admin API of one node.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, anyhow};
use http::Method;

use super::LOOK_TIMEOUT;
use crate::client::{Answer, Ask, AskFailed, Client};

/// What is asked with GET is answered from memory.
const GET_TIMEOUT: Duration = Duration::from_secs(10);

/// The admin API of one node.
#[derive(Clone)]
pub struct Admin {
    /// Where it is.
    pub address: SocketAddr,
    /// The bearer token it wants.
    pub token: Option<String>,
    pub(super) client: Client,
}

impl Admin {
    /// `GET path` as JSON.
    pub async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.get_in(path, GET_TIMEOUT).await?.json().with_context(|| self.of(path))
    }

    /// `POST path` with JSON, as the answer came: purges tell by their status how they ended.
    pub async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Answer, AskFailed> {
        let mut ask = self.ask(path).field("content-type", "application/json");
        ask.method = Method::POST;
        ask.body = body.to_string().into();
        self.client.ask(&ask).await
    }

    /// `GET path` of a node that may be dead, or paused.
    pub(super) async fn look(&self, path: &str) -> anyhow::Result<Answer> {
        self.get_in(path, LOOK_TIMEOUT).await
    }

    async fn get_in(&self, path: &str, timeout: Duration) -> anyhow::Result<Answer> {
        let ask = self.ask(path);
        let asked = tokio::time::timeout(timeout, async {
            match self.client.ask(&ask).await {
                // The node was started anew since it was asked last: that connection is dead, another is not.
                Err(error) if error.is_unanswered && !error.is_unsent => self.client.ask(&ask).await,
                answer => answer,
            }
        });
        match asked.await {
            Ok(answer) => answer.with_context(|| format!("GET {path}")),
            Err(_) => Err(anyhow!("no answer within {timeout:?}")).with_context(|| self.of(path)),
        }
    }

    fn ask(&self, path: &str) -> Ask {
        let ask = Ask::get(self.address, "", path);
        match &self.token {
            Some(token) => ask.field("authorization", format!("Bearer {token}")),
            None => ask,
        }
    }

    fn of(&self, path: &str) -> String {
        format!("GET http://{}{path}", self.address)
    }
}
