//! `starling purge` and `starling receipts`: what is purged, who has applied it, and how that ends.
//!
//! A purge that was committed stands, whatever was not waited for; one whose end is not known may stand. Neither is
//! a failure to be told by exit code 1: both are 3, and the text says which.

use std::time::Duration;

use clap::{Args, ValueEnum};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use starling_proto::purge::EntryId;

use super::{Client, ClientError, ClientOptions, DONE, TIMED_OUT, WAY, show};
use crate::{
    admin::{PurgeBody, PurgeReceipt, Wait},
    config::parse_duration,
};

/// What to purge.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  starling purge --url https://example.org/news\n  starling purge --tag article-7 --tag front --soft\n  starling purge --prefix example.org/img/ --service shop --wait committed\n  starling purge --all --wait fenced --timeout 20s --idempotency-key deploy-2026-11-22\n\nExit codes: 0 done, 1 failed: nothing was purged, 2 usage, 3 timed out: the purge is committed but not complete, or it is not known whether it is committed; the text says which."
)]
#[group(id = "selector", required = true, multiple = true, args = ["url", "tag", "host", "prefix", "all"])]
pub struct PurgeOptions {
    /// All variants of this URL; may be repeated
    #[arg(long, value_name = "URL")]
    pub url: Vec<String>,
    /// Objects that the origin tagged with this; may be repeated
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Objects of this host; may be repeated
    #[arg(long, value_name = "HOST")]
    pub host: Vec<String>,
    /// Objects whose host/path begins with this; may be repeated
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Vec<String>,
    /// Every object of the service
    #[arg(long)]
    pub all: bool,
    /// The service [default: the one with that host, or the only one]
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Make objects stale instead of removing them: they are revalidated, and may stand in for a dead origin
    #[arg(long)]
    pub soft: bool,
    /// When the purge counts as done
    #[arg(long, value_enum, default_value = "applied")]
    pub wait: WaitFor,
    /// How long to wait for that, with a unit; at most 60s
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// A word for this purge, 1 to 255 bytes: the same purge, sent again with the same word after a failure or a
    /// time-out, is committed once. Another purge with the same word is another purge
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// How to reach the node.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// When a purge counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    /// The node has taken it, and goes on with it
    Accepted,
    /// It survives any restart, and the loss of a minority of the region's voters
    Committed,
    /// Every node has applied it
    Applied,
    /// Every node has applied it, or does not trust what it has stored for services with freshness = "strict"
    Fenced,
}

/// Which receipts to show.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  starling receipts\n  starling receipts eu/0000019a3f5c2b10/42\n  starling receipts eu/0000019a3f5c2b10/42 --wait fenced --timeout 20s\n\nExit codes: 0 done, 1 failed, 2 usage, 3 timed out: what was waited for has not come."
)]
pub struct ReceiptsOptions {
    /// A purge, as `starling purge` named it; without it, the last ones that were sent to the node
    #[arg(value_name = "ID")]
    pub id: Option<EntryId>,
    /// Answer when this has come [default: at once]
    #[arg(long, value_enum, requires = "id")]
    pub wait: Option<ReceiptWait>,
    /// How long to wait for that, with a unit; at most 60s [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "wait")]
    pub timeout: Option<Duration>,
    /// How to reach the node.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// What of a committed purge can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReceiptWait {
    /// Every node has applied it
    Applied,
    /// Every node has applied it, or does not trust what it has stored for services with freshness = "strict"
    Fenced,
}

impl From<WaitFor> for Wait {
    fn from(wait: WaitFor) -> Self {
        match wait {
            WaitFor::Accepted => Self::Accepted,
            WaitFor::Committed => Self::Committed,
            WaitFor::Applied => Self::Applied,
            WaitFor::Fenced => Self::Fenced,
        }
    }
}

impl From<ReceiptWait> for Wait {
    fn from(wait: ReceiptWait) -> Self {
        match wait {
            ReceiptWait::Applied => Self::Applied,
            ReceiptWait::Fenced => Self::Fenced,
        }
    }
}

