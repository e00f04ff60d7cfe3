//! Whom a TLS connection to an upstream believes.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// So many authorities in one file are somebody's mistake.
const MAX_AUTHORITIES: usize = 1024;

/// Who may vouch for an upstream's name.
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
            Self::TooMany => "give only the authorities that this upstream needs",
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

/// The client's side of TLS 1.2 and 1.3, as this trust has it.
pub(super) fn client_config(trust: &Trust) -> ClientConfig {
    // Named and not taken from the process: a second provider in the tree would make that a panic.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions")
        .with_root_certificates(roots(trust))
        .with_no_client_auth()
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
                    "this machine knows no certificate authority: install ca-certificates, or give the upstream a ca_file"
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
}
