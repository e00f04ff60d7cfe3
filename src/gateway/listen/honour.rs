//! What is honoured of what a client asks to be told of.

use super::listener::{Interest, Watched};
use crate::directory::List;
use crate::domain::ids::EnvironmentId;
use crate::mcp::{Listed, ListenFilter, ServerCapabilities};

/// The part of a filter that the hub honours, for the acknowledgement and for itself (subscriptions,
/// "Acknowledgment"). `named` tells which environment of the caller a URI names; what it does not know is for others,
/// and so are tasks.
pub(super) fn honour(
    asked: ListenFilter,
    can: &ServerCapabilities,
    named: impl Fn(&str) -> Option<EnvironmentId>,
) -> (ListenFilter, Interest) {
    let mut asked = asked;
    asked.lists.retain(|listed| can.tells_changes(*listed));
    asked.resources.retain(|_| can.has_resource_subscriptions());
    let watched = |uri: String| Some(Watched { environment: named(&uri)?, uri });
    let environments: Vec<_> = asked.resources.into_iter().filter_map(watched).collect();
    let lists = asked.lists.iter().map(|listed| list(*listed)).collect();
    let resources = environments.iter().map(|it| it.uri.clone()).collect();
    let honoured = ListenFilter { lists: asked.lists, resources, tasks: Vec::new() };
    (honoured, Interest { lists, environments })
}

/// A list as replicas speak of it; templates are told of with the resources.
pub(super) fn list(listed: Listed) -> List {
    match listed {
        Listed::Tools => List::Tools,
        Listed::Prompts => List::Prompts,
        Listed::Resources | Listed::ResourceTemplates => List::Resources,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_offers_and_what_is_not_the_callers_is_left_out() {
        let asked = ListenFilter {
            lists: vec![Listed::Tools, Listed::Prompts],
            resources: ["mine", "not-mine"].map(str::to_owned).into(),
            tasks: vec!["t".to_owned()],
        };
        let mine = EnvironmentId::from_bytes([1; 16]);
        let named = |uri: &str| (uri == "mine").then_some(mine);
        let nothing = ServerCapabilities::default();
        let all = ServerCapabilities::default()
            .with_tools_list_changed()
            .with_resources_list_changed()
            .with_resource_subscriptions();
        let (honoured, interest) = honour(asked.clone(), &nothing, named);
        assert_eq!(honoured, ListenFilter::default());
        assert_eq!(interest, Interest::default());
        let (honoured, interest) = honour(asked, &all, named);
        assert_eq!(honoured.lists, [Listed::Tools]);
        assert_eq!(
            (honoured.resources.as_slice(), honoured.tasks.len()),
            (&["mine".to_owned()][..], 0)
        );
        assert_eq!(interest.lists, [List::Tools].into_iter().collect());
        assert_eq!(interest.environments[0].environment, mine);
    }
}
