//! Work that outlives its request: tasks, in the words of the extension (SEP-2663) and of 2025-11-25.

use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::envelope::Envelope;
use super::era::{Era, LegacyVersion};
use super::json::{Json, JsonBuf};
use super::object::Object;
use super::rejection::{Refusal, Rejection};
use super::reply::{Identity, ResultBody};
use super::result_type::ResultType;
use super::task_state::TaskState;

/// The `_meta` key of 2025-11-25 that says which task a message is about (tasks, "Associating Task-Related Messages").
pub const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

/// One task, as its client sees it.
#[derive(Debug, Clone)]
pub struct Task {
    /// What the client calls it by.
    pub id: String,
    /// Where it stands.
    pub state: TaskState,
    /// The same in words, for people and models.
    pub status_message: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub last_updated_at: String,
    /// How long from its creation it is kept; `None` is for ever.
    pub ttl: Option<Duration>,
    /// How long a client should wait before it asks again.
    pub poll_interval: Option<Duration>,
}

impl Task {
    /// The members of the task itself, without what its state brings.
    fn write_head<M: SerializeMap>(&self, era: Era, members: &mut M) -> Result<(), M::Error> {
        let [ttl, poll] = match era {
            Era::Modern => ["ttlMs", "pollIntervalMs"],
            Era::Legacy(_) => ["ttl", "pollInterval"],
        };
        members.serialize_entry("taskId", &self.id)?;
        members.serialize_entry("status", self.state.status(era).as_str())?;
        if let Some(message) = &self.status_message {
            members.serialize_entry("statusMessage", message)?;
        }
        members.serialize_entry("createdAt", &self.created_at)?;
        members.serialize_entry("lastUpdatedAt", &self.last_updated_at)?;
        members.serialize_entry(ttl, &self.ttl.map(whole_milliseconds))?;
        match self.poll_interval {
            Some(interval) => members.serialize_entry(poll, &whole_milliseconds(interval)),
            None => Ok(()),
        }
    }

    /// The params of a modern `notifications/tasks`: what `tasks/get` would return (SEP-2663, "Task Status
    /// Notifications").
    pub fn params(&self) -> JsonBuf {
        JsonBuf::of(&Params(self))
    }
}

/// The result of `tasks/get`, and of a legacy `tasks/cancel`.
impl ResultBody for Task {
    fn write<M: SerializeMap>(
        &self,
        era: Era,
        _: &Identity,
        result: &mut M,
    ) -> Result<(), M::Error> {
        self.write_head(era, result)?;
        match self.state.detail() {
            Some((key, value)) if era.is_modern() => result.serialize_entry(key, &value),
            _ => Ok(()),
        }
    }
}

struct Params<'a>(&'a Task);

impl Serialize for Params<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        self.0.write_head(Era::Modern, &mut members)?;
        if let Some((key, value)) = self.0.state.detail() {
            members.serialize_entry(key, &value)?;
        }
        members.end()
    }
}

/// The result of a request that goes on as a task: a `CreateTaskResult`.
///
/// It MUST NOT be sent before `tasks/get` of any replica would find the task (SEP-2663, "Task Creation").
#[derive(Debug, Clone)]
pub struct TaskCreated(pub Task);

impl ResultBody for TaskCreated {
    fn write<M: SerializeMap>(
        &self,
        era: Era,
        _: &Identity,
        result: &mut M,
    ) -> Result<(), M::Error> {
        match era {
            Era::Modern => self.0.write_head(era, result),
            Era::Legacy(_) => result.serialize_entry("task", &Head { task: &self.0, era }),
        }
    }

    fn result_type(&self) -> ResultType {
        ResultType::Task
    }
}

struct Head<'a> {
    task: &'a Task,
    era: Era,
}

impl Serialize for Head<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        self.task.write_head(self.era, &mut members)?;
        members.end()
    }
}

/// What [`RELATED_TASK`] holds.
pub fn related_task(id: &str) -> JsonBuf {
    let mut related = Object::default();
    related.set_text("taskId", id);
    related.render()
}

/// A 2025-11-25 client wants its call to be a task (tasks, "Creating Tasks").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskRequested {
    /// How long it would like the task to be kept.
    pub ttl: Option<Duration>,
}

impl TaskRequested {
    /// Reads `params.task`. In other revisions the word means nothing (SEP-2663, "Backward Compatibility").
    fn read(era: Era, task: Option<Json<'_>>) -> Result<Option<Self>, Refusal> {
        let Some(task) = task.filter(|_| era == Era::Legacy(LegacyVersion::November2025)) else {
            return Ok(None);
        };
        if !task.is_object() {
            return Err(Refusal::params("params.task must be an object"));
        }
        let ttl = task.member("ttl").filter(|ttl| !ttl.is_null());
        let refuse = || Refusal::params("params.task.ttl must be a whole number of milliseconds");
        let read = |ttl| milliseconds(ttl).ok_or_else(refuse);
        Ok(Some(Self { ttl: ttl.map(read).transpose()? }))
    }
}

impl Envelope {
    /// Does the client want this call to be a task?
    pub fn task_requested(&self) -> Result<Option<TaskRequested>, Rejection> {
        let read = TaskRequested::read(self.era(), self.params().get("task"));
        read.map_err(|refusal| self.refusal(refusal))
    }
}

