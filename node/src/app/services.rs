//! Services that come, change and go while the node runs.
//!
//! ```text
//!   admin ──check──▶ book           file ──▶ book ──▶ edge (table, health checks), admin (what is served)
//!   admin ──set────▶ setter ──▶ region log ──▶ store's catalog ──▶ ▲
//! ```
//!
//! [`begin`] makes what the edge starts with, from the file and from what the store knew when it was opened;
//! [`Live::run`] follows the catalog from there. A change is proposed by a [`Setter`].

mod book;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use starling_proto::{
    NodeId, UnixMs,
    purge::{Catalog, Change, EntryId, Hlc, ServiceChange},
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::book::{Book, Listed};
use crate::{
    admin::{CheckService, CommandError, ServiceSource, ServiceView},
    clock::Clock,
    config,
    edge::{Edge, Service, ServiceSettings, Services, ServicesError},
    origin::Pool,
};

/// Time for a change that is committed to reach this node's own edge, before whoever set it is answered.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);

/// Has a change written in the log of the region; answers when it is committed, or when it gives up.
pub type Propose = Arc<dyn Fn(Change) -> BoxFuture<'static, Result<EntryId, CommandError>> + Send + Sync>;

/// Follows the catalog, and has the edge serve what it says.
pub struct Live {
    book: Arc<Mutex<Book>>,
    catalog: watch::Receiver<Arc<Catalog>>,
    views: watch::Sender<Arc<Vec<ServiceView>>>,
    /// The catalog that the edge serves by.
    settled: watch::Sender<Arc<Catalog>>,
}

/// Has services set in all of the mesh.
pub struct Setter {
    catalog: watch::Receiver<Arc<Catalog>>,
    settled: watch::Receiver<Arc<Catalog>>,
    me: NodeId,
    clock: Clock,
    /// The time of the last change from here: the next is after it, also before that is applied.
    last: Mutex<Hlc>,
    propose: Propose,
}

/// The services to start with, and what keeps them up to date. `lifetime_max_ms` is the node's
/// `store.object_lifetime_max_ms`.
///
/// Fails when a service of the file cannot be set up. What the mesh said never keeps a node from starting.
pub fn begin(
    file: Vec<ServiceSettings>,
    lifetime_max_ms: u64,
    mut catalog: watch::Receiver<Arc<Catalog>>,
) -> Result<(Services, Live), ServicesError> {
    let of_file = Services::build(file.clone())?;
    let parse = move |name: &str, text: &str| {
        config::parse_service(name, text, lifetime_max_ms).map_err(|error| error.to_string())
    };
    let book = Arc::new(Mutex::new(Book::new(file, Box::new(parse))));
    let known = Arc::clone(&catalog.borrow_and_update());
    let (services, views) = table(&book, &known, &of_file);
    let (views, settled) = (watch::Sender::new(Arc::new(views)), watch::Sender::new(known));
    Ok((services, Live { book, catalog, views, settled }))
}

impl Live {
    /// What the admin API tells of the services.
    pub fn views(&self) -> watch::Receiver<Arc<Vec<ServiceView>>> {
        self.views.subscribe()
    }

    /// How the admin API checks a definition before it has it set: also whether the catalog has room for it.
    pub fn check(&self) -> CheckService {
        let (book, catalog) = (Arc::clone(&self.book), self.catalog.clone());
        Arc::new(move |name, definition| {
            let latest = Arc::clone(&catalog.borrow());
            latest.room_for(name, Some(definition))?;
            let mut book = book.lock();
            book.learn(&latest);
            let settings = book.check(name, definition)?;
            drop(book);
            Service::set_up(settings).map(drop).map_err(|error| error.to_string())
        })
    }

    /// What sets services in all of the mesh, in the name of `me`.
    pub fn setter(&self, me: NodeId, clock: Clock, propose: Propose) -> Setter {
        let (catalog, settled) = (self.catalog.clone(), self.settled.subscribe());
        Setter { catalog, settled, me, clock, last: Mutex::default(), propose }
    }

