//! The addresses of names: each name is looked up once at a time, however many ask and give up.
//!
//! A look-up holds a thread until the machine's resolver gives up, long after whoever asked. An outage of DNS would fill
//! the pool of such threads, which files need too, if each attempt to connect began another.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::url::Address;

/// How many of a name's addresses are of use.
const MAX_ADDRESSES: usize = 8;

/// Finds the addresses of names.
pub(super) struct Names {
    look_up: Arc<LookUp>,
    /// By name; what has ended goes with the next question.
    running: Mutex<HashMap<Box<str>, watch::Receiver<Answer>>>,
}

type LookUp = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Nothing until the look-up is over.
type Answer = Option<Result<Vec<SocketAddr>, Arc<io::Error>>>;

impl Names {
    /// As the machine knows them.
    pub(super) fn of_the_machine() -> Self {
        Self::by(|host| Ok((host, 0).to_socket_addrs()?.take(MAX_ADDRESSES).collect()))
    }

    fn by(look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self { look_up: Arc::new(look_up), running: Mutex::default() }
    }

    /// Where an address leads: at least one, at most [`MAX_ADDRESSES`]. Who asks bounds how long that may take.
    pub(super) async fn find(&self, address: &Address) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = address.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, address.port)]);
        }
        let mut answer = self.ask(&address.host);
        let answer = answer.wait_for(Option::is_some).await.map_err(io::Error::other)?.clone();
        let mut found = answer.expect("it was waited for").map_err(io::Error::other)?;
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        for it in &mut found {
            it.set_port(address.port);
        }
        Ok(found)
    }

    /// The answer of the look-up that runs, or of a new one.
    fn ask(&self, host: &str) -> watch::Receiver<Answer> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // The answer of one that is over is of the past. One that has ended without dropped its sender.
        running.retain(|_, answer| answer.borrow().is_none() && answer.has_changed().is_ok());
        if let Some(answer) = running.get(host) {
            return answer.clone();
        }
        let (sender, answer) = watch::channel(None);
        let (look_up, name) = (Arc::clone(&self.look_up), Box::<str>::from(host));
        spawn_blocking(move || sender.send_replace(Some(look_up(&name).map_err(Arc::new))));
        running.insert(host.into(), answer.clone());
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.into(), port }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_however_many_ask_and_give_up() {
        let (answers, to_come) = mpsc::channel();
        let (begun, to_come) = (Arc::new(AtomicU16::new(0)), Mutex::new(to_come));
        let count = Arc::clone(&begun);
        let names = Names::by(move |host| {
            assert_eq!(host, "h");
            count.fetch_add(1, Ordering::Relaxed);
            to_come.lock().unwrap().recv().unwrap()
        });
        for port in 0..50 {
            let soon = Duration::from_millis(1);
            timeout(soon, names.find(&address("h", port))).await.unwrap_err();
        }
        // Those who ask while it runs share its answer, each with a port of its own.
        let (one, two) = (address("h", 1), address("h", 2));
        let ip = IpAddr::from([10, 0, 0, 1]);
        let answer = async { answers.send(Ok(vec![SocketAddr::new(ip, 0)])).unwrap() };
        let (one, two, ()) = tokio::join!(names.find(&one), names.find(&two), answer);
        assert_eq!(one.unwrap(), [SocketAddr::new(ip, 1)]);
        assert_eq!(two.unwrap(), [SocketAddr::new(ip, 2)]);
        assert_eq!(begun.load(Ordering::Relaxed), 1);

        // An answer is never given again, neither a good one nor a bad one.
        answers.send(Err(io::Error::other("no answer from DNS"))).unwrap();
        answers.send(Ok(Vec::new())).unwrap();
        for problem in ["no answer from DNS", "the name has no address"] {
            let error = names.find(&address("h", 3)).await.unwrap_err();
            assert_eq!(error.to_string(), problem);
        }
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn what_is_an_address_is_not_looked_up() {
        let names = Names::by(|host| panic!("{host}"));
        for (host, shown) in [("10.0.0.1", "10.0.0.1:7"), ("::1", "[::1]:7")] {
            assert_eq!(names.find(&address(host, 7)).await.unwrap()[0].to_string(), shown);
        }
    }
}
