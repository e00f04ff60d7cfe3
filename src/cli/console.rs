//! The terminal: the only place of the command line that writes to it.

use std::io::{self, Write as _};

/// Where a command writes.
pub trait Console {
    /// What was asked for.
    fn out(&mut self, text: &str);

    /// What a person should know besides.
    fn err(&mut self, text: &str);
}

/// Standard output and standard error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminal;

impl Console for Terminal {
    fn out(&mut self, text: &str) {
        let mut out = io::stdout().lock();
        // A reader that has seen enough (`| head`) closes the pipe: nobody is left to tell.
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }

    fn err(&mut self, text: &str) {
        drop(io::stderr().lock().write_all(text.as_bytes()));
    }
}

#[cfg(test)]
pub(crate) mod recorder {
    use super::Console;

    /// Keeps what was written.
    #[derive(Debug, Default)]
    pub(crate) struct Recorder {
        pub(crate) out: String,
        pub(crate) err: String,
    }

    impl Console for Recorder {
        fn out(&mut self, text: &str) {
            self.out.push_str(text);
        }

        fn err(&mut self, text: &str) {
            self.err.push_str(text);
        }
    }
}
