//! The serving side of the rpc: lets calls in, reads them, passes them to the supervisor, seals the answers.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::Record;
use super::request::{self, Execute, Malformed};
use super::stream;
use super::supervisor::Supervisor;
use crate::clock::Clock;
use crate::domain::ids::{EnvironmentId, ExecutionId, Incarnation, OwnerDigest, TenantDigest};
use crate::domain::keyring::WorkerKey;
use crate::rpc::auth::Link;
use crate::rpc::door::{Admitted, Door, Shut};
use crate::rpc::keyed::EXECUTE_KEYED;
use crate::rpc::reply;
use crate::rpc::task::{self, CancelTaskRequest, DetachRequest, TaskReply, TaskRequest};
use crate::rpc::wire::{
    self, CancelRequest, CloseRequest, CreateReply, CreateRequest, Done, FindReply, FindRequest,
    ListReply, ListRequest, Refusal,
};
use crate::serve::{BodyError, Drain, RequestBody, read_body};
use crate::telemetry::{
    Metrics, Operation, OperationInFlight, Outcome, ParentChoice, Span, TraceContext, Tracer,
    attribute,
};

/// Longest request: the largest call that a gateway takes in, with room for the rest of the message.
const MAX_REQUEST: usize = 8 << 20;
/// How long a request's body may take.
const BODY: Duration = Duration::from_secs(15);
/// Of a call's time, what is kept for stopping it and telling how it ended: else who asked has given up by then.
const ANSWERING: Duration = Duration::from_secs(5);
/// The longest time a call may have, whatever it asks for.
const LONGEST: Duration = Duration::from_hours(24);

/// An answer's body, whole or streamed.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Serves one worker's rpc.
#[derive(Debug)]
pub(super) struct Server {
    door: Door,
    key: WorkerKey,
    incarnation: Incarnation,
    supervisor: Arc<Supervisor>,
    clock: Clock,
    drain: Drain,
    tracer: Tracer,
    operations: [Operation; Verb::ALL.len()],
}

/// What a gateway can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Create,
    Execute,
    ExecuteKeyed,
    Cancel,
    Close,
    Find,
    List,
    Detach,
    Task,
    CancelTask,
}

/// A call that was let in.
pub(super) struct Call {
    pub(super) admitted: Admitted,
    pub(super) span: Span,
    pub(super) operation: OperationInFlight,
    pub(super) body: Bytes,
}

impl Server {
    /// A server for the calls that gateways make to this start of the worker.
    pub(super) fn new(
        (key, incarnation): (WorkerKey, Incarnation),
        supervisor: Arc<Supervisor>,
        clock: Clock,
        drain: Drain,
        (tracer, metrics): (Tracer, &Metrics),
    ) -> Self {
        let door = Door::new(Link::Call, clock.clone());
        let operations = Verb::ALL.map(|(_, _, name)| metrics.rpc(name));
        Self { door, key, incarnation, supervisor, clock, drain, tracer, operations }
    }

