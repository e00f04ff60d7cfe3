//! What a parameter's default value is worth: a deployment may have set another.

use serde_json::{Value, json};

use super::{made, of, under};

fn template(net: &Value, properties: &Value) -> Value {
    json!({
        "parameters": {
            "net": {"type": "string", "defaultValue": net},
            "cooldown": {"type": "int", "defaultValue": 450},
        },
        "variables": {"status": "[parameters('net')]"},
        "resources": [{"type": "Microsoft.App/sessionPools", "name": "p", "properties": properties}],
    })
}

#[test]
fn a_default_is_never_told_as_the_same_and_says_that_it_is_one() {
    let network = |status: &str| json!({"sessionNetworkConfiguration": {"status": status}});
    for (net, properties) in [
        (json!("EgressDisabled"), network("[parameters('net')]")),
        (json!("EgressDisabled"), network("[variables('status')]")),
        (json!({"status": "EgressDisabled"}), network("[parameters('net').status]")),
        (
            json!({"status": "EgressDisabled"}),
            json!({"sessionNetworkConfiguration": "[parameters('net')]"}),
        ),
    ] {
        let list = of(&template(&net, &properties)).1;
        let differs = under(&list, "differs");
        assert_eq!(differs.len(), 1, "{properties}\n{list}");
        assert!(
            differs[0].contains("status = EgressDisabled: the template's default;")
                && differs[0].contains("`az containerapp sessionpool show`")
                && differs[0].ends_with("sandboxes have no network"),
            "{list}"
        );
    }
    let list = of(&template(&json!("EgressEnabled"), &network("[parameters('net')]"))).1;
    let absent = under(&list, "no counterpart");
    assert!(absent.iter().any(|it| it.contains("the template's default;")), "{list}");
}

#[test]
fn a_setting_that_is_made_of_a_default_says_so_in_its_comment() {
    let cooldown = |it: Value| json!({"dynamicPoolConfiguration": {"cooldownPeriodInSeconds": it}});
    let of_default = template(&json!("x"), &cooldown(json!("[parameters('cooldown')]")));
    let (configuration, list) = of(&of_default);
    assert_eq!(made(&configuration)["idle_timeout_seconds"], 450);
    let comment = "# dynamicPoolConfiguration.cooldownPeriodInSeconds: the template's default;";
    assert!(configuration.contains(comment), "{configuration}");
    assert_eq!(under(&list, "the same"), [""; 0]);
    let (configuration, list) = of(&template(&json!("x"), &cooldown(json!(450))));
    assert!(!configuration.contains("default;") && !list.contains("default;"), "{list}");
}

#[test]
fn the_end_of_a_container_by_default_makes_the_idle_time_a_default() {
    let lifecycle =
        json!({"lifecycleType": "[parameters('net')]", "maxAlivePeriodInSeconds": 7200});
    let properties = json!({"dynamicPoolConfiguration": {"lifecycleConfiguration": lifecycle}});
    let (configuration, _) = of(&template(&json!("OnContainerExit"), &properties));
    assert_eq!(made(&configuration)["idle_timeout_seconds"], 7200);
    let of_default = |it: &&str| it.contains("the template's default;");
    assert_eq!(configuration.lines().filter(of_default).count(), 2, "{configuration}");
}

#[test]
fn a_module_has_what_is_written_or_its_own_default_and_doubts_only_what_a_deployment_gives() {
    let outer = |parameters: Value, more: Value| {
        let mut properties = json!({
            "parameters": parameters,
            "template": template(&json!("EgressDisabled"), &json!({"sessionNetworkConfiguration": {"status": "[parameters('net')]"}})),
        });
        properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let module = json!({"type": "Microsoft.Resources/deployments", "properties": properties});
        of(&json!({"parameters": {"n": {"defaultValue": "EgressDisabled"}}, "resources": [module]}))
            .1
    };
    let written = outer(json!({"net": {"value": "EgressDisabled"}}), json!({}));
    let own = outer(json!({}), json!({}));
    assert_eq!((under(&written, "the same").len(), under(&own, "the same").len()), (1, 1));
    let given = outer(json!({"net": {"value": "[parameters('n')]"}}), json!({}));
    let linked = outer(json!({}), json!({"parametersLink": {"uri": "https://h/p.json"}}));
    assert_eq!((under(&given, "differs").len(), under(&linked, "differs").len()), (1, 1));
}
