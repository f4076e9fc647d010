//! The `PURGE` method: purges the URL it is sent to, for who holds a token.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use starling_proto::{
    cache::key,
    purge::{EntryId, Mode, Purge, Selector},
};

use super::{Shared, answers::Answer, door::ClientHead, service::Service};

/// Says whether the fields of a request carry a token that may purge a service.
pub type PurgeGuard = Arc<dyn Fn(&HeaderMap, &str) -> bool + Send + Sync>;

/// Has purges written in the log of the region.
pub trait Purger: Send + Sync + 'static {
    /// Committed, and applied at this node, when this answers. The error is for people.
    fn purge(&self, purge: Purge) -> BoxFuture<'static, Result<EntryId, String>>;
}

/// Purges the request's URL. `Soft-Purge: 1` (or `Fastly-Soft-Purge: 1`) leaves the object stale instead of gone.
pub async fn purge(shared: &Shared, service: &Service, request: &ClientHead) -> Answer {
    if !(shared.purge_guard)(&request.headers, &service.settings.name) {
        let text = "PURGE needs `Authorization: Bearer TOKEN` with a token of scope `purge`";
        let mut answer = Answer::new(StatusCode::UNAUTHORIZED, "purge-refused", text);
        answer.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"purge\""));
        return answer;
    }
    let soft = ["soft-purge", "fastly-soft-purge"]
        .iter()
        .any(|name| request.headers.get(*name).is_some_and(|value| value == "1"));
    let url = key::normalise_url(&request.authority, &request.path_and_query, &service.settings.key);
    let order = Purge {
        service: service.settings.name.clone(),
        selectors: vec![Selector::Url(url)],
        mode: if soft { Mode::Soft } else { Mode::Hard },
    };
    match shared.purger.purge(order).await {
        Ok(id) => Answer::new(StatusCode::OK, "purged", format!("purged {id}")),
        Err(error) => {
            tracing::error!(%error, "a purge was not committed");
            let text = format!("the purge is not known to be committed: {error}");
            Answer::new(StatusCode::SERVICE_UNAVAILABLE, "purge-failed", text)
        }
    }
}
