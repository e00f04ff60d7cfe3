//! The one table of settings: flags, variables, file keys, help and README all come from it.

use super::setting::{Role, Setting, Shape};

/// Some settings under a heading.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The heading.
    pub title: &'static str,
    /// Its settings, in reading order.
    pub settings: &'static [Setting],
}

/// Every setting, in reading order.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().flat_map(|section| section.settings)
}

const SERVING: &[Role] = &[Role::Gateway, Role::Worker, Role::Dev];
const GATEWAY: &[Role] = &[Role::Gateway];
const WORKER: &[Role] = &[Role::Worker];
const EDGE: &[Role] = &[Role::Gateway, Role::Dev];
const SANDBOX: &[Role] = &[Role::Worker, Role::Dev];
const RPC: &[Role] = &[Role::Gateway, Role::Worker];
const CALLER: &[Role] = &[Role::Call, Role::Doctor];
const CALL: &[Role] = &[Role::Call];
const KEY: &[Role] = &[Role::Key];
const MIGRATE: &[Role] = &[Role::Migrate];

const DAY: u64 = 86_400;
const MAX: u64 = u32::MAX as u64;

const fn text(
    flag: &'static str,
    word: &'static str,
    roles: &'static [Role],
    help: &'static str,
) -> Setting {
    Setting::new(flag, roles, Shape::One(word), help)
}

const fn list(
    flag: &'static str,
    word: &'static str,
    roles: &'static [Role],
    help: &'static str,
) -> Setting {
    Setting::new(flag, roles, Shape::Many(word), help)
}

const fn number(
    flag: &'static str,
    range: (u64, u64),
    roles: &'static [Role],
    help: &'static str,
) -> Setting {
    Setting::new(flag, roles, Shape::Number(range.0, range.1), help)
}

const fn switch(flag: &'static str, roles: &'static [Role], help: &'static str) -> Setting {
    Setting::new(flag, roles, Shape::Switch, help)
}

const fn rates(flag: &'static str, help: &'static str) -> Setting {
    Setting::new(flag, EDGE, Shape::ManyNamed("NAME=N[:global]"), help)
}

