//! Finding a tool's `x-mcp-header` annotations in its input schema (streamable-http, "Schema Extension").

use super::json::Json;
use super::mirror::Mirror;
use super::object::Object;
use super::strict::MAX_DEPTH;

const ANNOTATION: &str = "x-mcp-header";

/// More mirrored arguments than this would fill the headers of a call.
const MAX_MIRRORS: usize = 32;

/// Keywords whose value is data, in which nothing is an annotation.
const DATA: [&str; 5] = ["const", "default", "enum", "example", "examples"];

/// Keywords whose value's keys are names that the schema's author chose.
const NAMED_SCHEMAS: [&str; 5] =
    ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];

/// Why a tool's definition has to be left out of the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnnotation {
    #[error("the input schema has a key twice, or too many keys in one object")]
    Ambiguous,
    #[error("the input schema nests more than {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("{ANNOTATION} stands where no chain of `properties` leads")]
    Unreachable,
    #[error("{ANNOTATION} of `{property}` is no header name")]
    Name { property: String },
    #[error("{ANNOTATION} of `{property}` is also that of another property")]
    Twice { property: String },
    #[error("`{property}` has an {ANNOTATION} and is no integer, string or boolean")]
    Type { property: String },
    #[error("more than {MAX_MIRRORS} properties have an {ANNOTATION}")]
    TooMany,
}

impl Mirror {
    /// All annotations of an input schema. A definition with a wrong one MUST be excluded from the list.
    pub fn in_schema(schema: Json<'_>) -> Result<Vec<Self>, BadAnnotation> {
        // Hardly any schema has one, and a key may be written in escapes.
        if !schema.get().contains(ANNOTATION) && !schema.get().contains("\\u") {
            return Ok(Vec::new());
        }
        let mut search = Search { path: Vec::new(), found: Vec::new() };
        search.schema(schema, Reach::Static, 1)?;
        Ok(search.found)
    }
}

/// Whether a chain of `properties` alone leads from the root to here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Static,
    Other,
}

struct Search {
    path: Vec<String>,
    found: Vec<Mirror>,
}

impl Search {
    fn schema(&mut self, raw: Json<'_>, reach: Reach, depth: usize) -> Result<(), BadAnnotation> {
        if depth > MAX_DEPTH {
            return Err(BadAnnotation::TooDeep);
        }
        if let Some(list) = raw.items() {
            return list.into_iter().try_for_each(|it| self.schema(it, Reach::Other, depth + 1));
        }
        if !raw.is_object() {
            return Ok(());
        }
        let schema = Object::read(raw).ok_or(BadAnnotation::Ambiguous)?;
        for (keyword, value) in schema.iter() {
            match keyword {
                ANNOTATION => self.annotation(&schema, value, reach)?,
                "properties" if reach == Reach::Static => self.named(value, reach, depth + 1)?,
                _ if DATA.contains(&keyword) => {}
                _ if NAMED_SCHEMAS.contains(&keyword) => {
                    self.named(value, Reach::Other, depth + 1)?;
                }
                _ => self.schema(value, Reach::Other, depth + 1)?,
            }
        }
        Ok(())
    }

    fn named(&mut self, raw: Json<'_>, reach: Reach, depth: usize) -> Result<(), BadAnnotation> {
        if !raw.is_object() {
            return Ok(());
        }
        let schemas = Object::read(raw).ok_or(BadAnnotation::Ambiguous)?;
        for (name, schema) in schemas.iter() {
            self.path.push(name.to_owned());
            self.schema(schema, reach, depth + 1)?;
            self.path.pop();
        }
        Ok(())
    }

    fn annotation(
        &mut self,
        schema: &Object<'_>,
        name: Json<'_>,
        reach: Reach,
    ) -> Result<(), BadAnnotation> {
        if reach != Reach::Static || self.path.is_empty() {
            return Err(BadAnnotation::Unreachable);
        }
        let property = || self.path.join(".");
        let path: Vec<_> = self.path.iter().map(String::as_str).collect();
        let mirror = name.string().and_then(|name| Mirror::new(&name, &path));
        let mirror = mirror.ok_or_else(|| BadAnnotation::Name { property: property() })?;
        if !schema.get("type").is_some_and(is_primitive) {
            return Err(BadAnnotation::Type { property: property() });
        }
        if self.found.iter().any(|other| other.header() == mirror.header()) {
            return Err(BadAnnotation::Twice { property: property() });
        }
        if self.found.len() == MAX_MIRRORS {
            return Err(BadAnnotation::TooMany);
        }
        self.found.push(mirror);
        Ok(())
    }
}

