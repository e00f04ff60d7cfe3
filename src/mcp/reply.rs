//! Results on their way out: the envelope every result has, in the shape of an era.

use std::sync::Arc;

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::era::Era;
use super::jsonrpc::{RequestId, to_json};

const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
const SERVED_BY: &str = "dev.baton/servedBy";

/// Who answers: the server's name and version, and which replica of it.
#[derive(Debug, Clone)]
pub struct Identity(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    name: String,
    version: String,
    replica: String,
}

impl Identity {
    pub fn new(name: &str, version: &str, replica: &str) -> Self {
        let [name, version, replica] = [name, version, replica].map(str::to_owned);
        Self(Arc::new(Parts { name, version, replica }))
    }

    pub fn replica(&self) -> &str {
        &self.0.replica
    }

    /// An `Implementation`, for `serverInfo`.
    pub(super) fn server_info(&self) -> impl Serialize + '_ {
        #[derive(serde::Serialize)]
        struct Implementation<'a> {
            name: &'a str,
            version: &'a str,
        }
        Implementation { name: &self.0.name, version: &self.0.version }
    }
}

/// The members of one kind of result. What all results share is written by [`Reply`].
pub trait ResultBody {
    /// Writes the members that only this kind has.
    fn write<M: SerializeMap>(
        &self,
        era: Era,
        identity: &Identity,
        result: &mut M,
    ) -> Result<(), M::Error>;

    /// What this result adds to its `_meta`.
    fn meta(&self) -> &[(String, Box<RawValue>)] {
        &[]
    }
}

/// One complete result for one era, written straight into bytes.
#[derive(Debug)]
pub struct Reply<'a, B> {
    era: Era,
    identity: &'a Identity,
    result: &'a B,
}

impl<'a, B: ResultBody> Reply<'a, B> {
    pub fn new(era: Era, identity: &'a Identity, result: &'a B) -> Self {
        Self { era, identity, result }
    }

    /// The whole response message.
    pub fn to(&self, id: &RequestId) -> Vec<u8> {
        #[derive(serde::Serialize)]
        struct Response<'a, R> {
            jsonrpc: &'static str,
            id: &'a RequestId,
            result: &'a R,
        }
        to_json(&Response { jsonrpc: "2.0", id, result: self })
    }

    /// Everything but the id, to be kept and sent many times.
    pub fn render(&self) -> Rendered {
        Rendered { result: to_json(self).into() }
    }
}

impl<B: ResultBody> Serialize for Reply<'_, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut result = serializer.serialize_map(None)?;
        if self.era.is_modern() {
            // basic, "ResultType": MUST be included; no earlier revision has it.
            result.serialize_entry("resultType", "complete")?;
        }
        self.result.write(self.era, self.identity, &mut result)?;
        let meta = MetaOut { era: self.era, identity: self.identity, more: self.result.meta() };
        result.serialize_entry("_meta", &meta)?;
        result.end()
    }
}

struct MetaOut<'a> {
    era: Era,
    identity: &'a Identity,
    more: &'a [(String, Box<RawValue>)],
}

impl Serialize for MetaOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut meta = serializer.serialize_map(None)?;
        if self.era.is_modern() {
            // basic, "Per-response protocol fields": SHOULD be in every result.
            meta.serialize_entry(SERVER_INFO, &self.identity.server_info())?;
        }
        meta.serialize_entry(SERVED_BY, self.identity.replica())?;
        for (key, value) in self.more {
            meta.serialize_entry(key, value)?;
        }
        meta.end()
    }
}

/// A result that was written once; each answer only adds the id.
#[derive(Debug, Clone)]
pub struct Rendered {
    result: Bytes,
}

impl Rendered {
    pub fn to(&self, id: &RequestId) -> Vec<u8> {
        let parts: [&[u8]; 5] = [
            br#"{"jsonrpc":"2.0","id":"#,
            id.as_json().as_bytes(),
            br#","result":"#,
            &self.result,
            b"}",
        ];
        parts.concat()
    }
}
