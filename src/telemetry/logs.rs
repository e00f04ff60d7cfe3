//! The log subscriber: once per process, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How a record looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

impl LogFormat {
    /// People sit at terminals.
    pub fn fitting() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Why no log can be kept as asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log filter {filter:?} is wrong")]
    Filter { filter: String, source: tracing_subscriber::filter::ParseError },
    #[error("this process has a log subscriber already")]
    Installed,
}

/// Installs the subscriber. `filter` is written as in `RUST_LOG`, for example `info,baton::directory=debug`.
pub fn install(filter: &str, format: LogFormat) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let records = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let installed = match format {
        LogFormat::Text => records.try_init(),
        LogFormat::Json => records.json().flatten_event(true).with_current_span(false).try_init(),
    };
    installed.map_err(|_| LogError::Installed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_is_refused() {
        assert!(matches!(install("baton=loud", LogFormat::Json), Err(LogError::Filter { .. })));
    }
}
