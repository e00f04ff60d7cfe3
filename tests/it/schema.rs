//! The official JSON Schema of each revision: what leaves a gateway has to fit it (`tests/fixtures/schema`).

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be read is a failed test")]

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const MODERN: &str = "2026-07-28";
/// What a request of the initialize era without a version header is held to: the strictest of its revisions.
const LEGACY: &str = "2025-11-25";
const REVISIONS: [(&str, &str); 4] = [
    (MODERN, include_str!("../fixtures/schema/mcp-2026-07-28.json")),
    (LEGACY, include_str!("../fixtures/schema/mcp-2025-11-25.json")),
    ("2025-06-18", include_str!("../fixtures/schema/mcp-2025-06-18.json")),
    ("2025-03-26", include_str!("../fixtures/schema/mcp-2025-03-26.json")),
];

static SCHEMAS: LazyLock<HashMap<&str, Schema>> = LazyLock::new(|| {
    let answers: Value =
        serde_json::from_str(include_str!("../fixtures/schema/answers.json")).unwrap();
    REVISIONS.iter().map(|&(name, text)| (name, Schema::new(name, text, &answers[name]))).collect()
});

/// One revision's definitions, compiled when they are first asked for.
struct Schema {
    document: Value,
    /// `$defs`, or `definitions` in the older ones.
    key: &'static str,
    answers: Value,
    compiled: Mutex<HashMap<String, Arc<Validator>>>,
}

/// What was asked, as far as it decides which answers fit.
#[derive(Debug, Clone)]
pub struct Asked {
    revision: String,
    method: String,
    /// None of a body that this test cannot read: too deep for it, or with a number too large.
    id: Option<Value>,
}

impl Asked {
    /// Of a request in any state: of garbage only errors may come.
    pub fn of(headers: &[(&str, &str)], body: &[u8]) -> Self {
        let read = serde_json::from_slice::<Value>(body).ok();
        let id = read.as_ref().map(|message| message["id"].clone());
        let message = read.unwrap_or_default();
        let header = |name: &str| {
            headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
        };
        let version = header("mcp-protocol-version");
        let revision = match version.filter(|it| SCHEMAS.contains_key(it)) {
            _ if message["params"]["_meta"].get(VERSION_KEY).is_some() => MODERN,
            _ if header("mcp-method").is_some() => MODERN,
            Some(known) => known,
            None => LEGACY,
        };
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        Self { revision: revision.to_owned(), method, id }
    }

    /// Whether this message may come in answer to it; says what is wrong if it may not.
    pub fn admits(&self, message: &Value) -> Result<(), String> {
        let result = &message["result"];
        // What `initialize` agrees on is the revision of its own result.
        let revision = result["protocolVersion"].as_str().unwrap_or(&self.revision);
        let schema = SCHEMAS.get(revision).ok_or_else(|| format!("no schema of {revision}"))?;
        if let Some(method) = message["method"].as_str() {
            let kind = if message.get("id").is_some() { "Request" } else { "Notification" };
            let definition = schema.definition_of(method, kind);
            let definition =
                definition.ok_or_else(|| format!("{revision} has no {kind} {method}"))?;
            return schema.fits(&definition, message);
        }
        if let (Some(asked), Some(told)) = (&self.id, message.get("id"))
            && asked != told
        {
            return Err(format!("the id is {told}, asked was {asked}"));
        }
        if let Some(code) = message["error"]["code"].as_i64() {
            return schema.fits(&schema.error(code, message), message);
        }
        let kind = match result["resultType"].as_str() {
            Some(kind) if kind != "complete" => format!("{} {kind}", self.method),
            None if result.get("task").is_some() => format!("{} task", self.method),
            _ => self.method.clone(),
        };
        let definition = schema.answers["results"][&kind].as_str();
        let definition =
            definition.ok_or_else(|| format!("{revision} has no result of {kind:?}"))?;
        schema.fits(schema.answers["responses"]["result"].as_str().unwrap(), message)?;
        schema.fits(definition, result)
    }
}

