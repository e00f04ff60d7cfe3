//! Which upstream a request is for: by its method and name alone (streamable-http, "Standard Request Headers").

use std::pin::pin;
use std::sync::Arc;

use futures_util::stream::{FuturesOrdered, Stream, StreamExt as _};

use super::Upstreams;
use super::discovery::Spoken;
use super::lists::{Listing, Listings};
use super::server::Server;
use super::translate;
use crate::domain::ids::Principal;
use crate::domain::task::TaskId;
use crate::gateway::resources::is_own;
use crate::mcp::{Envelope, JsonBuf, Listed, Method, Mirror, Object, Rejection, RejectionKind};

/// Where a request goes, and what of it is different there.
#[derive(Debug)]
pub(in crate::gateway) struct Destination {
    /// The upstream.
    pub server: Arc<Server>,
    /// What the request is aimed at, in the upstream's own words.
    pub name: Option<String>,
    /// Params that are others for the upstream.
    pub replacing: Vec<(&'static str, Option<JsonBuf>)>,
    /// Which arguments of a tool are repeated in headers, as far as its list has been seen.
    pub mirrors: Vec<Mirror>,
}

impl Destination {
    fn new(server: Arc<Server>, name: Option<String>) -> Self {
        Self { server, name, replacing: Vec::new(), mirrors: Vec::new() }
    }

    /// A client whose revision has no mirrored arguments leaves them to the gateway, which has to know them then.
    async fn look_up_mirrors(&mut self, caller: &Principal) {
        let Some(own) = &self.name else { return };
        let known = self.server.known().await;
        if !known.is_ok_and(|known| known.spoken == Spoken::Modern) {
            return;
        }
        let listing = Listings::get(&self.server, Listed::Tools, caller).await;
        let shown = format!("{}{own}", self.server.config.prefix);
        if let Some(item) = listing.as_ref().and_then(|it| it.find(&shown)) {
            self.mirrors.clone_from(&item.mirrors);
        }
    }

    /// For a tool or prompt, whose name there is its own.
    fn named(server: &Arc<Server>, own: String, listing: Option<&Listing>, name: &str) -> Self {
        let item = listing.and_then(|it| it.find(name));
        let mirrors = item.map(|it| it.mirrors.clone()).unwrap_or_default();
        let mut replacing = Vec::new();
        if own != name {
            replacing.push(("name", Some(translate::text(&own))));
        }
        Self { server: Arc::clone(server), name: Some(own), replacing, mirrors }
    }
}

impl Upstreams {
    /// Where a request goes; `None` if no upstream has what it is aimed at.
    pub(in crate::gateway) async fn destination(
        &self,
        envelope: &Envelope,
        caller: &Principal,
    ) -> Result<Option<Destination>, Rejection> {
        let name = envelope.name().unwrap_or_default();
        Ok(match envelope.method() {
            Method::CallTool => {
                let mut found = self.route_name(Listed::Tools, name, caller).await;
                if let (false, Some(found)) = (envelope.era().is_modern(), &mut found) {
                    found.look_up_mirrors(caller).await;
                }
                found
            }
            Method::GetPrompt => self.route_name(Listed::Prompts, name, caller).await,
            Method::ReadResource => {
                let server = self.route_uri(name, caller).await;
                server.map(|it| Destination::new(it, Some(name.to_owned())))
            }
            Method::Complete => self.route_reference(envelope, caller).await?,
            Method::GetTask | Method::UpdateTask | Method::CancelTask | Method::TaskResult => {
                self.route_task(name, caller)
            }
            _ => None,
        })
    }

    /// The id says whose task it is. The upstream knows it by its own.
    fn route_task(&self, id: &str, caller: &Principal) -> Option<Destination> {
        let opened = TaskId::open(id, caller, &self.keys, self.clock.now());
        let Ok(TaskId::Upstream { upstream, task }) = opened else { return None };
        let server = self.named(&upstream)?;
        let replacing = vec![("taskId", Some(translate::text(&task)))];
        Some(Destination { replacing, ..Destination::new(server, Some(task)) })
    }

    /// completion, "Reference Types".
    async fn route_reference(
        &self,
        envelope: &Envelope,
        caller: &Principal,
    ) -> Result<Option<Destination>, Rejection> {
        let reference = envelope.params().get("ref").and_then(Object::read);
        let wrong = || {
            let message = "params.ref is a prompt's or a resource's reference";
            envelope.reject(RejectionKind::InvalidParams, message)
        };
        let mut reference = reference.ok_or_else(wrong)?;
        let kind = reference.text("type").ok_or_else(wrong)?.into_owned();
        match kind.as_str() {
            "ref/prompt" => {
                let name = reference.text("name").ok_or_else(wrong)?.into_owned();
                let Some(found) = self.route_name(Listed::Prompts, &name, caller).await else {
                    return Ok(None);
                };
                reference.set_text("name", found.name.as_deref().unwrap_or(&name));
                let replacing = vec![("ref", Some(reference.render()))];
                Ok(Some(Destination { name: None, replacing, ..found }))
            }
            "ref/resource" => {
                let uri = reference.text("uri").ok_or_else(wrong)?;
                let server = self.route_template(&uri, caller).await;
                Ok(server.map(|it| Destination::new(it, None)))
            }
            _ => Err(wrong()),
        }
    }

