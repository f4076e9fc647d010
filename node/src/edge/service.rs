//! Which service a host belongs to.
//!
//! A table of services never changes; the edge changes its table as a whole. A request keeps the service it began
//! with, whatever becomes of the table.

use std::{collections::HashMap, sync::Arc};

use super::settings::ServiceSettings;
use crate::origin::{Pool, PoolError};

/// A service at work: its settings and the pool of its origins.
pub struct Service {
    /// What its operator said.
    pub settings: ServiceSettings,
    /// Its name, as objects carry it.
    pub name: Arc<str>,
    /// Its origins.
    pub pool: Pool,
}

/// All services of the node, by host.
#[derive(Default)]
pub struct Services {
    all: Vec<Arc<Service>>,
    exact: HashMap<String, Arc<Service>>,
    /// By the part behind `*.`, dot included.
    wildcard: HashMap<String, Arc<Service>>,
    catch_all: Option<Arc<Service>>,
}

/// Why services could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    /// Two services claim one host.
    #[error("host `{host}` is claimed by both `{first}` and `{second}`")]
    HostTwice {
        /// The host.
        host: String,
        /// The service that came first.
        first: String,
        /// The service that claims it again.
        second: String,
    },
    /// The origins of a service cannot be used.
    #[error("service `{service}`: {source}")]
    Pool {
        /// The service.
        service: String,
        /// What is wrong with them.
        source: PoolError,
    },
}

impl ServicesError {
    /// The service that is not as it should be.
    pub fn service(&self) -> &str {
        match self {
            Self::HostTwice { second, .. } => second,
            Self::Pool { service, .. } => service,
        }
    }
}

impl Service {
    /// Sets up the way to its origins; nobody is connected to yet.
    pub fn set_up(settings: ServiceSettings) -> Result<Self, ServicesError> {
        let pool = Pool::new(settings.pool.clone());
        let pool = pool.map_err(|source| ServicesError::Pool { service: settings.name.clone(), source })?;
        Ok(Self::new(settings, pool))
    }

    fn new(settings: ServiceSettings, pool: Pool) -> Self {
        Self { name: settings.name.as_str().into(), pool, settings }
    }
}

impl Services {
    /// Sets up all services; none is set up when one cannot be.
    pub fn build(settings: Vec<ServiceSettings>) -> Result<Self, ServicesError> {
        let mut services = Self::default();
        for settings in settings {
            services.place(Arc::new(Service::set_up(settings)?))?;
        }
        Ok(services)
    }

    /// A table of these services, and what is wrong with some. Each stands for itself: one that claims a host of one
    /// before it is left out as a whole; one that cannot be set up stays as it was in `previous`, if it was there.
    ///
    /// A service that is in `previous` with the same settings is the same here, with its connections and with what is
    /// known of its origins; one that is other, but for the way to its origins, keeps those.
    pub fn rebuild(previous: &Self, settings: Vec<ServiceSettings>) -> (Self, Vec<ServicesError>) {
        let mut services = Self::default();
        let mut errors = Vec::new();
        for settings in settings {
            let known = previous.by_name(&settings.name);
            let service = match known {
                Some(known) if known.settings == settings => Ok(Arc::clone(known)),
                Some(known) if known.settings.pool == settings.pool => {
                    Ok(Arc::new(Service::new(settings, known.pool.clone())))
                }
                _ => Service::set_up(settings).map(Arc::new),
            };
            let service = match (service, known) {
                (Ok(service), _) => service,
                (Err(error), known) => {
                    errors.push(error);
                    let Some(known) = known else { continue };
                    Arc::clone(known)
                }
            };
            errors.extend(services.place(service).err());
        }
        (services, errors)
    }

    fn place(&mut self, service: Arc<Service>) -> Result<(), ServicesError> {
        if let Some((host, first)) = self.taken(&service.settings.hosts) {
            return Err(ServicesError::HostTwice {
                host: host.to_owned(),
                first: first.settings.name.clone(),
                second: service.settings.name.clone(),
            });
        }
        for host in &service.settings.hosts {
            if host == "*" {
                self.catch_all = Some(Arc::clone(&service));
            } else if let Some(suffix) = host.strip_prefix('*') {
                self.wildcard.insert(suffix.to_owned(), Arc::clone(&service));
            } else {
                self.exact.insert(host.clone(), Arc::clone(&service));
            }
        }
        self.all.push(service);
        Ok(())
    }

    /// The first of these hosts that is claimed, and by whom.
    fn taken<'a>(&self, hosts: &'a [String]) -> Option<(&'a str, &Arc<Service>)> {
        hosts.iter().find_map(|host| {
            let claimed = match host.strip_prefix('*') {
                Some("") => self.catch_all.as_ref(),
                Some(suffix) => self.wildcard.get(suffix),
                None => self.exact.get(host),
            };
            claimed.map(|service| (host.as_str(), service))
        })
    }

    /// The service for an authority (`host` or `host:port`, lower case): the exact host, then the longest
    /// wildcard, then the catch-all.
    pub fn for_authority(&self, authority: &str) -> Option<&Arc<Service>> {
        let host = host_of(authority);
        self.exact.get(host).or_else(|| self.by_wildcard(host)).or(self.catch_all.as_ref())
    }

    /// The service called `name`.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Service>> {
        self.all.iter().find(|service| service.settings.name == name)
    }

    /// All services in the order they were set up.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.all.iter()
    }

    fn by_wildcard(&self, host: &str) -> Option<&Arc<Service>> {
        host.match_indices('.').find_map(|(at, _)| self.wildcard.get(&host[at..]))
    }
}

