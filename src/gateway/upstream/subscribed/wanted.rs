//! What of all that an upstream says a listener is told.

use crate::mcp::{Change, JsonBuf, ListenFilter, Object, TaskStatus};

/// What a listener wants to be told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Wanted {
    /// URIs, which are the same on both sides.
    pub resources: Vec<String>,
    /// Tasks: what the upstream calls each, and what its client does.
    pub tasks: Vec<(String, String)>,
}

/// What a listener is told.
#[derive(Debug)]
pub(in crate::gateway) enum Told {
    /// A notification, all but the ids in it as it came.
    Notification {
        /// Its method.
        method: String,
        /// Its params.
        params: Option<JsonBuf>,
    },
    /// This resource may have changed while nobody listened.
    Resource(String),
}

impl Wanted {
    /// Whether nothing is wanted.
    pub(in crate::gateway) fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.tasks.is_empty()
    }

    /// Keeps what an upstream acknowledged.
    pub(super) fn narrow(&mut self, honoured: &ListenFilter) {
        self.resources.retain(|uri| honoured.resources.contains(uri));
        self.tasks.retain(|(theirs, _)| honoured.tasks.contains(theirs));
    }

    /// Whether all of it is in the other.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.resources.iter().all(|it| other.resources.contains(it))
            && self.tasks.iter().all(|it| other.tasks.contains(it))
    }

    /// A notification as its listener is told it; `None` if it is about something else. A task that has ended stays as
    /// it is, so then it is wanted no more.
    pub(super) fn pass_on(&mut self, method: String, params: Option<JsonBuf>) -> Option<Told> {
        match Change::read(&method, params.as_ref().map(JsonBuf::json))? {
            change @ Change::Resource(_) => {
                let resources = self.resources.clone();
                let filter = ListenFilter { resources, ..ListenFilter::default() };
                filter.admits(&change).then_some(Told::Notification { method, params })
            }
            Change::Task(id) => {
                let at = self.tasks.iter().position(|(theirs, _)| *theirs == id)?;
                let mut task = Object::read(params.as_ref().map(JsonBuf::json)?)?;
                let status = TaskStatus::of(&task)?;
                task.set_text("taskId", &self.tasks[at].1);
                let params = Some(task.render());
                if status.is_final() {
                    self.tasks.remove(at);
                }
                Some(Told::Notification { method, params })
            }
            Change::List(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::upstream::subscribed::TASK;

    fn told(wanted: &mut Wanted, method: &str, params: &str) -> Option<String> {
        let params = JsonBuf::parse(params).unwrap();
        match wanted.pass_on(method.to_owned(), Some(params))? {
            Told::Notification { params, .. } => Some(params.unwrap().get().to_owned()),
            Told::Resource(_) => None,
        }
    }

    const UPDATED: &str = "notifications/resources/updated";

    fn wanted() -> Wanted {
        let tasks = vec![("t".to_owned(), "btt_t".to_owned())];
        Wanted { resources: vec!["a:b".to_owned()], tasks }
    }

    #[test]
    fn only_what_is_wanted_is_passed_on() {
        let mut wanted = wanted();
        let kept = r#"{"uri":"a:b","x":[ 1 ]}"#;
        assert_eq!(told(&mut wanted, UPDATED, kept).as_deref(), Some(kept));
        for (method, params) in [
            (UPDATED, r#"{"uri":"a:c"}"#),
            (UPDATED, "{}"),
            (TASK, r#"{"taskId":"u","status":"working"}"#),
            (TASK, r#"{"taskId":"btt_t","status":"working"}"#),
            (TASK, r#"{"taskId":"t"}"#),
            ("notifications/tools/list_changed", "{}"),
            ("notifications/progress", r#"{"progressToken":1,"progress":1}"#),
        ] {
            assert_eq!(told(&mut wanted, method, params), None, "{method} {params}");
        }
    }

    #[test]
    fn a_task_is_told_by_our_id_until_it_has_ended() {
        let mut wanted = wanted();
        let of =
            |status: &str, id: &str| format!(r#"{{"taskId":"{id}","status":"{status}","x":1}}"#);
        for status in ["working", "input_required", "completed"] {
            let told = told(&mut wanted, TASK, &of(status, "t"));
            assert_eq!(told, Some(of(status, "btt_t")));
        }
        assert_eq!(told(&mut wanted, TASK, &of("completed", "t")), None);
        wanted.resources.clear();
        assert!(wanted.is_empty());
    }

    #[test]
    fn what_is_not_acknowledged_is_not_wanted() {
        let mut wanted = wanted();
        let honoured = ListenFilter { tasks: vec!["t".to_owned()], ..ListenFilter::default() };
        wanted.narrow(&honoured);
        assert_eq!((wanted.resources.len(), wanted.tasks.len()), (0, 1));
        wanted.narrow(&ListenFilter::default());
        assert!(wanted.is_empty());
    }
}
