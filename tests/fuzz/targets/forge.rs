//! Forgeries of everything that is sealed for a client, by every way there is, millions of them: handles, cursors,
//! request states, task ids. Not driven by coverage, which a MAC has none of: it counts, and one accepted ends it.
//!
//! usage: forge [COUNT [SEED]]

use std::hash::{BuildHasher as _, RandomState};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use baton::domain::handle::Handle;
use baton::domain::ids::{EnvironmentId, Name, Principal, TallyId, Timestamp};
use baton::domain::keyring::{Keyring, SecretKey};
use baton::domain::sealed::{self, Kind};
use libfuzzer_sys as _; // the other targets' instrumentation, which this one is built with too

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const LATER: Timestamp = Timestamp::from_millis(2_000_000);
const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const PREFIX_LEN: usize = 4;
/// How many of each random kind are tried on one genuine text.
const RANDOM: usize = 1500;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|it| it.parse::<u64>());
    let mut argument = |default: u64| arguments.next().map_or(Ok(default), |it| it);
    let (Ok(count), Ok(seed)) = (argument(10_000_000), argument(RandomState::new().hash_one(0)))
    else {
        eprintln!("usage: forge [COUNT [SEED]]");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    let workers = thread::available_parallelism().map_or(2, usize::from) as u64;
    let results: Vec<Result<u64, String>> = thread::scope(|scope| {
        let run = |worker| {
            scope.spawn(move || Forger::new(seed.wrapping_add(worker)).run(count.div_ceil(workers)))
        };
        let running: Vec<_> = (0..workers).map(run).collect();
        running
            .into_iter()
            .map(|it| it.join().unwrap_or_else(|_| Err("a panic".to_owned())))
            .collect()
    });
    match results.into_iter().sum::<Result<u64, String>>() {
        Ok(tried) => {
            println!(
                "ok forge: {tried} forgeries, 0 accepted, {} s (seed {seed})",
                began.elapsed().as_secs()
            );
            ExitCode::SUCCESS
        }
        Err(accepted) => {
            println!("FAIL forge: accepted {accepted} (seed {seed})");
            ExitCode::FAILURE
        }
    }
}

/// What is sealed for clients.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Environment,
    Tally,
    Sealed(Kind),
}

const FORMS: [Form; 5] = [
    Form::Environment,
    Form::Tally,
    Form::Sealed(Kind::Cursor),
    Form::Sealed(Kind::RequestState),
    Form::Sealed(Kind::Task),
];

impl Form {
    fn prefix(self) -> &'static str {
        match self {
            Self::Environment => "bte_",
            Self::Tally => "btn_",
            Self::Sealed(kind) => kind.prefix(),
        }
    }
}

/// All that opening depends on, besides the text.
struct Door {
    form: Form,
    owner: Principal,
    context: Vec<u8>,
    keys: Keyring,
}

impl Door {
    fn opens(&self, text: &str) -> bool {
        let Self { form, owner, context, keys } = self;
        match form {
            Form::Environment => Handle::<EnvironmentId>::open(text, owner, keys, NOW).is_ok(),
            Form::Tally => Handle::<TallyId>::open(text, owner, keys, NOW).is_ok(),
            Form::Sealed(kind) => sealed::open(*kind, text, owner, context, keys, NOW).is_ok(),
        }
    }

    fn seal(&self, id: [u8; 16], generation: u16, payload: &[u8]) -> String {
        let Self { form, owner, context, keys } = self;
        match form {
            Form::Environment => {
                Handle::issue(EnvironmentId::from_bytes(id), generation, LATER).seal(owner, keys)
            }
            Form::Tally => {
                Handle::issue(TallyId::from_bytes(id), generation, LATER).seal(owner, keys)
            }
            Form::Sealed(kind) => {
                sealed::seal(*kind, owner, context, payload, LATER, keys).expect("it is short")
            }
        }
    }
}

fn ring(audience: &str, keys: &[u8]) -> Keyring {
    let keys: Vec<_> = keys.iter().map(|byte| SecretKey::from_bytes([*byte; 32])).collect();
    Keyring::new(audience, &keys).expect("keys with different ids")
}

fn principal(tenant: &str, subject: &str) -> Principal {
    let name = |text| Name::parse(text).expect("a name");
    Principal::verified(name(tenant), name(subject))
}

fn door(form: Form) -> Door {
    Door {
        form,
        owner: principal("tenant", "subject"),
        context: b"context".to_vec(),
        keys: ring("baton", &[1, 2]),
    }
}

/// The same door but for one thing.
fn other_doors(form: Form) -> Vec<Door> {
    let owners = [
        principal("tenant", "subject2"),
        principal("tenant2", "subject"),
        principal("tenants", "ubject"),
        principal("subject", "tenant"),
        Principal::Anonymous,
    ];
    let keys = [ring("baton2", &[1, 2]), ring("baton", &[3]), ring("baton", &[2])];
    let contexts: [&[u8]; 4] = [b"", b"context2", b"contex", b"xcontext"];
    let mut doors: Vec<_> = owners.map(|owner| Door { owner, ..door(form) }).into();
    doors.extend(keys.map(|keys| Door { keys, ..door(form) }));
    if let Form::Sealed(_) = form {
        doors.extend(contexts.map(|context| Door { context: context.to_vec(), ..door(form) }));
    }
    doors
}

