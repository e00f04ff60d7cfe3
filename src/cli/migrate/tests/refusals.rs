//! What is refused, and what a file cannot do.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::super::{Migration, template};
use super::{made, migrated, of, python_pool};
use crate::cli::settings;
use crate::cli::settings::fake::Fake;

#[test]
fn of_several_pools_one_is_chosen_by_name() {
    let mut other = python_pool();
    other["name"] = json!("other");
    other["properties"]["scaleConfiguration"]["readySessionInstances"] = json!(9);
    let template = json!({"resources": [python_pool(), other]}).to_string();
    let refusal = |words: &[&str]| migrated("t.json", &template, words).unwrap_err();
    let text = refusal(&[]);
    assert!(
        text.contains("2 session pools in it (agents, other)")
            && text.ends_with("baton migrate t.json --pool=agents"),
        "{text}"
    );
    assert!(refusal(&["--pool", "agent"]).contains("did you mean \"agents\"?"));
    let (configuration, _) = migrated("t.json", &template, &["--pool", "OTHER"]).unwrap();
    assert_eq!(made(&configuration)["warm_pool"], 9);
    let twice = json!([python_pool(), python_pool()]).to_string();
    let text = migrated("t.json", &twice, &["--pool", "agents"]).unwrap_err();
    assert!(text.contains("two session pools are named"), "{text}");
}

#[test]
fn what_is_no_pool_is_refused_with_what_to_do() {
    let refused = |file: &str, text: &str| migrated(file, text, &[]).unwrap_err();
    let bicep =
        "param location string\nresource pool 'Microsoft.App/sessionPools@2025-01-01' = {\n}\n";
    assert!(
        refused("pool.bicep", bicep)
            .contains("az bicep build --file pool.bicep --stdout | baton migrate -")
    );
    assert!(refused("pool.txt", bicep).contains("is Bicep"));
    let text = refused("p.json", "{\"type\": \"x\",\n  \"properties\": [}");
    assert!(text.contains("at line 2 column 18"), "{text}");
    for other in [
        "{}",
        "[]",
        "3",
        "{\"resources\": []}",
        "{\"type\": \"Microsoft.App/containerApps\", \"properties\": {}}",
    ] {
        assert!(
            refused("p.json", other).contains("there is no Microsoft.App/sessionPools in it"),
            "{other}"
        );
    }
    let around = Fake::new();
    let read = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|it| (*it).to_owned()).collect();
        Migration::read(settings::migrate(&words, &around).unwrap(), &around)
            .unwrap_err()
            .to_string()
    };
    assert!(read(&[]).contains("which file?") && read(&["a", "b"]).contains("which file?"));
    assert!(read(&["none.json"]).contains("none.json cannot be read"));
    assert!(
        migrated("p.json", "{}", &["--role", "redis"])
            .unwrap_err()
            .contains("write one of dev, gateway, worker")
    );
}

#[test]
fn a_name_cannot_leave_its_comment() {
    let mut pool = python_pool();
    pool["name"] = json!("x\nanonymous = true");
    pool["properties"]["line\nbreak"] = json!(1);
    let (configuration, list) = of(&pool);
    assert!(!made(&configuration).contains_key("anonymous"));
    assert!(list.contains("line\\nbreak: this version does not know it"), "{list}");
}

#[test]
fn what_a_refusal_says_of_pools_no_terminal_and_no_shell_obeys() {
    let named = |name: &str| {
        let mut pool = python_pool();
        pool["name"] = json!(name);
        pool
    };
    let refusal = |names: &[&str], words: &[&str]| {
        let template = json!(names.iter().map(|it| named(it)).collect::<Vec<_>>()).to_string();
        migrated("t.json", &template, words).unwrap_err()
    };
    let hostile = "a\u{1b}[2J\n$(touch x)'`id`";
    for text in [
        refusal(&[hostile, "other"], &[]),
        refusal(&[hostile, "other"], &["--pool", "none"]),
        refusal(&[hostile, hostile], &["--pool", hostile]),
        refusal(&["other"], &["--pool", hostile]),
        refusal(&["a\u{1b}gents"], &["--pool", "agents"]),
    ] {
        assert!(!text.contains(|it: char| it.is_control()), "{text:?}");
    }
    let text = refusal(&[hostile, "other"], &[]);
    assert!(text.ends_with(r"--pool='a\u{1b}[2J\n$(touch x)'\''`id`'"), "{text}");
    // As it is listed, it is chosen.
    let template = json!([named(hostile), named("other")]).to_string();
    let listed = r"a\u{1b}[2J\n$(touch x)'`id`";
    assert!(migrated("t.json", &template, &["--pool", listed]).is_ok());
    assert!(migrated("t.json", &template, &["--pool", hostile]).is_ok());
    let long = "x".repeat(100_000);
    assert!(refusal(&[&long, &long], &[]).len() < 1000);
    let many: Vec<String> = (0..3000).map(|it| format!("pool-{it}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let text = refusal(&many, &[]);
    assert!(text.contains("3000 session pools") && text.contains("pool-19, …)"), "{text}");
}

#[test]
fn what_many_modules_are_given_is_there_once() {
    let module = json!({
        "type": "Microsoft.Resources/deployments",
        "properties": {
            "parameters": {"inner": {"value": "[parameters('outer').large]"}},
            "template": {"resources": [{"type": "Microsoft.App/sessionPools", "name": "[parameters('inner')]"}]},
        },
    });
    let large = "x".repeat(10_000);
    let template = json!({
        "parameters": {"outer": {"defaultValue": {"large": large}}},
        "resources": vec![module; 100],
    });
    let written = &template["parameters"]["outer"]["defaultValue"]["large"];
    let pools = template::pools(&template);
    assert_eq!(pools.len(), 100);
    for pool in pools {
        let name = pool.scope.resolve(&pool.resource["name"]).unwrap().value;
        assert!(matches!(name, Cow::Borrowed(it) if std::ptr::eq(it, written)));
        assert!(pool.name.len() < 200);
    }
}

#[test]
fn of_a_value_that_many_members_refer_to_only_so_much_is_looked_at() {
    let members = |count: usize, value: &Value| -> Value {
        (0..count)
            .map(|it| (format!("m{it}"), value.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    // The name in every case that it can be written in.
    let cases = (0..2000).map(|case: u32| {
        let letter = |(at, letter): (usize, char)| {
            if case >> at & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
        };
        let name: String = "scaleconfiguration".chars().enumerate().map(letter).collect();
        (name, json!("[parameters('large')]"))
    });
    let cases = Value::Object(cases.collect());
    for large in [members(2000, &json!(1)), members(2000, &Value::Null)] {
        let (_, list) = of(&json!({
            "parameters": {"large": {"defaultValue": large}},
            "resources": [{"type": "Microsoft.App/sessionPools", "properties": cases}],
        }));
        assert!(list.lines().count() < 1100 && list.contains("the rest was not read"), "{list}");
    }
}
