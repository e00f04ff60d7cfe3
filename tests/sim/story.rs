//! What became of one call, and which promises about it were broken.

use std::collections::BTreeSet;

use baton::domain::ids::EnvironmentId;

/// What became of one call: all that was said and done about it.
#[derive(Debug)]
pub struct CallStory {
    pub environment: EnvironmentId,
    /// Whether whoever called may.
    pub is_owner: bool,
    pub has_key: bool,
    pub runs: Vec<String>,
    pub said: Vec<Said>,
    /// The epochs that workers were asked under, where a witness saw it.
    pub asked: Vec<u64>,
}

/// What a client was told of a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Said {
    /// It ran, and this is its result.
    Done(String),
    /// It was refused, or its outcome is another.
    Not { executed: Executed, retryable: bool, why: String },
    /// No answer came.
    Nothing,
}

/// Whether the code ran, in the product's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Executed {
    No,
    Maybe,
    Yes,
}

impl CallStory {
    /// Nothing became of it yet.
    pub fn new(environment: EnvironmentId, is_owner: bool) -> Self {
        let (runs, said, asked) = Default::default();
        Self { environment, is_owner, has_key: false, runs, said, asked }
    }

    /// Whether this takes back what was told before: who asks again for a call that is done must hear of it.
    pub fn is_lost_by(&self, said: &Said) -> bool {
        let was_done = self.said.iter().any(|before| before.result().is_some());
        self.has_key && was_done && said.is_final() && said.result().is_none()
    }

    /// Which promises about one call were broken.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.runs.len() > 1 {
            faults.push(format!("ran {} times", self.runs.len()));
        }
        let results: Vec<&String> = self.said.iter().filter_map(Said::result).collect();
        if let Some(result) = results.first() {
            if !self.runs.contains(result) {
                faults.push(format!("is said to have come to {result}, which it did not"));
            }
            if results.iter().any(|other| other != result) {
                faults.push(format!("has more than one result: {results:?}"));
            }
        }
        let finals: BTreeSet<&Said> =
            self.said.iter().filter(|said| said.is_final() && said.executed()).collect();
        if self.has_key && finals.len() > 1 {
            faults.push(format!("has more than one outcome: {finals:?}"));
        }
        let says_no = |said: &Said| matches!(said, Said::Not { executed: Executed::No, .. });
        if !self.runs.is_empty() && !self.said.is_empty() && self.said.iter().all(says_no) {
            faults.push("ran, and everybody was told that it did not".to_owned());
        }
        faults
    }
}

impl Said {
    /// Whether to ask again is of no use.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Done(_) => true,
            Self::Not { retryable, .. } => !retryable,
            Self::Nothing => false,
        }
    }

    /// Whether it ran, or may have.
    pub fn executed(&self) -> bool {
        match self {
            Self::Done(_) => true,
            Self::Not { executed, .. } => *executed != Executed::No,
            Self::Nothing => false,
        }
    }

    fn result(&self) -> Option<&String> {
        match self {
            Self::Done(result) => Some(result),
            Self::Not { .. } | Self::Nothing => None,
        }
    }
}