/// One of the three types that may be mirrored; it may be nullable, for a null is not mirrored.
fn is_primitive(kind: Json<'_>) -> bool {
    let is_one = |kind: &str| matches!(kind, "string" | "integer" | "boolean");
    if let Some(kind) = kind.string() {
        return is_one(&kind);
    }
    let kinds = serde_json::from_str::<Vec<String>>(kind.get()).unwrap_or_default();
    kinds.iter().any(|kind| is_one(kind)) && kinds.iter().all(|kind| is_one(kind) || kind == "null")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(properties: &str) -> Result<Vec<Mirror>, BadAnnotation> {
        let schema = format!(r#"{{"type":"object","properties":{properties}}}"#);
        Mirror::in_schema(Json::checked(&schema))
    }

    fn finds(properties: &str, expected: &[(&str, &[&str])]) {
        let expected: Vec<_> =
            expected.iter().map(|(name, path)| Mirror::new(name, path).unwrap()).collect();
        assert_eq!(search(properties), Ok(expected), "{properties}");
    }

    fn refuses(properties: &str, why: &BadAnnotation) {
        assert_eq!(search(properties).as_ref(), Err(why), "{properties}");
    }

    fn a() -> String {
        "a".to_owned()
    }

    #[test]
    fn annotations_are_found_along_properties() {
        finds(
            r#"{"a":{"type":"string","x-mcp-header":"Region"},"b":{"type":"string"}}"#,
            &[("region", &["a"])],
        );
        finds(
            r#"{"a":{"type":"object","properties":{"b":{"x-mcp-header":"B","type":"integer"}}},"c":{"type":"boolean","x-mcp-header":"C"}}"#,
            &[("B", &["a", "b"]), ("C", &["c"])],
        );
        finds(r#"{"a":{"type":["string","null"],"\u0078-mcp-header":"A"}}"#, &[("A", &["a"])]);
        finds(r#"{"a":true,"b":{"type":"object"}}"#, &[]);
    }

    // The constraints on values: not empty, a token, unique whatever its case.
    #[test]
    fn a_name_is_a_token_and_unique() {
        for name in [r#""""#, r#""a b""#, r#""a\r\nb""#, r#""ü""#, r#""a:b""#, "7", "null", "true"]
        {
            let properties = format!(r#"{{"a":{{"type":"string","x-mcp-header":{name}}}}}"#);
            refuses(&properties, &BadAnnotation::Name { property: a() });
        }
        refuses(
            r#"{"b":{"type":"string","x-mcp-header":"X"},"a":{"type":"string","x-mcp-header":"x"}}"#,
            &BadAnnotation::Twice { property: a() },
        );
    }

    // The same: on integer, string, boolean; `number` is not permitted.
    #[test]
    fn only_three_types_are_mirrored() {
        for kind in [
            r#""number""#,
            r#""object""#,
            r#""array""#,
            r#""null""#,
            r#"["string","number"]"#,
            r#"["null"]"#,
            "[]",
            "7",
        ] {
            let properties = format!(r#"{{"a":{{"type":{kind},"x-mcp-header":"A"}}}}"#);
            refuses(&properties, &BadAnnotation::Type { property: a() });
        }
        refuses(r#"{"a":{"x-mcp-header":"A"}}"#, &BadAnnotation::Type { property: a() });
    }

    // The same: statically reachable, and anywhere else the definition is invalid.
    #[test]
    fn an_annotation_elsewhere_spoils_the_definition() {
        let here = r#"{"type":"string","x-mcp-header":"A"}"#;
        for properties in [
            format!(r#"{{"a":{{"type":"array","items":{here}}}}}"#),
            format!(r#"{{"a":{{"items":{{"properties":{{"b":{here}}}}}}}}}"#),
            format!(r#"{{"a":{{"anyOf":[{here}]}}}}"#),
            format!(r#"{{"a":{{"not":{here}}}}}"#),
            format!(r#"{{"a":{{"if":{{"properties":{{"b":{here}}}}}}}}}"#),
            format!(r#"{{"a":{{"additionalProperties":{here}}}}}"#),
            format!(r#"{{"a":{{"$defs":{{"b":{here}}}}}}}"#),
            format!(r#"{{"a":{{"patternProperties":{{"b":{here}}}}}}}"#),
            format!(r#"{{}},"allOf":[{here}]"#),
            r#"{},"x-mcp-header":"A""#.to_owned(),
        ] {
            refuses(&properties, &BadAnnotation::Unreachable);
        }
    }

    #[test]
    fn what_only_looks_like_an_annotation_is_none() {
        finds(r#"{"x-mcp-header":{"type":"string"}}"#, &[]);
        finds(r#"{"a":{"default":{"x-mcp-header":"A"},"enum":[{"x-mcp-header":1}]}}"#, &[]);
        finds(r#"{"a":{"description":"has no \"x-mcp-header\""}}"#, &[]);
    }

    #[test]
    fn the_search_has_bounds() {
        let deep = |levels: usize| {
            let open = r#"{"properties":{"a":"#.repeat(levels);
            format!(
                r#"{{"a":{open}{{"type":"string","x-mcp-header":"A"}}{}}}"#,
                "}}".repeat(levels)
            )
        };
        assert_eq!(search(&deep(10)).map(|found| found.len()), Ok(1));
        refuses(&deep(MAX_DEPTH), &BadAnnotation::TooDeep);
        let many = |count: usize| {
            let one = |n| format!(r#""k{n}":{{"type":"string","x-mcp-header":"K{n}"}}"#);
            format!("{{{}}}", (0..count).map(one).collect::<Vec<_>>().join(","))
        };
        assert_eq!(search(&many(MAX_MIRRORS)).map(|found| found.len()), Ok(MAX_MIRRORS));
        refuses(&many(MAX_MIRRORS + 1), &BadAnnotation::TooMany);
        refuses(r#"{"a":{"x-mcp-header":"A","x-mcp-header":"B"}}"#, &BadAnnotation::Ambiguous);
    }
}
