//! Tokens of every kind, good and bad; and signing in over real sockets.

use super::jwt::{Claims, Jwt};
use super::{Auth, Grant, Key, View, config, der, mint, new_key};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

const NOW: u64 = 1_800_000_000;

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("auth/testdata").join(name)
}

fn private(pem: &str) -> Vec<u8> {
    der::block(pem, "PRIVATE KEY").unwrap()
}

/// Who signs.
enum Signer {
    Hmac(Vec<u8>),
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Nobody,
}

impl Signer {
    fn hmac() -> Self {
        Self::Hmac(include_str!("testdata/secret").trim_end().into())
    }
    fn rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(&private(include_str!("testdata/rsa.pem"))).unwrap()))
    }
    fn ec() -> Self {
        let (algorithm, key) = (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, include_str!("testdata/p256.pem"));
        Self::Ec(EcdsaKeyPair::from_pkcs8(algorithm, &private(key), &SystemRandom::new()).unwrap())
    }
    fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::from_pkcs8_maybe_unchecked(&private(include_str!("testdata/ed25519.pem"))).unwrap())
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Hmac(secret) => {
                ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
            }
            Self::Rsa(key) => {
                let mut tag = vec![0; key.public().modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut tag).unwrap();
                tag
            }
            Self::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
            Self::Nobody => Vec::new(),
        }
    }
}

fn token(signer: &Signer, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let tag = URL_SAFE_NO_PAD.encode(signer.sign(message.as_bytes()));
    format!("{message}.{tag}")
}

fn claims() -> Value {
    json!({ "sub": "ann", "exp": NOW + 3600, "iss": "https://id.example.com", "aud": "lamplighter" })
}

fn settings(change: impl FnOnce(&mut config::Jwt)) -> config::Jwt {
    let (issuer, audience) = ("https://id.example.com".into(), "lamplighter".into());
    let mut settings = config::Jwt { issuer, audience, ..Default::default() };
    change(&mut settings);
    settings
}

/// By a secret.
fn hs() -> Jwt {
    Jwt::new(&settings(|jwt| jwt.secret_file = testdata("secret"))).unwrap()
}

fn public(name: &str) -> Jwt {
    Jwt::new(&settings(|jwt| jwt.public_key_file = testdata(name))).unwrap()
}

async fn result(jwt: &Jwt, token: &str) -> String {
    match jwt.check(token, Duration::from_secs(NOW)).await {
        Ok(Claims { name, .. }) => name,
        Err(fault) => fault.detail(),
    }
}

/// What becomes of a token with these claims changed; a null takes one out.
async fn check(changes: Value, expected: &str) {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => _ = all.as_object_mut().unwrap().remove(name),
            _ => all[name] = value.clone(),
        }
    }
    let token = token(&Signer::hmac(), &json!({"alg": "HS256"}), &all);
    let got = result(&hs(), &token).await;
    assert!(got.starts_with(expected), "{changes}: {got}");
}

/// What becomes of a token with this header.
async fn check_header(jwt: &Jwt, signer: &Signer, header: Value, expected: &str) {
    let got = result(jwt, &token(signer, &header, &claims())).await;
    assert!(got.starts_with(expected), "{header}: {got}");
}

/// OP-05
#[tokio::test]
async fn claims_are_checked() {
    check(json!({}), "ann").await;
    check(json!({"exp": null}), "exp: the token has none").await;
    for exp in [json!("1800003600"), json!(true), json!([NOW]), json!({}), json!(-1), json!(1e300), json!(u64::MAX)] {
        check(json!({"exp": exp}), "exp: it is no number").await;
    }
    check(json!({"exp": NOW as f64 + 0.5}), "ann").await;
    check(json!({"exp": NOW - 29}), "ann").await;
    check(json!({"exp": NOW - 30}), "exp: the token has expired").await;
    check(json!({"exp": 0}), "exp: the token has expired").await;
    check(json!({"nbf": NOW + 30}), "ann").await;
    check(json!({"nbf": NOW + 31}), "nbf: the token is not valid yet").await;
    check(json!({"nbf": "0"}), "nbf: it is no number").await;
    check(json!({"iss": "https://id.example.org"}), "iss: ").await;
    check(json!({"iss": ["https://id.example.com"]}), "iss: ").await;
    check(json!({"iss": null}), "iss: ").await;
    check(json!({"aud": "other"}), "aud: ").await;
    check(json!({"aud": null}), "aud: ").await;
    check(json!({"aud": []}), "aud: ").await;
    check(json!({"aud": 1}), "aud: ").await;
    check(json!({"aud": ["other", "lamplighter"]}), "ann").await;
    for sub in [json!(null), json!(""), json!(7), json!("a\nb"), json!("x".repeat(129)), json!("anonymous")] {
        check(json!({"sub": sub}), "sub: ").await;
    }
}

