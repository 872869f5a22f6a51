//! Challenges against the answers that RFC 7616 gives, and against servers that ask too much.

use super::*;
use crate::auth::{Credential, Hash};
use crate::wire::{Index, Limits};

const LIMITS: Limits = Limits { head: 16 * 1024, headers: 128, body: 0 };

fn credentials() -> Credentials {
    let one = |realm: &str, user: &str, secret: &str| Credential {
        realm: realm.into(),
        user: user.into(),
        secret: Secret::new(secret),
    };
    Credentials::new(vec![
        one("http-auth@example.org", "Mufasa", "Circle of Life"),
        one("testrealm@host.com", "Mufasa", "CircleOfLife"),
        one("office", "gate", "geheim"),
        one("proxy", "gate", "other"),
    ])
}

fn challenge(session: &mut Session, headers: &str) -> Result<(), Refusal> {
    let message = format!("SIP/2.0 401 X\r\n{}\r\n", headers.replace('\n', "\r\n"));
    let mut index = Index::default();
    let message = index.read(message.as_bytes(), false, &LIMITS).expect("it is readable");
    session.challenged(message, &credentials(), 0xabcd)
}

fn written(session: &mut Session, method: &str, uri: &str, body: &[u8]) -> String {
    let mut out = Vec::new();
    session.write(method, uri.as_bytes(), body, &mut out);
    String::from_utf8(out).unwrap()
}

fn param<'a>(line: &'a str, name: &str) -> &'a str {
    let at = line.find(&format!(" {name}=")).unwrap_or_else(|| panic!("no {name} in {line}"));
    line[at + name.len() + 2..].split([',', '\r']).next().unwrap().trim_matches('"')
}

/// The hash of the formula, written a second time and only for this test, from the parts on the wire.
fn expected(hash: Hash, line: &str, user: &str, secret: &str, method: &str, body: &[u8]) -> String {
    let realm = param(line, "realm");
    let mut first = hash.hex(&[format!("{user}:{realm}:{secret}").as_bytes()]);
    let nonce = param(line, "nonce");
    if line.contains("-sess") {
        first = hash.hex(&[format!("{first}:{nonce}:{}", param(line, "cnonce")).as_bytes()]);
    }
    let uri = param(line, "uri");
    let quality = param(line, "qop");
    let second = match quality {
        "auth-int" => hash.hex(&[format!("{method}:{uri}:{}", hash.hex(&[body])).as_bytes()]),
        _ => hash.hex(&[format!("{method}:{uri}").as_bytes()]),
    };
    let (count, cnonce) = (param(line, "nc"), param(line, "cnonce"));
    hash.hex(&[format!("{first}:{nonce}:{count}:{cnonce}:{quality}:{second}").as_bytes()])
}

#[test]
fn hashes_are_those_of_the_standards() {
    assert_eq!(Hash::Md5.hex(&[b"a", b"bc"]), "900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(Hash::Sha256.hex(&[b"abc"]), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(Hash::Sha512_256.hex(&[b"abc"]), "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23");
}

/// RFC 7616 section 3.9.1 (with its client nonce) and RFC 2069 section 2.4 (as corrected by its erratum 749).
#[test]
fn the_examples_of_the_standards_come_out() {
    for (algorithm, hash, response) in [
        ("MD5", Hash::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", Hash::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let line = format!(
            " realm=\"http-auth@example.org\", nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
             uri=\"/dir/index.html\", cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, nc=00000001, \
             algorithm={algorithm}"
        );
        assert_eq!(expected(hash, &line, "Mufasa", "Circle of Life", "GET", b""), response);
    }
    let mut session = Session::default();
    let asked = "WWW-Authenticate: Digest realm=\"testrealm@host.com\", \
                 nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"\n";
    assert_eq!(challenge(&mut session, asked), Ok(()));
    let line = written(&mut session, "GET", "/dir/index.html", b"");
    assert_eq!(
        line,
        "Authorization: Digest username=\"Mufasa\", realm=\"testrealm@host.com\", \
         nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\", \
         response=\"1949323746fe6a43ef61f9606e7febea\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"\r\n"
    );
}

#[test]
fn every_algorithm_with_either_quality_is_answered() {
    for (name, hash) in [("MD5", Hash::Md5), ("SHA-256", Hash::Sha256), ("SHA-512-256", Hash::Sha512_256)] {
        for suffix in ["", "-sess"] {
            for quality in ["auth", "auth-int"] {
                let mut session = Session::default();
                let asked = format!(
                    "WWW-Authenticate: DIGEST Realm = \"office\" , nonce=\"n,1;\\\"x\",algorithm={name}{suffix}, \
                     qop=\"{quality}\"\n"
                );
                assert_eq!(challenge(&mut session, &asked), Ok(()));
                let line = written(&mut session, "PUBLISH", "sip:102@office.example;transport=udp", b"body");
                let plain = line.replace("\"n,1;\\\"x\"", "\"N\"");
                assert_eq!(param(&plain, "algorithm"), format!("{name}{suffix}"));
                assert_eq!(param(&plain, "qop"), quality);
                // The same with a nonce that this test's own reader can read.
                let mut session = Session::default();
                challenge(&mut session, &asked.replace("n,1;\\\"x", "nonce")).unwrap();
                let line = written(&mut session, "PUBLISH", "sip:102@office.example;transport=udp", b"body");
                assert_eq!(param(&line, "response"), expected(hash, &line, "gate", "geheim", "PUBLISH", b"body"));
            }
        }
    }
}

#[test]
fn the_nonce_is_counted_in_hexadecimal() {
    let mut session = Session::default();
    challenge(&mut session, "WWW-Authenticate: Digest realm=\"office\",nonce=\"n\",qop=\"auth-int,auth\"\n").unwrap();
    session.settled();
    let lines: Vec<String> = (0..12).map(|_| written(&mut session, "PUBLISH", "sip:a@b", b"")).collect();
    assert_eq!(param(&lines[0], "nc"), "00000001");
    assert_eq!(param(&lines[9], "nc"), "0000000a");
    assert_eq!(param(&lines[9], "qop"), "auth");
    assert_eq!(param(&lines[9], "response"), expected(Hash::Md5, &lines[9], "gate", "geheim", "PUBLISH", b""));
}

#[test]
fn the_strongest_of_a_realm_is_answered_and_each_realm_once() {
    let mut session = Session::default();
    let asked = "WWW-Authenticate: Digest realm=\"office\",nonce=\"1\",algorithm=MD5,qop=\"auth\"\n\
                 WWW-Authenticate: Digest realm=\"office\",nonce=\"2\",algorithm=SHA-512-256,qop=\"auth\", \
                 Digest realm=\"office\",nonce=\"3\",algorithm=SHA-256,qop=\"auth\"\n\
                 WWW-Authenticate: Digest realm=\"office\",nonce=\"4\",algorithm=SHA3-512,qop=\"auth\"\n\
                 WWW-Authenticate: Basic realm=\"office\"\n\
                 Proxy-Authenticate: Digest realm=\"proxy\",nonce=\"5\",qop=\"auth\"\n\
                 Proxy-Authenticate: Digest realm=\"stranger\",nonce=\"6\",qop=\"auth\"\n";
    assert_eq!(challenge(&mut session, asked), Ok(()));
    let text = written(&mut session, "SUBSCRIBE", "sip:a@b", b"");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("Authorization: ") && param(lines[0], "nonce") == "2", "{text}");
    assert!(lines[1].starts_with("Proxy-Authorization: ") && param(lines[1], "nonce") == "5", "{text}");
    assert!(!lines[1].contains("algorithm"), "{text}");
}

