//! What is written of which pool, through the command's own reader and ours of what comes out.

mod defaults;
mod refusals;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::cli::console::recorder::Recorder;
use crate::cli::settings::fake::Fake;
use crate::cli::settings::{self, Problems};

/// What is printed for a file with these words after its name: the configuration and the list.
fn migrated(file: &str, text: &str, words: &[&str]) -> Result<(String, String), String> {
    let around = Fake::new().file(file, text);
    let words: Vec<String> = [file].iter().chain(words).map(|it| (*it).to_owned()).collect();
    let loaded = settings::migrate(&words, &around).map_err(|it: Problems| it.to_string())?;
    let migration = Migration::read(loaded, &around).map_err(|it| it.to_string())?;
    let mut console = Recorder::default();
    migration.print(&mut console);
    Ok((console.out, console.err))
}

fn of(pool: &Value) -> (String, String) {
    migrated("pool.json", &pool.to_string(), &[]).unwrap()
}

/// The settings that a configuration makes, by the TOML reader.
fn made(configuration: &str) -> BTreeMap<String, i64> {
    let table: toml::Table = configuration.parse().unwrap();
    table.into_iter().map(|(key, value)| (key, value.as_integer().unwrap())).collect()
}

fn settings_of(pool: &Value) -> BTreeMap<String, i64> {
    made(&of(pool).0)
}

/// The lines of the list under one heading.
fn under<'a>(list: &'a str, heading: &str) -> Vec<&'a str> {
    let lines = list.lines().skip_while(move |it| *it != format!("{heading}:")).skip(1);
    lines.take_while(|it| it.starts_with("  ")).collect()
}

fn python_pool() -> Value {
    json!({
        "type": "Microsoft.App/sessionPools",
        "apiVersion": "2025-10-02-preview",
        "name": "agents",
        "location": "westeurope",
        "properties": {
            "poolManagementType": "Dynamic",
            "containerType": "PythonLTS",
            "dynamicPoolConfiguration": {"lifecycleConfiguration": {
                "lifecycleType": "Timed", "coolDownPeriodInSeconds": 900,
            }},
            "scaleConfiguration": {"maxConcurrentSessions": 40, "readySessionInstances": 5},
            "sessionNetworkConfiguration": {"status": "EgressDisabled"},
            "mcpServerSettings": {"isMcpServerEnabled": true, "isMCPServerApiKeyDisabled": false},
        },
    })
}

#[test]
fn a_pool_becomes_settings_that_each_role_starts_from() {
    let text = python_pool().to_string();
    let (both, list) = migrated("p.json", &text, &[]).unwrap();
    let expected = [
        ("capacity", 40),
        ("idle_timeout_seconds", 900),
        ("max_environments", 40),
        ("warm_pool", 5),
    ];
    assert_eq!(made(&both), expected.map(|(key, value)| (key.to_owned(), value)).into());
    let around = Fake::new().file("b.toml", &both);
    let config = ["--config", "b.toml"].map(str::to_owned);
    let dev = settings::dev(&config, &around).unwrap().settings;
    assert_eq!(dev.edge.environments.idle_timeout.as_secs(), 900);
    assert_eq!((dev.edge.environments.max_per_tenant, dev.sandbox.warm_pool), (40, 5));

    // A gateway and a worker refuse each other's settings, so each gets its own.
    let role = |role| migrated("p.json", &text, &["--role", role]).unwrap().0;
    assert_eq!(
        made(&role("gateway")).into_keys().collect::<Vec<_>>(),
        ["idle_timeout_seconds", "max_environments"]
    );
    assert_eq!(made(&role("worker")).into_keys().collect::<Vec<_>>(), ["capacity", "warm_pool"]);
    let around = Fake::new().file("g.toml", &role("gateway")).file("w.toml", &role("worker"));
    let problems = |file: &str| {
        let config = ["--config".to_owned(), file.to_owned()];
        let gateway = settings::gateway(&config, &around).unwrap_err();
        let worker = settings::worker(&config, &around).unwrap_err();
        [gateway, worker].map(|it| it.iter().filter(|it| it.at().contains(file)).count())
    };
    assert_eq!((problems("g.toml"), problems("w.toml")), ([0, 2], [2, 0]));
    assert!(
        list.contains("idle_timeout_seconds = 900 (gateway)")
            && list.contains("warm_pool = 5 (worker)"),
        "{list}"
    );
}

