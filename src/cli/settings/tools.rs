//! Settings of the commands that do one thing and end: `baton call`, `baton key`, `baton migrate`, `baton doctor`.

use std::path::{Path, PathBuf};

use crate::domain::api_key::ApiKey;
use crate::mcp::{IdempotencyKey, NotAKey};

use super::dev::DevSettings;
use super::gateway::GatewaySettings;
use super::given::Gathered;
use super::problem::{Problems, Wrong};
use super::reader::Reader;
use super::setting::Role;
use super::shown;
use super::surroundings::Surroundings;
use super::value;
use super::worker::WorkerSettings;

/// `baton call`.
#[derive(Clone, Debug)]
pub struct CallSettings {
    /// The endpoint.
    pub url: String,
    /// What is shown to it.
    pub api_key: Option<ApiKey>,
    /// Whether the result is printed as it came.
    pub json: bool,
    /// By which the call may be made again.
    pub idempotency_key: Option<IdempotencyKey>,
    /// Whether the call gets an environment of its own.
    pub new: bool,
}

impl CallSettings {
    pub(super) fn read(read: &Reader<'_>) -> Self {
        Self {
            url: read.one("url", value::http_url),
            api_key: read.list("api-key", api_key).into_iter().next(),
            json: read.switch("json"),
            idempotency_key: read.perhaps("idempotency-key", idempotency_key),
            new: read.switch("new"),
        }
    }
}

/// `baton key`: which of these are needed depends on the key.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each is the flag of the same name")]
pub struct KeySettings {
    pub root: Option<String>,
    pub id: Option<String>,
    pub tenant: Option<String>,
    pub subject: Option<String>,
}

impl KeySettings {
    pub(super) fn read(read: &Reader<'_>) -> Self {
        let text = |flag| read.perhaps(flag, |text| Ok(text.to_owned()));
        Self {
            root: text("root"),
            id: text("id"),
            tenant: text("tenant"),
            subject: text("subject"),
        }
    }
}

/// `baton migrate`.
#[derive(Clone, Debug)]
pub struct MigrateSettings {
    /// Which session pool; absent: the only one.
    pub pool: Option<String>,
    /// Whose settings are written; `dev` has a gateway's and a worker's.
    pub role: Role,
}

impl MigrateSettings {
    pub(super) fn read(read: &Reader<'_>) -> Self {
        let roles = [Role::Dev, Role::Gateway, Role::Worker].map(|it| (it.as_str(), it));
        Self {
            pool: read.perhaps("pool", |text| Ok(text.to_owned())),
            role: read.one("role", |text| value::choice(text, &roles)),
        }
    }
}

/// `baton doctor`: the roles that are set up here, each as its own start would read it.
#[derive(Debug)]
pub struct DoctorSettings {
    /// What is wrong whichever role it belongs to, such as an unknown flag.
    pub own: Result<(), Problems>,
    /// If a key of a gateway, or Redis, is named.
    pub gateway: Option<Result<GatewaySettings, Problems>>,
    /// If a worker's key is named.
    pub worker: Option<Result<WorkerSettings, Problems>>,
    /// If neither is.
    pub dev: Option<Result<DevSettings, Problems>>,
    /// The key files that are named, for their modes.
    pub key_files: Vec<PathBuf>,
    /// Where a real call is tried.
    pub url: Option<String>,
    /// With what.
    pub api_key: Option<ApiKey>,
}

/// The settings that name files with keys.
const KEY_FILES: [&str; 4] =
    ["signing-key-file", "worker-root-key-file", "worker-key-file", "redis-client-key-file"];

impl DoctorSettings {
    pub(super) fn read(gathered: &Gathered, around: &dyn Surroundings) -> Self {
        let named = |flags: &[&str]| flags.iter().any(|flag| gathered.given.contains_key(flag));
        let gateway =
            named(&["signing-key-file", "worker-root-key-file", "redis", "redis-client-key-file"]);
        let worker = named(&["worker-key-file"]);
        let dev = !gateway && !worker;
        let own = Reader::new(Role::Doctor, gathered, around);
        let url = own.perhaps("url", value::http_url);
        let api_key = own.list("api-key", api_key).into_iter().next();
        let own = own.finish(Some(()));
        let key_files = KEY_FILES.iter().filter_map(|flag| gathered.given.get(flag));
        let key_files = key_files.flat_map(|given| &given.values);
        // What is no path is told with the settings, which do not repeat a key.
        let key_files =
            key_files.filter(|it| !shown::looks_secret(it) || around.is_file(Path::new(it)));
        let key_files = key_files.map(PathBuf::from).collect();
        Self {
            own,
            gateway: gateway.then(|| {
                super::finish(Role::Gateway, gathered, around, |read| {
                    Some(GatewaySettings::read(read))
                })
            }),
            worker: worker
                .then(|| super::finish(Role::Worker, gathered, around, WorkerSettings::read)),
            dev: dev.then(|| {
                super::finish(Role::Dev, gathered, around, |read| Some(DevSettings::read(read)))
            }),
            key_files,
            url,
            api_key,
        }
    }
}

fn idempotency_key(text: &str) -> Result<IdempotencyKey, Wrong> {
    text.parse().map_err(|error: NotAKey| Wrong::new("is no key", error.to_string()))
}

fn api_key(text: &str) -> Result<ApiKey, Wrong> {
    ApiKey::parse(text).map_err(|error| Wrong::new("is no API key", error.to_string()))
}
