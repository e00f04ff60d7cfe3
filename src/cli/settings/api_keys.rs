//! Who may call: API keys, or anybody.

use toml::{Table, Value};

use crate::domain::api_key::{ApiKey, ApiKeyDigest};
use crate::domain::ids::{Name, Principal};

use super::problem::Wrong;

/// How callers are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all: everybody is [`Principal::Anonymous`].
    Anonymous,
    /// By one of these keys; at least one.
    ApiKeys(Vec<ApiKeyGrant>),
}

/// Whom one API key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyGrant {
    /// The key's digest.
    pub digest: ApiKeyDigest,
    /// Its tenant and subject.
    pub principal: Principal,
}

/// `--api-key KEY` stands for tenant and subject `default`.
pub(super) fn from_flag(text: &str) -> Result<ApiKeyGrant, Wrong> {
    let key =
        ApiKey::parse(text).map_err(|error| Wrong::new("is no API key", error.to_string()))?;
    let default = Name::parse("default").expect("it is a name");
    let principal = Principal::verified(default.clone(), default);
    Ok(ApiKeyGrant { digest: key.digest(), principal })
}

/// One `[[api_key]]` table: hash, tenant, subject.
pub(super) fn from_table(table: &Table) -> Result<ApiKeyGrant, Vec<Wrong>> {
    const KEYS: [&str; 3] = ["hash", "tenant", "subject"];
    let mut wrongs = Vec::new();
    for key in table.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        wrongs.push(Wrong::new(format!("{key}: no such key"), "it has hash, tenant and subject"));
    }
    let text = |key: &str| table.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut name = |key: &str| match Name::parse(text(key)) {
        Ok(name) => Some(name),
        Err(error) => {
            wrongs.push(Wrong::new(format!("{key}: {error}"), format!("write {key} = \"NAME\"")));
            None
        }
    };
    let (tenant, subject) = (name("tenant"), name("subject"));
    let digest = ApiKeyDigest::parse(text("hash"));
    if let Err(error) = digest {
        wrongs.push(Wrong::new(format!("hash: {error}"), "paste the hash, not the key"));
    }
    match (digest, tenant, subject) {
        (Ok(digest), Some(tenant), Some(subject)) if wrongs.is_empty() => {
            Ok(ApiKeyGrant { digest, principal: Principal::verified(tenant, subject) })
        }
        _ => Err(wrongs),
    }
}