impl Schema {
    fn new(name: &str, text: &str, answers: &Value) -> Self {
        let mut document: Value = serde_json::from_str(text).unwrap();
        let key = if document.get("$defs").is_some() { "$defs" } else { "definitions" };
        if name == MODERN {
            let tasks: Value =
                serde_json::from_str(include_str!("../fixtures/schema/tasks.json")).unwrap();
            let own = tasks["$defs"].as_object().unwrap().clone();
            document[key].as_object_mut().unwrap().extend(own);
        }
        Self { document, key, answers: answers.clone(), compiled: Mutex::default() }
    }

    /// The definition of a message that names itself by a constant method.
    fn definition_of(&self, method: &str, kind: &str) -> Option<String> {
        let definitions = self.document[self.key].as_object().unwrap();
        let named = definitions.iter().find(|(name, definition)| {
            name.ends_with(kind) && definition["properties"]["method"]["const"] == method
        });
        named.map(|(name, _)| name.clone())
    }

    fn error(&self, code: i64, message: &Value) -> String {
        // Until 2025-11-25 the schema could not say that an id was unreadable.
        if self.key == "definitions" && message.get("id").is_none() {
            return String::new();
        }
        let general = &self.answers["responses"]["error"];
        let special = &self.answers["errors"][code.to_string()];
        special.as_str().or(general.as_str()).unwrap().to_owned()
    }

    fn fits(&self, definition: &str, value: &Value) -> Result<(), String> {
        if definition.is_empty() {
            return Ok(());
        }
        let wrong = |error: jsonschema::ValidationError<'_>| {
            format!("no {definition}: {error} at {}", error.instance_path())
        };
        self.validator(definition).validate(value).map_err(wrong)
    }

    fn validator(&self, definition: &str) -> Arc<Validator> {
        let mut compiled = self.compiled.lock().unwrap();
        let compile = || {
            let mut schema = json!({"$ref": format!("#/{}/{definition}", self.key)});
            schema["$schema"] = self.document["$schema"].clone();
            schema[self.key] = self.document[self.key].clone();
            Arc::new(jsonschema::validator_for(&schema).unwrap())
        };
        Arc::clone(compiled.entry(definition.to_owned()).or_insert_with(compile))
    }
}

#[test]
fn an_answer_fits_what_was_asked_and_nothing_else() {
    let check = |revision: &str, method: &str, message: Value, fits: bool| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method}).to_string();
        let modern = revision == MODERN;
        let mut headers = vec![("MCP-Protocol-Version", revision)];
        headers.extend(modern.then_some(("Mcp-Method", method)));
        let admitted = Asked::of(&headers, body.as_bytes()).admits(&message);
        assert_eq!(admitted.is_ok(), fits, "{revision} {method} {message}: {admitted:?}");
    };
    let result = |id: i32, result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
    let error = |code: i32| json!({"jsonrpc": "2.0", "error": {"code": code, "message": "m"}});
    let content = json!([{"type": "text", "text": "t"}]);
    let complete = json!({"resultType": "complete", "content": content});
    let task = json!({
        "resultType": "task", "taskId": "t", "status": "working", "ttlMs": null,
        "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z",
    });
    check(MODERN, "tools/call", result(1, complete.clone()), true);
    check(MODERN, "tools/call", result(2, complete.clone()), false);
    check(MODERN, "tools/list", result(1, complete), false);
    check(MODERN, "tools/call", result(1, json!({"content": content})), false);
    check(MODERN, "tools/call", result(1, json!({"resultType": "complete"})), false);
    check(MODERN, "tools/call", result(1, json!({"resultType": "input_required"})), true);
    check(MODERN, "tools/list", result(1, json!({"resultType": "input_required"})), false);
    check(MODERN, "tools/call", result(1, task.clone()), true);
    check(MODERN, "tasks/get", result(1, task), false);
    check(MODERN, "tools/call", error(-32603), true);
    check(MODERN, "tools/call", error(-32021), false);
    check(LEGACY, "tools/call", result(1, json!({"content": content})), true);
    check(LEGACY, "tools/call", result(1, json!({"content": [{"type": "?"}]})), false);
    check("2025-06-18", "ping", result(1, json!({})), true);
    check("2025-03-26", "subscriptions/listen", result(1, json!({})), false);
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {}});
    check(MODERN, "tools/call", progress.clone(), false);
    check("2025-03-26", "tools/call", progress, false);
}
