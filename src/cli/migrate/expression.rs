//! What of a template's expressions can be known without a deployment.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value};

/// How many parameters and variables may lead to one another.
const MAX_HOPS: usize = 8;

/// What a template is given, by names in lower case; `None` where only a deployment can tell.
pub(super) type Given = HashMap<String, Option<Value>>;

/// The parameters and variables of one template, by their names in lower case.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    parameters: Given,
    variables: HashMap<String, Value>,
}

impl Scope {
    /// The scope of a template: what it is given, else its parameters' default values.
    pub(super) fn of(template: &Map<String, Value>, given: Given) -> Self {
        let members = |name| field(template, name).and_then(Value::as_object).into_iter().flatten();
        let mut parameters: Given = members("parameters")
            .filter_map(|(name, it)| {
                let default = field(it.as_object()?, "defaultValue")?;
                Some((name.to_ascii_lowercase(), Some(default.clone())))
            })
            .collect();
        parameters.extend(given);
        let variables =
            members("variables").map(|(name, it)| (name.to_ascii_lowercase(), it.clone()));
        Self { parameters, variables: variables.collect() }
    }

    /// A value in which an expression stands for what it comes to; `None` if only a deployment can tell.
    pub(super) fn resolve<'a>(&self, value: &'a Value) -> Option<Cow<'a, Value>> {
        let mut value = Cow::Borrowed(value);
        for _ in 0..MAX_HOPS {
            let Some(expression) = expression(&value) else { return Some(value) };
            value = Cow::Owned(self.step(expression)?);
        }
        None
    }

    /// `parameters('NAME')` and `variables('NAME')`, perhaps with `.PROPERTY`; `json('TEXT')`, with which Bicep writes
    /// fractions.
    fn step(&self, expression: &str) -> Option<Value> {
        let (function, rest) = expression.split_once("('")?;
        let (argument, path) = rest.split_once("')")?;
        let found = match function.trim().to_ascii_lowercase().as_str() {
            "parameters" => self.parameters.get(&argument.to_ascii_lowercase())?.clone()?,
            "variables" => self.variables.get(&argument.to_ascii_lowercase())?.clone(),
            "json" => serde_json::from_str(argument).ok()?,
            _ => return None,
        };
        let mut steps = path.trim().split('.');
        if !steps.next()?.is_empty() {
            return None;
        }
        steps.try_fold(found, |value, step| field(value.as_object()?, step).cloned())
    }
}

/// What stands between the brackets of an expression.
pub(super) fn expression(value: &Value) -> Option<&str> {
    let inner = value.as_str()?.strip_prefix('[')?.strip_suffix(']')?;
    // A second bracket makes it a text that begins with one.
    (!inner.starts_with('[')).then_some(inner)
}

/// A member of an object, whatever the case of its name: so it is everywhere in templates.
pub(super) fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| {
        object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    })
}
