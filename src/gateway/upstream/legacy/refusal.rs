//! How upstreams say that they do not know a session.

use http::StatusCode;

use crate::gateway::upstream::exchange::Exchange;
use crate::gateway::upstream::trouble::Trouble;
use crate::mcp::Message;

/// JSON-RPC errors about the request itself, in which a session may be mentioned all the same.
const ABOUT_THE_REQUEST: [i64; 3] = [-32700, -32602, -32601];

/// Whether this answer says that the session is not known (2025-11-25 transports, "Session Management" 3: MUST be
/// 404). Servers in the field answer 400 too, in words of their own.
pub(super) async fn is_about_the_session(exchange: &mut Exchange) -> Result<bool, Trouble> {
    Ok(match exchange.status() {
        StatusCode::NOT_FOUND => true,
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

fn speaks_of_a_session(body: &[u8]) -> bool {
    let about_the_request = match Message::read(body) {
        Ok(Message::Response { outcome: Err(error), .. }) => {
            ABOUT_THE_REQUEST.contains(&error.code)
        }
        _ => false,
    };
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    !about_the_request && (text.contains("session") || text.contains("not initialized"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_it_in_many_words() {
        let error = |code: i64, message: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":{code},"message":"{message}"}}}}"#
            )
        };
        let check =
            |body: &str, lost| assert_eq!(speaks_of_a_session(body.as_bytes()), lost, "{body}");
        check(&error(-32000, "Bad Request: No valid session ID provided"), true);
        check(&error(-32000, "Bad Request: Server not initialized"), true);
        check(&error(-32600, "Session terminated"), true);
        check("Invalid session ID", true);
        check(&error(-32602, "close_session needs a name"), false);
        check(&error(-32000, "Bad Request: Unsupported protocol version"), false);
        check("bad request", false);
        check("", false);
    }
}