struct Forger {
    random: u64,
    tried: u64,
}

impl Forger {
    fn new(seed: u64) -> Self {
        Self { random: seed, tried: 0 }
    }

    /// Forges at least so many; the error is one that was accepted.
    fn run(mut self, count: u64) -> Result<u64, String> {
        let doors = FORMS.map(|form| (door(form), other_doors(form)));
        while self.tried < count {
            for (door, others) in &doors {
                let [text, sibling] = [self.genuine(door), self.genuine(door)];
                assert!(door.opens(&text), "a genuine one opens, or nothing is proven");
                self.characters(door, &text)?;
                self.lengths(door, &text)?;
                self.bytes(door, &text)?;
                self.splices(door, &text, &sibling)?;
                self.inventions(door)?;
                self.elsewhere(&text, others)?;
            }
        }
        Ok(self.tried)
    }

    fn genuine(&mut self, door: &Door) -> String {
        let id = [self.next().to_be_bytes(), self.next().to_be_bytes()].concat();
        let payload: Vec<u8> = (0..self.below(80)).map(|_| self.byte()).collect();
        door.seal(id.try_into().expect("16 bytes"), self.byte().into(), &payload)
    }

    /// Every other character at every place, and some that no text has.
    fn characters(&mut self, door: &Door, text: &str) -> Result<(), String> {
        for at in 0..text.len() {
            for byte in ALPHABET.iter().chain(b"=+/ .\n\0") {
                let mut changed = text.as_bytes().to_vec();
                changed[at] = *byte;
                if changed != text.as_bytes() {
                    self.attempt(door, str::from_utf8(&changed).expect("ASCII"))?;
                }
            }
        }
        Ok(())
    }

    /// Every beginning, and more behind it or before it.
    fn lengths(&mut self, door: &Door, text: &str) -> Result<(), String> {
        for end in 0..text.len() {
            self.attempt(door, &text[..end])?;
            self.attempt(door, &text[text.len() - end..])?;
        }
        for byte in ALPHABET.iter().chain(b"= \n\0") {
            let one = char::from(*byte);
            self.attempt(door, &format!("{text}{one}"))?;
            self.attempt(door, &format!("{text}{one}{one}{one}{one}"))?;
            self.attempt(door, &format!("{one}{text}"))?;
            self.attempt(door, &format!("{}{one}{}", &text[..PREFIX_LEN], &text[PREFIX_LEN..]))?;
        }
        self.attempt(door, &format!("{text}{text}"))
    }

    /// Every bit flipped, and some bytes at once.
    fn bytes(&mut self, door: &Door, text: &str) -> Result<(), String> {
        let bytes = URL_SAFE_NO_PAD.decode(&text[PREFIX_LEN..]).expect("it is genuine");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            self.attempt_bytes(door, &changed)?;
        }
        for _ in 0..RANDOM {
            let mut changed = bytes.clone();
            for _ in 0..=self.below(8) {
                let at = self.below(changed.len());
                changed[at] = self.byte();
            }
            if changed != bytes {
                self.attempt_bytes(door, &changed)?;
            }
        }
        Ok(())
    }

    /// The beginning of one genuine text and the end of another.
    fn splices(&mut self, door: &Door, text: &str, sibling: &str) -> Result<(), String> {
        for at in PREFIX_LEN..text.len() {
            for from in
                [at.min(sibling.len()), sibling.len() - (text.len() - at).min(sibling.len())]
            {
                let spliced = format!("{}{}", &text[..at], &sibling[from..]);
                if spliced != text && spliced != sibling {
                    self.attempt(door, &spliced)?;
                }
            }
        }
        Ok(())
    }

    /// Made-up bytes of the right form: version, key id, a time to come, any MAC.
    fn inventions(&mut self, door: &Door) -> Result<(), String> {
        for _ in 0..RANDOM {
            let length = if let Form::Sealed(_) = door.form { 27 + self.below(60) } else { 45 };
            let mut bytes: Vec<u8> = (0..length).map(|_| self.byte()).collect();
            bytes[0] = 1;
            bytes[1] = door.keys.signing_key_id();
            self.attempt_bytes(door, &bytes)?;
        }
        Ok(())
    }

    /// The genuine text, at every other door: of another kind, principal, audience, key or context.
    fn elsewhere(&mut self, text: &str, others: &[Door]) -> Result<(), String> {
        for other in others {
            self.attempt(other, text)?;
        }
        for form in FORMS.into_iter().filter(|form| !text.starts_with(form.prefix())) {
            let other = door(form);
            self.attempt(&other, text)?;
            self.attempt(&other, &format!("{}{}", form.prefix(), &text[PREFIX_LEN..]))?;
        }
        Ok(())
    }

    fn attempt_bytes(&mut self, door: &Door, bytes: &[u8]) -> Result<(), String> {
        self.attempt(door, &format!("{}{}", door.form.prefix(), URL_SAFE_NO_PAD.encode(bytes)))
    }

    fn attempt(&mut self, door: &Door, text: &str) -> Result<(), String> {
        self.tried += 1;
        if door.opens(text) { Err(format!("{text:?} as {:?}", door.form)) } else { Ok(()) }
    }

    /// `SplitMix64`: any seed is good, and the same seed forges the same.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("it is below a usize")
    }
}
