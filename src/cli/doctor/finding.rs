//! What a check found, as one line.

use std::error::Error;

use crate::cli::console::Console;

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    name: &'static str,
    detail: String,
    verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Neither good nor bad, but somebody will want to know.
    Note,
    Bad {
        mend: String,
    },
}

impl Finding {
    pub(super) fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, detail: detail.into(), verdict: Verdict::Good }
    }

    pub(super) fn note(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, detail: detail.into(), verdict: Verdict::Note }
    }

    pub(super) fn bad(
        name: &'static str,
        detail: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { name, detail: detail.into(), verdict: Verdict::Bad { mend: mend.into() } }
    }

    fn line(self) -> String {
        let Self { name, detail, verdict } = self;
        let line = match verdict {
            Verdict::Good => format!("ok   {name}: {detail}"),
            Verdict::Note => format!("note {name}: {detail}"),
            Verdict::Bad { mend } => format!("FAIL {name}: {detail} → {mend}"),
        };
        // One finding, one line: scripts count them.
        format!("{}\n", line.split(['\n', '\r']).map(str::trim).collect::<Vec<_>>().join(" "))
    }
}

/// Shows findings as they come and keeps the worst.
pub(super) struct Report<'a> {
    console: &'a mut (dyn Console + Send),
    failed: bool,
}

impl<'a> Report<'a> {
    pub(super) fn new(console: &'a mut (dyn Console + Send)) -> Self {
        Self { console, failed: false }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.failed |= matches!(finding.verdict, Verdict::Bad { .. });
        self.console.out(&finding.line());
    }

    pub(super) fn exit_code(&self) -> u8 {
        u8::from(self.failed)
    }
}

/// An error and its causes, as one text.
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Some wrappers print what they wrap.
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
