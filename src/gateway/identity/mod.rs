//! Who asks: a credential in the headers becomes a [`Principal`].

mod api_key;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};

use crate::domain::ids::Principal;

pub use api_key::ApiKeys;

/// The header of the platform whose agents change over by changing a URL.
pub(super) const PLATFORM_KEY_HEADER: &str = "x-ms-apikey";
const PLATFORM_KEY: HeaderName = HeaderName::from_static(PLATFORM_KEY_HEADER);

/// The ways to prove who asks.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Nobody has to: possession of a handle is all there is, and nothing is listed.
    Anonymous,
    /// An API key, in `x-ms-apikey` or as a bearer token.
    ApiKeys(ApiKeys),
}

/// Why a request has no principal. What was wrong with the credential is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// No credential came.
    #[error("an API key is needed: send it in the header x-ms-apikey or as a bearer token")]
    Missing,
    /// One came that is not known, or two that differ.
    #[error("the API key is not known here")]
    Unknown,
}

impl Credentials {
    /// Verifies the credential in the headers.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, Unauthenticated> {
        match self {
            Self::Anonymous => Ok(Principal::Anonymous),
            Self::ApiKeys(keys) => {
                let offered = offered(headers)?;
                keys.find(offered).cloned().ok_or(Unauthenticated::Unknown)
            }
        }
    }

    /// Whether nobody has to prove who they are.
    pub const fn are_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }
}

/// The one key that the headers offer.
fn offered(headers: &HeaderMap) -> Result<&[u8], Unauthenticated> {
    let platform = headers.get_all(PLATFORM_KEY).iter().map(|value| Some(value.as_bytes()));
    let bearer = headers.get_all(AUTHORIZATION).iter().map(|value| bearer(value.as_bytes()));
    let mut found = None;
    for key in platform.chain(bearer) {
        let key = key.ok_or(Unauthenticated::Unknown)?;
        if found.is_some_and(|other| other != key) {
            return Err(Unauthenticated::Unknown);
        }
        found = Some(key);
    }
    found.ok_or(Unauthenticated::Missing)
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::api_key::ApiKeyDigest;
    use crate::domain::ids::Name;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn asked(headers: &[(&'static str, &'static str)]) -> Result<Principal, Unauthenticated> {
        let principal = Principal::verified(name("t"), name("s"));
        let keys = ApiKeys::new([(ApiKeyDigest::of(b"secret"), principal)]);
        let headers = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        });
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        Credentials::ApiKeys(keys).authenticate(&map)
    }

    #[test]
    fn a_key_is_taken_from_either_header() {
        let principal = Ok(Principal::verified(name("t"), name("s")));
        assert_eq!(asked(&[("x-ms-apikey", "secret")]), principal);
        assert_eq!(asked(&[("authorization", "Bearer secret")]), principal);
        assert_eq!(asked(&[("authorization", "bearer  secret")]), principal);
        let both = [("authorization", "Bearer secret"), ("x-ms-apikey", "secret")];
        assert_eq!(asked(&both), principal);
    }

    #[test]
    fn all_else_is_refused() {
        assert_eq!(asked(&[]), Err(Unauthenticated::Missing));
        for headers in [
            &[("x-ms-apikey", "wrong")][..],
            &[("x-ms-apikey", "")],
            &[("authorization", "Basic secret")],
            &[("authorization", "secret")],
            &[("x-ms-apikey", "secret"), ("x-ms-apikey", "wrong")],
            &[("x-ms-apikey", "wrong"), ("authorization", "Bearer secret")],
        ] {
            assert_eq!(asked(headers), Err(Unauthenticated::Unknown), "{headers:?}");
        }
    }
}
