//! The client's side of TLS: whom a connection believes, and what it shows of itself.

use std::fmt;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

/// So many authorities in one file are somebody's mistake.
const MAX_AUTHORITIES: usize = 1024;
/// Longest chain of a client's certificate.
const MAX_CHAIN: usize = 16;

/// Who may vouch for a server's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Whom this machine believes (`/etc/ssl/certs`, or `SSL_CERT_FILE` and `SSL_CERT_DIR`).
    #[default]
    Machine,
    /// Only these.
    Authorities(Authorities),
}

/// Certificate authorities, each of which can be one; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities(Vec<CertificateDer<'static>>);

/// Why a text names no authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAuthorities {
    /// No PEM.
    #[error("is no PEM file")]
    NotPem,
    /// No certificate in it.
    #[error("holds no certificate")]
    Empty,
    /// Too many.
    #[error("holds more than {MAX_AUTHORITIES} certificates")]
    TooMany,
    /// A certificate that cannot be read.
    #[error("holds a certificate that cannot be an authority's")]
    Unfit,
}

impl NotAuthorities {
    /// What to do.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::NotPem | Self::Empty => {
                "give a file with -----BEGIN CERTIFICATE----- of the authority"
            }
            Self::TooMany => "give only the authorities that are needed",
            Self::Unfit => "leave that certificate out",
        }
    }
}

impl Authorities {
    /// Reads PEM; what else is in the file, such as keys, is left alone.
    pub fn parse(pem: &str) -> Result<Self, NotAuthorities> {
        let found = CertificateDer::pem_slice_iter(pem.as_bytes()).take(MAX_AUTHORITIES + 1);
        let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|_| NotAuthorities::NotPem)?;
        if found.is_empty() {
            return Err(NotAuthorities::Empty);
        }
        if found.len() > MAX_AUTHORITIES {
            return Err(NotAuthorities::TooMany);
        }
        let mut store = RootCertStore::empty();
        for certificate in &found {
            store.add(certificate.clone()).map_err(|_| NotAuthorities::Unfit)?;
        }
        Ok(Self(found))
    }
}

/// A client's certificate, then those that lead to its authority; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateChain(Vec<CertificateDer<'static>>);

/// The key of a client's certificate.
pub struct PrivateKey(PrivateKeyDer<'static>);

/// What a client shows to a server that asks who it is: a certificate, and that it has the key.
#[derive(Clone)]
pub struct ClientIdentity(Arc<CertifiedKey>);

/// Why a text is no [`CertificateChain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("holds no certificate in PEM, or more than {MAX_CHAIN}")]
pub struct NotAChain;

/// Why a text is no [`PrivateKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("holds no private key in PEM without a passphrase")]
pub struct NotAKey;

/// A key that is not the one of the certificate, or of a kind that is not used in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("does not belong to the certificate")]
pub struct NotAPair;

impl CertificateChain {
    /// Reads PEM; what else is in the file is left alone.
    pub fn parse(pem: &str) -> Result<Self, NotAChain> {
        let found = CertificateDer::pem_slice_iter(pem.as_bytes()).take(MAX_CHAIN + 1);
        let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|_| NotAChain)?;
        if (1..=MAX_CHAIN).contains(&found.len()) { Ok(Self(found)) } else { Err(NotAChain) }
    }
}

impl PrivateKey {
    /// Reads PEM; what else is in the file is left alone.
    pub fn parse(pem: &str) -> Result<Self, NotAKey> {
        PrivateKeyDer::from_pem_slice(pem.as_bytes()).map(Self).map_err(|_| NotAKey)
    }
}

impl ClientIdentity {
    /// Holding one means that the key is the certificate's.
    pub fn new(chain: CertificateChain, key: PrivateKey) -> Result<Self, NotAPair> {
        let pair = CertifiedKey::from_der(chain.0, key.0, &provider()).map_err(|_| NotAPair)?;
        Ok(Self(Arc::new(pair)))
    }
}

/// Without the key.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

/// Without the key.
impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity")
    }
}

/// The client's side of TLS 1.2 and 1.3, as this trust has it; a server that asks who comes is shown the identity.
pub(crate) fn client_config(trust: &Trust, identity: Option<&ClientIdentity>) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions")
        .with_root_certificates(roots(trust));
    match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let shown: Arc<dyn ResolvesClientCert> =
                Arc::new(SingleCertAndKey::from(Arc::clone(&identity.0)));
            config.with_client_cert_resolver(shown)
        }
    }
}

/// Named and not taken from the process: a second provider in the tree would make that a panic.
fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

fn roots(trust: &Trust) -> RootCertStore {
    let mut store = RootCertStore::empty();
    match trust {
        Trust::Authorities(authorities) => {
            store.add_parsable_certificates(authorities.0.iter().cloned());
        }
        Trust::Machine => {
            // Machines keep some that no verifier takes any more: they are no reason to trust none.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                tracing::warn!(
                    "this machine knows no certificate authority: install ca-certificates, or name a file of the authorities that are needed"
                );
            }
        }
    }
    store
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_authorities_holds_certificates() {
        let authority = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let pem = authority.cert.pem();
        let key = authority.signing_key.serialize_pem();
        assert!(Authorities::parse(&pem).is_ok());
        assert_eq!(Authorities::parse(&format!("{key}{pem}{pem}")).unwrap().0.len(), 2);
        for (text, expected) in [
            (String::new(), NotAuthorities::Empty),
            ("hunter2".into(), NotAuthorities::Empty),
            (key, NotAuthorities::Empty),
            (pem.replace("END CERTIFICATE", "END"), NotAuthorities::NotPem),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
                NotAuthorities::Unfit,
            ),
            (pem.repeat(MAX_AUTHORITIES + 1), NotAuthorities::TooMany),
        ] {
            assert_eq!(Authorities::parse(&text), Err(expected), "{expected:?}");
        }
    }

    #[test]
    fn an_identity_is_a_certificate_and_its_own_key() {
        let made = || rcgen::generate_simple_self_signed(["c.test".to_owned()]).unwrap();
        let (mine, other) = (made(), made());
        let (certificate, key) = (mine.cert.pem(), mine.signing_key.serialize_pem());
        let chain = |pem: &str| CertificateChain::parse(pem);
        let read = |pem: &str| PrivateKey::parse(pem).unwrap();
        let whole = ClientIdentity::new(chain(&certificate).unwrap(), read(&key)).unwrap();
        assert_eq!(format!("{whole:?} {:?}", read(&key)), "ClientIdentity PrivateKey");
        let others = read(&other.signing_key.serialize_pem());
        assert!(ClientIdentity::new(chain(&certificate).unwrap(), others).is_err());
        assert_eq!(chain(&format!("{key}{certificate}")), chain(&certificate));
        for bad in ["", "hunter2", &key, &certificate.repeat(MAX_CHAIN + 1)] {
            assert_eq!(chain(bad), Err(NotAChain));
        }
        for bad in ["", "hunter2", &certificate, &key.replace("PRIVATE", "ENCRYPTED PRIVATE")] {
            assert_eq!(PrivateKey::parse(bad).err(), Some(NotAKey));
        }
    }
}
