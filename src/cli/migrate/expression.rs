//! What of a template's expressions can be known without a deployment.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value};

/// How many parameters and variables may lead to one another.
const MAX_HOPS: usize = 8;
/// The longest expression that is looked into, in bytes. Each use of a variable looks into its expressions anew.
const MAX_EXPRESSION: usize = 1024;

/// How many members of an object are compared with a name in another case.
const MAX_COMPARED: usize = 1000;

/// Who says what a value is; of two the less certain is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// The file writes it.
    Written,
    /// A parameter's default value, in place of which a deployment may have set another.
    Default,
}

/// What an expression comes to. What the file writes is borrowed from it, however often it is referred to.
#[derive(Clone, Debug)]
pub(super) struct Resolved<'a> {
    /// The value.
    pub(super) value: Cow<'a, Value>,
    /// Who says so.
    pub(super) origin: Origin,
}

/// What a template is given, by names in lower case; `None` where only a deployment can tell.
pub(super) type Given<'a> = HashMap<String, Option<Resolved<'a>>>;

/// The parameters and variables of one template, by their names in lower case.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope<'a> {
    parameters: Given<'a>,
    variables: HashMap<String, &'a Value>,
}

impl<'a> Scope<'a> {
    /// The scope of a template: what it is given, else its parameters' default values, which are so certain.
    pub(super) fn of(template: &'a Map<String, Value>, given: Given<'a>, defaults: Origin) -> Self {
        let members = |name| field(template, name).and_then(Value::as_object).into_iter().flatten();
        let mut parameters: Given<'a> = members("parameters")
            .filter_map(|(name, it)| {
                let default = Cow::Borrowed(field(it.as_object()?, "defaultValue")?);
                let resolved = Resolved { value: default, origin: defaults };
                Some((name.to_ascii_lowercase(), Some(resolved)))
            })
            .collect();
        parameters.extend(given);
        let variables = members("variables").map(|(name, it)| (name.to_ascii_lowercase(), it));
        Self { parameters, variables: variables.collect() }
    }

    /// A value in which an expression stands for what it comes to; `None` if only a deployment can tell.
    pub(super) fn resolve<'v>(&self, value: &'v Value) -> Option<Resolved<'v>>
    where
        'a: 'v,
    {
        let mut resolved = Resolved { value: Cow::Borrowed(value), origin: Origin::Written };
        for _ in 0..MAX_HOPS {
            let Some(expression) = expression(&resolved.value) else { return Some(resolved) };
            let step = self.step(expression)?;
            resolved = Resolved { origin: step.origin.max(resolved.origin), ..step };
        }
        None
    }

    /// `parameters('NAME')` and `variables('NAME')`, perhaps with `.PROPERTY`; `json('TEXT')`, with which Bicep writes
    /// fractions.
    fn step(&self, expression: &str) -> Option<Resolved<'a>> {
        if expression.len() > MAX_EXPRESSION {
            return None;
        }
        let (function, rest) = expression.split_once("('")?;
        let (argument, path) = rest.split_once("')")?;
        let written = |value| Resolved { value, origin: Origin::Written };
        let found = match function.trim().to_ascii_lowercase().as_str() {
            "parameters" => self.parameters.get(&argument.to_ascii_lowercase())?.clone()?,
            "variables" => {
                written(Cow::Borrowed(*self.variables.get(&argument.to_ascii_lowercase())?))
            }
            "json" => written(Cow::Owned(serde_json::from_str(argument).ok()?)),
            _ => return None,
        };
        let mut steps = path.trim().split('.');
        if !steps.next()?.is_empty() {
            return None;
        }
        steps.try_fold(found, |Resolved { value, origin }, step| {
            Some(Resolved { value: member(value, step)?, origin })
        })
    }
}

fn member<'a>(value: Cow<'a, Value>, name: &str) -> Option<Cow<'a, Value>> {
    match value {
        Cow::Borrowed(value) => field(value.as_object()?, name).map(Cow::Borrowed),
        Cow::Owned(value) => field(value.as_object()?, name).cloned().map(Cow::Owned),
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
        let mut members = object.iter().take(MAX_COMPARED);
        members.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    })
}
