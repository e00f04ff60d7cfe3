//! Settings of one gateway replica, and of the gateway within `baton dev`.

use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use crate::directory::redis::RedisSettings;
use crate::domain::ids::Name;
use crate::domain::keyring::{Keyring, SecretKey};
use crate::gateway::{CorsPolicy, ForwardedHeader, Network, RateLimit, UpstreamSet};

use super::api_keys::Authentication;
use super::common::{ProcessSettings, TelemetrySettings, advertise};
use super::directory;
use super::rate::{named_rate, rate};
use super::reader::Reader;
use super::value;

/// `baton gateway`.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// Listeners, data, drain.
    pub process: ProcessSettings,
    /// The internal listener's address as workers reach it; absent: the listener's own.
    pub advertise: Option<String>,
    /// The directory.
    pub redis: RedisSettings,
    /// The first signs; at least one, no two with one id.
    pub signing_keys: Vec<SecretKey>,
    /// At least one.
    pub worker_roots: Vec<SecretKey>,
    /// Whether workers may be reached off loopback without TLS.
    pub rpc_plaintext: bool,
    /// What clients meet.
    pub edge: EdgeSettings,
    /// Logs and traces.
    pub telemetry: TelemetrySettings,
}

impl GatewaySettings {
    pub(super) fn read(read: &Reader<'_>) -> Self {
        let process = ProcessSettings::read(read);
        let (signing_keys, worker_roots) = keys(read);
        read.needed("signing-key-file", "make one: baton key signing > signing.key");
        read.needed("worker-root-key-file", "make one: baton key worker-root > worker-root.key");
        let rpc_plaintext = read.switch("rpc-plaintext");
        read.rule(
            &["internal-listen", "rpc-plaintext"],
            process.internal_listen.ip().is_loopback() || rpc_plaintext,
            "off loopback the workers' reports, and the calls to them, would be in the clear",
            "listen on loopback, or add --rpc-plaintext on a network you trust",
        );
        Self {
            advertise: advertise(read, "internal-listen", process.internal_listen),
            redis: directory::read(read),
            signing_keys,
            worker_roots,
            rpc_plaintext,
            edge: EdgeSettings::read(read, authentication(read)),
            telemetry: TelemetrySettings::read(read),
            process,
        }
    }
}

/// What clients meet at a gateway.
#[derive(Clone, Debug)]
pub struct EdgeSettings {
    /// Who may call.
    pub authentication: Authentication,
    /// `Host` values besides loopback names and the listener's own, in lower case.
    pub allowed_hosts: Vec<String>,
    /// `Origin` values, in lower case.
    pub allowed_origins: Vec<String>,
    /// What pages of these origins may send and read.
    pub cors: CorsPolicy,
    /// Proxies that are believed who asked them.
    pub trusted_proxies: Vec<Network>,
    /// Where they say it.
    pub forwarded_header: ForwardedHeader,
    /// Whether each of their connections begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Names this replica.
    pub replica_id: Name,
    /// What handles are good for.
    pub audience: Name,
    /// How environments live.
    pub environments: EnvironmentSettings,
    /// Whether the sample tools are offered.
    pub sample_tools: bool,
    /// How often a tenant may ask.
    pub rates: RateSettings,
    /// Calls in flight at once.
    pub max_calls: usize,
    /// Calls of one tenant in flight at once.
    pub max_calls_per_tenant: usize,
    /// Streams of `subscriptions/listen` open at once.
    pub max_listens: usize,
    /// Those of one tenant.
    pub max_listens_per_tenant: usize,
    /// Threads that clients' connections live on.
    pub connection_threads: usize,
    /// Longest request body.
    pub max_body_bytes: usize,
    /// Bytes of request bodies held at once.
    pub max_buffered_bytes: u64,
    /// Those of one tenant.
    pub max_buffered_bytes_per_tenant: u64,
    /// Whether there is a line for each exchange.
    pub access_log: bool,
    /// Other MCP servers behind it.
    pub upstreams: UpstreamSet,
}

