//! What one subscription is told, each message under its id (subscriptions, "Receiving Notifications").

use super::era::Era;
use super::json::{Json, JsonBuf};
use super::jsonrpc::RequestId;
use super::listen::{self, ListenFilter};
use super::message::render_notification;
use super::object::Object;
use super::reply::{Identity, Reply};
use super::result::{Empty, Listed};
use super::task::Task;

const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// One open `subscriptions/listen`. Its id keeps its JSON type: a client drops what has another.
#[derive(Debug, Clone)]
pub struct Subscription {
    id: RequestId,
}

impl Subscription {
    /// `id` is that of the request which opened it.
    pub fn new(id: RequestId) -> Self {
        Self { id }
    }

    /// What MUST be sent before all else: the part of the filter that is honoured.
    pub fn acknowledged(&self, honoured: &ListenFilter) -> Vec<u8> {
        let mut params = Object::default();
        params.set("notifications", honoured.render());
        self.notification(listen::ACKNOWLEDGED, params)
    }

    /// A list has changed.
    pub fn list_changed(&self, listed: Listed) -> Vec<u8> {
        self.notification(listen::list_changed(listed), Object::default())
    }

    /// A resource has changed.
    pub fn resource_updated(&self, uri: &str) -> Vec<u8> {
        let mut params = Object::default();
        params.set_text("uri", uri);
        self.notification(listen::RESOURCE_UPDATED, params)
    }

    /// A task has changed, and this is it now.
    pub fn task_changed(&self, task: &Task) -> Vec<u8> {
        let params = task.params();
        self.notification(listen::TASK_CHANGED, Object::read(&params).unwrap_or_default())
    }

    /// An upstream's notification, all else in it untouched; `None` if its params are ambiguous.
    pub fn pass_on(&self, method: &str, params: Option<Json<'_>>) -> Option<Vec<u8>> {
        let params = params.map_or(Some(Object::default()), Object::read)?;
        Some(self.notification(method, params))
    }

    /// What MUST be sent when the server ends it (cancellation, "Cancellation Flow"), before [`Self::ended`].
    pub fn cancelled(&self, reason: &str) -> Vec<u8> {
        let mut params = Object::default();
        params.set("requestId", JsonBuf::of(&self.id));
        params.set_text("reason", reason);
        self.notification("notifications/cancelled", params)
    }

    /// The last message: an end that was meant (subscriptions, "Graceful Closure").
    pub fn ended(&self, identity: &Identity) -> Vec<u8> {
        let result = Empty::default().with_meta(SUBSCRIPTION_ID, JsonBuf::of(&self.id));
        Reply::new(Era::Modern, identity, &result).to(&self.id)
    }

    fn notification(&self, method: &str, mut params: Object<'_>) -> Vec<u8> {
        params.amend("_meta", |meta| meta.set(SUBSCRIPTION_ID, JsonBuf::of(&self.id)));
        render_notification(method, Some(params.render().json()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::TaskState;

    fn subscription(id: &str) -> Subscription {
        Subscription::new(RequestId::read(Json::checked(id)).unwrap())
    }

    fn check(sent: Vec<u8>, method: &str, params: &str) {
        let expected =
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{params}}}"#);
        assert_eq!(String::from_utf8(sent).unwrap(), expected);
    }

    const TAG: &str = r#""_meta":{"io.modelcontextprotocol/subscriptionId":1}"#;

    // subscriptions, "Acknowledgment" and "Receiving Notifications".
    #[test]
    fn all_it_is_told_carries_its_id() {
        let one = subscription("1");
        let filter = ListenFilter { lists: vec![Listed::Tools], ..ListenFilter::default() };
        check(
            one.acknowledged(&filter),
            "subscriptions/acknowledged",
            &format!(r#"{{"notifications":{{"toolsListChanged":true}},{TAG}}}"#),
        );
        check(one.list_changed(Listed::Prompts), "prompts/list_changed", &format!("{{{TAG}}}"));
        check(
            one.resource_updated("a:\"b"),
            "resources/updated",
            &format!(r#"{{"uri":"a:\"b",{TAG}}}"#),
        );
        check(
            one.cancelled("it drains"),
            "cancelled",
            &format!(r#"{{"requestId":1,"reason":"it drains",{TAG}}}"#),
        );
    }

    #[test]
    fn the_id_keeps_its_type() {
        for id in ["0", r#""1""#, "9007199254740993", r#""listen:\u0030""#] {
            let params =
                format!(r#"{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}"#);
            check(subscription(id).list_changed(Listed::Tools), "tools/list_changed", &params);
        }
    }

    // SEP-2663, "Task Status Notifications": identical to what `tasks/get` would return.
    #[test]
    fn a_task_is_told_whole() {
        let task = Task {
            id: "t".to_owned(),
            state: TaskState::Completed(JsonBuf::fixed(r#"{"content": []}"#)),
            status_message: None,
            created_at: "a".to_owned(),
            last_updated_at: "b".to_owned(),
            ttl: None,
            poll_interval: None,
        };
        let members = r#""taskId":"t","status":"completed","createdAt":"a","lastUpdatedAt":"b","ttlMs":null,"result":{"content": []}"#;
        check(subscription("1").task_changed(&task), "tasks", &format!("{{{members},{TAG}}}"));
    }

    #[test]
    fn what_an_upstream_tells_keeps_all_but_the_id() {
        let one = subscription("1");
        let params = Json::checked(
            r#"{"_meta":{"a":[ 1 ],"io.modelcontextprotocol/subscriptionId":"x"},"uri":"b","c":null}"#,
        );
        check(
            one.pass_on("notifications/resources/updated", Some(params)).unwrap(),
            "resources/updated",
            r#"{"_meta":{"a":[ 1 ],"io.modelcontextprotocol/subscriptionId":1},"uri":"b","c":null}"#,
        );
        check(one.pass_on("notifications/x", None).unwrap(), "x", &format!("{{{TAG}}}"));
        assert!(one.pass_on("notifications/x", Some(Json::checked(r#"{"a":1,"a":2}"#))).is_none());
    }

    // subscriptions, "Graceful Closure".
    #[test]
    fn it_ends_with_a_complete_result() {
        let sent = subscription("\"a\"").ended(&Identity::new("baton", "1", "r1"));
        let sent = String::from_utf8(sent).unwrap();
        assert!(
            sent.starts_with(
                r#"{"jsonrpc":"2.0","id":"a","result":{"resultType":"complete","_meta":{"#
            ),
            "{sent}"
        );
        assert!(sent.contains(r#""io.modelcontextprotocol/subscriptionId":"a""#), "{sent}");
    }
}
