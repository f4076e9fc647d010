//! The origins of one service, as one.

use super::{
    breaker::Breaker,
    budget::Budget,
    check::{self, Vitals},
    connections::Connections,
    error::{FetchError, FetchErrorKind, PoolError},
    gate::Gate,
    member::{Errand, Failed, Member, Reach},
    request::{Request, empty},
    response::Response,
    selection::{self, Candidate},
    settings::{HealthSettings, PoolSettings},
    stats::{Counters, OriginStats, count},
    target::{self, Outgoing, Place},
    tls,
};
use http::{HeaderMap, HeaderValue, Method, header, uri::Authority};
use parking_lot::Mutex;
use rand::Rng;
use rustls_pki_types::ServerName;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_rustls::TlsConnector;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

/// How often connections that idled too long are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// The origins of one service. Cheap to clone; the connections end with the last clone.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    members: Vec<Arc<Member>>,
    budget: Mutex<Budget>,
    host_header: Option<Authority>,
    health: Option<HealthSettings>,
}

/// How one origin is doing.
#[derive(Clone, Debug, serde::Serialize)]
pub struct OriginHealth {
    /// Its URL.
    pub url: Arc<str>,
    /// Lower is asked first.
    pub priority: u32,
    /// Share among its priority.
    pub weight: u32,
    /// What the active checks say; true without checks.
    pub healthy: bool,
    /// `closed`, `open` or `half-open`.
    pub circuit: &'static str,
    /// Requests there now.
    pub in_flight: usize,
    /// Requests that wait for a place.
    pub waiting: usize,
    /// HTTP/1.1 connections that idle.
    pub idle_connections: usize,
}

impl Pool {
    /// Reads the settings; connects to nobody yet.
    pub fn new(settings: PoolSettings) -> Result<Pool, PoolError> {
        let host_header = match &settings.host_header {
            Some(text) => Some(target::host(text).ok_or_else(|| PoolError::HostHeader(text.clone()))?),
            None => None,
        };
        if let Some(health) = &settings.health {
            check_request(&health.path, "localhost")
                .ok_or_else(|| PoolError::HealthPath(health.path.clone()))?;
        }
        let any_tls = settings.origins.iter().any(|o| o.url.starts_with("https:"));
        let connector = if any_tls { Some(TlsConnector::from(tls::client_config(&settings)?)) } else { None };
        let tasks = TaskTracker::new();
        let mut members = Vec::with_capacity(settings.origins.len());
        for origin in &settings.origins {
            let place = Place::parse(&origin.url)?;
            let tls = match &connector {
                Some(connector) if place.tls => {
                    let name = host_header.as_ref().map_or(place.host.as_str(), |h| target::bare(h.host()));
                    let name = ServerName::try_from(name.to_owned());
                    Some((connector.clone(), name.map_err(|_| PoolError::Url(origin.url.clone()))?))
                }
                _ => None,
            };
            let counters = Arc::new(Counters::default());
            members.push(Arc::new(Member {
                url: origin.url.as_str().into(),
                priority: origin.priority,
                weight: origin.weight,
                gate: Gate::new(settings.concurrency_max, settings.queue_max, settings.queue_timeout),
                breaker: Mutex::new(Breaker::new(settings.breaker_failures, settings.breaker_open)),
                vitals: Mutex::new(Vitals::default()),
                connections: Connections::new(place, tls, &settings, tasks.clone(), counters.clone()),
                counters,
                head_timeout: settings.head_timeout,
                body_idle_timeout: settings.body_idle_timeout,
                keep_alive: settings.keep_alive,
            }));
        }
        let budget = Mutex::new(Budget::new(settings.retry_percent));
        Ok(Pool(Arc::new(Inner { members, budget, host_header, health: settings.health })))
    }

    /// Asks an origin, and another where that is safe (see the module's page). Ends with the response head;
    /// the body follows. Dropping the future ends the request at once.
    pub async fn fetch(&self, mut request: Request) -> Result<Response, FetchError> {
        let inner = &*self.0;
        let nobody: Arc<str> = "".into();
        let outgoing = Outgoing::new(&mut request, inner.host_header.as_ref())
            .map_err(|kind| FetchError::new(kind, &nobody))?;
        let mut errand = Errand {
            outgoing: &outgoing,
            body: Some(request.body),
            body_bytes: request.body_bytes,
            interim: request.interim,
            budget: &inner.budget,
        };
        inner.budget.lock().earn();
        let mut tried = vec![false; inner.members.len()];
        let mut failed: Option<Failed> = None;
        while let Some(chosen) = inner.choose(&tried) {
            if let Some(failed) = &failed {
                if !may_go_on(failed, &errand) {
                    break;
                }
                if errand.body.is_none() {
                    errand.body = Some(empty());
                }
                count(&inner.members[chosen].counters.retries);
            }
            tried[chosen] = true;
            match inner.members[chosen].visit(&mut errand).await {
                Ok(response) => return Ok(response),
                Err(lost) => failed = Some(lost),
            }
        }
        Err(match failed {
            Some(failed) => failed.error,
            None if inner.members.is_empty() => FetchError::new(FetchErrorKind::NoHealthyOrigin, &nobody),
            None => FetchError::new(FetchErrorKind::CircuitOpen, &inner.members[0].url),
        })
    }

