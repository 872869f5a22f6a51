use super::*;
use lamplighter_adapter_sip::{Settings, Sink, Streams};
use lamplighter_model::{Addresses, Packages};
use lamplighter_port::hub;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc as std_mpsc;

/// Answers each datagram with its bytes, or hands it to the shard that its first byte names.
struct Echo<const NAPS: bool> {
    through: bool,
    shard: u8,
    log: std_mpsc::SyncSender<String>,
    deadline: Option<Time>,
    fan_out: usize,
}

impl<const NAPS: bool> Machine for Echo<NAPS> {
    const NAPS: bool = NAPS;

    fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outbox) {
        // Nobody reads all that a busy one says.
        let endless = self.fan_out > 64;
        let say = |text: String| assert!(self.log.try_send(text).is_ok() || endless);
        match input {
            Input::Datagram { bytes, .. } if bytes[0] == b'0' + 1 - self.shard => {
                out.outputs.push(Output::Forward { shard: 1 - self.shard, in_dialog: bytes[1] == b'd' });
            }
            Input::Datagram { flow, bytes, .. } => {
                if bytes.ends_with(b"later") {
                    self.deadline = Some(now + Duration::from_millis(10));
                }
                if bytes.ends_with(b"many") {
                    (self.fan_out, self.deadline) = (5, Some(now));
                }
                let at = out.bytes.len();
                out.bytes.extend_from_slice(bytes);
                out.send(flow, at);
            }
            Input::Tick => {
                assert!(self.deadline.is_some_and(|deadline| deadline <= now), "a tick too early");
                self.fan_out = self.fan_out.saturating_sub(1);
                self.deadline = (self.fan_out > 0).then_some(now);
                say(format!("tick {}", self.fan_out));
            }
            Input::Closed(flow) => say(format!("closed {}", flow.remote)),
            Input::Resolved { query, targets, .. } => say(format!("resolved {query} {targets:?}")),
            Input::Stop => say("stop".into()),
            Input::Asked { .. } | Input::Heard(_) => unreachable!("nobody asks here"),
            Input::Saved { .. } | Input::StoreFailing(_) => {}
            Input::Config(_) | Input::Command { .. } => unreachable!(),
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    fn is_through(&self) -> bool {
        self.through
    }
}

struct Nobody;

impl Sink for Nobody {
    fn message(&self, _: Flow, bytes: Bytes) -> Result<(), Bytes> {
        Err(bytes)
    }
    fn closed(&self, _: Flow) {}
    fn ring(&self) {}
    fn trusted(&self, _: IpAddr) -> bool {
        false
    }
}

struct Bench<const NAPS: bool> {
    inboxes: Vec<Arc<Inbox>>,
    counters: Arc<Counters>,
    address: SocketAddr,
    log: std_mpsc::Receiver<String>,
    driver: Option<Box<dyn FnOnce() -> Driver<Echo<NAPS>> + Send>>,
    _runtime: tokio::runtime::Runtime,
}

fn bench() -> Bench<false> {
    bench_of()
}

/// The driver of shard 0 of two; nobody drives the other.
fn bench_of<const NAPS: bool>() -> Bench<NAPS> {
    let inboxes: Vec<_> = (0..2).map(|_| Arc::new(Inbox::new(2).unwrap())).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let streams = Streams::new(Arc::new(Nobody), Settings::default(), runtime.handle().clone());
    let packages = Packages::new(Vec::new(), |_, own| own);
    let wakes = vec![Arc::new(|| {}) as lamplighter_port::Wake];
    let (_, mut ports, _) = hub(packages, Arc::new(Addresses::default()), Default::default(), "test", wakes);
    let socket = Udp::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
    let address = socket.address();
    let counters = Arc::new(Counters::default());
    let (sender, log) = std_mpsc::sync_channel(64);
    let (all, port, writer, counts) = (inboxes.clone(), ports.remove(0), streams.writer(), counters.clone());
    let (resolver, _) = mpsc::channel(1);
    let driver = move || {
        Driver::new(Parts {
            machine: Echo { through: true, shard: 0, log: sender, deadline: None, fan_out: 0 },
            shard: 0,
            sockets: vec![(0, socket)],
            inboxes: all,
            port,
            writer,
            resolver,
            asker: None,
            store: None,
            clock: Clock::start(),
            counters: counts,
            patience: Duration::from_secs(1),
        })
    };
    Bench { inboxes, counters, address, log, driver: Some(Box::new(driver)), _runtime: runtime }
}

impl<const NAPS: bool> Bench<NAPS> {
    fn run(&mut self) -> std::thread::JoinHandle<()> {
        let driver = self.driver.take().unwrap();
        std::thread::spawn(move || driver().run())
    }

    fn peer(&self) -> UdpSocket {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.connect(self.address).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        peer
    }

    fn hear(&self) -> String {
        self.log.recv_timeout(Duration::from_secs(5)).unwrap()
    }

    fn stop(self, thread: std::thread::JoinHandle<()>) {
        self.inboxes[0].notice(Notice::Stop);
        assert_eq!(self.hear(), "stop");
        thread.join().unwrap();
    }
}

fn message(text: &'static str, remote: SocketAddr) -> Message {
    Message { flow: Flow::udp(0, remote), bytes: Bytes::from_static(text.as_bytes()), taken_in: Time::default() }
}

fn is_woken<const NAPS: bool>() {
    let mut bench = bench_of::<NAPS>();
    let thread = bench.run();
    let peer = bench.peer();
    let mut buffer = [0; 100];
    for _ in 0..50 {
        peer.send(b"0 hello").unwrap();
        assert_eq!(peer.recv(&mut buffer).unwrap(), 7);
        bench.inboxes[0].frames.push(message("0 ring", peer.local_addr().unwrap())).unwrap();
        bench.inboxes[0].ring();
        assert_eq!(peer.recv(&mut buffer).unwrap(), 6);
    }
    bench.inboxes[0].notice(Notice::Closed(Flow::udp(0, bench.address)));
    assert_eq!(bench.hear(), format!("closed {}", bench.address));
    bench.inboxes[0].notice(Notice::unknown(7));
    assert_eq!(bench.hear(), "resolved 7 []");
    peer.send(b"0 later").unwrap();
    assert_eq!(bench.hear(), "tick 0");
    bench.stop(thread);
}

#[test]
fn a_sleeping_shard_is_woken_by_sockets_rings_notices_and_its_deadline() {
    is_woken::<false>();
}

#[test]
fn one_that_naps_sees_it_afterwards() {
    is_woken::<true>();
}

#[test]
fn a_fan_out_goes_on_without_a_push() {
    let mut bench = bench();
    let thread = bench.run();
    bench.peer().send(b"0 many").unwrap();
    for left in (0..5).rev() {
        assert_eq!(bench.hear(), format!("tick {left}"));
    }
    bench.stop(thread);
}

#[test]
fn full_rings_drop_what_is_new_and_keep_room_for_dialogs() {
    let mut bench = bench();
    let other = Arc::clone(&bench.inboxes[1]);
    let thread = bench.run();
    let peer = bench.peer();
    let send = |text: &str, count: usize| {
        let mut echo = [0; 10];
        for _ in 0..count {
            peer.send(text.as_bytes()).unwrap();
            // So that the socket's buffer is not what drops them.
            peer.send(b"0").unwrap();
            peer.recv(&mut echo).unwrap();
        }
    };
    let (fresh, dialogs) = (other.fresh.capacity(), other.in_dialog.capacity());
    send("1new", fresh + 10);
    assert_eq!((other.fresh.len(), other.in_dialog.len()), (fresh, 0));
    assert_eq!(bench.counters.get(Counter::ForwardDropped), 10);
    send("1dialog", dialogs + 5);
    assert_eq!(other.in_dialog.len(), dialogs);
    assert_eq!(bench.counters.get(Counter::ForwardDropped), 15);
    assert_eq!(bench.counters.get(Counter::Forwarded) as usize, fresh + dialogs + 15);
    let got = other.in_dialog.pop().unwrap();
    assert_eq!((&got.bytes[..], got.flow.remote), (&b"1dialog"[..], peer.local_addr().unwrap()));
    bench.stop(thread);
}

/// There is always more to do, and watchers that do not answer: patience ends all the same.
#[test]
fn load_does_not_keep_a_shard_from_stopping() {
    for through in [false, true] {
        let mut bench = bench();
        let make = bench.driver.take().unwrap();
        bench.inboxes[0].notice(Notice::Stop);
        let thread = std::thread::spawn(move || {
            let mut driver = make();
            let now = driver.clock.now();
            driver.patience = if through { Duration::from_secs(3600) } else { Duration::ZERO };
            (driver.machine.through, driver.machine.deadline) = (through, Some(now));
            driver.machine.fan_out = usize::MAX;
            driver.run();
        });
        // The log is read until the driver, which holds the other end, is gone.
        let log: Vec<_> = bench.log.iter().collect();
        assert!(log.contains(&"stop".to_owned()), "{log:?}");
        thread.join().unwrap();
    }
}

#[test]
fn a_resolver_that_is_full_answers_with_nothing() {
    let bench = bench();
    let mut driver = (bench.driver.unwrap())();
    let question = Output::Resolve { query: 9, host: "example.com".into(), port: None, transport: None };
    driver.out.outputs.push(question);
    driver.turn();
    driver.turn();
    assert_eq!(bench.log.try_recv().unwrap(), "resolved 9 []");
    assert_eq!(bench.counters.get(Counter::ResolverFull), 1);
}

#[test]
fn the_clock_is_wall_time_that_does_not_go_back() {
    let clock = Clock::start();
    let (one, two) = (clock.now(), clock.now());
    assert!(one <= two);
    assert!(wall().abs_diff(Duration::from_micros(two.as_micros())) < Duration::from_secs(1));
}

/// What is not expected is napped for only where it comes often.
#[test]
fn naps_are_taken_where_they_gather() {
    const BUSY: bool = true;
    const IDLE: bool = false;
    let mut naps = Naps::default();
    let ms = |nap: Option<Duration>| nap.map(|nap| nap.as_millis());
    // Requests leave, and their answers come together, after which nothing does.
    assert_eq!([true, false, false].map(|expects| ms(naps.after(BUSY, expects))), [Some(1), Some(2), Some(4)]);
    assert_eq!(naps.after(IDLE, false), None);
    naps.slept(Duration::MAX);
    // The next time nobody waits for more than the answers.
    assert_eq!([true, false].map(|expects| ms(naps.after(BUSY, expects))), [Some(1), None]);
    naps.slept(Duration::from_millis(20));
    assert_eq!(ms(naps.after(BUSY, false)), None);
    // Something comes, and more of it soon.
    naps.slept(Duration::from_millis(2));
    assert_eq!([false; 4].map(|expects| ms(naps.after(BUSY, expects))), [Some(1), Some(2), Some(4), Some(5)]);
    assert_eq!(naps.after(IDLE, true), None);
    naps.slept(Duration::from_millis(20));
    assert_eq!(naps.after(BUSY, false), None);
}
