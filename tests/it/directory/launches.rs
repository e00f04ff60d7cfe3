//! Launches under a key: one creates, and everybody after that learns what.
#![expect(clippy::unwrap_used, reason = "a directory that is away fails the test")]

use std::future::ready;

use baton::directory::{LAUNCH_TERM, Launch, LaunchClaim, LaunchEnd, MAX_LAUNCH_KEYS, Terms};
use baton::domain::ids::LaunchKey;
use futures_util::{StreamExt as _, stream};

use super::subject::{Kind, LONG, SHORT, Subject, environment, tenant};

contract! {
    a_key_names_the_environment_of_its_first_claim
    a_claim_that_nobody_settles_passes_on_with_its_environment
    a_claim_that_is_given_up_passes_on_at_once_with_its_environment
    what_was_not_made_leaves_the_key_free
    a_launch_is_forgotten_after_its_term
    a_tenant_has_so_many_keys_and_no_more
}

const KEY: LaunchKey = LaunchKey::from_bytes([1; 16]);

impl Subject {
    fn launch(&self, id: u8) -> Launch {
        Launch { environment: environment(id), not_after: self.now().after(LONG) }
    }

    async fn claim(&self, mine: Launch) -> LaunchClaim {
        self.directory.claim_launch(tenant(0), KEY, mine).await.unwrap()
    }

    async fn settle(&self, id: u8, how: LaunchEnd) {
        self.directory.settle_launch(tenant(0), KEY, environment(id), how).await.unwrap();
    }
}

async fn a_key_names_the_environment_of_its_first_claim(kind: Kind) {
    let it = kind.open().await;
    let (one, two) = (it.launch(1), it.launch(2));
    assert_eq!(it.claim(one).await, LaunchClaim::Yours(one));
    assert_eq!(it.claim(two).await, LaunchClaim::UnderWay);
    assert_eq!(it.claim(one).await, LaunchClaim::Yours(one), "a repeat by who has it");
    it.settle(2, LaunchEnd::Made).await;
    assert_eq!(it.claim(two).await, LaunchClaim::UnderWay, "it is not the second one's to settle");
    it.settle(1, LaunchEnd::Made).await;
    it.settle(1, LaunchEnd::NotMade).await;
    for mine in [one, two] {
        assert_eq!(it.claim(mine).await, LaunchClaim::Made(one));
    }
    let elsewhere = it.directory.claim_launch(tenant(1), KEY, two).await.unwrap();
    assert_eq!(elsewhere, LaunchClaim::Yours(two), "another tenant's key is another");
}

async fn a_claim_that_nobody_settles_passes_on_with_its_environment(kind: Kind) {
    let it = kind.open_with(Terms { launch_claim: SHORT, ..Terms::default() }).await;
    let (one, two) = (it.launch(1), it.launch(2));
    assert_eq!(it.claim(one).await, LaunchClaim::Yours(one));
    it.pass(SHORT * 2).await;
    assert_eq!(it.claim(two).await, LaunchClaim::Yours(one), "it may be there already");
    assert_eq!(it.claim(it.launch(3)).await, LaunchClaim::UnderWay);
}

async fn a_claim_that_is_given_up_passes_on_at_once_with_its_environment(kind: Kind) {
    let it = kind.open_with(Terms { launch_claim: LONG, ..Terms::default() }).await;
    let (one, two) = (it.launch(1), it.launch(2));
    assert_eq!(it.claim(one).await, LaunchClaim::Yours(one));
    it.settle(2, LaunchEnd::Open).await;
    assert_eq!(it.claim(two).await, LaunchClaim::UnderWay, "it is not the second one's to give up");
    it.settle(1, LaunchEnd::Open).await;
    assert_eq!(it.claim(two).await, LaunchClaim::Yours(one), "it may be there already");
    assert_eq!(it.claim(it.launch(3)).await, LaunchClaim::UnderWay);
    it.settle(1, LaunchEnd::Made).await;
    it.settle(1, LaunchEnd::Open).await;
    assert_eq!(it.claim(two).await, LaunchClaim::Made(one), "what was made stays");
}

async fn what_was_not_made_leaves_the_key_free(kind: Kind) {
    let it = kind.open_with(Terms { launch_claim: LONG, ..Terms::default() }).await;
    let (one, two) = (it.launch(1), it.launch(2));
    assert_eq!(it.claim(one).await, LaunchClaim::Yours(one));
    it.settle(1, LaunchEnd::NotMade).await;
    let brief = Launch { not_after: it.now().after(SHORT), ..two };
    assert_eq!(it.claim(brief).await, LaunchClaim::Yours(brief));
    it.pass(SHORT * 2).await;
    assert_eq!(it.claim(one).await, LaunchClaim::Yours(one), "its life is over");
}

async fn a_launch_is_forgotten_after_its_term(kind: Kind) {
    let it = kind.open_with(Terms { launch: SHORT, ..Terms::default() }).await;
    let (one, two) = (it.launch(1), it.launch(2));
    it.claim(one).await;
    it.settle(1, LaunchEnd::Made).await;
    it.pass(SHORT * 2).await;
    assert_eq!(it.claim(two).await, LaunchClaim::Yours(two));
}

async fn a_tenant_has_so_many_keys_and_no_more(kind: Kind) {
    let it = &kind.open().await;
    let mine = it.launch(1);
    let key = |number: u32| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        LaunchKey::from_bytes(bytes)
    };
    let claim = async |id, number| {
        let claimed = it.directory.claim_launch(tenant(id), key(number), mine).await.unwrap();
        if let LaunchClaim::Full { wait } = claimed {
            assert!(LAUNCH_TERM / 2 < wait && wait <= LAUNCH_TERM, "{wait:?}");
            return false;
        }
        assert_eq!(claimed, LaunchClaim::Yours(mine));
        true
    };
    let all = stream::iter(0..MAX_LAUNCH_KEYS).map(|number| claim(0, number)).buffer_unordered(64);
    assert!(all.all(ready).await);
    assert!(!claim(0, MAX_LAUNCH_KEYS).await);
    assert!(claim(0, 0).await, "a repeat is no new key");
    assert!(claim(1, MAX_LAUNCH_KEYS).await, "another tenant has its own");
    let end = LaunchEnd::NotMade;
    it.directory.settle_launch(tenant(0), key(7), mine.environment, end).await.unwrap();
    assert!(claim(0, MAX_LAUNCH_KEYS).await, "what was not made leaves room");
    assert!(!claim(0, 7).await);
}
