//! Where the directory is, whom a TLS connection to it believes, and what it shows there.

use std::path::Path;

use crate::directory::redis::{RedisSettings, RedisUrl};
use crate::tls::{
    Authorities, CertificateChain, ClientIdentity, NotAuthorities, PrivateKey, Trust,
};

use super::problem::Wrong;
use super::reader::Reader;

const CA: &str = "redis-ca-file";
const CERTIFICATE: &str = "redis-client-certificate-file";
const KEY: &str = "redis-client-key-file";

pub(super) fn read(read: &Reader<'_>) -> RedisSettings {
    let url = read.one("redis", url);
    let authorities = read.perhaps(CA, |path| {
        let wrong = |error: NotAuthorities| Wrong::new(error.to_string(), error.mend());
        Authorities::parse(&text(read, path)?).map_err(wrong)
    });
    let certificate = read.perhaps(CERTIFICATE, |path| {
        let mend = "give a file with -----BEGIN CERTIFICATE-----, the client's own first";
        let wrong = |error| Wrong::new(format!("{error}"), mend);
        CertificateChain::parse(&text(read, path)?).map_err(wrong)
    });
    let key = read.perhaps(KEY, |path| {
        let mend = "give a file with -----BEGIN PRIVATE KEY-----, decrypted";
        let wrong = |error| Wrong::new(format!("{error}"), mend);
        PrivateKey::parse(&text(read, path)?).map_err(wrong)
    });
    for flag in [CA, CERTIFICATE, KEY] {
        read.rule(
            &[flag, "redis"],
            url.is_encrypted() || !read.is_given(flag),
            "is for TLS, which --redis does not ask for",
            "write rediss://, rediss+sentinel:// or rediss-cluster://, or leave it out",
        );
    }
    for (given, other) in [(CERTIFICATE, KEY), (KEY, CERTIFICATE)] {
        let whole = read.is_given(other) || !read.is_given(given);
        let mend = format!("give --{other} too, or neither");
        read.rule(&[given], whole, "is half of what a client shows", &mend);
    }
    let trust = authorities.map_or(Trust::Machine, Trust::Authorities);
    RedisSettings { url, trust, identity: identity(read, certificate, key) }
}

fn url(text: &str) -> Result<RedisUrl, Wrong> {
    RedisUrl::parse(text).map_err(|error| Wrong::new("cannot be used", error.to_string()))
}

fn identity(
    read: &Reader<'_>,
    certificate: Option<CertificateChain>,
    key: Option<PrivateKey>,
) -> Option<ClientIdentity> {
    let pair = ClientIdentity::new(certificate?, key?);
    let what = pair.as_ref().err().map(ToString::to_string).unwrap_or_default();
    read.rule(&[KEY], pair.is_ok(), &what, &format!("give the key of --{CERTIFICATE}"));
    pair.ok()
}

fn text(read: &Reader<'_>, path: &str) -> Result<String, Wrong> {
    read.around.read(Path::new(path)).map_err(|error| {
        let mend = "give the path of a PEM file that this user may read";
        Wrong::new(format!("cannot be read ({error})"), mend)
    })
}

#[cfg(test)]
mod tests {
    use crate::cli::settings;
    use crate::cli::settings::fake::Fake;
    use crate::cli::settings::{GatewaySettings, Problems};

    fn key_file() -> String {
        crate::domain::keyring::SecretKey::from_bytes([7; 32]).reveal()
    }

    /// A machine with two certificates, `a` and `b`, each its own authority, and their keys beside it.
    fn machine() -> Fake {
        let mut around = Fake::new().file("signing.key", &key_file()).file("root.key", &key_file());
        for name in ["a", "b"] {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            around = around
                .file(&format!("{name}.pem"), &made.cert.pem())
                .file(&format!("{name}.key"), &made.signing_key.serialize_pem());
        }
        around
    }

    fn gateway(more: &str) -> Result<GatewaySettings, Problems> {
        gateway_on(&machine(), more)
    }

    fn gateway_on(around: &Fake, more: &str) -> Result<GatewaySettings, Problems> {
        let arguments =
            "--anonymous --signing-key-file signing.key --worker-root-key-file root.key";
        let arguments = format!("{arguments} {more}");
        let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        settings::gateway(&words, around).map(|it| it.settings)
    }

    #[test]
    fn the_text_of_a_file_instead_of_its_path_is_not_shown() {
        let around = machine();
        let pem = around.files["a.key"].clone();
        let body = pem.lines().nth(1).unwrap();
        for flag in ["CLIENT_KEY", "CLIENT_CERTIFICATE", "CA"] {
            let around = machine()
                .variable("BATON_REDIS", "rediss://h")
                .variable(&format!("BATON_REDIS_{flag}_FILE"), &pem);
            let text = gateway_on(&around, "").unwrap_err().to_string();
            assert!(text.contains(&format!("BATON_REDIS_{flag}_FILE: it looks like")), "{text}");
            assert!(text.contains("→ write it into a file") && !text.contains(body), "{text}");
        }
    }

    #[test]
    fn tls_takes_its_files() {
        let pair = "--redis-client-certificate-file a.pem --redis-client-key-file a.key";
        for scheme in ["rediss://h", "rediss+sentinel://h/m", "rediss-cluster://h,i"] {
            let redis =
                gateway(&format!("--redis {scheme} --redis-ca-file b.pem {pair}")).unwrap().redis;
            assert!(redis.url.is_encrypted() && redis.identity.is_some(), "{redis:?}");
        }
        let redis = gateway("--redis rediss://h").unwrap().redis;
        assert!(redis.identity.is_none(), "{redis:?}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_of_that_file_and_without_its_text() {
        let check = |more: &str, expected: &str| {
            let around = machine();
            let text = gateway_on(&around, more).unwrap_err().to_string();
            assert!(text.contains(expected), "{more}: {text}");
            let held = around.files.values().flat_map(|it| it.lines());
            let long = held.filter(|it| it.len() > 20 && !it.starts_with("-----"));
            for line in long {
                assert!(!text.contains(line), "{more}: {text}");
            }
            assert_eq!(text.lines().count(), 3, "{more}: {text}");
        };
        check(
            "--redis rediss://h --redis-ca-file none",
            "--redis-ca-file: \"none\" cannot be read",
        );
        check("--redis rediss://h --redis-ca-file a.key", "\"a.key\" holds no certificate");
        check("--redis-ca-file a.pem", "--redis-ca-file: is for TLS");
        check("--redis u:p@h --redis-ca-file a.pem", "--redis: it cannot be used");
        let tls = "--redis rediss://h --redis-client-";
        check(&format!("{tls}certificate-file a.pem"), "give --redis-client-key-file too");
        check(&format!("{tls}key-file a.key"), "give --redis-client-certificate-file too");
        let both = |certificate: &str, key: &str| {
            format!("{tls}certificate-file {certificate} --redis-client-key-file {key}")
        };
        check(&both("a.key", "a.key"), "certificate-file: \"a.key\" holds no certificate");
        check(&both("a.pem", "a.pem"), "key-file: \"a.pem\" holds no private key");
        check(&both("a.pem", "b.key"), "key-file: does not belong to the certificate");
    }
}
