//! Lists that are the same for every caller and have one page, rendered: each answer only adds the id.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::lists::Merged;
use crate::mcp::{Era, Rendered};

/// The last rendering of each list for each era.
#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<Vec<Page>>);

#[derive(Debug)]
struct Page {
    era: Era,
    merged: Merged,
    /// How long clients were told to keep it.
    fresh_for: Duration,
    rendered: Rendered,
}

impl Pages {
    /// What was rendered of this very list, if clients may still keep it as long as is said there.
    pub(super) fn find(&self, era: Era, merged: &Merged) -> Option<Rendered> {
        let fresh_for = merged.fresh_for_everybody()?;
        let pages = self.pages();
        let is_same = |it: &&Page| {
            it.era == era && it.fresh_for == fresh_for && it.merged.is_made_of_the_same(merged)
        };
        pages.iter().find(is_same).map(|it| it.rendered.clone())
    }

    /// Keeps it in the place of the one before.
    pub(super) fn keep(&self, era: Era, merged: Merged, rendered: &Rendered) {
        let Some(fresh_for) = merged.fresh_for_everybody() else { return };
        let mut pages = self.pages();
        pages.retain(|it| it.era != era || it.merged.listed() != merged.listed());
        pages.push(Page { era, merged, fresh_for, rendered: rendered.clone() });
    }

    fn pages(&self) -> MutexGuard<'_, Vec<Page>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
