//! What is shed first: the classes of work, and how many of the places each may take.

use crate::gateway::tools::Tool;
use crate::mcp::Method;

/// A class of work, the first to be shed first: what has not begun costs its client the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Class {
    /// A new environment, which would only bring more work.
    Create,
    /// What there is: clients ask that again, or know it still.
    List,
    /// Work itself, and what became of it. Who polls a task may poll again, so that does not use the last places up.
    Execute,
    /// What ends work, and so makes room.
    Finish,
}

impl Class {
    /// How many there are.
    pub(super) const COUNT: usize = 4;
    /// In the order in which a free place goes to those who wait.
    pub(super) const FIRST_SERVED: [Self; Self::COUNT] =
        [Self::Finish, Self::Execute, Self::List, Self::Create];

    /// The class of a request; nothing where it takes no place: what clients must never be refused, and streams,
    /// which are counted by themselves.
    pub(in crate::gateway) const fn of(method: Method, tool: Option<Tool>) -> Option<Self> {
        Some(match method {
            Method::Discover
            | Method::Initialize
            | Method::Ping
            | Method::SetLogLevel
            | Method::Listen => return None,
            Method::ListTools
            | Method::ListPrompts
            | Method::ListResources
            | Method::ListResourceTemplates
            | Method::ListTasks
            | Method::Complete
            | Method::Subscribe
            | Method::Unsubscribe => Self::List,
            Method::CallTool => match tool {
                Some(Tool::LaunchShell | Tool::LaunchPythonEnvironment) => Self::Create,
                Some(Tool::ListEnvironments) => Self::List,
                Some(Tool::CloseEnvironment) => Self::Finish,
                _ => Self::Execute,
            },
            Method::GetPrompt
            | Method::ReadResource
            | Method::GetTask
            | Method::UpdateTask
            | Method::TaskResult => Self::Execute,
            Method::CancelTask => Self::Finish,
        })
    }

    /// How many places there may be taken, of whatever class, for one of this to get another. Work may take all that
    /// are set; what ends work finds a few more, so that it finds one also where the set ones are few.
    pub(super) fn most(self, places: usize) -> usize {
        match self {
            Self::Create => (places * 7 / 10).max(1),
            Self::List => (places * 8 / 10).max(1),
            Self::Execute => places,
            Self::Finish => places + (places / 20).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_classes_find_places_that_earlier_ones_may_not_take() {
        let most = |places| Class::FIRST_SERVED.map(|class| class.most(places));
        assert_eq!(most(1), [2, 1, 1, 1]);
        assert_eq!(most(2), [3, 2, 1, 1]);
        assert_eq!(most(4), [5, 4, 3, 2]);
        assert_eq!(most(1024), [1075, 1024, 819, 716]);
    }

    #[test]
    fn what_introduces_takes_no_place_and_what_ends_work_is_last() {
        for method in [Method::Discover, Method::Initialize, Method::Ping] {
            assert_eq!(Class::of(method, None), None);
        }
        let call = |tool| Class::of(Method::CallTool, tool);
        assert_eq!(call(Some(Tool::LaunchShell)), Some(Class::Create));
        assert_eq!(call(Some(Tool::ListEnvironments)), Some(Class::List));
        assert_eq!(call(Some(Tool::RunPython)), Some(Class::Execute));
        assert_eq!(call(None), Some(Class::Execute), "an upstream's");
        assert_eq!(call(Some(Tool::CloseEnvironment)), Some(Class::Finish));
        assert_eq!(Class::of(Method::CancelTask, None), Some(Class::Finish));
    }
}
