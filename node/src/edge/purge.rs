//! The `PURGE` method: purges the URL it is sent to, for who holds a token.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use starling_proto::{
    cache::key,
    purge::{Mode, Selector},
};

use super::{Shared, answers::Answer, door::ClientHead, service::Service};
use crate::store::PurgeRequest;

/// Says whether the fields of a request carry a token that may purge a service.
pub type PurgeGuard = Arc<dyn Fn(&HeaderMap, &str) -> bool + Send + Sync>;

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
    let order = PurgeRequest {
        service: service.settings.name.clone(),
        selectors: vec![Selector::Url(url)],
        mode: if soft { Mode::Soft } else { Mode::Hard },
    };
    match shared.store.purge(order, shared.clock.now_ms()).await {
        Ok(entry) => Answer::new(StatusCode::OK, "purged", format!("purged {}", entry.id())),
        Err(error) => {
            tracing::error!(%error, "a purge was not written");
            let text = "the purge could not be written down; nothing was purged";
            Answer::new(StatusCode::SERVICE_UNAVAILABLE, "purge-failed", text)
        }
    }
}