#[tokio::test]
async fn a_token_for_somebody_else_is_refused_where_we_have_no_name() {
    let jwt = Jwt::new(&config::Jwt { secret_file: testdata("secret"), ..Default::default() }).unwrap();
    let header = json!({"alg": "HS256"});
    check_header(&jwt, &Signer::hmac(), header.clone(), "aud: ").await;
    let token = token(&Signer::hmac(), &header, &json!({"sub": "ann", "exp": NOW + 1}));
    assert_eq!(result(&jwt, &token).await, "ann");
}

#[tokio::test]
async fn every_algorithm_verifies_and_only_by_its_own_key() {
    let all = [
        ("HS256", Signer::hmac(), hs()),
        ("RS256", Signer::rsa(), public("rsa.pub.pem")),
        ("ES256", Signer::ec(), public("p256.pub.pem")),
        ("EdDSA", Signer::ed(), public("ed25519.pub.pem")),
    ];
    for (name, signer, jwt) in &all {
        check_header(jwt, signer, json!({"alg": name, "typ": "JWT", "kid": "any"}), "ann").await;
        check_header(jwt, &Signer::Nobody, json!({"alg": name}), "signature: ").await;
        for bad in ["none", "None", "", "HS512", "RS512", "PS256", "ES384", "dir"] {
            check_header(jwt, signer, json!({"alg": bad}), "alg: ").await;
            check_header(jwt, &Signer::Nobody, json!({"alg": bad}), "alg: ").await;
        }
        check_header(jwt, signer, json!({}), "alg: ").await;
        check_header(jwt, signer, json!({"alg": 7}), "alg: ").await;
        for (other, signer, _) in all.iter().filter(|(other, ..)| other != name) {
            check_header(jwt, signer, json!({"alg": other}), "alg: ").await;
            // Signed in one way, said to be in another.
            check_header(jwt, signer, json!({"alg": name}), "signature: ").await;
        }
    }
    check_header(&public("ed25519.pub.pem"), &Signer::ed(), json!({"alg": "Ed25519"}), "ann").await;
}

/// The public key is no secret: RFC 8725 section 2.1.
#[tokio::test]
async fn a_public_key_is_not_taken_for_a_secret() {
    for name in ["rsa.pub.pem", "p256.pub.pem", "ed25519.pub.pem"] {
        let signer = Signer::Hmac(std::fs::read(testdata(name)).unwrap());
        check_header(&public(name), &signer, json!({"alg": "HS256"}), "alg: ").await;
    }
}

#[tokio::test]
async fn keys_of_others_do_not_verify() {
    let random = SystemRandom::new();
    let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let ed = Signer::Ed(Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap());
    check_header(&public("ed25519.pub.pem"), &ed, json!({"alg": "EdDSA"}), "signature: ").await;
    let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let ec = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let ec = Signer::Ec(EcdsaKeyPair::from_pkcs8(algorithm, ec.as_ref(), &random).unwrap());
    check_header(&public("p256.pub.pem"), &ec, json!({"alg": "ES256"}), "signature: ").await;
    check_header(&hs(), &Signer::Hmac(vec![7; 32]), json!({"alg": "HS256"}), "signature: ").await;
}

