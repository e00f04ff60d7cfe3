//! What an operator can do when no sandbox can be made.

use std::fs;
use std::path::Path;

use crate::worker::sandbox::SandboxError;

/// What a container must be given for the strong level, in each engine's words, and the way around.
const CONTAINER: &str = "in a container, give it all of these (docker run, or security_opt in compose: \
     seccomp=infra/seccomp.json, systempaths=unconfined, apparmor=unconfined; kubernetes: hostUsers: false, \
     seccompProfile: Localhost with that file, procMount: Unmasked, appArmorProfile: Unconfined), \
     or choose the weaker level by its name, --runtime confined";

/// Ubuntu's switch, which keeps also a root worker's sandboxes from user namespaces: they are other uids by then.
const APPARMOR_SWITCH: &str = "kernel.apparmor_restrict_unprivileged_userns";

/// What is narrower than turning that switch.
const APPARMOR_PROFILE: &str = "or, for baton alone: put infra/apparmor.profile into /etc/apparmor.d, load it by \
     apparmor_parser -r, and run baton from /usr/local/bin";

/// Root that gives each sandbox a uid needs capabilities that a container's root seldom has.
const PLAIN_USER: &str = "root lacks capabilities here: run the worker as a plain user (docker: --user 10001, kubernetes: runAsUser: 10001)";

/// gVisor's user namespaces are of use only since they have mounts of their own.
const GVISOR: &str =
    "gVisor refuses mounts here: update it (0.0~20240729, of Debian 13, has what it needs)";

const GVISOR_ROOT: &str =
    "in gVisor run the worker as a plain user (docker: --user 10001, kubernetes: runAsUser: 10001)";

/// The capabilities without which root is of no use to us, by their bits; see capabilities(7).
const CHOWN_SETGID_SETUID: u64 = 1 | 1 << 6 | 1 << 7;
const SYS_ADMIN: u64 = 1 << 21;

/// Names the most likely cause on this host, and what removes it.
pub(in crate::worker::sandbox) fn mend(error: &SandboxError) -> String {
    Host::find().mend(error)
}

/// What of this host decides which cause is likely.
#[derive(Debug, Default)]
struct Host {
    /// A switch of the kernel that keeps plain users from user namespaces, and its better value.
    switch: Option<(&'static str, &'static str)>,
    /// A seccomp filter that somebody put over us.
    filtered: bool,
    /// Root's effective capabilities; none of interest if we are not root.
    root_capabilities: Option<u64>,
    /// The kernel is gVisor's.
    gvisor: bool,
}

impl Host {
    fn find() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let capabilities =
            field("CapEff:").and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        Self {
            switch: switch(),
            filtered: field("Seccomp:").is_some_and(|mode| mode.trim() == "2"),
            root_capabilities: capabilities.filter(|_| nix::unistd::geteuid().is_root()),
            gvisor: super::on_gvisor(),
        }
    }

    fn mend(&self, error: &SandboxError) -> String {
        let step = match error {
            SandboxError::Setup { step, .. } => step.as_str(),
            SandboxError::Workspace { .. } if self.root_lacks(CHOWN_SETGID_SETUID) => {
                return PLAIN_USER.to_owned();
            }
            SandboxError::Workspace { .. } => {
                return "check the directory's owner and mode".to_owned();
            }
            SandboxError::Spawn { .. } => {
                return "check that this binary can execute itself".to_owned();
            }
            SandboxError::NotReady { .. } => "",
        };
        let mount = step.starts_with("taking")
            || step.contains("mount")
            || step.contains("pivot")
            || step == "making / private";
        if step.starts_with("setres") || step == "setgroups" {
            if self.root_lacks(CHOWN_SETGID_SETUID) {
                return PLAIN_USER.to_owned();
            }
            return "uids from 200000 on are not mapped here: map more, or run as a plain user"
                .to_owned();
        }
        if mount && self.gvisor {
            // Root would take mounts before it gives itself up, for which gVisor has no call.
            return self.root_capabilities.map_or(GVISOR, |_| GVISOR_ROOT).to_owned();
        }
        if mount && self.root_lacks(SYS_ADMIN) {
            return format!("{PLAIN_USER}; {CONTAINER}");
        }
        if matches!(step, "unshare" | "writing uid_map" | "writing setgroups") {
            return match self.switch {
                Some((name @ APPARMOR_SWITCH, good)) => {
                    format!(
                        "user namespaces are off here: sysctl -w {name}={good}, {APPARMOR_PROFILE}"
                    )
                }
                Some((name, good)) => {
                    format!("user namespaces are off here: sysctl -w {name}={good}")
                }
                None if self.filtered => {
                    format!("a seccomp filter refuses user namespaces: {CONTAINER}")
                }
                None => format!("user namespaces are refused here: {CONTAINER}"),
            };
        }
        if step.contains("proc") {
            return format!(
                "parts of /proc are hidden, and then the kernel lets nobody mount a new one: {CONTAINER}"
            );
        }
        if mount || step == "sethostname" {
            return format!("it needs Linux 5.12, and mounts are refused here: {CONTAINER}");
        }
        "see the step that failed".to_owned()
    }

    fn root_lacks(&self, capabilities: u64) -> bool {
        self.root_capabilities.is_some_and(|has| has & capabilities != capabilities)
    }
}