impl EdgeSettings {
    pub(super) fn read(read: &Reader<'_>, authentication: Authentication) -> Self {
        Self {
            authentication,
            allowed_hosts: read.list("allowed-host", value::host),
            allowed_origins: read.list("allowed-origin", value::origin),
            cors: cors(read),
            trusted_proxies: read.list("trusted-proxy", value::network),
            forwarded_header: forwarded_header(read),
            proxy_protocol: proxy_protocol(read),
            replica_id: read.perhaps("replica-id", value::name).unwrap_or_else(|| replica_id(read)),
            audience: read.one("audience", value::name),
            environments: EnvironmentSettings::read(read),
            sample_tools: read.switch("sample-tools"),
            rates: RateSettings::read(read),
            max_calls: read.number("max-calls"),
            max_calls_per_tenant: read.number("max-calls-per-tenant"),
            max_listens: read.number("max-listens"),
            max_listens_per_tenant: read.number("max-listens-per-tenant"),
            connection_threads: read
                .perhaps_number("connection-threads")
                .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)),
            max_body_bytes: read.number("max-body-bytes"),
            max_buffered_bytes: read.bytes("max-buffered-mebibytes"),
            max_buffered_bytes_per_tenant: read.bytes("max-buffered-mebibytes-per-tenant"),
            access_log: read.switch("access-log"),
            upstreams: read.upstreams(),
        }
    }
}

fn forwarded_header(read: &Reader<'_>) -> ForwardedHeader {
    let headers = [
        ("x-forwarded-for", ForwardedHeader::XForwardedFor),
        ("forwarded", ForwardedHeader::Forwarded),
    ];
    read.one("forwarded-header", |text| value::choice(text, &headers))
}

fn proxy_protocol(read: &Reader<'_>) -> bool {
    let wanted = read.switch("proxy-protocol");
    read.rule(
        &["proxy-protocol", "trusted-proxy"],
        !wanted || read.is_given("trusted-proxy"),
        "anybody could say who they are, and nobody could connect",
        "name the proxies with --trusted-proxy, or leave this out",
    );
    wanted
}

fn cors(read: &Reader<'_>) -> CorsPolicy {
    let policy = CorsPolicy {
        allowed_headers: read.list("cors-allowed-header", value::header_name),
        exposed_headers: read.list("cors-exposed-header", value::header_name),
        max_age: read.seconds("cors-max-age-seconds"),
    };
    for flag in ["cors-allowed-header", "cors-exposed-header", "cors-max-age-seconds"] {
        read.rule(
            &[flag, "allowed-origin"],
            !read.is_given(flag) || read.is_given("allowed-origin"),
            "is for pages of allowed origins, and there are none",
            "name their origin with --allowed-origin, or leave this out",
        );
    }
    policy
}

/// How environments live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentSettings {
    /// Whether their tools are offered at all.
    pub offered: bool,
    /// One that nobody calls for so long ends.
    pub idle_timeout: Duration,
    /// None lives longer.
    pub max_life: Duration,
    /// Of one tenant at once.
    pub max_per_tenant: u32,
    /// How long a call may run that does not say.
    pub timeout: Duration,
    /// The longest that a call may ask for.
    pub max_timeout: Duration,
    /// A call that runs so long becomes a task, for clients that know tasks.
    pub task_after: Duration,
}

impl EnvironmentSettings {
    fn read(read: &Reader<'_>) -> Self {
        let settings = Self {
            offered: read.switch("environment-tools"),
            idle_timeout: read.seconds("idle-timeout-seconds"),
            max_life: read.seconds("max-life-seconds"),
            max_per_tenant: read.number("max-environments"),
            timeout: read.seconds("timeout-seconds"),
            max_timeout: read.seconds("max-timeout-seconds"),
            task_after: read.seconds("task-after-seconds"),
        };
        read.rule(
            &["timeout-seconds", "max-timeout-seconds"],
            settings.timeout <= settings.max_timeout,
            &format!("more than --max-timeout-seconds, {}", settings.max_timeout.as_secs()),
            "lower it, or raise --max-timeout-seconds",
        );
        settings
    }
}

