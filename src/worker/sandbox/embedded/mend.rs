//! What an operator can do when no sandbox can be made.

use std::path::Path;

use crate::worker::sandbox::SandboxError;

/// Names the most likely cause on this host, and what removes it.
pub(in crate::worker::sandbox) fn mend(error: &SandboxError) -> String {
    let step = match error {
        SandboxError::Setup { step, .. } => step.as_str(),
        SandboxError::Workspace { .. } => return "check the directory's owner and mode".to_owned(),
        SandboxError::Spawn { .. } => {
            return "check that this binary can execute itself".to_owned();
        }
        SandboxError::NotReady { .. } => "",
    };
    let setting = |name: &str| {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        std::fs::read_to_string(path).map(|value| value.trim().to_owned()).unwrap_or_default()
    };
    if matches!(step, "unshare" | "writing uid_map" | "writing setgroups") {
        for (name, bad, good) in [
            ("kernel.unprivileged_userns_clone", "0", "1"),
            ("user.max_user_namespaces", "0", "15000"),
            ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
        ] {
            if setting(name) == bad {
                return format!("user namespaces are off here: sysctl -w {name}={good}");
            }
        }
        return "user namespaces are refused here; in a container, give it a seccomp profile that \
                allows unshare and mount (docker: --security-opt seccomp=unconfined)"
            .to_owned();
    }
    if step.contains("proc") {
        return "the container hides parts of /proc, and then the kernel lets nobody mount a new \
                one (docker: --security-opt systempaths=unconfined; kubernetes: procMount: Unmasked)"
            .to_owned();
    }
    if step.starts_with("taking") || step.contains("mount") || step.contains("pivot") {
        return "mounts are refused here: it needs Linux 5.12, and in a container an AppArmor \
                profile that allows mount (docker: --security-opt apparmor=unconfined)"
            .to_owned();
    }
    if step.starts_with("setres") || step == "setgroups" {
        return "uids from 200000 on are not mapped here: map more, or run as a plain user"
            .to_owned();
    }
    "see the step that failed".to_owned()
}
