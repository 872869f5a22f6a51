use super::*;
use std::path::PathBuf;

/// What a file and settings are refused with, or nothing.
fn problems(file: &str, sets: &[&str]) -> String {
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    match Settings::from_texts(Some(("office.toml", file)), [], &sets) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

fn check(file: &str, expected: &str) {
    assert_eq!(problems(file, &[]), expected);
}

fn read(file: &str, environment: &[(&str, &str)], sets: &[&str]) -> Settings {
    let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    Settings::from_texts(Some(("office.toml", file)), environment, &sets).unwrap()
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

#[test]
fn mistyped_key() {
    check(
        "domains = [\"a.example\"]\n\n[sip]\nopne = true\n",
        "office.toml:4:1: sip.opne: unknown key\n    hint: did you mean `open`?",
    );
}

#[test]
fn key_in_the_wrong_section() {
    check(
        "force_single_dialog = true\n",
        "office.toml:1:1: force_single_dialog: unknown key\n    hint: `force_single_dialog` belongs elsewhere: \
         `packages.dialog.force_single_dialog`",
    );
}

#[test]
fn key_that_resembles_nothing() {
    check("[log]\ncolour = 1\n", "office.toml:2:1: log.colour: unknown key\n    hint: known keys: format, level");
}

#[test]
fn wrong_type() {
    check(
        "[sip]\n  open = \"yes\"\n",
        "office.toml:2:10: sip.open: invalid type: string \"yes\", expected a boolean\n    hint: the default is \
         `open = false`",
    );
}

#[test]
fn duration_without_unit() {
    check(
        "[sip.timers]\nt1 = 500\n",
        "office.toml:2:6: sip.timers.t1: invalid type: integer `500`, expected a duration\n    hint: write durations \
         with a unit, such as \"500ms\", \"30s\" or \"1h\"",
    );
}

#[test]
fn wrong_word() {
    check(
        "[log]\nformat = \"jsn\"\n",
        "office.toml:2:10: log.format: unknown variant `jsn`, expected `text` or `json`\n    hint: did you mean `json`?",
    );
}

#[test]
fn bad_listener_in_a_list() {
    check(
        "[sip]\nlisten = [\"udp:127.0.0.1:5060\",\n  \"127.0.0.1:5060\"]\n",
        "office.toml:3:3: sip.listen[1]: `127.0.0.1:5060` is not a listener such as \"udp:192.0.2.1:5060\" or \
         \"tcp:[::1]:5060\"\n    hint: the default is `listen = [\"udp:127.0.0.1:5060\", \"tcp:127.0.0.1:5060\"]`",
    );
}

#[test]
fn several_mistakes_are_told_at_once() {
    let told = problems("shrads = 2\n[sip]\nopen = 1\n[log]\nlevel = \"info\"\nformt = \"json\"\n", &[]);
    let lines: Vec<&str> = told.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        lines,
        [
            "office.toml:1:1: shrads: unknown key",
            "office.toml:3:8: sip.open: invalid type: integer `1`, expected a boolean",
            "office.toml:6:1: log.formt: unknown key",
        ]
    );
}

#[test]
fn broken_syntax() {
    let told = problems("domains = [\"a.example\"\n[sip]\nopen = true\n", &[]);
    assert!(told.starts_with("office.toml:2:"), "{told}");
}

#[test]
fn rule_without_action() {
    let told = problems("[access]\nrules = [{ domains = [\"a.example\"] }]\n", &[]);
    assert!(told.starts_with("office.toml:2:10: access.rules[0]: missing field `action`"), "{told}");
}

#[test]
fn open_listener_without_a_rule_is_refused() {
    let file = "[sip]\nlisten = [\"udp:127.0.0.1:5060\", \"udp:192.0.2.1:5060\"]\n";
    let told = problems(file, &[]);
    assert!(
        told.starts_with("office.toml:2:33: sip.listen[1]: `udp:192.0.2.1:5060` lets everybody in who can reach it"),
        "{told}"
    );
    assert!(told.contains("sip.open = true"), "{told}");
    assert_eq!(problems(file, &["sip.open=true"]), "");
    assert_eq!(problems(file, &["access.otherwise=deny"]), "");
    assert_eq!(problems(file, &["access.rules=[{ addresses = [\"192.0.2.0/24\"], action = \"allow\" }]"]), "");
    assert_ne!(problems("[sip]\nlisten = [\"tcp:[::]:5060\"]\n", &[]), "");
    assert_eq!(problems("[sip]\nlisten = [\"tcp:[::1]:5060\"]\n", &[]), "");
}

/// DI-03: an address of ours may be asked for elsewhere where there is a way out.
#[test]
fn ours_is_asked_for_where_there_is_a_way_out() {
    for list in [false, true] {
        let base = format!(
            "domains = [\"a.example\"]\n[remote]\nenabled = true\n\
             subscribe = [{{ resource = \"sip:1@a.example\", package = \"dialog;sla\", list = {list} }}]\n"
        );
        let told = problems(&base, &[]);
        let ours = "remote.subscribe[0]: `sip:1@a.example` is ours, and there is nobody else to ask";
        assert!(told.contains(ours), "{told}");
        let elsewhere = "remote.outbound_proxies={ presence = \"sip:pbx.example\" }";
        assert!(problems(&base, &[elsewhere]).contains(ours));
        for way in [
            "remote.outbound_proxy=\"sip:pbx.example\"",
            "remote.outbound_proxies={ dialog = \"sip:pbx.example\" }",
            "remote.routes=[\"<sip:pbx.example;lr>\"]",
        ] {
            assert_eq!(problems(&base, &[way]), "", "{way}");
        }
    }
}

#[test]
fn open_web_side_is_refused() {
    let told = problems("[web]\nlisten = \"0.0.0.0:8088\"\n", &[]);
    assert!(told.starts_with("office.toml:2:1: web.listen: 0.0.0.0:8088 is reachable from outside"), "{told}");
    assert_eq!(problems("[web]\nlisten = \"0.0.0.0:8088\"\nopen = true\n", &[]), "");
}

#[test]
fn values_that_read_well_but_make_no_sense() {
    let first = |file: &str| problems(file, &[]).lines().next().unwrap_or_default().to_owned();
    assert_eq!(first("domains = []"), "office.toml:1:1: domains: no domain is served");
    assert_eq!(first("domains = [\"a.example\", \"sip:b\"]"), "office.toml:1:25: domains[1]: `sip:b` is no domain");
    assert_eq!(
        first("[aliases]\n100 = \"1001@elsewhere.example\""),
        "office.toml:2:1: aliases.100: `1001@elsewhere.example` is no address of ours: the domain is not served here"
    );
    assert_eq!(
        first("[aliases]\n100 = \"101\"\n101 = \"102\""),
        "office.toml:2:1: aliases.100: `101` is an alias itself"
    );
    assert_eq!(first("[sip.timers]\nt2 = \"1ms\""), "office.toml:2:1: sip.timers.t2: 1ms is not between 500ms and 60s");
    assert_eq!(first("[limits]\nbody = 1"), "office.toml:2:1: limits.body: 1 is not between 1024 and 16777216");
    assert!(
        first("[packages.dialog]\nleast_expires = \"2h\"")
            .starts_with("office.toml:1:11: packages.dialog: least_expires, default_expires and most_expires")
    );
    assert!(first("[[profiles]]\nname = \"a\"\nuser_agent = \"(\"").contains("user_agent is no regular expression"),);
    assert!(first("[log]\nlevel = \"x=y=z\"").starts_with("office.toml:2:1: log.level: `x=y=z` is no log level"));
}

#[test]
fn settings_of_the_command_line_win() {
    let settings = read(
        "domains = [\"a.example\"]\n[sip]\nopen = false\n[log]\nlevel = \"warn\"\n",
        &[("LAMPLIGHTER_LOG__LEVEL", "error"), ("LAMPLIGHTER_PACKAGES__MESSAGE_SUMMARY__LEAST_EXPIRES", "9s")],
        &["sip.open=true", "log.level=debug", "sip.listen=[\"udp:127.0.0.1:5070\"]", "sip.timers.t1 = 250ms"],
    );
    assert_eq!(settings.domains, ["a.example"]);
    assert!(settings.sip.open);
    assert_eq!(settings.log.level, "debug");
    assert_eq!(settings.sip.listen, ["udp:127.0.0.1:5070".parse().unwrap()]);
    assert_eq!(settings.sip.timers.t1, Duration::from_millis(250));
    assert_eq!(settings.packages.message_summary.least_expires, Duration::from_secs(9));
}

#[test]
fn mistakes_on_the_command_line_and_in_the_environment() {
    assert_eq!(
        problems("", &["sip.opne=true"]),
        "--set sip.opne=true: sip.opne: unknown key\n    hint: did you mean `open`?"
    );
    assert_eq!(
        problems("", &["sip.open"]),
        "--set sip.open: a setting needs a value\n    hint: write `--set sip.open=true`"
    );
    let environment = [("LAMPLIGHTER_SIP__OPNE".to_owned(), "true".to_owned())];
    let told = Settings::from_texts(None, environment, &[]).unwrap_err().to_string();
    assert_eq!(told, "LAMPLIGHTER_SIP__OPNE: sip.opne: unknown key\n    hint: did you mean `open`?");
}

#[test]
fn missing_file_is_named() {
    let told = Settings::load(Some(Path::new("no/such/file.toml")), &[]).unwrap_err().to_string();
    assert!(told.starts_with("no/such/file.toml: cannot be read"), "{told}");
}

#[test]
fn example_is_the_default() {
    let text = std::fs::read_to_string(shipped("example.toml")).unwrap();
    assert_eq!(read(&text, &[], &[]), Settings::default());
}

/// Settings that the example leaves out would not be noticed by comparing it with the defaults.
#[test]
fn example_shows_every_setting() {
    fn missing(default: &toml::Value, shown: &toml::Value, path: &str, out: &mut Vec<String>) {
        match (default, shown) {
            (toml::Value::Table(default), toml::Value::Table(shown)) => {
                for (key, value) in default {
                    match shown.get(key) {
                        Some(shown) => missing(value, shown, &format!("{path}.{key}"), out),
                        None => out.push(format!("{path}.{key}")),
                    }
                }
            }
            (toml::Value::Array(default), toml::Value::Array(shown)) => {
                for key in default.iter().filter_map(toml::Value::as_table).flat_map(toml::Table::keys) {
                    if !shown.iter().any(|one| one.get(key).is_some()) {
                        out.push(format!("{path}[].{key}"));
                    }
                }
            }
            _ => {}
        }
    }
    let text = std::fs::read_to_string(shipped("example.toml")).unwrap();
    let shown = toml::Value::Table(text.parse().unwrap());
    let mut out = Vec::new();
    missing(&toml::Value::Table(Settings::defaults()), &shown, "", &mut out);
    assert_eq!(out, Vec::<String>::new());
}

#[test]
fn other_shipped_files_are_right() {
    for name in ["office.toml", "bench.toml"] {
        let settings = Settings::load(Some(&shipped(name)), &[]).unwrap_or_else(|error| panic!("{error}"));
        settings.to_model(1, 1).unwrap();
    }
}

#[test]
fn settings_reach_the_model() {
    let settings = read(
        "domains = [\"office.example\"]\n[aliases]\nreception = \"1001\"\n[sip]\nlisten = [\"udp:192.0.2.1:5060\"]\n\
         advertise = \"203.0.113.5\"\n[sip.notify]\nfailures = 1\n[access]\notherwise = \"deny\"\n\
         rules = [{ addresses = [\"192.0.2.9\"], domains = [\"Office.example\"], action = \"confirm\" }]\n\
         [packages.dialog]\nforce_single_dialog = true\nmost_expires = \"2h\"\n[limits]\nhistory = 3\n",
        &[],
        &[],
    );
    let model = settings.to_model(7, 2).unwrap();
    assert_eq!((model.revision, model.shards), (7, 2));
    assert_eq!(model.addresses.parse("reception").as_deref(), Ok("sip:1001@office.example"));
    assert_eq!(model.addresses.parse("5@192.0.2.1").as_deref(), Ok("sip:5@office.example"));
    assert_eq!(model.addresses.parse("5@203.0.113.5").as_deref(), Ok("sip:5@office.example"));
    assert_eq!(&*model.listeners[0].advertise, "203.0.113.5:5060");
    assert_eq!((model.notify.failures, model.limits.history), (1, 3));
    let watch = |address: &str| model.access.watch(address.parse().unwrap(), b"office.example");
    assert_eq!(watch("192.0.2.9"), m::Decision::Confirm);
    assert_eq!(watch("192.0.2.10"), m::Decision::Deny);
    let yealink = model.profiles.get(model.profiles.choose(b"Yealink SIP-T46S 66.85.0.5"));
    assert_eq!((&*yealink.name, yealink.idle, yealink.single_dialog), ("yealink", m::Idle::Terminated, true));
    assert_eq!(&*model.profiles.get(model.profiles.choose(b"anything")).name, "rfc");
    let dialog = model.packages.find(b"dialog").unwrap();
    assert_eq!(model.packages.expires(dialog).most, Duration::from_secs(7200));
}

#[test]
fn opaque_packages_reach_the_model() {
    let settings =
        read("[[packages.opaque]]\nname = \"as-feature-event\"\ncontent_types = [\"text/plain\"]\n", &[], &[]);
    let model = settings.to_model(1, 1).unwrap();
    let package = model.packages.get(model.packages.find(b"as-feature-event").unwrap());
    assert_eq!((package.kind(), &*package.formats()[0].content_type), ("as-feature-event", "text/plain"));
}

/// What a package says of its lifetimes is what the configuration says, so that neither hides the other.
#[test]
fn lifetimes_are_those_of_the_packages() {
    let model = Settings::default().to_model(1, 1).unwrap();
    for id in model.packages.ids() {
        let package = model.packages.get(id);
        assert_eq!(package.expires(), model.packages.expires(id), "{}", package.name());
    }
}
