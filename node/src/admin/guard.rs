//! Who may ask the API.
//!
//! With tokens, a request needs one with the right scope. Without, the listener is on loopback and whoever
//! reaches it may ask; a browser on the same machine reaches it too, on behalf of any web page. So such a
//! request must name the listener by an IP address, `localhost` or a configured name (a page that rebinds its
//! own name to 127.0.0.1 does not), and no request may come from a page of another origin.

use http::{HeaderMap, StatusCode, header};

use super::{Settings, api::ApiError};
use crate::tokens::{Refusal, Scope, Tokens};

/// Decides for each request.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    tokens: Tokens,
    hosts: Vec<String>,
}

/// What an allowed request may touch.
#[derive(Clone, Debug)]
pub(super) struct Permit {
    services: Option<Vec<String>>,
}

impl Guard {
    pub fn new(settings: &Settings) -> Self {
        Self { tokens: Tokens::new(settings.tokens.clone()), hosts: settings.hosts.clone() }
    }

    pub fn check(&self, headers: &HeaderMap, scope: Scope) -> Result<Permit, ApiError> {
        self.check_any(headers, &[scope])
    }

    /// Any of `scopes` will do.
    pub fn check_any(&self, headers: &HeaderMap, scopes: &[Scope]) -> Result<Permit, ApiError> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
        if let Some(origin) = headers.get(header::ORIGIN) {
            let same = origin.to_str().ok().and_then(|o| o.split_once("://")).is_some_and(|(_, o)| o == host);
            if !same {
                let message = "the request comes from a web page of another origin";
                return Err(ApiError::new(StatusCode::FORBIDDEN, "foreign-origin", message));
            }
        }
        if self.tokens.is_empty() {
            return self.named_well(host).then_some(Permit { services: None }).ok_or_else(|| {
                let message = format!("the host {host:?} is not one of `admin.hosts`");
                ApiError::new(StatusCode::MISDIRECTED_REQUEST, "foreign-host", message)
            });
        }
        let asked = scopes.iter().map(|scope| (scope, self.tokens.authorise(headers, *scope)));
        let (scope, token) =
            asked.reduce(|one, other| if one.1.is_ok() { one } else { other }).expect("a scope");
        let token = token.map_err(|refusal| {
            let (status, code) = match refusal {
                Refusal::Missing | Refusal::Unknown => (StatusCode::UNAUTHORIZED, "unauthorized"),
                Refusal::Scope => (StatusCode::FORBIDDEN, "forbidden"),
            };
            ApiError::new(status, code, refusal.to_string())
        })?;
        tracing::debug!(token = token.name, scope = scope.as_str(), "an admin request was authorised");
        Ok(Permit { services: token.services.clone() })
    }

    fn named_well(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) && !name.ends_with(':') => name,
            _ => host,
        };
        let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok() || self.hosts.contains(&name)
    }
}

impl Permit {
    /// Whether `service` may be touched.
    pub fn covers(&self, service: &str) -> bool {
        self.services.as_ref().is_none_or(|services| services.iter().any(|name| name == service))
    }

    /// Fails unless `service` may be touched.
    pub fn demand(&self, service: &str) -> Result<(), ApiError> {
        if self.covers(service) {
            return Ok(());
        }
        let message = format!("this token is not for the service {service:?}");
        Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message))
    }

    /// Fails for tokens that are limited to some services.
    pub fn demand_all(&self) -> Result<(), ApiError> {
        match self.services {
            None => Ok(()),
            Some(_) => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "this token is limited to some services",
            )),
        }
    }
}
