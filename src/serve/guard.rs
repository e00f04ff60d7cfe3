//! What every request must be before a handler sees it, whatever protocol it carries.

use http::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderMap, Request, StatusCode, Version};

use super::limits::MAX_HEADERS;

/// Refuses what two readers could understand in two ways. Behind it there is exactly one `Host`.
pub(super) fn admit<B>(request: &mut Request<B>) -> Result<(), StatusCode> {
    if request.headers().len() > MAX_HEADERS {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    one_host(request).ok_or(StatusCode::BAD_REQUEST)
}

/// Whether the connection must not outlive this exchange: hyper drops `Content-Length` beside `Transfer-Encoding`,
/// so we cannot see that a proxy before us may have framed the request otherwise (RFC 9112 §6.1).
pub(super) fn must_close<B>(request: &Request<B>) -> bool {
    request.version() < Version::HTTP_2 && request.headers().contains_key(TRANSFER_ENCODING)
}

pub(super) fn close(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

/// RFC 9112 §3.2 and RFC 9113 §8.3.1: one `Host`, or the target's authority in its place, and no disagreement.
fn one_host<B>(request: &mut Request<B>) -> Option<()> {
    let authority = request.uri().authority().map(Authority::as_str);
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next(), authority) {
        (Some(_), None, None) => Some(()),
        (Some(host), None, Some(authority)) => {
            host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()).then_some(())
        }
        (None, _, Some(authority)) if request.version() == Version::HTTP_2 => {
            let host = HeaderValue::from_str(authority).ok()?;
            request.headers_mut().insert(HOST, host);
            Some(())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: Version, uri: &str, hosts: &[&str], expected: Option<&str>) {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let mut request = request.body(()).unwrap();
        let admitted = admit(&mut request).ok().map(|()| request.headers()[HOST].to_str().unwrap());
        assert_eq!(admitted, expected, "{version:?} {uri} {hosts:?}");
    }

    #[test]
    fn there_is_exactly_one_host() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        check(one, "/mcp", &["a"], Some("a"));
        check(one, "/mcp", &[], None);
        check(one, "/mcp", &["a", "a"], None);
        check(Version::HTTP_10, "/mcp", &[], None);
        check(one, "http://a/mcp", &["A"], Some("A"));
        check(one, "http://a/mcp", &["b"], None);
        check(one, "http://a/mcp", &[], None);
        check(two, "http://a/mcp", &[], Some("a"));
        check(two, "http://a/mcp", &["a"], Some("a"));
        check(two, "http://a/mcp", &["b"], None);
        check(two, "http://a/mcp", &["a", "a"], None);
        check(two, "/mcp", &[], None);
    }

    #[test]
    fn header_number_64_is_the_last() {
        for (count, expected) in
            [(63, Ok(())), (64, Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE))]
        {
            let mut request = Request::builder().header(HOST, "a");
            for n in 0..count {
                request = request.header(format!("x-{n}"), "1");
            }
            assert_eq!(admit(&mut request.body(()).unwrap()), expected);
        }
    }

    #[test]
    fn transfer_encoding_ends_an_http1_connection_only() {
        let chunked = |version| {
            Request::builder()
                .version(version)
                .header(TRANSFER_ENCODING, "chunked")
                .body(())
                .unwrap()
        };
        assert!(must_close(&chunked(Version::HTTP_11)));
        assert!(!must_close(&chunked(Version::HTTP_2)));
        assert!(!must_close(&Request::new(())));
    }
}
