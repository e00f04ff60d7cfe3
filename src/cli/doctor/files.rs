//! Files and folders: who else may read them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::finding::Finding;

/// A key file is for one user. That it holds a key has been checked with the settings.
pub(super) fn key_file(path: &Path) -> Finding {
    const NAME: &str = "key file";
    let shown = path.display();
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) => {
            let mend = "correct its path, or make it: baton help key";
            return Finding::bad(NAME, format!("{shown}: cannot be read ({error})"), mend);
        }
    };
    let mode = metadata.permissions().mode() & 0o777;
    let detail = format!("{shown} has mode {mode:04o}");
    if mode & 0o037 != 0 {
        Finding::bad(NAME, format!("{detail}: others may use it"), format!("chmod 600 {shown}"))
    } else if mode & 0o040 != 0 {
        // Kubernetes mounts secrets so for a pod with an fsGroup.
        Finding::note(NAME, format!("{detail}: its group may read it"))
    } else {
        Finding::good(NAME, detail)
    }
}

/// The data directory holds what users left in their environments.
pub(super) fn data_dir(path: &Path) -> Finding {
    const NAME: &str = "data directory";
    let shown = path.display();
    let writable = |path: &Path| access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
    let Ok(metadata) = path.metadata() else {
        let parents = path.ancestors().skip(1);
        let there = parents.map(|it| if it.as_os_str().is_empty() { Path::new(".") } else { it });
        let fits =
            there.into_iter().find(|it| it.exists()).is_some_and(|it| it.is_dir() && writable(it));
        return if fits {
            Finding::good(NAME, format!("{shown} will be made at the first start"))
        } else {
            let mend = "give --data-dir a place that this user may write to";
            Finding::bad(NAME, format!("{shown} cannot be made"), mend)
        };
    };
    let mode = metadata.permissions().mode() & 0o777;
    if !metadata.is_dir() {
        Finding::bad(NAME, format!("{shown} is no directory"), "give --data-dir another path")
    } else if !writable(path) {
        let mend = "give it to this user: chown";
        Finding::bad(NAME, format!("{shown} is not writable"), mend)
    } else if mode & 0o066 != 0 {
        let detail = format!("{shown} has mode {mode:04o}: others see what users keep there");
        Finding::bad(NAME, detail, format!("chmod 700 {shown}"))
    } else if mode & 0o011 != 0 {
        // A worker that is root makes it so for `--runtime confined`.
        Finding::note(NAME, format!("{shown} has mode {mode:04o}: others may pass through it"))
    } else {
        Finding::good(NAME, format!("{shown} is writable, for this user alone"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn keys_and_data_are_for_one_user() {
        let folder = std::env::temp_dir().join(format!("baton-doctor-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("a.key");
        fs::write(&file, "x").unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let check = |finding: &Finding, expected: &str| {
            assert!(format!("{finding:?}").contains(expected), "{finding:?}");
        };
        for (bits, expected) in
            [(0o600, "Good"), (0o440, "Note"), (0o644, "chmod 600"), (0o660, "Bad")]
        {
            mode(&file, bits);
            check(&key_file(&file), expected);
        }
        check(&key_file(&folder.join("none")), "cannot be read");
        for (bits, expected) in [(0o700, "Good"), (0o711, "Note"), (0o755, "chmod 700")] {
            mode(&folder, bits);
            check(&data_dir(&folder), expected);
        }
        check(&data_dir(&file), "is no directory");
        check(&data_dir(&folder.join("deep/er")), "will be made");
        check(&data_dir(Path::new("relative-and-absent")), "will be made");
        check(&data_dir(&file.join("below")), "cannot be made");
        fs::remove_dir_all(folder).unwrap();
    }
}