#[test]
fn each_property_is_told_once() {
    let list = of(&python_pool()).1;
    for path in [
        "type",
        "apiVersion",
        "name",
        "location",
        "poolManagementType",
        "containerType",
        "dynamicPoolConfiguration.lifecycleConfiguration.lifecycleType",
        "dynamicPoolConfiguration.lifecycleConfiguration.coolDownPeriodInSeconds",
        "scaleConfiguration.maxConcurrentSessions",
        "scaleConfiguration.readySessionInstances",
        "sessionNetworkConfiguration.status",
        "mcpServerSettings.isMcpServerEnabled",
        "mcpServerSettings.isMCPServerApiKeyDisabled",
    ] {
        let told = list.lines().filter(|it| {
            let it = it.trim_start();
            it.starts_with(&format!("{path}:")) || it.starts_with(&format!("{path} = "))
        });
        assert_eq!(told.count(), 1, "{path}\n{list}");
    }
    assert_eq!(under(&list, "unknown"), [""; 0]);
    assert!(
        under(&list, "the same")
            .iter()
            .any(|it| it.contains("EgressDisabled: sandboxes have no network")),
        "{list}"
    );
}

#[test]
fn keys_may_have_any_case_and_numbers_may_be_texts() {
    let check = |properties: Value, key: &str, expected: i64| {
        assert_eq!(settings_of(&properties).get(key), Some(&expected), "{properties}");
    };
    check(
        json!({"DYNAMICPOOLCONFIGURATION": {"CooldownPeriodInSeconds": 600, "executionType": "Timed"}}),
        "idle_timeout_seconds",
        600,
    );
    check(json!({"scaleconfiguration": {"readysessioninstances": "7"}}), "warm_pool", 7);
    let container = |resources: Value| json!({"customContainerTemplate": {"containers": [{"resources": resources}]}});
    check(container(json!({"memory": "0.5Gi"})), "memory_mebibytes", 512);
    check(container(json!({"Memory": "300M"})), "memory_mebibytes", 287);
    check(container(json!({"cpu": 0.25})), "cpu_millis", 250);
    check(container(json!({"cpu": "1500m"})), "cpu_millis", 1500);
    check(container(json!({"cpu": "[json('0.5')]"})), "cpu_millis", 500);
    check(container(json!({"ephemeralStorage": "2Gi"})), "workspace_mebibytes", 2048);
}

#[test]
fn a_number_beyond_what_a_setting_takes_becomes_the_nearest_and_is_told() {
    let (configuration, list) =
        of(&json!({"scaleConfiguration": {"maxConcurrentSessions": 30_000}}));
    assert_eq!(made(&configuration)["capacity"], 20_000);
    assert!(list.contains("20000 is the nearest"), "{list}");
    let (configuration, list) = of(&json!({"scaleConfiguration": {"readySessionInstances": -1}}));
    assert!(made(&configuration).is_empty());
    assert!(under(&list, "unknown")[0].contains("no number that can be read"), "{list}");
}

#[test]
fn without_an_idle_time_environments_are_kept_for_their_whole_life() {
    let lifecycle = |lifecycle: Value| json!({"dynamicPoolConfiguration": {"lifecycleConfiguration": lifecycle}});
    let exits =
        lifecycle(json!({"lifecycleType": "OnContainerExit", "maxAlivePeriodInSeconds": 7200}));
    let made = settings_of(&exits);
    assert_eq!((made["idle_timeout_seconds"], made["max_life_seconds"]), (7200, 7200));
    let made =
        settings_of(&lifecycle(json!({"lifecycleType": "Timed", "maxAlivePeriodInSeconds": 7200})));
    assert_eq!((made.get("idle_timeout_seconds"), made["max_life_seconds"]), (None, 7200));
}

#[test]
fn of_two_properties_for_one_setting_the_newer_decides() {
    let (configuration, list) = of(&json!({"dynamicPoolConfiguration": {
        "cooldownPeriodInSeconds": 300, "lifecycleConfiguration": {"cooldownPeriodInSeconds": 600},
    }}));
    assert_eq!(made(&configuration)["idle_timeout_seconds"], 600);
    assert!(under(&list, "differs")[0].contains("another property sets this to 600"), "{list}");
}