fn switch() -> Option<(&'static str, &'static str)> {
    let bad = |name: &str, bad: &str| {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::read_to_string(path).is_ok_and(|value| value.trim() == bad)
    };
    [
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("user.max_user_namespaces", "0", "15000"),
        (APPARMOR_SWITCH, "1", "0"),
    ]
    .into_iter()
    .find_map(|(name, worse, good)| bad(name, worse).then_some((name, good)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(step: &str) -> SandboxError {
        let source = std::io::Error::from_raw_os_error(libc::EPERM);
        SandboxError::Setup { step: step.to_owned(), source }
    }

    #[track_caller]
    fn check(host: &Host, step: &str, words: &[&str]) {
        let said = host.mend(&setup(step));
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    #[test]
    fn what_a_container_refuses_is_mended_in_each_engines_words() {
        let engines = [
            "docker run",
            "compose",
            "kubernetes",
            "infra/seccomp.json",
            "systempaths=unconfined",
            "apparmor=unconfined",
            "procMount: Unmasked",
            "weaker level by its name, --runtime confined",
        ];
        let container = Host { filtered: true, ..Host::default() };
        for step in ["unshare", "fsmount(proc)", "mounting /usr", "pivot_root", "sethostname"] {
            check(&container, step, &engines);
        }
        check(&container, "unshare", &["a seccomp filter refuses"]);
        check(&container, "fsmount(proc)", &["parts of /proc are hidden"]);
    }

    #[test]
    fn a_switch_of_the_kernel_is_named_alone() {
        let host = Host { switch: Some(("user.max_user_namespaces", "15000")), ..Host::default() };
        let said = host.mend(&setup("unshare"));
        assert_eq!(said, "user namespaces are off here: sysctl -w user.max_user_namespaces=15000");
    }

    #[test]
    fn ubuntus_switch_is_named_with_the_profile_that_is_narrower() {
        let host = Host { switch: Some((APPARMOR_SWITCH, "0")), ..Host::default() };
        for step in ["unshare", "writing setgroups", "writing uid_map"] {
            check(&host, step, &["restrict_unprivileged_userns=0", "infra/apparmor.profile"]);
        }
    }

    #[test]
    fn in_gvisor_an_old_release_and_root_are_named() {
        let gvisor = Host { gvisor: true, ..Host::default() };
        check(&gvisor, "making / private", &["update it"]);
        let root = Host { gvisor: true, root_capabilities: Some(u64::MAX), ..Host::default() };
        check(&root, "taking /usr", &["as a plain user", "runAsUser: 10001"]);
    }

    #[test]
    fn root_without_its_capabilities_is_told_to_be_a_plain_user() {
        let docker = Host { root_capabilities: Some(0xa804_25fb), ..Host::default() };
        check(&docker, "taking /usr", &["run the worker as a plain user"]);
        check(&docker, "setgroups", &["map more"]);
        let bare = Host { root_capabilities: Some(0), ..Host::default() };
        check(&bare, "setgroups", &["run the worker as a plain user"]);
        let source = std::io::Error::from_raw_os_error(libc::EPERM);
        let workspace = SandboxError::Workspace { path: "/w".into(), source };
        assert_eq!(bare.mend(&workspace), PLAIN_USER);
        assert!(docker.mend(&workspace).contains("owner and mode"));
    }
}
