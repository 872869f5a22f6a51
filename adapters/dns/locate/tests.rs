use super::*;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// A DNS from lines such as `a.example 300 A 192.0.2.1`; a line with `fails` instead of a value is a server that errs.
#[derive(Default)]
struct Zone {
    lines: BTreeMap<(String, String), Vec<Line>>,
    own: BTreeMap<String, Vec<IpAddr>>,
    asked: Mutex<Vec<String>>,
}

/// Its time and its words.
type Line = (u64, Vec<String>);

impl Zone {
    fn new(text: &str) -> Self {
        let mut zone = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let key = (words[0].clone(), words[2].clone());
            zone.lines.entry(key).or_default().push((words[1].parse().unwrap(), words[3..].to_vec()));
        }
        zone
    }

    fn tell<T>(&self, name: &str, kind: &str, read: impl Fn(&[String]) -> T) -> Told<T> {
        self.asked.lock().unwrap().push(format!("{kind} {name}"));
        let lines = self.lines.get(&(name.to_owned(), kind.to_owned())).map(Vec::as_slice).unwrap_or_default();
        if lines.iter().any(|(_, words)| words[0] == "fails") {
            return Err(Failed);
        }
        let ttl = lines.iter().map(|(ttl, _)| *ttl).min().unwrap_or(77_777);
        Ok(Answer { records: lines.iter().map(|(_, words)| read(words)).collect(), ttl: Duration::from_secs(ttl) })
    }

    async fn locate(&self, uri: &str) -> String {
        self.locate_by(uri, |_| 0).await
    }

    /// Where `host[:port][;transport]` leads, with the time that this holds and the questions it took.
    async fn locate_by(&self, uri: &str, mut chance: impl FnMut(u32) -> u32 + Send) -> String {
        let (host, transport) = uri.split_once(';').unwrap_or((uri, ""));
        let (host, port) = match host.rsplit_once(':').filter(|_| !host.ends_with(']')) {
            Some((host, port)) => (host, Some(port.parse().unwrap())),
            None => (host, None),
        };
        let transport = match transport {
            "udp" => Some(Transport::Udp),
            "tcp" => Some(Transport::Tcp),
            _ => None,
        };
        let found = locate(self, &Question { host: host.into(), port, transport }, &mut chance).await;
        let targets = found.targets.iter().map(|(transport, address)| format!("{}:{address} ", transport.via()));
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        format!("{}for {}s after {}", targets.collect::<String>(), found.ttl.as_secs(), asked.join(", "))
    }
}

impl Records for Zone {
    fn own(&self, name: &str) -> Vec<IpAddr> {
        self.own.get(name).cloned().unwrap_or_default()
    }

    async fn naptr(&self, name: &str) -> Told<Naptr> {
        self.tell(name, "NAPTR", |words| Naptr {
            order: words[0].parse().unwrap(),
            preference: words[1].parse().unwrap(),
            flags: words[2].clone(),
            services: words[3].clone(),
            regexp: words.get(5).cloned().unwrap_or_default(),
            replacement: words[4].clone(),
        })
    }

    async fn srv(&self, name: &str) -> Told<Srv> {
        self.tell(name, "SRV", |words| Srv {
            priority: words[0].parse().unwrap(),
            weight: words[1].parse().unwrap(),
            port: words[2].parse().unwrap(),
            target: words[3].trim_matches('.').to_owned(),
        })
    }

    async fn v4(&self, name: &str) -> Told<IpAddr> {
        self.tell(name, "A", |words| words[0].parse().unwrap())
    }

    async fn v6(&self, name: &str) -> Told<IpAddr> {
        self.tell(name, "AAAA", |words| words[0].parse().unwrap())
    }
}

#[tokio::test]
async fn addresses_and_names_of_this_machine_ask_nobody() {
    let mut zone = Zone::new("gate 300 A 192.0.2.99");
    zone.own.insert("gate".into(), vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()]);
    assert_eq!(zone.locate("192.0.2.1").await, "UDP:192.0.2.1:5060 for 3600s after ");
    assert_eq!(zone.locate("[2001:db8::1]:5070;tcp").await, "TCP:[2001:db8::1]:5070 for 3600s after ");
    assert_eq!(zone.locate("gate;tcp").await, "TCP:192.0.2.7:5060 TCP:[2001:db8::7]:5060 for 5s after ");
}

#[tokio::test]
async fn a_port_means_addresses_only() {
    let zone = Zone::new(
        "a.example 300 A 192.0.2.1
         a.example 60 AAAA 2001:db8::1
         _sip._udp.a.example 300 SRV 1 1 5099 b.example",
    );
    let expected = "UDP:192.0.2.1:5070 UDP:[2001:db8::1]:5070 for 60s after A a.example, AAAA a.example";
    assert_eq!(zone.locate("a.example:5070").await, expected);
    assert_eq!(zone.locate("a.example:5070;tcp").await, expected.replace("UDP", "TCP"));
}

#[tokio::test]
async fn a_transport_means_srv_of_that_transport_only() {
    let zone = Zone::new(
        "a.example 300 NAPTR 10 10 s SIP+D2U _sip._udp.other.example
         _sip._tcp.a.example 120 SRV 20 0 5062 two.example
         _sip._tcp.a.example 120 SRV 10 0 5061 one.example
         one.example 600 A 192.0.2.1
         two.example 600 A 192.0.2.2",
    );
    assert_eq!(
        zone.locate("a.example;tcp").await,
        "TCP:192.0.2.1:5061 TCP:192.0.2.2:5062 for 120s after SRV _sip._tcp.a.example, A one.example, AAAA one.example, \
         A two.example, AAAA two.example"
    );
}