const TIMEOUT: Duration = Duration::from_secs(5);
/// Of an id in a path: its slashes are the path's.
const ID: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');

pub(super) async fn purge(options: PurgeOptions) -> Result<u8, ClientError> {
    let wait = Wait::from(options.wait);
    let body = PurgeBody {
        service: options.service,
        urls: options.url,
        tags: options.tag,
        hosts: options.host,
        prefixes: options.prefix,
        all: options.all,
        soft: options.soft,
        wait,
        timeout_ms: Some(options.timeout.as_millis() as u64),
        idempotency_key: options.idempotency_key,
    };
    let client = Client::new(&options.client)?;
    let answer = client.post("/v1/purge", &serde_json::json!(body), options.timeout + WAY).await;
    let answer = match answer {
        Err(error) if error.leaves_open() => {
            eprintln!("starling: {}", unknown(&error, body.idempotency_key.as_deref()));
            return Ok(TIMED_OUT);
        }
        answer => answer?,
    };
    show::print(&answer, options.client.json, show::receipt);
    Ok(ended(&answer, wait, options.timeout))
}

pub(super) async fn receipts(options: ReceiptsOptions) -> Result<u8, ClientError> {
    let client = Client::new(&options.client)?;
    let Some(id) = options.id else {
        let answer = client.get("/v1/purges", WAY).await?;
        show::print(&answer, options.client.json, show::receipts);
        return Ok(DONE);
    };
    let wait = options.wait.map(|wait| (Wait::from(wait), options.timeout.unwrap_or(TIMEOUT)));
    let patience = WAY + wait.map_or(Duration::ZERO, |(_, timeout)| timeout);
    let answer = client.get(&receipt_path(&id, wait), patience).await?;
    show::print(&answer, options.client.json, show::receipt);
    Ok(wait.map_or(DONE, |(wait, timeout)| ended(&answer, wait, timeout)))
}

pub(super) fn receipt_path(id: &EntryId, wait: Option<(Wait, Duration)>) -> String {
    let id = id.to_string();
    let path = format!("/v1/purge/{}", utf8_percent_encode(&id, ID));
    match wait {
        None => path,
        Some((wait, timeout)) => format!("{path}?wait={}&timeout_ms={}", wait.as_str(), timeout.as_millis()),
    }
}

/// The exit code of a purge that stands, and a word about what has not come.
pub(super) fn ended(answer: &Value, wait: Wait, timeout: Duration) -> u8 {
    let Ok(receipt) = serde_json::from_value::<PurgeReceipt>(answer.clone()) else { return DONE };
    match late(&receipt, wait, timeout) {
        None => DONE,
        Some(text) => {
            eprintln!("starling: {text}");
            TIMED_OUT
        }
    }
}

/// What is to be said of a purge for which the time ran out.
pub(super) fn late(receipt: &PurgeReceipt, wait: Wait, timeout: Duration) -> Option<String> {
    // What was only accepted is answered before it is anything else.
    if receipt.complete || wait == Wait::Accepted {
        return None;
    }
    let missing = receipt.missing.len();
    let nodes = receipt.applied.len() + missing;
    let id = receipt.id.as_deref().unwrap_or("ID");
    let wait = wait.as_str();
    Some(format!(
        "timed out: the purge is committed, but not {wait} within {timeout:?}: {missing} of {nodes} nodes had not said \
         that they have applied it. It goes on; `starling receipts {id} --wait {wait}` tells when it is complete"
    ))
}

/// What is to be said when nobody knows how a purge ended.
pub(super) fn unknown(error: &ClientError, key: Option<&str>) -> String {
    let again = match key {
        Some(key) => format!("send it again with --idempotency-key {key}: it is committed once"),
        None => "send it again: to purge twice does no harm".to_owned(),
    };
    format!("timed out: it is not known whether the purge was or will be committed ({error}); {again}")
}
