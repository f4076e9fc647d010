//! Which service a host belongs to.

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

impl Services {
    /// Sets up all services; none is set up when one cannot be.
    pub fn build(settings: Vec<ServiceSettings>) -> Result<Self, ServicesError> {
        let mut services = Self::default();
        for settings in settings {
            services.add(settings)?;
        }
        Ok(services)
    }

    fn add(&mut self, settings: ServiceSettings) -> Result<(), ServicesError> {
        let pool = Pool::new(settings.pool.clone())
            .map_err(|source| ServicesError::Pool { service: settings.name.clone(), source })?;
        let service = Arc::new(Service { name: settings.name.as_str().into(), pool, settings });
        for host in &service.settings.hosts {
            let claimed = if host == "*" {
                self.catch_all.replace(Arc::clone(&service))
            } else if let Some(suffix) = host.strip_prefix('*') {
                self.wildcard.insert(suffix.to_owned(), Arc::clone(&service))
            } else {
                self.exact.insert(host.clone(), Arc::clone(&service))
            };
            if let Some(first) = claimed {
                return Err(ServicesError::HostTwice {
                    host: host.clone(),
                    first: first.settings.name.clone(),
                    second: service.settings.name.clone(),
                });
            }
        }
        self.all.push(service);
        Ok(())
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
}
