//! A plain proxy: what forwarding costs on these libraries where nothing is looked at.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONNECTION, HOST};
use axum::http::uri::InvalidUri;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

type Upstream = Client<HttpConnector, Body>;

pub(crate) fn router(url: &str) -> Result<Router, InvalidUri> {
    let url: Uri = url.parse()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let upstream: Upstream = Client::builder(TokioExecutor::new()).build(connector);
    Ok(Router::new().fallback(move |request| forward(upstream.clone(), url.clone(), request)))
}

async fn forward(upstream: Upstream, url: Uri, mut request: Request) -> Response {
    *request.uri_mut() = url;
    request.headers_mut().remove(HOST);
    request.headers_mut().remove(CONNECTION);
    match upstream.request(request).await {
        Ok(answer) => answer.map(Body::new),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