    /// The server of a tool or prompt. One that alone can have the name is asked whether it lists it or not; of
    /// several, the first that lists it, else the first that nobody ever got a list from.
    async fn route_name(
        &self,
        listed: Listed,
        name: &str,
        caller: &Principal,
    ) -> Option<Destination> {
        let candidates: Vec<(Arc<Server>, String)> = self
            .servers()
            .into_iter()
            .filter_map(|server| {
                let own = name.strip_prefix(&server.config.prefix)?.to_owned();
                server.may_have(listed, &own).then_some((server, own))
            })
            .collect();
        if let [(server, own)] = &candidates[..] {
            let listing = server.listings.last(listed, caller);
            return Some(Destination::named(server, own.clone(), listing.as_deref(), name));
        }
        let servers: Vec<Arc<Server>> = candidates.iter().map(|(it, _)| Arc::clone(it)).collect();
        let mut lists = pin!(at_once(&servers, listed, caller));
        let mut silent = None;
        for (server, own) in candidates {
            let listing = lists.next().await?;
            if listing.as_ref().is_some_and(|it| it.find(name).is_some()) {
                return Some(Destination::named(&server, own, listing.as_deref(), name));
            }
            if listing.is_none() && silent.is_none() {
                silent = Some(Destination::named(&server, own, None, name));
            }
        }
        silent
    }

    /// The server of a resource: the first that lists it, else the one whose template fits it best, else the only one
    /// that has resources. None gets what is Baton's own: there is a handle in it.
    pub(in crate::gateway) async fn route_uri(
        &self,
        uri: &str,
        caller: &Principal,
    ) -> Option<Arc<Server>> {
        if is_own(uri) {
            return None;
        }
        let servers = self.servers().into_iter();
        let candidates: Vec<Arc<Server>> =
            servers.filter(|it| it.may_have(Listed::Resources, uri)).collect();
        if let [server] = &candidates[..] {
            return Some(Arc::clone(server));
        }
        if let Some(server) = first_with(&candidates, Listed::Resources, uri, caller).await {
            return Some(server);
        }
        let mut best: Option<(usize, &Arc<Server>)> = None;
        let mut lists = pin!(at_once(&candidates, Listed::ResourceTemplates, caller));
        for server in &candidates {
            let listing = lists.next().await?;
            let fits =
                listing.iter().flat_map(|it| &it.items).filter_map(|it| fit(&it.key, uri)).max();
            if let Some(fits) = fits
                && best.is_none_or(|(known, _)| fits > known)
            {
                best = Some((fits, server));
            }
        }
        best.map(|(_, server)| Arc::clone(server))
    }

    /// The server whose template this is.
    async fn route_template(&self, template: &str, caller: &Principal) -> Option<Arc<Server>> {
        if is_own(template) {
            return None;
        }
        let servers = self.servers();
        match first_with(&servers, Listed::ResourceTemplates, template, caller).await {
            Some(server) => Some(server),
            None => self.route_uri(template, caller).await,
        }
    }

    /// Whether some upstream may have this resource.
    pub(in crate::gateway) async fn has_resource(&self, uri: &str, caller: &Principal) -> bool {
        self.route_uri(uri, caller).await.is_some()
    }

    /// The server of this name.
    pub(in crate::gateway) fn named(&self, name: &str) -> Option<Arc<Server>> {
        self.servers().into_iter().find(|it| it.config.name.as_str() == name)
    }
}

/// A list of each of these, in their order; all are asked at once. A route outlives a list that is no longer offered:
/// what is called there fails as the upstream's, instead of being unknown or another's.
fn at_once(
    servers: &[Arc<Server>],
    listed: Listed,
    caller: &Principal,
) -> impl Stream<Item = Option<Arc<Listing>>> {
    let looks = servers.iter().map(|server| async move {
        let fresh = Listings::get(server, listed, caller).await;
        fresh.or_else(|| server.listings.last(listed, caller))
    });
    looks.collect::<FuturesOrdered<_>>()
}

/// The first of these that lists this.
async fn first_with(
    servers: &[Arc<Server>],
    listed: Listed,
    key: &str,
    caller: &Principal,
) -> Option<Arc<Server>> {
    let mut lists = pin!(at_once(servers, listed, caller));
    for server in servers {
        if lists.next().await?.is_some_and(|it| it.find(key).is_some()) {
            return Some(Arc::clone(server));
        }
    }
    None
}

/// How many characters of a URI template (RFC 6570) stand in a URI as they are, if the template can make it. Only the
/// literal parts are compared, in their order; what a variable may hold is for the upstream to say.
fn fit(template: &str, uri: &str) -> Option<usize> {
    let mut parts = template.split('{');
    let first = parts.next()?;
    let mut rest = uri.strip_prefix(first)?;
    let mut literals = first.len();
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty().then_some(literals);
    }
    while let Some(part) = parts.next() {
        let (_, after) = part.split_once('}')?;
        let at = if parts.peek().is_none() {
            rest.strip_suffix(after)?.len()
        } else {
            rest.find(after)?
        };
        rest = &rest[at + after.len()..];
        literals += after.len();
    }
    Some(literals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_fits_what_it_can_make() {
        let check = |template: &str, uri: &str, literal| {
            assert_eq!(fit(template, uri), literal, "{template} {uri}");
        };
        check("test://a/{id}/data", "test://a/7/data", Some(14));
        check("test://a/{id}", "test://a/7", Some(9));
        check("test://a/{id}", "test://b/7", None);
        check("test://a/{id}/data", "test://a/7/other", None);
        check("test://a/{id}/data", "test://a/data/data/data", Some(14));
        check("test://{a}/{b}", "test://x/y", Some(8));
        check("test://a", "test://a", Some(8));
        check("test://a", "test://a/b", None);
        check("a{", "ab", None);
        check("{+path}", "x/y", Some(0));
    }
}