    /// Answers any request to the rpc's listener.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Infallible> {
        let began = Instant::now();
        let (head, body) = request.into_parts();
        let body = match read_body(body, MAX_REQUEST, BODY).await {
            Ok(body) => body,
            Err(error) => return Ok(bare(status_of(&error))),
        };
        let path = head.uri.path();
        let admitted = match self.door.admit(&self.key, &head.method, path, &head.headers, &body) {
            Ok(admitted) => admitted,
            Err(Shut::Unproven(call)) => {
                return Ok(reply::unproven(&call, self.incarnation).map(all_at_once));
            }
            Err(shut) => return Ok(reply::shut(&shut).map(all_at_once)),
        };
        let refuse = |status, refusal: &Refusal| Ok(sealed(&admitted, status, refusal));
        if admitted.incarnation() != self.incarnation {
            let right = Refusal::WrongIncarnation { incarnation: self.incarnation.0 };
            return refuse(StatusCode::CONFLICT, &right);
        }
        let Some((verb, name)) = Verb::find(&head.method, path) else {
            return refuse(StatusCode::NOT_FOUND, &Refusal::Malformed);
        };
        if self.supervisor.is_stopping() {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, &Refusal::Stopping);
        }
        let http = TraceContext::from_headers(&head.headers);
        let parent = ParentChoice { meta: None, http };
        let mut span = self.tracer.start_server(parent, || format!("worker {name}"));
        span.since(began);
        let operation = self.operations[verb as usize].start(began);
        Ok(self.dispatch(verb, Call { admitted, span, operation, body }).await)
    }

    async fn dispatch(&self, verb: Verb, mut call: Call) -> Response<Body> {
        match verb {
            Verb::Create => whole(self.create(&mut call).await, call),
            Verb::Execute => self.execute(call).await,
            Verb::ExecuteKeyed => self.execute_keyed(call).await,
            Verb::Cancel => whole(self.cancel(&mut call), call),
            Verb::Close => whole(self.close(&mut call).await, call),
            Verb::Find => whole(self.find(&mut call), call),
            Verb::List => whole(self.list(&call), call),
            Verb::Detach => whole(self.detach(&mut call).await, call),
            Verb::Task => whole(self.task(&mut call).await, call),
            Verb::CancelTask => whole(self.cancel_task(&mut call).await, call),
        }
    }

    async fn create(&self, call: &mut Call) -> Result<CreateReply, Malformed> {
        let request: CreateRequest = call.read()?;
        let idle_timeout = Duration::from_millis(request.idle_timeout_ms);
        let record =
            Record::new(&request.claim, idle_timeout, self.clock.now()).ok_or(Malformed)?;
        call.concerns(record.environment);
        if self.drain.is_draining() {
            return Ok(CreateReply::Refused { why: "the worker is about to stop".to_owned() });
        }
        Ok(self.supervisor.create(record).await)
    }

    async fn execute(&self, mut call: Call) -> Response<Body> {
        let Ok(Execute { target, order, wants_output }) = request::execute(&call) else {
            return whole(Err::<(), _>(Malformed), call);
        };
        call.concerns(target.environment);
        let answer = self.supervisor.execute(&target, order, call.until());
        stream::response(call, answer, wants_output).await
    }

    async fn execute_keyed(&self, mut call: Call) -> Response<Body> {
        let Ok((Execute { target, order, wants_output }, asker)) = request::execute_keyed(&call)
        else {
            return whole(Err::<(), _>(Malformed), call);
        };
        call.concerns(target.environment);
        let answer = self.supervisor.execute_keyed(&target, order, asker, call.until());
        stream::response(call, answer, wants_output).await
    }

    fn cancel(&self, call: &mut Call) -> Result<Done, Malformed> {
        let request: CancelRequest = call.read()?;
        let environment = EnvironmentId::from_hex(&request.environment).ok_or(Malformed)?;
        let execution = ExecutionId::from_hex(&request.execution).ok_or(Malformed)?;
        let caller = request.caller.as_deref().map(request::caller_name).transpose()?;
        call.concerns(environment);
        self.supervisor.cancel(environment, execution, caller);
        Ok(Done::Done)
    }

    async fn close(&self, call: &mut Call) -> Result<Done, Malformed> {
        let request: CloseRequest = call.read()?;
        let target = request::target(&request.target)?;
        call.concerns(target.environment);
        Ok(self.supervisor.close(&target).await.map_or_else(Done::NotDone, |()| Done::Done))
    }

    fn find(&self, call: &mut Call) -> Result<FindReply, Malformed> {
        let request: FindRequest = call.read()?;
        let environment = EnvironmentId::from_hex(&request.environment).ok_or(Malformed)?;
        call.concerns(environment);
        Ok(self.supervisor.find(environment))
    }

    fn list(&self, call: &Call) -> Result<ListReply, Malformed> {
        let request: ListRequest = call.read()?;
        let tenant = TenantDigest::from_hex(&request.tenant).ok_or(Malformed)?;
        let read = |owner: &String| OwnerDigest::from_hex(owner).ok_or(Malformed);
        let owner = request.owner.as_ref().map(read).transpose()?;
        let read = |id: &String| EnvironmentId::from_hex(id).ok_or(Malformed);
        let one = request.environment.as_ref().map(read).transpose()?;
        Ok(self.supervisor.list(tenant, owner, one))
    }

    async fn detach(&self, call: &mut Call) -> Result<TaskReply, Malformed> {
        let request: DetachRequest = call.read()?;
        let (target, execution) = request::named(&request.target, &request.execution)?;
        call.concerns(target.environment);
        let ttl = request::ttl(request.terms);
        let arguments = request.arguments.as_deref().map(request::digest).transpose()?;
        Ok(self.supervisor.detach(&target, execution, arguments, ttl).await)
    }

    async fn task(&self, call: &mut Call) -> Result<TaskReply, Malformed> {
        let request: TaskRequest = call.read()?;
        let (target, execution) = request::named(&request.target, &request.execution)?;
        call.concerns(target.environment);
        let wait = Duration::from_millis(request.wait_ms);
        Ok(self.supervisor.task(&target, execution, wait, request.reader).await)
    }

    async fn cancel_task(&self, call: &mut Call) -> Result<TaskReply, Malformed> {
        let request: CancelTaskRequest = call.read()?;
        let (target, execution) = request::named(&request.target, &request.execution)?;
        call.concerns(target.environment);
        Ok(self.supervisor.cancel_task(&target, execution).await)
    }
}

