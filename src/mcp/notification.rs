//! What a client tells us without waiting for an answer.

use super::agreement;
use super::era::Era;
use super::header::Head;
use super::jsonrpc::RequestId;
use super::meta::WireMeta;
use super::method::Notice;
use super::params::Params;
use super::rejection::Rejection;

/// Something a client told us; nobody waits for an answer.
#[derive(Debug)]
pub struct Notification {
    era: Era,
    notice: Notice,
    params: Params,
}

impl Notification {
    pub(super) fn agree(
        head: Head<'_>,
        hint: Era,
        method: &str,
        (params, wire): (Params, WireMeta<'_>),
    ) -> Result<Self, Rejection> {
        let era = if wire.protocol_version.is_some() { Era::Modern } else { hint };
        let checked = agreement::notification(head, era, method, wire.protocol_version);
        checked.map_err(|refusal| refusal.to(era, None))?;
        Ok(Self { era, notice: Notice::from_wire(method), params })
    }

    /// The rules it was held to.
    pub fn era(&self) -> Era {
        self.era
    }

    /// What it tells.
    pub fn notice(&self) -> Notice {
        self.notice
    }

    /// All params.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The request that `notifications/cancelled` is about. Without a session the id alone names
    /// nothing: other clients use the same ones.
    pub fn cancelled(&self) -> Option<RequestId> {
        let id = (self.notice == Notice::Cancelled).then(|| self.params.get("requestId"))??;
        RequestId::read(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::Incoming;
    use crate::mcp::testing::post;

    #[test]
    fn notifications_are_told_apart() {
        let notice = |body: &str| match post(&[], body) {
            Ok(Incoming::Notification(notification)) => notification,
            other => panic!("{other:?}"),
        };
        let cancelled = notice(
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#,
        );
        assert_eq!(cancelled.notice(), Notice::Cancelled);
        assert_eq!(cancelled.cancelled().unwrap().as_json(), r#""a""#);
        let unknown = notice(r#"{"jsonrpc":"2.0","method":"notifications/of-tomorrow"}"#);
        assert_eq!(unknown.notice(), Notice::Other);
        assert_eq!(unknown.cancelled(), None);
    }
}
