//! How upstreams say that they do not know a session.

use bytes::Bytes;
use http::StatusCode;

use crate::gateway::upstream::exchange::Exchange;
use crate::gateway::upstream::trouble::Trouble;
use crate::mcp::Message;

/// JSON-RPC errors that servers in the field give for a session that they do not know.
const ABOUT_THE_SESSION: [i64; 3] = [-32000, -32001, -32600];
/// JSON-RPC errors about the request itself; some servers give them with 404. The last is the resource that is not
/// found (2025-11-25 resources, "Error Handling").
const ABOUT_THE_REQUEST: [i64; 4] = [-32700, -32602, -32601, -32002];

/// Whether this answer says that the session is not known (2025-11-25 transports, "Session Management" 3: MUST be
/// 404). Servers in the field answer 400 too, in words of their own.
pub(super) async fn is_about_the_session(exchange: &mut Exchange) -> Result<bool, Trouble> {
    Ok(match exchange.status() {
        StatusCode::NOT_FOUND => !is_about_the_request(&exchange.look().await?),
        StatusCode::BAD_REQUEST => speaks_of_a_session(&exchange.look().await?),
        _ => false,
    })
}

/// Whether this answer to a request without a session says that there has to be one. A bare 404 is about the URL then.
pub(super) async fn asks_for_a_session(exchange: &mut Exchange) -> Result<bool, Trouble> {
    Ok(match exchange.status() {
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => {
            speaks_of_a_session(&exchange.look().await?)
        }
        _ => false,
    })
}

fn is_about_the_request(body: &Bytes) -> bool {
    match Message::read(body) {
        Ok(Message::Response { outcome: Err(error), .. }) => {
            ABOUT_THE_REQUEST.contains(&error.code)
        }
        Ok(_) => true,
        Err(_) => false,
    }
}

/// Any other JSON-RPC error may have come of what was done: a session is mentioned in many.
fn speaks_of_a_session(body: &Bytes) -> bool {
    let may_be = match Message::read(body) {
        Ok(Message::Response { outcome: Err(error), .. }) => {
            ABOUT_THE_SESSION.contains(&error.code)
        }
        Ok(_) => false,
        Err(_) => true,
    };
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    may_be && (text.contains("session") || text.contains("not initialized"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i64, message: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":{code},"message":"{message}"}}}}"#)
    }

    #[test]
    fn servers_say_it_in_many_words() {
        let check = |body: &str, lost| {
            assert_eq!(speaks_of_a_session(&body.to_owned().into()), lost, "{body}");
        };
        check(&error(-32000, "Bad Request: No valid session ID provided"), true);
        check(&error(-32000, "Bad Request: Server not initialized"), true);
        check(&error(-32600, "Session terminated"), true);
        check(&error(-32001, "Session not found"), true);
        check("Invalid session ID", true);
        check(r#"{"error":"no such session"}"#, true);
        check(&error(-32602, "close_session needs a name"), false);
        check(&error(-32000, "Bad Request: Unsupported protocol version"), false);
        check(&error(-32603, "the database session broke off"), false);
        check(r#"{"jsonrpc":"2.0","id":1,"result":{"session":"begun"}}"#, false);
        check("bad request", false);
        check("", false);
    }

    #[test]
    fn a_404_is_about_the_session_unless_it_says_what_is_wrong_with_the_request() {
        let check = |body: &str, it| {
            assert_eq!(is_about_the_request(&body.to_owned().into()), it, "{body}");
        };
        check(&error(-32601, "tools/call: params do not fit"), true);
        check(&error(-32602, "Unknown tool"), true);
        check(&error(-32002, "Resource not found"), true);
        check(&error(-32001, "Session not found"), false);
        check(&error(-32600, "Session terminated"), false);
        check("Not Found: Session not found", false);
        check("", false);
    }
}
