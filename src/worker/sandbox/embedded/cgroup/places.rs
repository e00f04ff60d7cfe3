//! Where a worker may make control groups: below its own, in each controller's tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Controller, Version};

/// The worker's own directory in each controller's tree.
pub(super) fn places(own: &str, mounts: &str) -> BTreeMap<Controller, (Version, PathBuf)> {
    let mut places = BTreeMap::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        for controller in Controller::ALL {
            let (version, mount) = if controllers.is_empty() {
                (Version::Two, find_mount(mounts, "cgroup2", ""))
            } else if controllers.split(',').any(|name| name == controller.name()) {
                (Version::One, find_mount(mounts, "cgroup", controller.name()))
            } else {
                continue;
            };
            let Some((root, point)) = mount else { continue };
            let Ok(below) = Path::new(path).strip_prefix(&root) else { continue };
            // Where both are there, version 1 has the controllers: a tree has what the other lacks.
            let place = (version, point.join(below));
            if version == Version::One || !places.contains_key(&controller) {
                places.insert(controller, place);
            }
        }
    }
    places
}

/// Root and mount point of a cgroup file system, from `proc_pid_mountinfo(5)`.
fn find_mount(mounts: &str, kind: &str, option: &str) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let (fs, options) = (right.next()?, right.nth(1)?);
        let fits = fs == kind && (option.is_empty() || options.split(',').any(|o| o == option));
        let mut left = left.split(' ').skip(3);
        fits.then_some((PathBuf::from(left.next()?), PathBuf::from(left.next()?)))
    })
}

/// Version 2: whether groups below may have the controller, or can be allowed to.
pub(super) fn delegate(parent: &Path, controller: Controller) -> bool {
    // Part of the cpu controller there.
    if controller == Controller::Cpuacct {
        return false;
    }
    let control = parent.join("cgroup.subtree_control");
    let enabled = || {
        let content = fs::read_to_string(&control).unwrap_or_default();
        content.split_whitespace().any(|name| name == controller.name())
    };
    // Refused while processes are in the parent itself, unless it is the root of the tree.
    enabled() || (fs::write(&control, format!("+{}", controller.name())).is_ok() && enabled())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 30 0:28 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    fn place(own: &str, mounts: &str, controller: Controller) -> Option<(Version, String)> {
        let (version, path) = places(own, mounts).remove(&controller)?;
        Some((version, path.display().to_string()))
    }

    #[test]
    fn on_a_hybrid_host_version_one_has_the_controllers_it_has() {
        let own = "4:memory:/a/b\n2:cpu,cpuacct:/docker/abc\n0::/\n";
        let at = |controller| place(own, HYBRID, controller);
        assert_eq!(
            at(Controller::Memory),
            Some((Version::One, "/sys/fs/cgroup/memory/a/b".to_owned()))
        );
        let cpu = Some((Version::One, "/sys/fs/cgroup/cpu,cpuacct/".to_owned()));
        assert_eq!((at(Controller::Cpu), at(Controller::Cpuacct)), (cpu.clone(), cpu));
        assert_eq!(
            at(Controller::Pids),
            Some((Version::Two, "/sys/fs/cgroup/unified/".to_owned()))
        );
    }

    #[test]
    fn version_two_is_one_place_for_all() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = "0::/system.slice/baton.service\n";
        let expected = "/sys/fs/cgroup/system.slice/baton.service".to_owned();
        assert_eq!(place(own, mounts, Controller::Memory), Some((Version::Two, expected)));
    }
}