    /// Follows the catalog until `stop`. Health checks run on `tracker`, for as long as their service is served.
    pub async fn run(mut self, edge: Edge, tracker: TaskTracker, stop: CancellationToken) {
        let mut checks = Checks { running: Vec::new(), tracker, stop: stop.clone() };
        loop {
            checks.follow(&edge.services());
            let is_followed = tokio::select! {
                () = stop.cancelled() => return,
                changed = self.catalog.changed() => changed.is_ok(),
            };
            if !is_followed {
                // The store is closed: nothing will change any more.
                return stop.cancelled().await;
            }
            let catalog = Arc::clone(&self.catalog.borrow_and_update());
            if self.settled.borrow().services().eq(catalog.services()) {
                continue;
            }
            let (book, known, previous) = (Arc::clone(&self.book), Arc::clone(&catalog), edge.services());
            // Certificates are read on the way.
            let made = tokio::task::spawn_blocking(move || table(&book, &known, &previous)).await;
            match made {
                Ok((services, views)) => {
                    edge.set_services(services);
                    self.views.send_replace(Arc::new(views));
                }
                Err(error) => tracing::error!(%error, "the services stay as they were"),
            }
            self.settled.send_replace(catalog);
        }
    }
}

/// The services there are to be, those of `previous` that did not change among them, and what is told of all.
fn table(book: &Mutex<Book>, catalog: &Catalog, previous: &Services) -> (Services, Vec<ServiceView>) {
    let list = {
        let mut book = book.lock();
        book.learn(catalog);
        book.list()
    };
    let wanted = list.iter().filter_map(|listed| listed.settings.clone()).collect();
    let (services, errors) = Services::rebuild(previous, wanted);
    let errors: HashMap<&str, String> =
        errors.iter().map(|error| (error.service(), error.to_string())).collect();
    let views = list.into_iter().map(|listed| view(listed, &services, &errors)).collect::<Vec<_>>();
    for view in &views {
        if let Some(problem) = &view.problem {
            tracing::error!(service = view.name, problem, "a service is not as it was set");
        }
    }
    (services, views)
}

fn view(listed: Listed, services: &Services, errors: &HashMap<&str, String>) -> ServiceView {
    let problem = errors.get(listed.name.as_str()).cloned().or(listed.problem);
    let source = if listed.definition.is_some() { ServiceSource::Mesh } else { ServiceSource::File };
    let served = services.by_name(&listed.name).map(|service| &service.settings);
    let origins = |settings: &ServiceSettings| settings.pool.origins.iter().map(|o| o.url.clone()).collect();
    ServiceView {
        hosts: served.map(|settings| settings.hosts.clone()).unwrap_or_default(),
        origins: served.map(origins).unwrap_or_default(),
        key: served.map(|settings| settings.key.clone()).unwrap_or_default(),
        name: listed.name,
        source,
        definition: listed.definition,
        problem,
    }
}

/// The health checks that run.
struct Checks {
    running: Vec<(Pool, CancellationToken)>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Checks {
    /// Starts those of new pools, and ends those of pools that are gone.
    fn follow(&mut self, services: &Services) {
        self.running.retain(|(pool, stop)| {
            let is_served = services.iter().any(|service| service.pool.is(pool));
            if !is_served {
                stop.cancel();
            }
            is_served
        });
        for service in services.iter() {
            if !self.running.iter().any(|(pool, _)| service.pool.is(pool)) {
                let stop = self.stop.child_token();
                service.pool.spawn_health_checks(&self.tracker, stop.clone());
                self.running.push((service.pool.clone(), stop));
            }
        }
    }
}

impl Setter {
    /// Has a service set, or deleted, and answers with the entry that says so. When it is committed this waits for a
    /// moment until it is served here, so that whoever asks next is told of it.
    pub async fn set(&self, name: String, definition: Option<String>) -> Result<EntryId, CommandError> {
        let change = {
            let mut last = self.last.lock();
            let catalog = Arc::clone(&self.catalog.borrow());
            // Also what deletes a service of the file is one name more.
            catalog.room_for(&name, definition.as_deref()).map_err(CommandError::Failed)?;
            let known = catalog.latest().max(*last);
            let change = service_change(known, self.me, self.clock.now_ms(), name, definition);
            *last = change.at;
            change
        };
        let (name, at) = (change.name.clone(), change.at);
        let id = (self.propose)(Change::Service(change)).await?;
        let mut settled = self.settled.clone();
        let is_served = |catalog: &Arc<Catalog>| catalog.service(&name).is_some_and(|change| change.at >= at);
        if tokio::time::timeout(SETTLE_TIMEOUT, settled.wait_for(is_served)).await.is_err() {
            tracing::warn!(service = name, entry = %id, "a service that was set has not reached this node yet");
        }
        Ok(id)
    }
}

/// What is said of a service now: after all that was said until `known`, whatever the clock shows.
pub fn service_change(
    known: Hlc,
    me: NodeId,
    now: UnixMs,
    name: String,
    definition: Option<String>,
) -> ServiceChange {
    ServiceChange { name, at: known.next(me, now), definition }
}