#[tokio::test]
async fn naptr_records_say_which_transport_is_preferred() {
    let zone = Zone::new(
        "a.example 300 NAPTR 90 50 s SIP+D2T _sip._tcp.a.example
         a.example 300 NAPTR 100 50 s SIP+D2U _sip._udp.a.example
         a.example 300 NAPTR 50 50 s SIPS+D2T _sips._tcp.a.example
         a.example 300 NAPTR 10 50 u E2U+sip nowhere.example !^.*$!sip:x@a.example!
         _sip._tcp.a.example 200 SRV 1 0 5061 one.example
         _sip._udp.a.example 200 SRV 1 0 5060 one.example
         one.example 600 A 192.0.2.1",
    );
    let found = zone.locate("a.example").await;
    assert!(found.starts_with("TCP:192.0.2.1:5061 UDP:192.0.2.1:5060 for 200s after NAPTR a.example, SRV"), "{found}");
    // Only what we do not speak: as good as none.
    let zone = Zone::new(
        "a.example 300 NAPTR 50 50 s SIPS+D2T _sips._tcp.a.example
         _sip._udp.a.example 200 SRV 1 0 5060 one.example
         one.example 600 A 192.0.2.1",
    );
    assert!(zone.locate("a.example").await.starts_with("UDP:192.0.2.1:5060 for 200s"));
}

#[tokio::test]
async fn without_naptr_both_services_are_looked_for_and_without_those_addresses() {
    let zone = Zone::new(
        "_sip._tcp.a.example 200 SRV 1 0 5066 one.example
         one.example 600 A 192.0.2.1
         a.example 600 A 192.0.2.80
         b.example 86400 A 192.0.2.81",
    );
    assert_eq!(
        zone.locate("a.example").await,
        "TCP:192.0.2.1:5066 for 200s after NAPTR a.example, SRV _sip._udp.a.example, SRV _sip._tcp.a.example, \
         A one.example, AAAA one.example"
    );
    assert_eq!(
        zone.locate("b.example").await,
        "UDP:192.0.2.81:5060 for 3600s after NAPTR b.example, SRV _sip._udp.b.example, SRV _sip._tcp.b.example, \
         A b.example, AAAA b.example"
    );
}

#[tokio::test]
async fn a_service_that_does_not_exist_is_not_looked_for_elsewhere() {
    let zone = Zone::new(
        "_sip._tcp.a.example 200 SRV 0 0 0 .
         a.example 600 A 192.0.2.80",
    );
    let found = zone.locate("a.example;tcp").await;
    assert_eq!(found, "for 200s after SRV _sip._tcp.a.example");
}

#[tokio::test]
async fn what_is_found_in_spite_of_a_failure_is_soon_asked_for_again() {
    let zone = Zone::new(
        "a.example 300 NAPTR fails
         _sip._udp.a.example 300 SRV fails
         a.example 600 A 192.0.2.1
         a.example 600 AAAA fails",
    );
    let found = zone.locate("a.example").await;
    assert!(found.starts_with("UDP:192.0.2.1:5060 for 5s after"), "{found}");
    // A time of zero is no reason to ask all the time.
    let zone = Zone::new("a.example 0 A 192.0.2.1");
    assert!(zone.locate("a.example:5060").await.starts_with("UDP:192.0.2.1:5060 for 5s after"));
    assert_eq!(zone.locate("b.example:5060").await, "for 3600s after A b.example, AAAA b.example");
}

#[tokio::test]
async fn chance_decides_among_equals() {
    let zone = Zone::new(
        "_sip._udp.a.example 300 SRV 1 10 5060 one.example
         _sip._udp.a.example 300 SRV 1 90 5060 two.example
         one.example 600 A 192.0.2.1
         two.example 600 A 192.0.2.2",
    );
    let first = zone.locate_by("a.example;udp", |_| 10).await;
    assert!(first.starts_with("UDP:192.0.2.1:5060 UDP:192.0.2.2:5060 "), "{first}");
    let second = zone.locate_by("a.example;udp", |_| 11).await;
    assert!(second.starts_with("UDP:192.0.2.2:5060 UDP:192.0.2.1:5060 "), "{second}");
}

/// A domain with more of everything than anybody needs.
#[tokio::test]
async fn a_crowd_of_records_is_followed_only_so_far() {
    let mut text = String::new();
    for number in 0..100 {
        text.push_str(&format!("_sip._udp.a.example 300 SRV {number} 0 5060 s{number}.example\n"));
        text.push_str(&format!("a.example 300 NAPTR {number} 0 s SIP+D2U _sip._udp.a.example\n"));
        for last in 0..100 {
            text.push_str(&format!("s{number}.example 300 A 10.0.{number}.{last}\n"));
        }
    }
    let zone = Zone::new(&text);
    let mut sink = |_| 0;
    let question = Question { host: "a.example".into(), port: None, transport: None };
    let found = locate(&zone, &question, &mut sink).await;
    assert_eq!(found.targets.len(), TARGETS);
    assert!(found.targets.contains(&(Transport::Udp, "10.0.3.3:5060".parse().unwrap())));
    let asked = zone.asked.lock().unwrap().len();
    assert!(asked <= 1 + FOLLOWED + FOLLOWED * FOLLOWED * 2, "{asked}");
}
