//! Code that ran into a wall which other runtimes do not have: what it was is told with the error.

/// What the system says at such a wall.
const REFUSALS: [&str; 2] = ["Permission denied", "No such file or directory"];
/// What programs say without sockets.
const NO_SOCKETS: [&str; 4] =
    ["Address family not supported", "name resolution", "resolve host", "unable to create socket"];
/// Directories that only a sandbox with a tree of its own has.
const ABSENT: [&str; 4] = ["/workspace", "/tmp", "/dev/shm", "/proc"];

/// Whether this on standard error tells of one.
pub(super) fn met(stderr: &str) -> bool {
    // An error's last words are at its end.
    const LINES: usize = 5;
    let any = |line: &str, words: &[&str]| words.iter().any(|word| line.contains(word));
    stderr
        .lines()
        .rev()
        .take(LINES)
        .any(|line| any(line, &NO_SOCKETS) || any(line, &REFUSALS) && any(line, &ABSENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_at_a_wall_is_told_from_others() {
        for line in [
            "OSError: [Errno 97] Address family not supported by protocol",
            "socket.gaierror: [Errno -3] Temporary failure in name resolution",
            "curl: (6) Could not resolve host: example.org",
            "FileNotFoundError: [Errno 2] No such file or directory: '/workspace/a.csv'",
            "/bin/sh: 1: cannot create /tmp/a: Permission denied",
            "PermissionError: [Errno 13] Permission denied: '/dev/shm/sem'",
        ] {
            assert!(met(&format!("Traceback …\n{line}\n")), "{line}");
        }
        for line in
            ["FileNotFoundError: [Errno 2] No such file or directory: 'a.csv'", "/tmp is full", ""]
        {
            assert!(!met(line), "{line}");
        }
    }
}
