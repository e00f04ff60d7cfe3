//! A program in the words of `execve(2)`.

use std::ffi::{CStr, CString, NulError};
use std::os::raw::c_char;
use std::ptr;

use nix::errno::Errno;

use super::super::wire::Boot;

/// What a shell says for a program that is there and cannot be run, and for one that is not there.
pub(super) const CANNOT_RUN: i32 = 126;
const NOT_FOUND: i32 = 127;

/// A program, its arguments and its environment.
///
/// Made before the process that becomes it: one that borrows its starter's memory may be ended at any moment, and must
/// not have anything of that in its hands.
pub(super) struct Program {
    /// As its caller named it, if at all.
    name: Option<String>,
    words: Result<Words, NulError>,
}

struct Words {
    /// Where the program may be, in the order of `PATH`.
    candidates: Vec<CString>,
    argv: Texts,
    environment: Texts,
}

impl Program {
    /// A program by its arguments, of which the first names it, with variables beside those of every process.
    pub(super) fn new(argv: &[String], variables: &[(String, String)], boot: &Boot) -> Self {
        Self { name: argv.first().cloned(), words: Words::new(argv, variables, boot) }
    }

    /// Becomes the program; returns the exit code if there is no way to.
    pub(super) fn execute(&mut self) -> i32 {
        let Some(name) = &self.name else { return complain(&["no program was named"], NOT_FOUND) };
        let Ok(words) = &mut self.words else {
            return complain(&["an argument contains a zero byte"], CANNOT_RUN);
        };
        match words.execute() {
            Errno::ENOENT => complain(&[name, ": not found"], NOT_FOUND),
            errno => complain(&[name, ": ", errno.desc()], CANNOT_RUN),
        }
    }
}

impl Words {
    fn new(argv: &[String], variables: &[(String, String)], boot: &Boot) -> Result<Self, NulError> {
        let candidates = candidates(argv.first().map_or("", String::as_str), boot)?;
        let argv = argv.iter().map(|text| CString::new(text.as_str()));
        let variables = boot.environment.iter().chain(variables);
        let variables = variables.map(|(name, value)| CString::new(format!("{name}={value}")));
        Ok(Self { candidates, argv: Texts::new(argv)?, environment: Texts::new(variables)? })
    }

    fn execute(&mut self) -> Errno {
        let mut last = Errno::ENOENT;
        for path in &self.candidates {
            last = match (execve(path, self.argv.as_ptr(), self.environment.as_ptr()), last) {
                // As execvp(3) has it: a file without `#!` is the shell's.
                (Errno::ENOEXEC, _) => self.argv.run_by_shell(path, &self.environment),
                // Looking further must not hide that something was there.
                (Errno::ENOENT | Errno::ENOTDIR, last) => last,
                (errno, _) => errno,
            };
        }
        last
    }
}

/// Tells the caller on its stderr, which descriptor 2 is or was meant to be.
///
/// By the system's call alone: who borrows memory may be ended in the midst of it, with a lock of std's or of the heap.
pub(super) fn complain(words: &[&str], code: i32) -> i32 {
    for word in words.iter().chain(&["\n"]) {
        // SAFETY: the bytes are alive; nothing is left to do where nobody can be told.
        unsafe { libc::write(2, word.as_ptr().cast(), word.len()) };
    }
    code
}

fn candidates(name: &str, boot: &Boot) -> Result<Vec<CString>, NulError> {
    if name.contains('/') {
        return Ok(vec![CString::new(name)?]);
    }
    let path = boot.environment.iter().find(|(name, _)| name == "PATH");
    let directories = path.map_or("", |(_, value)| value.as_str()).split(':');
    directories.map(|directory| CString::new(format!("{directory}/{name}"))).collect()
}

/// Strings as the kernel takes them: pointers, and a null at the end.
struct Texts {
    /// What the pointers lead to; a `CString`'s bytes stay where they are when it is moved.
    _texts: Vec<CString>,
    /// Before the first, room for one more; see [`Self::run_by_shell`].
    pointers: Vec<*const c_char>,
}

impl Texts {
    fn new(texts: impl Iterator<Item = Result<CString, NulError>>) -> Result<Self, NulError> {
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        let mut pointers = vec![ptr::null()];
        pointers.extend(texts.iter().map(|text| text.as_ptr()));
        pointers.push(ptr::null());
        Ok(Self { _texts: texts, pointers })
    }

    fn as_ptr(&self) -> *const *const c_char {
        self.pointers[1..].as_ptr()
    }

    /// Runs a script that does not say who is to run it: `sh`, the script, and what came after its name.
    fn run_by_shell(&mut self, script: &CStr, environment: &Self) -> Errno {
        let [shell, name, ..] = self.pointers.as_mut_slice() else { return Errno::ENOEXEC };
        *shell = c"sh".as_ptr();
        let named = std::mem::replace(name, script.as_ptr());
        let errno = execve(c"/bin/sh", self.pointers.as_ptr(), environment.as_ptr());
        self.pointers[1] = named;
        errno
    }
}

/// `execve(2)`, which returns only to say why not.
fn execve(path: &CStr, argv: *const *const c_char, environment: *const *const c_char) -> Errno {
    // SAFETY: both lists end with a null, and the callers hold what their pointers lead to.
    unsafe { libc::execve(path.as_ptr(), argv, environment) };
    Errno::last()
}