    /// Whether this is the same pool: the same connections, and one view of its origins.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How each origin is doing.
    pub fn health(&self) -> Vec<OriginHealth> {
        let of = |member: &Arc<Member>| OriginHealth {
            url: member.url.clone(),
            priority: member.priority,
            weight: member.weight,
            healthy: member.vitals.lock().healthy(),
            circuit: member.breaker.lock().circuit().as_str(),
            in_flight: member.gate.inside(),
            waiting: member.gate.waiting(),
            idle_connections: member.connections.idle(),
        };
        self.0.members.iter().map(of).collect()
    }

    /// What was counted of each origin.
    pub fn stats(&self) -> Vec<(Arc<str>, OriginStats)> {
        self.0.members.iter().map(|member| (member.url.clone(), member.counters.read())).collect()
    }

    /// Starts what goes on apart from requests: health checks, if any are set, and closing idle connections.
    pub fn spawn_health_checks(&self, tracker: &TaskTracker, stop: CancellationToken) {
        for member in &self.0.members {
            tracker.spawn(stop.clone().run_until_cancelled_owned(prune(member.clone())));
            if let Some(health) = self.0.health.clone() {
                let host = self.0.host_header.as_ref().map(|h| h.as_str().to_owned());
                tracker.spawn(stop.clone().run_until_cancelled_owned(watch(member.clone(), host, health)));
            }
        }
    }
}

impl Inner {
    fn choose(&self, tried: &[bool]) -> Option<usize> {
        let now = Instant::now();
        let candidate = |(member, tried): (&Arc<Member>, &bool)| Candidate {
            priority: member.priority,
            weight: member.weight,
            healthy: member.vitals.lock().healthy(),
            usable: !tried && member.breaker.lock().would_admit(now),
            load: member.load(),
        };
        let candidates: Vec<_> = self.members.iter().zip(tried).map(candidate).collect();
        selection::choose(&candidates, |below| rand::rng().random_range(0..below))
    }
}

/// Whether a request that failed at one origin may be brought to another.
fn may_go_on(failed: &Failed, errand: &Errand<'_>) -> bool {
    let another_time = || errand.budget.lock().spend();
    match failed.reach {
        Reach::Unsent => failed.error.kind != FetchErrorKind::QueueTimeout,
        Reach::Refused => errand.outgoing.is_bodyless() && another_time(),
        Reach::Unanswered => errand.outgoing.is_safe_and_bodyless() && another_time(),
        Reach::Sent => false,
    }
}

async fn prune(member: Arc<Member>) {
    let mut ticks = interval(PRUNE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        member.connections.prune(ticks.tick().await);
    }
}

async fn watch(member: Arc<Member>, host: Option<String>, settings: HealthSettings) {
    let own = member.url.split_once("://").map_or("", |(_, authority)| authority.trim_end_matches('/'));
    let Some(outgoing) = check_request(&settings.path, host.as_deref().unwrap_or(own)) else { return };
    let mut ticks = interval(settings.interval.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let good = check::check(&member, &outgoing, &settings).await;
        if member.vitals.lock().record(good, &settings) {
            if good {
                info!(origin = %member.url, "origin is healthy again");
            } else {
                warn!(origin = %member.url, "origin is unhealthy");
            }
        }
    }
}

fn check_request(path: &str, host: &str) -> Option<Outgoing> {
    let agent = HeaderValue::from_static(concat!("starling/", env!("CARGO_PKG_VERSION"), " (health check)"));
    let mut request = Request {
        method: Method::GET,
        path_and_query: path.to_owned(),
        host: host.to_owned(),
        headers: HeaderMap::from_iter([(header::USER_AGENT, agent)]),
        body: empty(),
        body_bytes: Some(0),
        interim: None,
    };
    Outgoing::new(&mut request, None).ok()
}