#[tokio::test]
async fn algorithms_can_be_fewer() {
    let jwt = |algorithms: &[config::Algorithm]| {
        Jwt::new(&settings(|jwt| {
            jwt.jwks_file = testdata("jwks.json");
            jwt.algorithms = algorithms.to_vec();
        }))
    };
    let some = jwt(&[config::Algorithm::ES256, config::Algorithm::EdDSA]).unwrap();
    check_header(&some, &Signer::ec(), json!({"alg": "ES256"}), "ann").await;
    check_header(&some, &Signer::rsa(), json!({"alg": "RS256"}), "alg: ").await;
    assert!(jwt(&[config::Algorithm::HS256]).is_err_and(|what| what.starts_with("auth.jwt.algorithms: ")));
}

#[tokio::test]
async fn a_key_set_is_searched_by_name() {
    let set = Jwt::new(&settings(|jwt| jwt.jwks_file = testdata("jwks.json"))).unwrap();
    check_header(&set, &Signer::rsa(), json!({"alg": "RS256", "kid": "r1"}), "ann").await;
    check_header(&set, &Signer::ec(), json!({"alg": "ES256", "kid": "e1"}), "ann").await;
    check_header(&set, &Signer::ed(), json!({"alg": "EdDSA", "kid": "d1"}), "ann").await;
    check_header(&set, &Signer::ed(), json!({"alg": "EdDSA"}), "ann").await;
    check_header(&set, &Signer::ed(), json!({"alg": "EdDSA", "kid": "d2"}), "kid: there is no such key").await;
    check_header(&set, &Signer::ed(), json!({"alg": "EdDSA", "kid": 1}), "kid: ").await;
    check_header(&set, &Signer::ec(), json!({"alg": "ES256", "kid": "r1"}), "alg: ").await;
    // What is for encryption, or of another type, is not there.
    for kid in ["o1", "x1", "x2", "x3"] {
        check_header(&set, &Signer::ec(), json!({"alg": "ES256", "kid": kid}), "kid: there is no such key").await;
    }
    let secret = Signer::Hmac(b"a secret does not belong into a set of public keys".to_vec());
    check_header(&set, &secret, json!({"alg": "HS256", "kid": "o1"}), "kid: ").await;
    let key =
        serde_json::from_slice::<Value>(&std::fs::read(testdata("jwks.json")).unwrap()).unwrap()["keys"][1].clone();
    let mut twin = key.clone();
    twin["kid"] = "e2".into();
    let two = super::jwks::read(json!({"keys": [key, twin]}).to_string().as_bytes()).unwrap();
    assert_eq!(two.len(), 2);
    for bad in ["", "{", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#] {
        assert!(super::jwks::read(bad.as_bytes()).is_err(), "{bad}");
    }
}

/// OP-05
#[tokio::test]
async fn whatever_is_wrong_with_a_token_it_is_refused() {
    for (jwt, signer, alg) in [(hs(), Signer::hmac(), "HS256"), (public("ed25519.pub.pem"), Signer::ed(), "EdDSA")] {
        let good = token(&signer, &json!({"alg": alg}), &claims());
        assert_eq!(result(&jwt, &good).await, "ann");
        for end in 0..good.len() {
            assert_ne!(result(&jwt, &good[..end]).await, "ann", "cut at {end}");
        }
        for at in 0..good.len() {
            let mut wrong = good.clone().into_bytes();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            assert_ne!(result(&jwt, std::str::from_utf8(&wrong).unwrap()).await, "ann", "changed at {at}");
        }
        for extra in ["=", "A", ".", " ", "\n"] {
            assert_ne!(result(&jwt, &format!("{good}{extra}")).await, "ann", "{extra:?}");
            assert_ne!(result(&jwt, &format!("{extra}{good}")).await, "ann", "{extra:?}");
        }
        let critical = token(&signer, &json!({"alg": alg, "crit": ["exp"]}), &claims());
        assert!(result(&jwt, &critical).await.starts_with("malformed: "));
        let list = token(&signer, &json!({"alg": alg}), &json!([1]));
        assert!(result(&jwt, &list).await.starts_with("malformed: "));
    }
    let long = "a".repeat(1 << 20);
    let nested = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":{}", "[".repeat(5000)));
    for bad in ["", ".", "..", "...", "a.b.c", "e30.e30.", "e30.e30.e30", "é.é.é", &long, &format!("{nested}.e30.AA")]
    {
        let got = result(&hs(), bad).await;
        assert!(got.starts_with("malformed: ") || got.starts_with("alg: "), "{bad:.20}: {got}");
    }
}