impl Verb {
    /// Each verb, its path and its name in metrics and spans; in the order of the enum.
    const ALL: [(Self, &'static str, &'static str); 10] = [
        (Self::Create, wire::CREATE, "create"),
        (Self::Execute, wire::EXECUTE, "execute"),
        (Self::ExecuteKeyed, EXECUTE_KEYED, "execute-keyed"),
        (Self::Cancel, wire::CANCEL, "cancel"),
        (Self::Close, wire::CLOSE, "close"),
        (Self::Find, wire::FIND, "find"),
        (Self::List, wire::LIST, "list"),
        (Self::Detach, task::DETACH, "detach"),
        (Self::Task, task::TASK, "task"),
        (Self::CancelTask, task::CANCEL_TASK, "cancel-task"),
    ];

    fn find(method: &Method, path: &str) -> Option<(Self, &'static str)> {
        let (verb, _, name) = Self::ALL.into_iter().find(|(_, its, _)| *its == path)?;
        (method == Method::POST).then_some((verb, name))
    }
}

impl Call {
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Malformed> {
        serde_json::from_slice(&self.body).map_err(|_| Malformed)
    }

    /// When nobody waits for its execution any more.
    fn until(&self) -> tokio::time::Instant {
        let deadline = self.admitted.deadline().min(LONGEST);
        tokio::time::Instant::now() + deadline - ANSWERING.min(deadline / 10)
    }

    fn concerns(&mut self, environment: EnvironmentId) {
        if self.span.is_recording() {
            self.span.set(attribute::ENVIRONMENT, &environment.log_name());
        }
    }
}

/// An answer that is not a stream.
fn whole<T: Serialize>(answer: Result<T, Malformed>, mut call: Call) -> Response<Body> {
    let Ok(answer) = answer else {
        call.operation.end(Outcome::ToolError);
        call.span.fail("malformed");
        call.span.end();
        return sealed(&call.admitted, StatusCode::BAD_REQUEST, &Refusal::Malformed);
    };
    call.operation.end(Outcome::Done);
    call.span.end();
    sealed(&call.admitted, StatusCode::OK, &answer)
}

fn sealed(admitted: &Admitted, status: StatusCode, message: &impl Serialize) -> Response<Body> {
    reply::sealed(admitted, status, message).map(all_at_once)
}

pub(super) fn all_at_once(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// An answer to something that is not a call of ours.
fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(all_at_once(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn status_of(error: &BodyError) -> StatusCode {
    match error {
        BodyError::TooLarge { .. } | BodyError::NoRoom => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::Slow { .. } => StatusCode::REQUEST_TIMEOUT,
        BodyError::Broken(_) => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_listed_in_order() {
        for (place, (verb, path, name)) in Verb::ALL.into_iter().enumerate() {
            assert_eq!(verb as usize, place);
            assert_eq!(Verb::find(&Method::POST, path), Some((verb, name)));
            assert_eq!(Verb::find(&Method::GET, path), None);
        }
        assert_eq!(Verb::find(&Method::POST, "/rpc/v2/create"), None);
    }
}