/// How often callers may ask. Each replica grants its share, or all of them together what is global.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RateSettings {
    /// All requests of a tenant; absent: no limit.
    pub tenant: Option<RateLimit>,
    /// All requests of one subject of a tenant; absent: no limit.
    pub subject: Option<RateLimit>,
    /// A tenant's requests for a method.
    pub methods: Vec<(String, RateLimit)>,
    /// A tenant's calls to a tool.
    pub tools: Vec<(String, RateLimit)>,
}

impl RateSettings {
    fn read(read: &Reader<'_>) -> Self {
        let named = |flag| {
            let rates = read.list(flag, named_rate).into_iter();
            rates.filter_map(|(name, rate)| Some((name, rate?))).collect()
        };
        let burst = |flag| read.perhaps_number(flag).and_then(NonZeroU32::new);
        let (of_tenant, of_subject) = (burst("rate-burst"), burst("subject-rate-burst"));
        Self {
            tenant: read.one("rate-per-second", |text| rate(text, of_tenant)),
            subject: read.one("subject-rate-per-second", |text| rate(text, of_subject)),
            methods: named("method-rate-per-second"),
            tools: named("tool-rate-per-second"),
        }
    }
}

/// Signing keys, whose ids tell them apart, and worker roots, which are tried in turn.
pub(super) fn keys(read: &Reader<'_>) -> (Vec<SecretKey>, Vec<SecretKey>) {
    let signing = read.key_files("signing-key-file", SecretKey::parse);
    let clash = Keyring::new("", &signing).err().filter(|_| !signing.is_empty());
    let mend = clash.map(|error| error.to_string()).unwrap_or_default();
    let apart = mend.is_empty();
    read.rule(&["signing-key-file"], apart, "two of the keys cannot be told apart", &mend);
    (signing, read.key_files("worker-root-key-file", SecretKey::parse))
}

/// How callers are told apart. Nobody gets an open gateway without asking for it by name.
fn authentication(read: &Reader<'_>) -> Authentication {
    let (keys, anonymous) = (read.api_keys(), read.switch("anonymous"));
    read.rule(
        &["api-key", "anonymous"],
        anonymous || !keys.is_empty(),
        "there is no way to tell callers apart",
        "add [[api_key]] (`baton key api` prints it) to the file of --config, or serve everybody with --anonymous",
    );
    one_way(read, keys.is_empty(), anonymous);
    if keys.is_empty() { Authentication::Anonymous } else { Authentication::ApiKeys(keys) }
}

/// `baton dev`: on loopback anybody on this machine may call; off loopback only with a key, or by name.
pub(super) fn dev_authentication(read: &Reader<'_>, process: &ProcessSettings) -> Authentication {
    let (keys, anonymous) = (read.api_keys(), read.switch("anonymous"));
    read.rule(
        &["api-key", "anonymous", "listen"],
        process.listen.ip().is_loopback() || anonymous || !keys.is_empty(),
        "is needed, for --listen is not loopback and callers would run code here",
        "add --api-key \"$(openssl rand -hex 32)\", or serve everybody with --anonymous",
    );
    one_way(read, keys.is_empty(), anonymous);
    if keys.is_empty() { Authentication::Anonymous } else { Authentication::ApiKeys(keys) }
}

fn one_way(read: &Reader<'_>, no_keys: bool, anonymous: bool) {
    read.rule(
        &["anonymous", "api-key"],
        no_keys || !anonymous,
        "there are API keys too",
        "choose one: keys, or --anonymous",
    );
}

/// The platform's name for this replica, else one of our own.
fn replica_id(read: &Reader<'_>) -> Name {
    let variables = read.around.variables();
    let platform = ["CONTAINER_APP_REPLICA_NAME", "WEBSITE_INSTANCE_ID"];
    let given = platform.iter().find_map(|it| Name::parse(variables.get(*it)?).ok());
    let own = || Name::parse(&format!("{}-{:08x}", read.around.host_name(), read.around.random()));
    let plain = || Name::parse(&format!("{:08x}", read.around.random())).expect("it is a name");
    given.unwrap_or_else(|| own().unwrap_or_else(|_| plain()))
}
