//! The session pools in a template, in what the command line exports, or in bare properties.

use std::borrow::Cow;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::expression::{Given, Scope, field};
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
pub(super) struct Pool {
    /// Its name, as far as it can be known, on one line and not too long.
    pub(super) name: String,
    /// The resource.
    pub(super) resource: Map<String, Value>,
    /// The parameters and variables of the template around it.
    pub(super) scope: Rc<Scope>,
}

/// All pools that are in it.
pub(super) fn pools(root: &Value) -> Vec<Pool> {
    let mut pools = Vec::new();
    match root {
        // `az containerapp sessionpool list`
        Value::Array(resources) => {
            for resource in resources {
                of_resource(resource, &Rc::default(), 0, &mut pools);
            }
        }
        Value::Object(root) if field(root, "resources").is_some() => {
            of_template(root, Given::new(), 0, &mut pools);
        }
        Value::Object(object) if field(object, "type").is_some() => {
            of_resource(root, &Rc::default(), 0, &mut pools);
        }
        Value::Object(object) if field(object, "properties").is_some_and(Value::is_object) => {
            pools.push(pool(object.clone(), &Rc::default()));
        }
        Value::Object(object) if object.keys().any(|key| table::is_property(key)) => {
            let resource = Map::from_iter([("properties".to_owned(), root.clone())]);
            pools.push(pool(resource, &Rc::default()));
        }
        _ => {}
    }
    pools
}

fn of_template(template: &Map<String, Value>, given: Given, depth: usize, pools: &mut Vec<Pool>) {
    let scope = Rc::new(Scope::of(template, given));
    match field(template, "resources") {
        Some(Value::Array(resources)) => {
            for resource in resources {
                of_resource(resource, &scope, depth, pools);
            }
        }
        // Newer templates name their resources.
        Some(Value::Object(resources)) => {
            for resource in resources.values() {
                of_resource(resource, &scope, depth, pools);
            }
        }
        _ => {}
    }
}

fn of_resource(value: &Value, scope: &Rc<Scope>, depth: usize, pools: &mut Vec<Pool>) {
    let Some(resource) = value.as_object() else { return };
    let kind = field(resource, "type").and_then(Value::as_str).unwrap_or_default();
    let refers = field(resource, "existing").and_then(Value::as_bool) == Some(true);
    if kind.eq_ignore_ascii_case(SESSION_POOLS) && !refers {
        pools.push(pool(resource.clone(), scope));
    } else if kind.eq_ignore_ascii_case(DEPLOYMENTS) && depth < MAX_DEPTH {
        let properties = field(resource, "properties").and_then(Value::as_object);
        let template = properties.and_then(|it| field(it, "template")).and_then(Value::as_object);
        if let Some((properties, template)) = properties.zip(template) {
            of_template(template, given(properties, scope), depth + 1, pools);
        }
    }
}

/// What a template around a module gives it. What cannot be known is not the module's own default either.
fn given(properties: &Map<String, Value>, scope: &Scope) -> Given {
    let parameters = field(properties, "parameters").and_then(Value::as_object);
    let value = |(name, it): (&String, &Value)| {
        let value = field(it.as_object()?, "value")?;
        Some((name.to_ascii_lowercase(), scope.resolve(value).map(Cow::into_owned)))
    };
    parameters.into_iter().flatten().filter_map(value).collect()
}

fn pool(resource: Map<String, Value>, scope: &Rc<Scope>) -> Pool {
    let name =
        field(&resource, "name").and_then(|it| scope.resolve(it).or(Some(Cow::Borrowed(it))));
    let name = name.as_ref().and_then(|it| it.as_str()).unwrap_or("unnamed");
    let name = cut(name, MAX_NAME);
    Pool { name, resource, scope: Rc::clone(scope) }
}