#[tokio::test]
async fn a_minted_token_is_good_until_it_expires() {
    let auth = Auth { jwt: settings(|jwt| jwt.secret_file = testdata("secret")), ..Default::default() };
    let presence = json!({"read": [{"r": "*"}], "admin": true});
    let token = mint(&auth, "ann", &presence, Duration::from_secs(3600)).unwrap();
    let now = crate::app::wall();
    let claims = hs().check(&token, now).await.unwrap();
    assert_eq!((&*claims.name, &claims.presence), ("ann", &presence));
    let later = hs().check(&token, now + Duration::from_secs(3700)).await;
    assert_eq!(later.err(), Some(super::jwt::Fault::Expired));
    let bad = |name: &str, presence: Value| mint(&auth, name, &presence, Duration::from_secs(1)).is_err();
    assert!(
        bad("anonymous", json!({})) && bad("ann", json!({"read": "*"})) && bad("ann", json!({"read": [{"r": ""}]}))
    );
    assert!(mint(&auth, "ann", &presence, Duration::MAX).is_err());
    let none = mint(&Auth::default(), "ann", &presence, Duration::from_secs(1));
    assert!(none.is_err_and(|what| what.starts_with("auth.jwt.secret_file: ")));
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let check = |change: fn(&mut config::Jwt), expected: &str| {
        let what = Jwt::new(&settings(change)).err().unwrap();
        assert!(what.starts_with(expected), "{what}");
    };
    check(|jwt| jwt.secret_file = testdata("nothing"), "auth.jwt.secret_file: ");
    check(|jwt| jwt.secret_file = "/dev/null".into(), "auth.jwt.secret_file: /dev/null holds less than 32 bytes");
    check(|jwt| jwt.public_key_file = testdata("rsa.pem"), "auth.jwt.public_key_file: ");
    check(|jwt| jwt.public_key_file = testdata("secret"), "auth.jwt.public_key_file: ");
    check(|jwt| jwt.jwks_file = testdata("secret"), "auth.jwt.jwks_file: it is not JSON");
    check(
        |jwt| {
            jwt.jwks_url = "https://id.example.com/keys".into();
            jwt.ca_file = testdata("secret");
        },
        "auth.jwt.ca_file: ",
    );
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let key = |name: &str| Key { name: name.into(), hash: new_key().unwrap().1, ..Default::default() };
    let check = |auth: Auth, expected: &str| {
        let got = auth.check().err().unwrap_or_default();
        assert!(got.starts_with(expected) && got.is_empty() == expected.is_empty(), "{got}");
    };
    let with = |keys: Vec<Key>| Auth { keys, ..Default::default() };
    check(Auth::default(), "");
    check(with(vec![key("crm"), key("wallboard")]), "");
    check(with(vec![key("crm"), key("crm")]), "auth.keys[1]: ");
    check(with(vec![key("")]), "auth.keys[0]: ");
    check(with(vec![key("anonymous")]), "auth.keys[0]: ");
    check(with(vec![Key { hash: "secret".into(), ..key("crm") }]), "auth.keys[0]: `crm` has no hash");
    let nothing = Grant { r: "group:".into(), kinds: None, view: View::Full };
    check(with(vec![Key { read: vec![nothing], ..key("crm") }]), "auth.keys[0]: `group:` selects nothing");
    let jwt = |change: fn(&mut config::Jwt)| Auth { jwt: settings(change), ..Default::default() };
    check(jwt(|jwt| jwt.jwks_url = "id.example.com".into()), "auth.jwt.jwks_url: ");
    check(jwt(|jwt| jwt.leeway = Duration::from_secs(601)), "auth.jwt.leeway: ");
    check(
        jwt(|jwt| {
            jwt.secret_file = "a".into();
            jwt.jwks_file = "b".into();
        }),
        "auth.jwt: give one",
    );
    check(Auth { ticket_life: Duration::ZERO, ..Default::default() }, "auth.ticket_life: ");
    let session = config::Session { life: Duration::MAX, ..Default::default() };
    check(Auth { session, ..Default::default() }, "auth.session: ");
}

mod fetched;
mod sockets;