/// The table.
#[rustfmt::skip] // one setting, one or two lines: a table is read down its columns
pub const SECTIONS: &[Section] = &[
    Section { title: "Where it listens", settings: &[
        text("listen", "ADDR", SERVING, "where clients connect (`/mcp`, `/health`); a worker: its rpc")
            .or("127.0.0.1:8080").but(Role::Worker, "127.0.0.1:8090"),
        text("internal-listen", "ADDR", SERVING, "`/livez`, `/readyz`, `/metrics`; a gateway also takes heartbeats here")
            .or("127.0.0.1:8081").but(Role::Worker, "127.0.0.1:8091"),
        text("advertise", "URL", RPC, "how others reach the gateway's internal listener, or the worker's rpc; needed when that listens on a wildcard")
            .otherwise("the listener's address"),
    ]},
    Section { title: "The parts of a deployment", settings: &[
        text("config", "FILE", SERVING, "a TOML file with these settings, `-` written as `_`").flag_or_variable(),
        list("gateway", "URL", WORKER, "internal address of a gateway to report to; its reply names the others")
            .or("http://127.0.0.1:8081"),
        text("redis", "URL", GATEWAY, "`redis[s]://[user:password@]host[:port][/db]`, `redis[s]+sentinel://…/master[/db][?sentinel_user=U&sentinel_password=P]`, `redis[s]-cluster://…`")
            .or("redis://127.0.0.1:6379").secret(),
        text("redis-ca-file", "FILE", GATEWAY, "who may vouch for Redis over TLS, in PEM; read once, at the start")
            .otherwise("whom the machine believes"),
        text("redis-client-certificate-file", "FILE", GATEWAY, "what is shown to a Redis that wants a certificate, in PEM; read once, at the start"),
        text("redis-client-key-file", "FILE", GATEWAY, "its key, in PEM; read once, at the start"),
        text("replica-id", "ID", EDGE, "names this replica in results and telemetry")
            .otherwise("the platform's name for it, else host name and a random part"),
        text("data-dir", "DIR", SERVING, "what must outlive a restart: environments, keys made by `dev`, the worker table")
            .or(".baton"),
        switch("rpc-plaintext", RPC, "lets workers be reached off loopback without TLS, on a network you trust"),
        number("drain-seconds", (0, 3600), SERVING, "how long calls in flight may go on after SIGTERM").or("30"),
    ]},
    Section { title: "Keys, and who may call", settings: &[
        list("signing-key-file", "FILE", EDGE, "key that signs handles (`baton key signing`); the first signs, all verify")
            .otherwise("needed").but_otherwise(Role::Dev, "made once in the data directory"),
        list("worker-root-key-file", "FILE", EDGE, "root of the workers' keys (`baton key worker-root`)")
            .otherwise("needed").but_otherwise(Role::Dev, "made once in the data directory"),
        text("worker-key-file", "FILE", WORKER, "this worker's name and key (`baton key worker`)").otherwise("needed"),
        text("audience", "NAME", EDGE, "what handles are good for; equal on all replicas").or("baton"),
        list("api-key", "KEY", &[Role::Gateway, Role::Dev, Role::Call], "a key that clients show, as tenant and subject `default`; files hold `[[api_key]]` tables with hash, tenant, subject")
            .secret(),
        switch("anonymous", EDGE, "serves callers without any credential; `dev` on loopback does so unless it has a key"),
        list("allowed-host", "HOST", EDGE, "`Host` that is served besides loopback names and the listener's address"),
        list("allowed-origin", "ORIGIN", EDGE, "`Origin` of web pages that may call"),
        list("cors-allowed-header", "NAME", EDGE, "a header that these pages may send besides those of MCP, credentials and traces"),
        list("cors-exposed-header", "NAME", EDGE, "a header that they may read besides `Baton-Replica`, `RateLimit`, `RateLimit-Policy`, `Retry-After` and `WWW-Authenticate`"),
        number("cors-max-age-seconds", (0, DAY), EDGE, "how long browsers may keep the answer to a preflight").or("7200"),
        list("trusted-proxy", "NETWORK", EDGE, "address or network of proxies that are believed who asked them"),
        text("forwarded-header", "NAME", EDGE, "where these proxies say it: `x-forwarded-for` or `forwarded`; the other header is ignored, for it passes as the client wrote it").or("x-forwarded-for"),
        switch("proxy-protocol", EDGE, "clients come through these proxies alone, which begin each connection with a PROXY protocol header, version 1 or 2"),
    ]},
    Section { title: "Environments", settings: &[
        number("idle-timeout-seconds", (1, 7 * DAY), EDGE, "an environment that nobody calls for so long ends").or("300"),
        number("max-life-seconds", (1, 7 * DAY), EDGE, "no environment, and no handle, lives longer").or("86400"),
        number("max-environments", (1, 1_000_000), EDGE, "environments of one tenant at once").or("100"),
        number("timeout-seconds", (1, DAY), EDGE, "how long a call may run that does not say").or("220"),
        number("max-timeout-seconds", (1, DAY), SERVING, "the longest that a call may ask for").or("3600"),
        number("task-after-seconds", (0, DAY), EDGE, "a call that runs so long becomes a task, for clients that declare tasks; 0: at once").or("30"),
        switch("environment-tools", EDGE, "offers the tools for environments").or("true").in_file_as("tools.environments"),
        switch("sample-tools", EDGE, "adds `whoami`, `lookup_fact`, `compute_primes`, `tally`").but(Role::Dev, "true"),
    ]},
    Section { title: "What clients may use", settings: &[
        text("rate-per-second", "N[:global]", EDGE, "requests of one tenant; 0: no limit; `:global`: counted in Redis for all replicas, else each holds its share").or("1000").but(Role::Dev, "0"),
        number("rate-burst", (1, MAX), EDGE, "requests of one tenant at once after a pause").or("2000"),
        text("subject-rate-per-second", "N[:global]", EDGE, "requests of one subject of a tenant; 0: no limit").or("0"),
        number("subject-rate-burst", (1, MAX), EDGE, "requests of one subject at once after a pause").otherwise("what one second allows"),
        rates("method-rate-per-second", "requests of one tenant for one method, such as `tools/list=10`"),
        rates("tool-rate-per-second", "calls of one tenant to one tool, ours or an upstream's, by the name in the list, such as `launchShell=0.5`"),
        number("max-calls", (1, 1_000_000), EDGE, "calls in flight at once; creating is shed at 70 % of them, lists at 80 %, and a few more are kept for closing and cancelling").or("1024"),
        number("max-calls-per-tenant", (1, 1_000_000), EDGE, "calls of one tenant in flight at once").or("512"),
        number("max-listens", (1, 1_000_000), EDGE, "streams of `subscriptions/listen` open at one replica").or("10000"),
        number("max-listens-per-tenant", (1, 1_000_000), EDGE, "those of one tenant").or("32"),
        number("max-body-bytes", (1024, 7 << 20), EDGE, "longest request body").or("4194304"),
        number("max-buffered-mebibytes", (8, 1 << 20), EDGE, "request bodies held at once; what is more is shed before it is read").or("256"),
        number("max-buffered-mebibytes-per-tenant", (8, 1 << 20), EDGE, "those of one tenant").or("64"),
        number("connection-threads", (0, 256), EDGE, "threads that clients' connections live on; 0: those of all else").otherwise("one for each core"),
        number("max-connections", (1, 1_000_000), SERVING, "connections of one listener at once").or("10000"),
        number("max-connections-per-address", (1, 1_000_000), SERVING, "connections from one address at once; behind a load balancer, raise it").or("256"),
        number("first-byte-seconds", (1, 3600), SERVING, "from a connection to its first byte").or("5"),
        number("head-seconds", (1, 3600), SERVING, "from a request's first byte to the end of its headers").or("5"),
        number("keep-alive-seconds", (1, 3600), SERVING, "between two requests on one connection; longer than the load balancer's").or("620"),
        number("write-stall-seconds", (1, 3600), SERVING, "how long a client may refuse to take bytes").or("60"),
        number("max-connection-age-seconds", (1, 7 * DAY), SERVING, "after so long a connection ends between two requests, so that new replicas get their share").or("3600"),
    ]},
    Section { title: "Sandboxes", settings: &[
        text("runtime", "NAME", SANDBOX, "how sandboxes are isolated: `auto` (the strongest that works here), `embedded`, `confined`").or("auto"),
        text("python", "PATH", SANDBOX, "the interpreter inside").otherwise("/usr/bin/python3, else python3 on PATH"),
        text("python-packages", "DIR", SANDBOX, "site-packages of a venv, read-only inside"),
        number("warm-pool", (0, 1000), SANDBOX, "sandboxes kept ready").or("2"),
        number("capacity", (1, 20_000), SANDBOX, "environments that one worker holds").or("1000"),
        number("max-executions", (1, 20_000), SANDBOX, "calls that one worker runs at once; one more is refused if none ends within 250 ms").or("256"),
        number("memory-mebibytes", (64, 1 << 20), SANDBOX, "memory of one sandbox").or("1024"),
        number("cpu-seconds", (1, 7 * DAY), SANDBOX, "processor time of one call").or("3600"),
        number("cpu-millis", (0, 1_000_000), SANDBOX, "share of one processor in thousandths, where cgroups are writable; 0: no limit").or("0"),
        number("processes", (8, 1 << 20), SANDBOX, "processes and threads of one sandbox").or("256"),
        number("open-files", (32, 1 << 20), SANDBOX, "open files of one process").or("1024"),
        number("workspace-mebibytes", (1, 1 << 24), SANDBOX, "size of `/workspace`").or("2048"),
        number("workspace-entries", (16, 100_000_000), SANDBOX, "files and directories in `/workspace`").or("100000"),
        number("tmp-mebibytes", (1, 1 << 20), SANDBOX, "size of `/tmp`").or("256"),
        number("shm-mebibytes", (1, 1 << 20), SANDBOX, "size of `/dev/shm`").or("64"),
        number("output-kibibytes", (1, 1 << 20), SANDBOX, "what is kept of each of stdout, stderr and the result of one call").or("256"),
        number("display-kibibytes", (1, 1 << 20), SANDBOX, "what is kept of the images of one call").or("4096"),
    ]},
    Section { title: "Logs and traces", settings: &[
        text("log", "FILTER", SERVING, "what is logged, such as `info` or `baton=debug,warn`").or("info"),
        switch("access-log", EDGE, "one line for each exchange, without arguments, results or handles"),
        text("log-format", "FORMAT", SERVING, "`text` or `json`").or("text"),
        text("otlp-endpoint", "URL", SERVING, "where traces go, by OTLP over HTTP").otherwise("`OTEL_EXPORTER_OTLP_ENDPOINT`, else no export"),
        text("trace-sample-ratio", "RATIO", SERVING, "share of traces without a parent that are kept, 0 to 1").or("1"),
    ]},
    Section { title: "Calling", settings: &[
        text("url", "URL", CALLER, "the endpoint to call").or("http://127.0.0.1:8080/mcp").but_otherwise(Role::Doctor, "no call is tried").flag_or_variable(),
        switch("json", CALL, "prints the result as it came").flag_only(),
        text("idempotency-key", "KEY", CALL, "names this call, so that it can be made again: it runs once").flag_only().secret(),
        switch("new", CALL, "launches an environment for this one call, and closes it").flag_only(),
    ]},
    Section { title: "Making keys", settings: &[
        text("root", "FILE", KEY, "the file of `baton key worker-root`").flag_only(),
        text("id", "ID", KEY, "the worker's name: `a-z`, `0-9`, `-`").flag_only(),
        text("tenant", "NAME", KEY, "whose quota and rates count").flag_only(),
        text("subject", "NAME", KEY, "who within the tenant").flag_only(),
    ]},
    Section { title: "Migrating", settings: &[
        text("pool", "NAME", MIGRATE, "which session pool, where the file has several").flag_only(),
        text("role", "ROLE", MIGRATE, "whose settings are written: `gateway`, `worker`, or `dev` for both").or("dev").flag_only(),
    ]},
];
