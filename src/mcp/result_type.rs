//! Which kind of result a result says it is (basic, "`ResultType`").

use super::object::Object;

/// The `resultType` of a modern result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultType {
    /// What the method returns. A result that does not say what it is, is this (basic, "`ResultType`").
    Complete,
    /// The client is to bring more and ask again (mrtr, "`InputRequiredResult`").
    InputRequired,
    /// The work goes on as a task (SEP-2663, "Polymorphic Results").
    Task,
}

impl ResultType {
    const ALL: [Self; 3] = [Self::Complete, Self::InputRequired, Self::Task];

    /// What an upstream's result is; `None` if it says something that is not known here, which MUST be taken for
    /// invalid.
    pub fn of(result: &Object<'_>) -> Option<Self> {
        if result.get("resultType").is_none() {
            return Some(Self::Complete);
        }
        let said = result.text("resultType")?;
        Self::ALL.into_iter().find(|known| known.as_str() == said)
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::InputRequired => "input_required",
            Self::Task => "task",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::json::Json;

    fn check(result: &str, expected: Option<ResultType>) {
        let object = Object::read(Json::checked(result)).unwrap();
        assert_eq!(ResultType::of(&object), expected, "{result}");
    }

    #[test]
    fn results_are_told_apart() {
        check("{}", Some(ResultType::Complete));
        check(r#"{"resultType":"complete"}"#, Some(ResultType::Complete));
        check(r#"{"a":1,"resultType":"input_required"}"#, Some(ResultType::InputRequired));
        check(r#"{"resultType":"task"}"#, Some(ResultType::Task));
        check(r#"{"resultType":"Task"}"#, None);
        check(r#"{"resultType":null}"#, None);
    }
}
