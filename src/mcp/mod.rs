//! The client's wire: headers and bytes in, typed values out.
//!
//! [`Envelope::parse`] is the only door in. What comes out is a request whose headers, `_meta` and
//! body agree, a [`Notification`], or a [`Rejection`] that says which rule was broken.
//! On the way back a result type is written in the shape of the request's [`Era`] by [`Reply`].
//! Status codes, sockets and time are other layers' business.

mod accept;
mod agreement;
mod annotations;
mod capabilities;
mod client;
mod declared;
mod envelope;
mod era;
mod event_stream;
mod frame;
mod header;
mod idempotency;
mod input_required;
mod json;
mod jsonrpc;
mod lex;
mod listen;
mod message;
mod meta;
mod method;
mod mirror;
mod notification;
mod object;
mod params;
mod pieces;
mod rejection;
mod reply;
mod result;
mod result_type;
mod scan;
pub mod sse;
mod strict;
mod subscription;
mod task;
mod task_state;
#[cfg(test)]
mod testing;
mod tool;
mod value;

pub use annotations::BadAnnotation;
pub use capabilities::{ServerCapabilities, TASKS_EXTENSION};
pub use client::ClientCapabilities;
pub use envelope::{Envelope, Incoming};
pub use era::{Era, LegacyVersion, MODERN_VERSION, SUPPORTED_VERSIONS};
pub use event_stream::{Event, EventReader, EventTooLarge};
pub use header::{MAX_HEADER_BYTES, MAX_HEADERS, encode_header};
pub use idempotency::{IdempotencyKey, NotAKey};
pub use input_required::{InputRequest, InputRequired, NotInputRequired};
pub use json::{Json, JsonBuf};
pub use jsonrpc::{ErrorCode, RequestId, render_error};
pub use listen::{Change, ListenFilter};
pub use message::{
    Message, NotAMessage, RawError, pass_on_response, render_notification, render_raw_error,
    render_request, render_response, render_rewritten,
};
pub use meta::{LogLevel, Meta, ProgressToken, TraceContext};
pub use method::{Method, NameSource, Notice};
pub use mirror::Mirror;
pub use notification::Notification;
pub use object::Object;
pub use params::Params;
pub use pieces::Pieces;
pub use rejection::{Rejection, RejectionKind};
pub use reply::{Identity, Rendered, Reply, ResultBody};
pub use result::{CacheHint, Discover, Empty, Initialize, ListResult, Listed, ReadResource};
pub use result_type::ResultType;
pub use strict::{MAX_DEPTH, MAX_VALUES};
pub use subscription::Subscription;
pub use task::{RELATED_TASK, Task, TaskCreated, TaskRequested, related_task};
pub use task_state::{TaskState, TaskStatus};
pub use tool::{Content, ToolAnnotations, ToolDefinition, ToolResult};
