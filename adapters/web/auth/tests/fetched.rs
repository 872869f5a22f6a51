//! Key sets behind a URL.

use super::*;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

/// A server that answers each request with the next of these bodies, the last one for ever, and counts them. It waits
/// for leave to answer where there is a receiver.
fn serve(bodies: Vec<String>, leave: Option<Receiver<()>>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request, mut buffer) = (stream.unwrap(), Vec::new(), [0; 4096]);
            while !request.ends_with(b"\r\n\r\n") {
                let length = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..length]);
            }
            let body = &bodies[count.fetch_add(1, Ordering::SeqCst).min(bodies.len() - 1)];
            if let Some(leave) = &leave {
                let _ = leave.recv();
            }
            let status = if body.is_empty() { "500 Oh" } else { "200 OK" };
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        }
    });
    (url, asked)
}

fn remote(url: &str) -> Jwt {
    Jwt::new(&settings(|jwt| jwt.jwks_url = url.into())).unwrap()
}

fn set(kids: &[&str]) -> String {
    let all: Value = serde_json::from_slice(&std::fs::read(testdata("jwks.json")).unwrap()).unwrap();
    let keys = all["keys"].as_array().unwrap();
    let keys: Vec<_> = keys.iter().filter(|key| kids.iter().any(|kid| key["kid"] == *kid)).collect();
    json!({ "keys": keys }).to_string()
}

async fn ed(jwt: &Jwt, kid: &str) -> String {
    result(jwt, &token(&Signer::ed(), &json!({"alg": "EdDSA", "kid": kid}), &claims())).await
}

async fn ec(jwt: &Jwt) -> String {
    result(jwt, &token(&Signer::ec(), &json!({"alg": "ES256", "kid": "e1"}), &claims())).await
}

#[tokio::test(start_paused = true)]
async fn a_set_is_fetched_for_a_key_that_is_not_known_but_not_too_often() {
    let (url, asked) = serve(vec![set(&["d1"]), set(&["d1", "e1"])], None);
    let jwt = remote(&url);
    assert_eq!(ed(&jwt, "d1").await, "ann");
    assert_eq!(ed(&jwt, "d1").await, "ann");
    assert_eq!(ed(&jwt, "d2").await, "kid: there is no such key");
    assert!(ec(&jwt).await.starts_with("kid: "));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(ec(&jwt).await, "ann");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    tokio::time::advance(Duration::from_secs(30)).await;
    // Many at once wait for one attempt.
    let all = futures_util::future::join_all((0..50).map(|_| ed(&jwt, "d2"))).await;
    assert!(all.iter().all(|one| one.starts_with("kid: ")));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_key_taken_out_of_an_old_set_loses_its_power() {
    let (url, asked) = serve(vec![set(&["d1", "e1"]), set(&["d1"])], None);
    let jwt = remote(&url);
    assert_eq!(ec(&jwt).await, "ann");
    tokio::time::advance(Duration::from_secs(601)).await;
    // The old set is used once more, and fetched meanwhile.
    assert_eq!(ec(&jwt).await, "ann");
    while ec(&jwt).await == "ann" {
        tokio::task::yield_now().await;
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(ed(&jwt, "d1").await, "ann");
}

#[tokio::test(start_paused = true)]
async fn a_set_that_cannot_be_fetched_is_tried_again_later() {
    let long = format!("{{\"pad\":\"{}\"}}", "x".repeat(300 * 1024));
    let (url, asked) = serve(vec![String::new(), "[]".into(), long, set(&["d1"]), String::new()], None);
    let jwt = remote(&url);
    for attempts in 1..=3 {
        assert!(ed(&jwt, "d1").await.starts_with("keys: "));
        assert!(ed(&jwt, "d1").await.starts_with("keys: "));
        assert_eq!(asked.load(Ordering::SeqCst), attempts);
        tokio::time::advance(Duration::from_secs(30)).await;
    }
    assert_eq!(ed(&jwt, "d1").await, "ann");
    tokio::time::advance(Duration::from_secs(30)).await;
    // The last set stays.
    assert_eq!(ed(&jwt, "d2").await, "kid: there is no such key");
    assert_eq!(ed(&jwt, "d1").await, "ann");
    assert_eq!(asked.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn whoever_has_a_known_key_does_not_wait_for_a_set() {
    let (go, leave) = sync_channel(1);
    let (url, asked) = serve(vec![set(&["d1"])], Some(leave));
    let jwt = Arc::new(remote(&url));
    go.send(()).unwrap();
    assert_eq!(ed(&jwt, "d1").await, "ann");
    // Half a minute later the server says nothing.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(30)).await;
    tokio::time::resume();
    let waiting = tokio::spawn({
        let jwt = Arc::clone(&jwt);
        async move { ed(&jwt, "d2").await }
    });
    while asked.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ed(&jwt, "d1").await, "ann");
    assert!(!waiting.is_finished());
    go.send(()).unwrap();
    assert_eq!(waiting.await.unwrap(), "kid: there is no such key");
}

/// Only what the server says over a trusted connection counts.
#[tokio::test(start_paused = true)]
async fn a_server_that_nobody_vouches_for_is_not_believed() {
    let seen = Arc::new(Mutex::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/keys", listener.local_addr().unwrap());
    std::thread::spawn({
        let seen = Arc::clone(&seen);
        move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut hello = [0; 1];
            *seen.lock().unwrap() = stream.read(&mut hello).map_or(0, |_| hello[0]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        }
    });
    assert!(ed(&remote(&url), "d1").await.starts_with("keys: "));
    // It was a TLS handshake.
    assert_eq!(*seen.lock().unwrap(), 22);
}
