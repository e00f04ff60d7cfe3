//! Places under far more calls than there are places for, in virtual time: what is served, how soon, and of whom.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until};

use super::class::Class;
use super::slots::{InFlight, Slots};
use super::tests::tenant;

/// How long each call takes.
const CALL: Duration = Duration::from_millis(10);

/// So many places that calls of [`CALL`] are served 800 times in a second.
fn eight() -> Slots {
    Slots::new(InFlight { calls: 8, calls_per_tenant: 8 })
}

#[tokio::test(start_paused = true)]
async fn four_times_the_load_is_served_as_fast_and_as_much_as_the_places_allow() {
    let slots = eight();
    for _ in 0..200 {
        let _alone = slots.take(Class::Execute, tenant("a")).await.unwrap();
        sleep(CALL).await;
    }
    let began = Instant::now();
    let calls = (0..6_400_u32).map(async |number| {
        sleep_until(began + Duration::from_secs(2) * number / 6_400).await;
        let asked = Instant::now();
        let slot = slots.take(Class::Execute, tenant("a")).await;
        if slot.is_ok() {
            sleep(CALL).await;
        }
        (slot.is_ok(), asked.elapsed())
    });
    let answers = join_all(calls).await;
    let of = |served| answers.iter().filter(move |(it, _)| *it == served).map(|(_, took)| *took);
    assert!(of(true).count() >= 1_440, "nine tenths of 1,600, and not {}", of(true).count());
    assert!(of(true).max() <= Some(CALL * 3 / 2), "{:?}", of(true).max());
    assert!(of(false).max() <= Some(CALL / 2), "{:?}", of(false).max());
}

/// Eight tenants ask as often as together fills nine tenths of the places, and another asks `noise` times as often as
/// each of them. Returns which share of the quiet ones' calls was served.
async fn served(noise: u32) -> f64 {
    let slots = eight();
    let call = async |name: String| {
        let slot = slots.take(Class::Execute, tenant(&name)).await;
        sleep(CALL).await;
        slot.is_ok()
    };
    // 8 places of 10 ms are 800 calls in a second; a quiet tenant asks 90 times in it.
    let every = Duration::from_micros(11_111);
    let mut calls = Vec::new();
    for round in 0..200_u32 {
        for quiet in 0..8_u32 {
            let at = every * round + Duration::from_micros(300) * quiet;
            calls.push((at, format!("quiet-{quiet}")));
        }
        for number in 0..noise {
            calls.push((every * round + every * number / noise.max(1), "noisy".to_owned()));
        }
    }
    let began = Instant::now();
    let results = join_all(calls.into_iter().map(async |(at, name)| {
        sleep_until(began + at).await;
        let is_quiet = name != "noisy";
        is_quiet.then_some(call(name).await)
    }));
    let quiet: Vec<bool> = results.await.into_iter().flatten().collect();
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let share = |part: usize| part as f64 / quiet.len() as f64;
    share(quiet.iter().filter(|it| **it).count())
}

#[tokio::test(start_paused = true)]
async fn a_noisy_tenant_takes_at_most_a_tenth_of_the_others_calls() {
    let (alone, beside_noise) = (served(0).await, served(8).await);
    assert!(alone > 0.99, "{alone}");
    assert!(beside_noise >= 0.9 * alone, "{beside_noise} of the calls were served");
    let flooded = served(64).await;
    assert!(flooded >= 0.9 * alone, "{flooded} of the calls were served");
}
