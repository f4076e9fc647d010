//! Who may do what: bearer tokens with scopes, for the admin API and for `PURGE` on client listeners.
//!
//! Only hashes of tokens are kept. A presented token is hashed and compared with every hash in constant time,
//! so that neither the comparison nor the number of tokens before a match tells anything about them.

use http::{HeaderMap, header::AUTHORIZATION};

/// One token, as its operator set it.
#[derive(Clone, Debug)]
pub struct Token {
    /// Stands in the log instead of the token.
    pub name: String,
    /// BLAKE3 of the token; comparing hashes takes constant time.
    pub hash: blake3::Hash,
    /// What its holder may do.
    pub scopes: Vec<Scope>,
    /// The services it is limited to; all when absent.
    pub services: Option<Vec<String>>,
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Purge and warm.
    Purge,
    /// Status, services and metrics.
    Read,
    /// Everything, drain among it.
    Admin,
}

impl Scope {
    /// The scope called `text`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Purge, Self::Read, Self::Admin].into_iter().find(|scope| scope.as_str() == text)
    }

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Purge => "purge",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 401: no token.
    #[error("a token is needed: Authorization: Bearer TOKEN")]
    Missing,
    /// 401: none of ours.
    #[error("this token is not known here")]
    Unknown,
    /// 403: one of ours, for something else.
    #[error("this token does not hold the scope for it")]
    Scope,
}

/// All tokens of a node.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Vec<Token>);

impl Tokens {
    /// These tokens; none means that nobody is authorised by token.
    pub fn new(tokens: Vec<Token>) -> Self {
        Self(tokens)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The token that a request presents, if it allows `scope`. Ask [`Token::covers`] for the service.
    pub fn authorise(&self, headers: &HeaderMap, scope: Scope) -> Result<&Token, Refusal> {
        let presented = bearer(headers).ok_or(Refusal::Missing)?;
        let hash = blake3::hash(presented);
        let token =
            self.0.iter().fold(None, |found, token| if token.hash == hash { Some(token) } else { found });
        let token = token.ok_or(Refusal::Unknown)?;
        if token.scopes.contains(&scope) || token.scopes.contains(&Scope::Admin) {
            Ok(token)
        } else {
            Err(Refusal::Scope)
        }
    }
}

impl Token {
    /// Whether it may be used for `service`.
    pub fn covers(&self, service: &str) -> bool {
        self.services.as_ref().is_none_or(|services| services.iter().any(|name| name == service))
    }
}

/// RFC 6750 section 2.1; the scheme's name is not case-sensitive (RFC 9110 section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?.as_bytes(), values.next()) else { return None };
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        let token = |name: &str, scopes: &[Scope], services: Option<&str>| Token {
            name: name.to_owned(),
            hash: blake3::hash(format!("secret-of-{name}").as_bytes()),
            scopes: scopes.to_vec(),
            services: services.map(|s| vec![s.to_owned()]),
        };
        Tokens::new(vec![token("ci", &[Scope::Purge], Some("shop")), token("root", &[Scope::Admin], None)])
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn a_token_allows_its_scopes_and_admin_allows_all() {
        let tokens = tokens();
        let ci = headers("Bearer secret-of-ci");
        assert_eq!(tokens.authorise(&ci, Scope::Purge).map(|t| t.name.as_str()), Ok("ci"));
        assert_eq!(tokens.authorise(&ci, Scope::Read).err(), Some(Refusal::Scope));
        assert!(tokens.authorise(&headers("bearer secret-of-root"), Scope::Read).is_ok());
        assert!(tokens.authorise(&ci, Scope::Purge).unwrap().covers("shop"));
        assert!(!tokens.authorise(&ci, Scope::Purge).unwrap().covers("blog"));
    }

    #[test]
    fn no_token_a_wrong_one_and_two_are_refused() {
        let tokens = tokens();
        assert_eq!(tokens.authorise(&HeaderMap::new(), Scope::Read).err(), Some(Refusal::Missing));
        assert_eq!(tokens.authorise(&headers("Basic abc"), Scope::Read).err(), Some(Refusal::Missing));
        assert_eq!(
            tokens.authorise(&headers("Bearer secret-of-roo"), Scope::Read).err(),
            Some(Refusal::Unknown)
        );
        let mut two = headers("Bearer secret-of-root");
        two.append(AUTHORIZATION, "Bearer secret-of-ci".parse().unwrap());
        assert_eq!(tokens.authorise(&two, Scope::Read).err(), Some(Refusal::Missing));
    }
}
