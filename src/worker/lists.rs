//! What a worker tells of all its environments: lists, proofs, digest and counts.

use super::supervisor::Supervisor;
use crate::domain::environment::EnvironmentState;
use crate::domain::ids::{EnvironmentId, OwnerDigest, TenantDigest};
use crate::domain::placement::list_digest;
use crate::rpc::wire::{Claim, ListReply, Listed, MAX_LISTED};

/// How many environments there are, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) ready: u32,
    pub(super) running: u32,
    pub(super) interrupted: u32,
}

/// The digest of every environment and epoch, so that a gateway asks for the list only when it differs.
pub(super) type ListDigest = [u8; 16];

impl Supervisor {
    /// The environments of an owner, or of a whole tenant, or one alone of them; oldest first.
    pub(super) fn list(
        &self,
        tenant: TenantDigest,
        owner: Option<OwnerDigest>,
        one: Option<EnvironmentId>,
    ) -> ListReply {
        let mut environments: Vec<Listed> = self
            .live()
            .iter()
            .filter(|environment| {
                let record = environment.record();
                record.tenant == tenant
                    && owner.is_none_or(|owner| owner == record.owner)
                    && one.is_none_or(|one| one == environment.id())
            })
            .map(|environment| environment.listed())
            .collect();
        environments.sort_by(|a, b| {
            a.created_ms.cmp(&b.created_ms).then_with(|| a.environment.cmp(&b.environment))
        });
        environments.truncate(MAX_LISTED);
        ListReply { environments }
    }

    /// Every environment with its proof.
    pub(super) fn claims(&self) -> Vec<Claim> {
        self.live().iter().map(|environment| environment.claim()).collect()
    }

    /// How many environments there are, and the digest of them all.
    pub(super) fn digest(&self) -> (u32, ListDigest) {
        let live = self.live();
        let digest = list_digest(live.iter().map(|it| (it.id(), it.record().epoch)));
        (u32::try_from(live.len()).unwrap_or(u32::MAX), digest)
    }

    pub(super) fn census(&self) -> Census {
        self.live().iter().fold(Census::default(), |mut census, environment| {
            match environment.state() {
                EnvironmentState::Ready => census.ready += 1,
                EnvironmentState::Running => census.running += 1,
                EnvironmentState::Interrupted { .. } => census.interrupted += 1,
                EnvironmentState::Gone { .. } => {}
            }
            census
        })
    }
}
