//! Running it: configuration, reload, stopping, and the answer to "why is this lamp lit?".

use crate::gateway::{Gateway, file, lamplighter};
use crate::phone::Phone;

const LINE: &str = "sip:1001@example.com";

#[test]
fn explain_says_who_said_what_to_whom() {
    // OP-03: sources with their ages, the rule, and per watcher the last NOTIFY and its answer.
    let gateway = Gateway::start("");
    let mut publisher = Phone::udp(&gateway, "pbx");
    publisher.publish_call(LINE, None, "c1", "early");
    let (mut good, mut bad) = (Phone::udp(&gateway, "2000"), Phone::udp(&gateway, "2001"));
    good.subscribe(LINE, "dialog", 600);
    let mut dialog = bad.dialog(LINE, "dialog");
    bad.refresh(&mut dialog, 600).expect(200);
    bad.notify_answered("500 Server Internal Error", &["Retry-After: 60"]);
    let text = {
        let output = gateway.ask(&["explain", LINE]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for word in [
        "dialog is ringing",
        "rule:",
        "sip:2000@",
        "sip:2001@",
        "answer 200",
        "answer 500",
        &publisher.local.to_string(),
        "active",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
}

#[test]
fn get_tells_the_state() {
    let mut gateway = Gateway::start("");
    Phone::udp(&gateway, "1001").publish_call(LINE, None, "c1", "confirmed");
    gateway.until("tells the state", |gateway| {
        let output = gateway.ask(&["get", LINE]);
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("busy")
    });
}

#[test]
fn a_mistake_in_the_configuration_is_pointed_at() {
    let path = file("mistake.toml", "domains = [\"example.com\"]\n\n[sip]\nlissten = []\n");
    for command in ["check", "run"] {
        let output = lamplighter().args([command, "--config"]).arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(&format!("{}:4", path.display())), "{text}");
        assert!(text.contains("lissten") && text.contains("listen"), "{text}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn an_open_door_must_be_meant() {
    let path = file("open.toml", "domains = [\"example.com\"]\nsip.listen = [\"udp:0.0.0.0:5060\"]\n");
    let check = |more: &[&str]| lamplighter().args(["check", "--config"]).arg(&path).args(more).output().unwrap();
    assert_eq!(check(&[]).status.code(), Some(78));
    assert_eq!(check(&["--set", "sip.open=true"]).status.code(), Some(0));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_port_of_another_is_an_exact_error() {
    let gateway = Gateway::start("");
    let output = lamplighter().args(["run", "--config"]).arg(&gateway.file).output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(&gateway.sip.to_string()), "{text}");
}

#[test]
fn a_reload_keeps_subscriptions() {
    // OP-02: the same dialog sees the effect of the new configuration; a bad file changes nothing.
    let mut gateway = Gateway::start("");
    let mut watcher = Phone::udp(&gateway, "2000");
    let (mut dialog, _) = watcher.subscribe(LINE, "dialog", 600);
    let mut publisher = Phone::udp(&gateway, "1001");
    publisher.publish_call(LINE, None, "c1", "confirmed");
    watcher.notify();
    publisher.publish_call(LINE, None, "c2", "early");
    assert_eq!(watcher.notify().elements("dialog"), 2);

    gateway.reconfigure("nonsense = true");
    gateway.signal("HUP");
    gateway.until("refuses the file", |gateway| gateway.log().contains("nonsense"));
    watcher.refresh(&mut dialog, 600).expect(200);
    assert_eq!(watcher.notify().elements("dialog"), 2);
    gateway.reconfigure("packages.dialog.force_single_dialog = true");
    gateway.signal("HUP");
    let mut told = 2;
    gateway.until("shows one dialog", |_| {
        watcher.refresh(&mut dialog, 600).expect(200);
        told = watcher.notify().elements("dialog");
        told == 1
    });
    publisher.publish_call(LINE, None, "c3", "trying");
    watcher.refresh(&mut dialog, 600).expect(200);
    assert_eq!(watcher.notify().elements("dialog"), 1);
    assert_eq!(gateway.metric("sip_subscriptions"), 1.0);
}

#[test]
fn stopping_tells_the_watchers() {
    // Without a store: terminated;reason=deactivated, so that phones subscribe again elsewhere or later.
    let gateway = Gateway::start("");
    let (mut one, mut two) = (Phone::udp(&gateway, "2000"), Phone::tcp(&gateway, "2001"));
    one.subscribe(LINE, "dialog", 600);
    two.subscribe(LINE, "dialog", 600);
    gateway.signal("TERM");
    for phone in [&mut one, &mut two] {
        let last = phone.notify();
        assert!(last.header("Subscription-State").starts_with("terminated;reason=deactivated"), "{last:#?}");
    }
    assert!(gateway.stopped().success());
}

#[test]
fn health_and_version() {
    // OP-02
    let gateway = Gateway::start("");
    assert_eq!(gateway.get("/healthz").0, 200);
    assert_eq!(gateway.get("/readyz").0, 200);
    let output = lamplighter().arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(concat!("lamplighter ", env!("CARGO_PKG_VERSION"))));
    let output = lamplighter().args(["completions", "bash"]).output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("explain"));
}
