//! A real redis-server on a free port of this machine.
#![expect(clippy::unwrap_used, reason = "a test that cannot start its server has failed")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use baton::directory::redis::{RedisSettings, RedisUrl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A server that ends with this value, also when the test panics.
#[derive(Debug)]
pub(crate) struct RedisServer {
    port: u16,
    /// What makes it what it is: a cluster, a replica, a Sentinel.
    arguments: Vec<String>,
    folder: PathBuf,
    process: Option<Child>,
}

/// How long a server may take to answer.
const START: Duration = Duration::from_secs(20);

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A cluster of this one node: refuses scripts that touch two slots.
    pub(crate) fn start_one_node_cluster() -> Self {
        let mut server = Self::start_with(&["--cluster-enabled", "yes"]);
        server.say("CLUSTER ADDSLOTSRANGE 0 16383");
        server.wait_until("CLUSTER INFO", "cluster_state:ok");
        server
    }

    /// A server that is not there yet, until [`RedisServer::restart`].
    pub(crate) fn not_started() -> Self {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("baton-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let arguments = ["--save", "", "--appendonly", "no"].map(str::to_owned).to_vec();
        Self { port: free_port(), arguments, folder, process: None }
    }

    /// A server with more settings.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        Self::not_started_with(settings).started()
    }

    /// One with more settings that is not there yet.
    pub(crate) fn not_started_with(settings: &[&str]) -> Self {
        let mut server = Self::not_started();
        server.arguments.extend(settings.iter().map(|it| (*it).to_owned()));
        server
    }

    /// A Sentinel of this configuration.
    pub(crate) fn start_sentinel(configuration: &str) -> Self {
        let mut server = Self::not_started();
        let file = server.folder.join("sentinel.conf");
        std::fs::write(&file, configuration).unwrap();
        server.arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
        server.started()
    }

    fn started(mut self) -> Self {
        // Somebody else may take the port between our look and the server's start.
        while !self.try_start() {
            self.port = free_port();
        }
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn url(&self) -> RedisSettings {
        url_of(self.address())
    }

    /// Ends the server without a farewell.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again on the same port, with nothing in it.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(self.try_start(), "redis-server does not start again on port {}", self.port);
    }

    /// Stops its execution; connections stay.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Sends one command in words, and returns the raw reply.
    pub(crate) fn say(&self, command: &str) -> String {
        self.try_say(command).unwrap()
    }

    /// Whether it answers, as one that takes writes.
    pub(crate) fn is_master(&self) -> bool {
        // A connection may be closed while roles change.
        self.try_say("ROLE").is_ok_and(|said| said.contains("master"))
    }

    fn try_say(&self, command: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.address())?;
        stream.set_read_timeout(Some(START))?;
        write!(stream, "{command}\r\n")?;
        // It answers what it has read, and then closes. Sentinels know no QUIT.
        stream.shutdown(Shutdown::Write)?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply)
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("the server runs");
        kill(Pid::from_raw(process.id().try_into().unwrap()), signal).unwrap();
    }

    fn try_start(&mut self) -> bool {
        let started = Command::new("redis-server")
            .args(&self.arguments)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match started {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("these tests need a real Redis: apt-get install redis-server")
            }
            started => started.unwrap(),
        };
        self.process = Some(process);
        self.wait_until("PING", "PONG")
    }

    /// Waits for a reply; `false` if the server has ended.
    pub(crate) fn wait_until(&mut self, command: &str, reply: &str) -> bool {
        self.wait_for(command, |said| said.contains(reply))
    }

    /// Waits until it says something that satisfies; `false` if the server has ended.
    pub(crate) fn wait_for(&mut self, command: &str, satisfies: impl Fn(&str) -> bool) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < START {
            if self.try_say(command).is_ok_and(|said| satisfies(&said)) {
                return true;
            }
            let process = self.process.as_mut().expect("it was started");
            if process.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server on port {} does not answer {command} as it should", self.port);
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // By its own handle, so that nothing else can be meant; SIGKILL ends a frozen one too.
            drop(process.kill());
            drop(process.wait());
        }
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// The address as a setting.
pub(crate) fn url_of(address: SocketAddr) -> RedisSettings {
    RedisUrl::parse(&format!("redis://{address}")).unwrap().into()
}

/// A port that nobody listens on; somebody else may take it, but seldom does.
pub(crate) fn free_port() -> u16 {
    // Cluster nodes also need the port 10,000 higher.
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        if port < 55_000 {
            return port;
        }
    }
}
