//! What Baton is measured beside: an MCP server that answers at once, one on the official SDK, a plain proxy, and a
//! static answer. Each listens on a free port of loopback, and says where on standard output.
//!
//! ```text
//! rivals bare [TOOLS]          an MCP server that does the least, with one tool or so many
//! rivals sdk                   one on rmcp
//! rivals proxy URL             forwards everything to there, unread
//! rivals static LENGTH         reads everything and answers it with so many bytes
//! ```

#![expect(clippy::print_stdout, reason = "whoever starts it reads where it listens")]

mod bare;
mod proxy;
mod sdk;

use std::{env, io};

use axum::Router;
use axum::body::Bytes;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let router = match words[..] {
        ["bare"] => bare::router(1),
        ["bare", tools] => bare::router(tools.parse().map_err(io::Error::other)?),
        ["sdk"] => sdk::router(),
        ["proxy", url] => proxy::router(url).map_err(io::Error::other)?,
        ["static", length] => {
            let answer = Bytes::from(vec![b'x'; length.parse().map_err(io::Error::other)?]);
            Router::new().fallback(async move |_: Bytes| answer.clone())
        }
        _ => return Err(io::Error::other("rivals bare [TOOLS] | sdk | proxy URL | static LENGTH")),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening role=rival url=http://{}/mcp", listener.local_addr()?);
    axum::serve(listener, router).await
}
