//! Requests that go past the cache: other methods, bypass rules, a HEAD for what is not fresh.
//!
//! What comes back may still change the cache: an unsafe method that succeeds invalidates what it named
//! (RFC 9111 section 4.4), a HEAD updates the stored GET (section 4.3.5), and a POST may say that its answer
//! is what a GET would get (RFC 9110 section 9.3.3).

use std::sync::Arc;

use http::{Method, StatusCode};
use starling_proto::{
    cache::{
        encoding::Coding,
        invalidate, key,
        storing::{self, Fetched},
        validate,
    },
    purge::{Mode, Purge, Purged, Selector, Stamp},
    ring::Hop,
};

use super::{
    answers::Answer,
    door::RequestBody,
    errand,
    forward::{self, Forward},
    life::{Life, past_the_cache},
    upward::{Question, Reply},
    verdict::{Outcome, Verdict},
};
use crate::{
    origin::FetchError,
    store::{NewObject, Object},
};

/// How a passage ended.
pub enum Passed {
    /// The answer, for this client only.
    Through(Box<Reply>, Verdict),
    /// The answer, which later GETs may have too.
    Stored(Arc<Object>, Verdict),
    /// No answer.
    Failed(Answer),
}

/// Takes a request upward and its answer back. The body is gone when this is called again. `stored` is what a
/// HEAD may update.
///
/// What could be answered from a cache goes the way of all such requests; the rest goes to the origin.
pub async fn pass(
    life: &Life,
    body: Option<RequestBody>,
    reason: &'static str,
    stored: Option<Arc<Object>>,
) -> Passed {
    let mut verdict = Verdict::new(Outcome::Pass);
    verdict.fwd = Some(reason);
    let mut forward = Forward::of(&life.shared, &life.service, &life.request);
    if stored.is_some() {
        // What it tells is told of the stored object, which stands for this target.
        forward.path_and_query = key::keyed_target(&forward.path_and_query, &life.service.settings.key);
    }
    let reply = match ask(life, body, &forward).await {
        Ok(reply) => reply,
        Err(error) => return Passed::Failed(Answer::of_failure(&error)),
    };
    verdict.fwd_status = Some(reply.status.as_u16());
    verdict.origin = Some(Arc::clone(&reply.source));
    verdict.upper = reply.upper.clone();
    let fetched = Fetched {
        method: &life.request.method,
        request_headers: &life.request.headers,
        path: &life.request.path_and_query,
        request_ms: reply.request_ms,
        response_ms: reply.response_ms,
        status: reply.status,
        headers: &reply.headers,
        initial_age_ms: reply.shared().map(|shared| shared.initial_age_ms),
    };
    if let Some(object) = stored {
        update_by_head(life, &object, &fetched, Arc::clone(&reply.stamp)).await;
        return Passed::Through(Box::new(reply), verdict);
    }
    invalidate(life, &reply).await;
    invalidate_groups(life, &reply).await;
    if life.request.method == Method::POST
        && is_keyed_whole(life)
        && let Ok(head) =
            storing::post_stores_for_get(&fetched, &life.request.authority, &life.service.settings.policy)
    {
        let (object, writer) = life.shared.store.begin(NewObject {
            key: life.key.key,
            key_text: life.key.text.clone(),
            service: Arc::clone(&life.service.name),
            url: life.key.url.clone(),
            head,
            stamp: reply.stamp,
            total: errand::content_length(&reply.headers),
            from: 0,
            until: None,
            coding: Coding::Identity,
            fed_by: Hop::Origin,
            transient: false,
        });
        life.shared.store.commit(&object).await;
        life.shared.spawn(errand::pump(reply.body, writer, false));
        verdict.stored = true;
        return Passed::Stored(object, verdict);
    }
    Passed::Through(Box::new(reply), verdict)
}

async fn ask(life: &Life, body: Option<RequestBody>, forward: &Forward) -> Result<Reply, FetchError> {
    let interim = Some(life.request.interim.clone());
    if past_the_cache(&life.service, &life.request).is_none() {
        let question = Question {
            request: &life.request,
            headers: &life.request.headers,
            forward,
            may_be_cut: false,
            resumes: false,
            interim,
        };
        return life.upward(life.offset()).ask(&question).await;
    }
    let request = match body {
        Some(body) => forward.clone().request_with(body, life.request.body_bytes, interim),
        None => forward.request(interim),
    };
    let stamp = life.shared.store.stamp();
    let request_ms = life.shared.clock.now_ms();
    let response = life.service.pool.fetch(request).await?;
    Ok(Reply::of_origin(response, stamp, request_ms, life.shared.clock.now_ms()))
}

/// Whether the key says all that the origin was told: an answer to more is not for who asks for less.
fn is_keyed_whole(life: &Life) -> bool {
    let target = &life.request.path_and_query;
    key::keyed_target(target, &life.service.settings.key) == key::origin_target(target)
        && !forward::overrides_method(&life.request.headers)
}

/// RFC 9111 section 4.3.5: a HEAD tells whether the stored GET still holds.
async fn update_by_head(life: &Life, object: &Arc<Object>, fetched: &Fetched<'_>, stamp: Stamp) {
    if fetched.status != StatusCode::OK {
        return;
    }
    if !validate::head_agrees(&object.head, fetched.headers) {
        life.shared.store.remove(object).await;
        return;
    }
    // A HEAD proves nothing about a body that was purged, or may be by a purge that this node has not applied; only
    // a fetch brings it back.
    if !life.shared.has_applied(&stamp) || life.shared.store.purged(object) != Purged::No {
        return;
    }
    match validate::freshen(&object.head, fetched, &life.service.settings.policy) {
        Ok(head) => {
            life.shared.store.freshen(object, head, stamp).await;
        }
        Err(reason) if reason.is_of_request() => {}
        Err(_) => life.shared.store.remove(object).await,
    }
}

/// RFC 9875 section 3: an answer to an unsafe method may invalidate whole groups. That is a purge by tag, and
/// it is written down as one.
async fn invalidate_groups(life: &Life, reply: &Reply) {
    let groups = invalidate::groups(&life.request.method, reply.status, &reply.headers);
    if groups.is_empty() {
        return;
    }
    let order = Purge {
        service: life.service.settings.name.clone(),
        selectors: groups.into_iter().map(Selector::Tag).collect(),
        mode: Mode::Hard,
    };
    if let Err(error) = life.shared.purger.purge(order).await {
        tracing::error!(%error, url = %life.key.url, "groups that the origin invalidated were not");
    }
}

/// RFC 9111 section 4.4. What is under way for these targets is older than the change, too.
async fn invalidate(life: &Life, reply: &Reply) {
    let targets = invalidate::targets(
        &life.request.method,
        reply.status,
        &life.request.authority,
        &life.request.path_and_query,
        &reply.headers,
    );
    for target in targets {
        let key = key::primary_key(
            &life.service.name,
            life.request.scheme.as_str(),
            &life.request.authority,
            &target,
            &life.request.headers,
            &life.service.settings.key,
        );
        life.shared.fills.outdate(&key.key);
        if let Some(mesh) = &life.shared.mesh {
            mesh.note_change(key.key, life.shared.clock.now_ms());
        }
        if let Some(variants) = life.shared.store.lookup(&key.key).await {
            for object in &variants.objects {
                life.shared.store.remove(object).await;
            }
        }
    }
}
