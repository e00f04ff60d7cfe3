//! The list of tools, as a person reads it.

use serde_json::Value;

/// Every tool with its arguments.
pub(super) fn render(tools: &[Value]) -> String {
    let mut text = String::new();
    for tool in tools {
        let name = tool["name"].as_str().unwrap_or("?");
        text.push_str(&paragraph(name, "  ", tool["description"].as_str()));
        let schema = &tool["inputSchema"];
        let required = |key: &str| {
            schema["required"].as_array().is_some_and(|list| list.iter().any(|it| it == key))
        };
        let properties = schema["properties"].as_object();
        for (key, property) in properties.into_iter().flatten() {
            let kind = property["type"].as_str().unwrap_or("value");
            let form = if kind == "string" {
                format!("{key}=TEXT")
            } else {
                format!("{key}:={}", kind.to_uppercase())
            };
            let form = if required(key) { form } else { format!("[{form}]") };
            text.push_str(&paragraph(
                &format!("  {form}"),
                "      ",
                property["description"].as_str(),
            ));
        }
        text.push('\n');
    }
    text
}

/// A head, and the first sentence of what it is.
fn paragraph(head: &str, indent: &str, description: Option<&str>) -> String {
    let first = description.unwrap_or_default().trim().lines().next().unwrap_or_default();
    let end = first.find(". ").map_or(first.len(), |at| at + 1);
    match &first[..end] {
        "" => format!("{head}\n"),
        sentence => format!("{head}\n{indent}{sentence}\n"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_shows_what_to_type() {
        let tool = json!({
            "name": "run", "description": "Runs code. And more.\nLong.",
            "inputSchema": {"required": ["code"], "properties": {
                "code": {"type": "string", "description": "The code."},
                "timeoutSeconds": {"type": "integer"},
            }},
        });
        let expected =
            "run\n  Runs code.\n  code=TEXT\n      The code.\n  [timeoutSeconds:=INTEGER]\n\n";
        assert_eq!(render(&[tool]), expected);
        assert_eq!(render(&[json!({"name": "x"})]), "x\n\n");
    }
}
