//! The session pools in a template, in what the command line exports, or in bare properties.

use std::borrow::Cow;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::expression::{Given, Origin, Scope, field};
use super::shown::cut;
use super::table;

const SESSION_POOLS: &str = "Microsoft.App/sessionPools";
const DEPLOYMENTS: &str = "Microsoft.Resources/deployments";
/// The longest name that is repeated.
pub(super) const MAX_NAME: usize = 100;
/// How deep modules may stand within one another.
const MAX_DEPTH: usize = 8;

/// A session pool as it is written, with what its expressions may mean.
#[derive(Debug)]
pub(super) struct Pool<'a> {
    /// Its name, as far as it can be known, on one line and not too long.
    pub(super) name: String,
    /// The resource.
    pub(super) resource: Cow<'a, Map<String, Value>>,
    /// The parameters and variables of the template around it.
    pub(super) scope: Rc<Scope<'a>>,
}

/// All pools that are in it.
pub(super) fn pools(root: &Value) -> Vec<Pool<'_>> {
    let mut pools = Vec::new();
    match root {
        // `az containerapp sessionpool list`
        Value::Array(resources) => {
            for resource in resources {
                of_resource(resource, &Rc::default(), 0, &mut pools);
            }
        }
        Value::Object(root) if field(root, "resources").is_some() => {
            of_template(
                root,
                &Rc::new(Scope::of(root, Given::new(), Origin::Default)),
                0,
                &mut pools,
            );
        }
        Value::Object(object) if field(object, "type").is_some() => {
            of_resource(root, &Rc::default(), 0, &mut pools);
        }
        Value::Object(object) if field(object, "properties").is_some_and(Value::is_object) => {
            pools.push(pool(Cow::Borrowed(object), &Rc::default()));
        }
        Value::Object(object) if object.keys().any(|key| table::is_property(key)) => {
            let resource = Map::from_iter([("properties".to_owned(), root.clone())]);
            pools.push(pool(Cow::Owned(resource), &Rc::default()));
        }
        _ => {}
    }
    pools
}

fn of_template<'a>(
    template: &'a Map<String, Value>,
    scope: &Rc<Scope<'a>>,
    depth: usize,
    pools: &mut Vec<Pool<'a>>,
) {
    match field(template, "resources") {
        Some(Value::Array(resources)) => {
            for resource in resources {
                of_resource(resource, scope, depth, pools);
            }
        }
        // Newer templates name their resources.
        Some(Value::Object(resources)) => {
            for resource in resources.values() {
                of_resource(resource, scope, depth, pools);
            }
        }
        _ => {}
    }
}

fn of_resource<'a>(
    value: &'a Value,
    scope: &Rc<Scope<'a>>,
    depth: usize,
    pools: &mut Vec<Pool<'a>>,
) {
    let Some(resource) = value.as_object() else { return };
    let kind = field(resource, "type").and_then(Value::as_str).unwrap_or_default();
    let refers = field(resource, "existing").and_then(Value::as_bool) == Some(true);
    if kind.eq_ignore_ascii_case(SESSION_POOLS) && !refers {
        pools.push(pool(Cow::Borrowed(resource), scope));
    } else if kind.eq_ignore_ascii_case(DEPLOYMENTS) && depth < MAX_DEPTH {
        let properties = field(resource, "properties").and_then(Value::as_object);
        let template = properties.and_then(|it| field(it, "template")).and_then(Value::as_object);
        if let Some((properties, template)) = properties.zip(template) {
            let inner = Scope::of(template, given(properties, scope), defaults(properties));
            of_template(template, &Rc::new(inner), depth + 1, pools);
        }
    }
}

/// How certain a module's default values are: nobody but the template around it could set others, unless it names
/// another file for that.
fn defaults(properties: &Map<String, Value>) -> Origin {
    match field(properties, "parametersLink") {
        Some(_) => Origin::Default,
        None => Origin::Written,
    }
}

/// What a template around a module gives it. What cannot be known is not the module's own default either.
fn given<'a>(properties: &'a Map<String, Value>, scope: &Scope<'a>) -> Given<'a> {
    let parameters = field(properties, "parameters").and_then(Value::as_object);
    let value = |(name, it): (&String, &'a Value)| {
        Some((name.to_ascii_lowercase(), scope.resolve(field(it.as_object()?, "value")?)))
    };
    parameters.into_iter().flatten().filter_map(value).collect()
}

fn pool<'a>(resource: Cow<'a, Map<String, Value>>, scope: &Rc<Scope<'a>>) -> Pool<'a> {
    let written = field(&resource, "name");
    let known = written.and_then(|it| scope.resolve(it));
    let name = known.as_ref().map(|it| &*it.value).or(written).and_then(Value::as_str);
    let name = cut(name.unwrap_or("unnamed"), MAX_NAME);
    Pool { name, resource, scope: Rc::clone(scope) }
}