#[test]
fn what_was_wrong_is_not_said_again_but_a_stale_nonce_is_replaced() {
    let mut session = Session::default();
    let asked = |nonce: u32, more: &str| {
        format!("WWW-Authenticate: Digest realm=\"office\",nonce=\"{nonce}\",qop=\"auth\"{more}\n")
    };
    assert_eq!(challenge(&mut session, &asked(1, "")), Ok(()));
    assert_eq!(challenge(&mut session, &asked(2, ",stale=TRUE")), Ok(()));
    assert_eq!(param(&written(&mut session, "PUBLISH", "sip:a@b", b""), "nonce"), "2");
    assert_eq!(challenge(&mut session, &asked(3, "")), Err(Refusal::Wrong));
    // A later request may find the nonce too old without being told so.
    session.settled();
    assert_eq!(challenge(&mut session, &asked(4, "")), Ok(()));
    // Staleness without end is refused too.
    session.settled();
    let rounds: Vec<_> = (5..12).map(|nonce| challenge(&mut session, &asked(nonce, ",stale=true"))).collect();
    assert_eq!(rounds[..4], [Ok(()); 4]);
    assert_eq!(rounds[4..], [Err(Refusal::Wrong); 3]);
}

#[test]
fn what_cannot_be_answered_is_said() {
    let long = format!("WWW-Authenticate: Digest realm=\"office\",nonce=\"{}\"\n", "n".repeat(2000));
    for asked in [
        "",
        "WWW-Authenticate: Basic realm=\"office\"\n",
        "WWW-Authenticate: Digest\n",
        "WWW-Authenticate: Digest realm=\"office\"\n",
        "WWW-Authenticate: Digest nonce=\"1\"\n",
        "WWW-Authenticate: Digest realm=\"nobody\",nonce=\"1\"\n",
        "WWW-Authenticate: Digest realm=\"office\",nonce=\"1\",qop=\"auth-conf\"\n",
        "WWW-Authenticate: Digest realm=\"office\",nonce=\"1\",algorithm=token\n",
        "WWW-Authenticate: ,,=,\"\n",
        &long,
    ] {
        assert_eq!(challenge(&mut Session::default(), asked), Err(Refusal::Unknown), "{asked}");
    }
}

#[test]
fn nothing_of_a_challenge_breaks_out_of_its_line_and_nothing_secret_is_printed() {
    let mut session = Session::default();
    challenge(&mut session, "WWW-Authenticate: Digest realm=\"office\",nonce=\"a\n b\",opaque=\"c\n\td\"\n").unwrap();
    let line = written(&mut session, "PUBLISH", "sip:a@b", b"");
    assert_eq!(line.matches("\r\n").count(), 1, "{line}");
    for printed in [format!("{session:?}"), format!("{:?}", credentials())] {
        assert!(!printed.contains("geheim") && printed.contains("Secret"), "{printed}");
    }
}