/// The host of an authority: no port, no brackets lost, no trailing dot.
pub(super) fn host_of(authority: &str) -> &str {
    let host = match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => &authority[..at],
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::PoolSettings;

    fn service(name: &str, hosts: &[&str]) -> ServiceSettings {
        let pool = PoolSettings {
            origins: vec![crate::origin::OriginSettings {
                url: "http://127.0.0.1:1".to_owned(),
                priority: 0,
                weight: 1,
            }],
            ..PoolSettings::default()
        };
        let mut settings = ServiceSettings::catch_all(name, pool);
        settings.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        settings
    }

    fn name_for(services: &Services, authority: &str) -> Option<String> {
        services.for_authority(authority).map(|service| service.settings.name.clone())
    }

    #[tokio::test]
    async fn the_most_specific_host_wins() {
        let services = Services::build(vec![
            service("all", &["*"]),
            service("wild", &["*.example.org"]),
            service("deep", &["*.img.example.org"]),
            service("exact", &["www.example.org"]),
        ])
        .expect("no host is claimed twice");
        assert_eq!(name_for(&services, "www.example.org:8080").as_deref(), Some("exact"));
        assert_eq!(name_for(&services, "a.example.org").as_deref(), Some("wild"));
        assert_eq!(name_for(&services, "a.img.example.org.").as_deref(), Some("deep"));
        assert_eq!(name_for(&services, "example.org").as_deref(), Some("all"));
        assert_eq!(name_for(&services, "[::1]:80").as_deref(), Some("all"));
    }

    #[tokio::test]
    async fn a_host_has_one_service() {
        let twice = Services::build(vec![service("a", &["x.org"]), service("b", &["x.org"])]);
        assert!(matches!(twice, Err(ServicesError::HostTwice { .. })));
    }

    #[tokio::test]
    async fn what_did_not_change_is_the_same_service_afterwards() {
        let before = Services::build(vec![service("a", &["a.org"]), service("b", &["b.org"])]).unwrap();
        let mut debugging = service("b", &["b.org"]);
        debugging.debug = true;
        let (after, left_out) = Services::rebuild(&before, vec![service("a", &["a.org"]), debugging]);
        assert!(left_out.is_empty(), "{left_out:?}");
        let both = |name: &str| (before.by_name(name).unwrap(), after.by_name(name).unwrap());
        let (old, new) = both("a");
        assert!(Arc::ptr_eq(old, new));
        let (old, new) = both("b");
        assert!(!Arc::ptr_eq(old, new) && new.settings.debug);
        assert!(old.pool.is(&new.pool), "the way to its origins is as it was");
    }

    #[tokio::test]
    async fn a_service_with_other_origins_begins_anew() {
        let before = Services::build(vec![service("a", &["a.org"])]).unwrap();
        let mut moved = service("a", &["a.org"]);
        moved.pool.origins[0].url = "http://127.0.0.1:2".to_owned();
        let (after, _) = Services::rebuild(&before, vec![moved]);
        let pool = |services: &Services| services.by_name("a").unwrap().pool.clone();
        assert!(!pool(&before).is(&pool(&after)));
        assert_eq!(&*pool(&after).health()[0].url, "http://127.0.0.1:2");
    }

    #[tokio::test]
    async fn hosts_move_from_one_service_to_another() {
        let before =
            Services::build(vec![service("a", &["x.org", "*.x.org"]), service("b", &["*"])]).unwrap();
        let moved = vec![service("a", &["x.org"]), service("b", &["*.x.org"]), service("c", &["*"])];
        let (after, left_out) = Services::rebuild(&before, moved);
        assert!(left_out.is_empty(), "{left_out:?}");
        let all = ["x.org", "www.x.org", "y.org"].map(|host| name_for(&after, host).unwrap());
        assert_eq!(all, ["a", "b", "c"]);
        assert_eq!(
            name_for(&before, "www.x.org").as_deref(),
            Some("a"),
            "who holds the old table is not disturbed"
        );
    }

    #[tokio::test]
    async fn a_host_that_is_claimed_already_leaves_a_service_out_as_a_whole() {
        let twice = service("twice", &["free.org", "a.org"]);
        let all = vec![service("a", &["a.org"]), twice, service("b", &["b.org"])];
        let (services, errors) = Services::rebuild(&Services::default(), all);
        assert_eq!(services.iter().map(|service| &*service.name).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(name_for(&services, "free.org"), None, "none of its hosts is claimed");
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].service(), "twice");
        assert_eq!(errors[0].to_string(), "host `a.org` is claimed by both `a` and `twice`");
    }

    #[tokio::test]
    async fn what_cannot_be_set_up_stays_as_it_was_and_is_told() {
        let before = Services::build(vec![service("a", &["a.org"])]).unwrap();
        let broken = |name: &str, hosts: &[&str]| {
            let mut settings = service(name, hosts);
            settings.pool.host_header = Some("not a host".to_owned());
            settings
        };
        let all = vec![broken("a", &["other.org"]), broken("new", &["new.org"])];
        let (after, errors) = Services::rebuild(&before, all);
        assert!(Arc::ptr_eq(before.by_name("a").unwrap(), after.by_name("a").unwrap()));
        assert_eq!((name_for(&after, "a.org").as_deref(), name_for(&after, "new.org")), (Some("a"), None));
        assert_eq!(errors.iter().map(ServicesError::service).collect::<Vec<_>>(), ["a", "new"]);
    }
}