#[test]
fn secrets_are_never_read() {
    let (configuration, list) = of(&json!({
        "secrets": [{"name": "registry", "value": "hunter2"}],
        "customContainerTemplate": {
            "containers": [
                {"image": "hunter2.azurecr.io/x", "env": [{"name": "TOKEN", "value": "hunter2"}], "args": ["hunter2"]},
                {"image": "hunter2"},
            ],
            "registryCredentials": {"username": "hunter2", "passwordSecretRef": "registry"},
        },
        "invented": {"password": "hunter2"},
        "poolManagementEndpoint": "https://hunter2/",
    }));
    assert!(
        !list.contains("hunter2") && !configuration.contains("hunter2"),
        "{list}{configuration}"
    );
    let absent = under(&list, "no counterpart");
    for told in [
        "secrets",
        "customContainerTemplate.containers[0].env",
        "customContainerTemplate.containers[1]",
    ] {
        assert!(
            absent.iter().any(|it| it.trim_start().starts_with(&format!("{told}:"))),
            "{told}\n{list}"
        );
    }
    assert!(
        under(&list, "unknown")[0].starts_with("  invented: this version does not know it"),
        "{list}"
    );
}

#[test]
fn parameters_and_variables_stand_for_what_they_come_to() {
    let template = json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "parameters": {
            "Cooldown": {"type": "int", "defaultValue": 450},
            "sessions": {"type": "int"},
            "loop": {"type": "int", "defaultValue": "[parameters('loop')]"},
            "poolName": {"type": "string", "defaultValue": "p1"},
        },
        "variables": {"scale": {"ready": 3}, "cooldown": "[parameters('cooldown')]"},
        "resources": [{
            "type": "microsoft.app/SESSIONPOOLS",
            "name": "[parameters('poolName')]",
            "properties": {
                "dynamicPoolConfiguration": {"cooldownPeriodInSeconds": "[variables('cooldown')]"},
                "scaleConfiguration": {
                    "maxConcurrentSessions": "[parameters('sessions')]",
                    "readySessionInstances": "[variables('scale').ready]",
                },
                "containerType": "[parameters('loop')]",
                "sessionNetworkConfiguration": "[createObject('status', 'EgressEnabled')]",
            },
        }],
    });
    let (configuration, list) = of(&template);
    let made = made(&configuration);
    assert_eq!((made["idle_timeout_seconds"], made["warm_pool"]), (450, 3));
    assert!(
        !made.contains_key("max_environments") && configuration.contains("\"p1\""),
        "{configuration}"
    );
    let unknown = under(&list, "unknown");
    assert_eq!(unknown.len(), 3, "{list}");
    assert!(list.contains("write max_environments and capacity yourself"), "{list}");
}

#[test]
fn pools_are_found_in_modules_and_named_resources() {
    let module = |cooldown: Value| {
        json!({
            "type": "Microsoft.Resources/deployments",
            "name": "m",
            "properties": {
                "parameters": {"cooldown": {"value": cooldown}},
                "template": {
                    "parameters": {"cooldown": {"type": "int", "defaultValue": 300}},
                    "resources": {"pool": {
                        "type": "Microsoft.App/sessionPools",
                        "name": "inner",
                        "properties": {"dynamicPoolConfiguration": {"cooldownPeriodInSeconds": "[parameters('cooldown')]"}},
                    }},
                },
            },
        })
    };
    let outer = |cooldown| json!({"parameters": {"a": {"defaultValue": 700}}, "resources": {"m": module(cooldown)}});
    assert_eq!(settings_of(&outer(json!("[parameters('a')]")))["idle_timeout_seconds"], 700);
    // What the outer template does not know, the inner default does not stand for.
    let (configuration, list) = of(&outer(json!("[parameters('cooldown')]")));
    assert!(
        made(&configuration).is_empty() && list.contains("write idle_timeout_seconds yourself"),
        "{list}"
    );
}

#[test]
fn the_table_names_each_property_once_and_settings_that_there_are() {
    let paths: Vec<_> = table::TABLE.iter().map(|it| it.path).collect();
    for (index, path) in paths.iter().enumerate() {
        assert!(!paths[..index].contains(path) && *path == path.to_ascii_lowercase(), "{path}");
    }
    for known in table::TABLE {
        if let table::Rule::Number(_, made, ..) = known.rule {
            for (role, flag) in made {
                let setting = settings::table::settings().find(|it| it.flag == *flag).unwrap();
                assert!(setting.belongs_to(*role) && setting.file_key().is_some(), "{flag}");
            }
        }
    }
}
