//! Public keys in PEM files: RFC 7468, with the SubjectPublicKeyInfo of RFC 5280 section 4.1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A public key, as ring takes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum PublicKey {
    /// RSAPublicKey of RFC 8017 appendix A.1.1.
    Rsa(Vec<u8>),
    /// An uncompressed point of P-256.
    P256(Vec<u8>),
    /// Of Ed25519.
    Ed25519(Vec<u8>),
}

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;
const BITS: u8 = 0x03;

/// The first public key in a PEM text.
pub(super) fn public_key(pem: &str) -> Result<PublicKey, &'static str> {
    if let Some(der) = block(pem, "PUBLIC KEY") {
        return info(&der).ok_or("is for no algorithm known here: RSA, EC on P-256, or Ed25519");
    }
    if let Some(der) = block(pem, "RSA PUBLIC KEY") {
        return Ok(PublicKey::Rsa(der));
    }
    if pem.contains("PRIVATE KEY-----") {
        return Err("holds a private key, which does not belong here: write the public one to a file of its own");
    }
    Err("holds no `-----BEGIN PUBLIC KEY-----`")
}

/// What is between the lines that name `label`.
pub(super) fn block(pem: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
    let (text, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let text: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(text).ok()
}

fn info(der: &[u8]) -> Option<PublicKey> {
    let (mut info, rest) = value(der, SEQUENCE)?;
    let (mut algorithm, bits) = value(info, SEQUENCE)?;
    let (name, parameters) = value(algorithm, OID)?;
    algorithm = parameters;
    (info, _) = value(bits, BITS)?;
    // How many bits of the last byte do not count comes first.
    let (0, key) = info.split_first().map(|(unused, key)| (*unused, key.to_vec()))? else { return None };
    if !rest.is_empty() {
        return None;
    }
    match name {
        RSA => Some(PublicKey::Rsa(key)),
        EC if value(algorithm, OID)?.0 == P256 && key.len() == 65 && key[0] == 4 => Some(PublicKey::P256(key)),
        ED25519 if key.len() == 32 => Some(PublicKey::Ed25519(key)),
        _ => None,
    }
}

/// The contents of the value in front, which must have this tag, and what is behind it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, der) = der.split_first()?;
    let (&short, mut der) = der.split_first()?;
    let mut length = usize::from(short);
    if short > 0x80 {
        let bytes;
        (bytes, der) = der.split_at_checked(usize::from(short & 0x7f)).filter(|(bytes, _)| bytes.len() <= 3)?;
        length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    }
    if found != tag { None } else { der.split_at_checked(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_key_is_read() {
        let ed = public_key(include_str!("testdata/ed25519.pub.pem")).unwrap();
        assert!(matches!(&ed, PublicKey::Ed25519(key) if key.len() == 32));
        let ec = public_key(include_str!("testdata/p256.pub.pem")).unwrap();
        assert!(matches!(&ec, PublicKey::P256(key) if key.len() == 65));
        let rsa = public_key(include_str!("testdata/rsa.pub.pem")).unwrap();
        assert!(matches!(&rsa, PublicKey::Rsa(key) if key.len() == 270));
    }

    #[test]
    fn nonsense_is_refused() {
        let pem = include_str!("testdata/p256.pub.pem");
        assert!(public_key(include_str!("testdata/p256.pem")).unwrap_err().contains("private"));
        assert!(public_key("").is_err());
        let der = block(pem, "PUBLIC KEY").unwrap();
        assert!(info(&der).is_some());
        for end in 0..der.len() {
            assert_eq!(info(&der[..end]), None, "{end}");
        }
        // Whatever byte is wrong, it is the key that differs, or it is refused.
        for at in 0..der.len() {
            let mut wrong = der.clone();
            wrong[at] ^= 0x81;
            assert_ne!(info(&wrong), info(&der), "{at}");
        }
    }
}
