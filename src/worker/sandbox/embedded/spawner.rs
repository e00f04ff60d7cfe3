//! The one thread that starts launchers.
//!
//! A launcher asks the kernel to be killed with its parent, and for the kernel the parent is a thread.
//! Threads of the async runtime come and go; this one stays as long as any sandbox it started.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Errand = Box<dyn FnOnce() + Send>;

/// A handle on the thread, which ends when the last of them is dropped.
#[derive(Clone, Debug)]
pub(super) struct Spawner {
    errands: mpsc::Sender<Errand>,
}

impl Spawner {
    pub(super) fn start() -> io::Result<Self> {
        let (errands, inbox) = mpsc::channel::<Errand>();
        std::thread::Builder::new()
            .name("sandbox-spawner".to_owned())
            .spawn(move || inbox.into_iter().for_each(|errand| errand()))?;
        Ok(Self { errands })
    }

    /// Starts a launcher that talks over `control`; it is killed when the `Child` is dropped.
    pub(super) async fn launch(&self, program: &Path, control: OwnedFd) -> io::Result<Child> {
        let mut command = Command::new(program);
        command
            .arg(super::LAUNCHER_ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(control))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let (reply, answer) = oneshot::channel();
        let runtime = Handle::current();
        let errand = move || {
            let _entered = runtime.enter();
            // Whoever asked may have given up; then the child is dropped, which kills it.
            drop(reply.send(command.spawn()));
        };
        self.errands.send(Box::new(errand)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        answer.await.map_err(io::Error::other)?
    }
}
