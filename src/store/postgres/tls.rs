//! TLS to Postgres, with the meaning that libpq gives to `sslmode`.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::store::{StoreError, StoreResult};

/// What of the server's certificate is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verify {
    /// `disable`, `prefer`, `require`: if there is TLS, it protects against listeners only.
    Nothing,
    /// `verify-ca`, `verify-full`: chain and host name, against the operating system's roots or those of a PEM file.
    Certificate { root_file: Option<String> },
}

/// Splits off the parts of the URL that the driver does not know: `sslrootcert`, and `sslmode=verify-…`.
pub(super) fn split_url(url: &str) -> (String, Verify) {
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), Verify::Nothing) };
    let mut verifies = false;
    let mut root_file = None;
    let mut rest = Vec::new();
    for parameter in query.split('&') {
        match parameter.split_once('=') {
            Some(("sslmode", "verify-ca" | "verify-full")) => verifies = true,
            Some(("sslrootcert", file)) => root_file = Some(file.replace("%2F", "/").replace("%2f", "/")),
            _ => rest.push(parameter),
        }
    }
    // Like libpq: roots of one's own make `require` check the chain as well.
    verifies |= root_file.is_some() && rest.contains(&"sslmode=require");
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    (url, if verifies { Verify::Certificate { root_file } } else { Verify::Nothing })
}

pub(super) fn client_config(verify: &Verify) -> StoreResult<ClientConfig> {
    let wrong = |problem: String| StoreError::Option { option: "url", problem };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(format!("needs TLS, which is not to be had: {error}")))?;
    let builder = match verify {
        Verify::Nothing => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(provider))),
        Verify::Certificate { root_file: Some(file) } => builder.with_root_certificates(
            roots_from(file).map_err(|problem| wrong(format!("names `{file}` as `sslrootcert`, which {problem}")))?,
        ),
        Verify::Certificate { root_file: None } => builder
            .with_platform_verifier()
            .map_err(|error| wrong(format!("asks for the operating system's root certificates: {error}")))?,
    };
    Ok(builder.with_no_client_auth())
}

fn roots_from(file: &str) -> Result<RootCertStore, String> {
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| format!("cannot be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| format!("is not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("holds an unusable certificate: {error}"))?;
    }
    if roots.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(roots) }
}

/// Takes any certificate, as `sslmode=require` does; signatures are still checked.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::{Verify, client_config, split_url};

    #[test]
    fn sslmode_means_what_it_means_to_libpq() {
        let full = |file: Option<&str>| Verify::Certificate { root_file: file.map(str::to_owned) };
        let cases = [
            ("postgres://h/d", "postgres://h/d", Verify::Nothing),
            ("postgres://h/d?sslmode=require", "postgres://h/d?sslmode=require", Verify::Nothing),
            ("postgres://h/d?sslmode=verify-full", "postgres://h/d", full(None)),
            ("postgres://h/d?a=b&sslmode=verify-ca", "postgres://h/d?a=b", full(None)),
            ("postgres://h/d?sslmode=verify-full&sslrootcert=%2Fx.pem", "postgres://h/d", full(Some("/x.pem"))),
            ("postgres://h/d?sslmode=require&sslrootcert=x", "postgres://h/d?sslmode=require", full(Some("x"))),
        ];
        for (url, rest, verify) in cases {
            assert_eq!(split_url(url), (rest.to_owned(), verify), "{url}");
        }
    }

    #[test]
    fn a_missing_root_file_is_named() {
        let verify = Verify::Certificate { root_file: Some("/no/such.pem".to_owned()) };
        let error = client_config(&verify).unwrap_err().to_string();
        assert!(error.contains("/no/such.pem"), "{error}");
    }
}