fn milliseconds(raw: Json<'_>) -> Option<Duration> {
    let text = raw.get();
    // Some languages write whole numbers with a point.
    let text = text.split_once('.').filter(|(_, rest)| rest.bytes().all(|it| it == b'0'));
    let text = text.map_or(raw.get(), |(whole, _)| whole);
    text.parse().ok().map(Duration::from_millis)
}

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{Reply, RequestId};

    const NOVEMBER: Era = Era::Legacy(LegacyVersion::November2025);
    const TIMES: &str =
        r#""createdAt":"2025-11-25T10:30:00Z","lastUpdatedAt":"2025-11-25T10:40:00Z""#;

    fn raw(text: &str) -> JsonBuf {
        JsonBuf::parse(text).unwrap()
    }

    fn task(state: TaskState) -> Task {
        Task {
            id: "btt_a".to_owned(),
            state,
            status_message: None,
            created_at: "2025-11-25T10:30:00Z".to_owned(),
            last_updated_at: "2025-11-25T10:40:00Z".to_owned(),
            ttl: Some(Duration::from_mins(1)),
            poll_interval: Some(Duration::from_secs(5)),
        }
    }

    fn states() -> [TaskState; 4] {
        [
            TaskState::Working,
            TaskState::Completed(raw(r#"{"content":[], "isError":false}"#)),
            TaskState::Failed(raw(r#"{"code":-32603,"message":"no"}"#)),
            TaskState::Cancelled,
        ]
    }

    fn sent(era: Era, result: &impl ResultBody) -> String {
        let identity = Identity::new("baton", "1", "r1");
        let sent = Reply::new(era, &identity, result).to(&RequestId::from(1));
        let text = String::from_utf8(sent).unwrap();
        let result = text.split_once(r#""result":{"#).unwrap().1;
        result.split_once(r#","_meta""#).unwrap().0.to_owned()
    }

    // SEP-2663, "Task Creation": flat; 2025-11-25 tasks, "Creating Tasks": in a member of its own.
    #[test]
    fn a_created_task_is_told_in_the_words_of_the_era() {
        let created = TaskCreated(task(TaskState::Working));
        let modern = format!(
            r#""resultType":"task","taskId":"btt_a","status":"working",{TIMES},"ttlMs":60000,"pollIntervalMs":5000"#
        );
        assert_eq!(sent(Era::Modern, &created), modern);
        let legacy = format!(
            r#""task":{{"taskId":"btt_a","status":"working",{TIMES},"ttl":60000,"pollInterval":5000}}"#
        );
        assert_eq!(sent(NOVEMBER, &created), legacy);
    }

    // SEP-2663, "Task Polling": each status with its own member; legacy clients fetch that by `tasks/result`.
    #[test]
    fn a_task_brings_what_its_state_has() {
        let details = [
            ("working", ""),
            ("completed", r#","result":{"content":[], "isError":false}"#),
            ("failed", r#","error":{"code":-32603,"message":"no"}"#),
            ("cancelled", ""),
        ];
        for (state, (status, detail)) in states().into_iter().zip(details) {
            let task = task(state);
            let head = format!(r#""taskId":"btt_a","status":"{status}",{TIMES},"#);
            let modern = format!(r#"{head}"ttlMs":60000,"pollIntervalMs":5000{detail}"#);
            assert_eq!(sent(Era::Modern, &task), format!(r#""resultType":"complete",{modern}"#));
            assert_eq!(task.params().get(), format!("{{{modern}}}"));
            assert_eq!(sent(NOVEMBER, &task), format!(r#"{head}"ttl":60000,"pollInterval":5000"#));
        }
    }

    #[test]
    fn a_ttl_without_end_is_null_and_no_interval_is_absent() {
        let eternal = Task { ttl: None, poll_interval: None, ..task(TaskState::Working) };
        let eternal = Task { status_message: Some("half".to_owned()), ..eternal };
        let expected = format!(
            r#""resultType":"complete","taskId":"btt_a","status":"working","statusMessage":"half",{TIMES},"ttlMs":null"#
        );
        assert_eq!(sent(Era::Modern, &eternal), expected);
    }

    #[test]
    fn a_task_is_asked_for_in_one_revision_only() {
        let read = |era, text: &str| TaskRequested::read(era, Some(Json::checked(text)));
        let ttl = Some(Duration::from_millis(7));
        assert_eq!(read(NOVEMBER, r#"{"ttl":7}"#).unwrap(), Some(TaskRequested { ttl }));
        assert_eq!(read(NOVEMBER, r#"{"ttl":null}"#).unwrap(), Some(TaskRequested { ttl: None }));
        assert_eq!(TaskRequested::read(NOVEMBER, None).unwrap(), None);
        assert_eq!(read(Era::Modern, "7").unwrap(), None);
        assert_eq!(read(Era::Legacy(LegacyVersion::June2025), "7").unwrap(), None);
        for text in ["7", "[]", r#"{"ttl":-1}"#, r#"{"ttl":"7"}"#] {
            assert!(read(NOVEMBER, text).is_err(), "{text}");
        }
        assert_eq!(related_task("a").get(), r#"{"taskId":"a"}"#);
    }
}
