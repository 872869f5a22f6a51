use super::*;
use std::sync::atomic::AtomicBool;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Writes down what it is told.
#[derive(Default)]
struct Log {
    messages: Mutex<Vec<(Flow, Bytes)>>,
    closed: Mutex<Vec<Flow>>,
    rings: AtomicUsize,
    full: AtomicBool,
    trusts: AtomicBool,
    news: Notify,
}

impl Sink for Log {
    fn message(&self, flow: Flow, bytes: Bytes) -> Result<(), Bytes> {
        if self.full.load(Ordering::SeqCst) {
            return Err(bytes);
        }
        lock(&self.messages).push((flow, bytes));
        Ok(())
    }

    fn closed(&self, flow: Flow) {
        lock(&self.closed).push(flow);
    }

    fn ring(&self) {
        self.rings.fetch_add(1, Ordering::SeqCst);
        self.news.notify_one();
    }

    fn trusted(&self, _: IpAddr) -> bool {
        self.trusts.load(Ordering::SeqCst)
    }
}

impl Log {
    async fn messages(&self, count: usize) -> Vec<(Flow, Bytes)> {
        while lock(&self.messages).len() < count {
            self.news.notified().await;
        }
        std::mem::take(&mut *lock(&self.messages))
    }

    async fn closed(&self, count: usize) -> Vec<Flow> {
        while lock(&self.closed).len() < count {
            self.news.notified().await;
        }
        std::mem::take(&mut *lock(&self.closed))
    }
}

struct Net {
    log: Arc<Log>,
    streams: Streams,
    address: SocketAddr,
}

fn net(settings: Settings) -> Net {
    let log = Arc::new(Log::default());
    let streams = Streams::new(log.clone(), settings, Handle::current());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address();
    streams.listen(listener, 3).unwrap();
    Net { log, streams, address }
}

fn message(number: usize) -> String {
    let body = "b".repeat(number % 50);
    format!("OPTIONS sip:{number}@example.com SIP/2.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn messages_are_found_however_they_come() {
    let net = net(Settings::default());
    let mut peer = TcpStream::connect(net.address).await.unwrap();
    peer.set_nodelay(true).unwrap();
    for byte in message(1).bytes() {
        peer.write_all(&[byte]).await.unwrap();
    }
    let got = net.log.messages(1).await;
    assert_eq!(got[0].1, message(1));
    let flow = got[0].0;
    assert_eq!((flow.transport, flow.listener, flow.local), (Transport::Tcp, 3, None));
    assert_eq!(flow.remote, peer.local_addr().unwrap());
    assert!(flow.connection > 0);

    let many: String = (0..5000).map(message).collect();
    peer.write_all(many.as_bytes()).await.unwrap();
    let mut number = 0;
    while number < 5000 {
        for (other, bytes) in net.log.messages(1).await {
            assert_eq!((other, bytes), (flow, message(number).into()));
            number += 1;
        }
    }
    // Shards were woken for portions, not for messages.
    assert!(net.log.rings.load(Ordering::SeqCst) < 2500);

    drop(peer);
    assert_eq!(net.log.closed(1).await, [flow]);
    assert_eq!(net.streams.connections(), 0);
}

#[tokio::test]
async fn pings_are_answered() {
    let net = net(Settings::default());
    let mut peer = TcpStream::connect(net.address).await.unwrap();
    peer.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    peer.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_message_must_come_to_its_end() {
    let net = net(Settings::default());
    let mut peer = TcpStream::connect(net.address).await.unwrap();
    peer.write_all(message(1).as_bytes()).await.unwrap();
    net.log.messages(1).await;
    let start = Instant::now();
    let text = message(30);
    let (some, rest) = text.split_at(20);
    peer.write_all(some.as_bytes()).await.unwrap();
    // A few more bytes do not buy more time.
    sleep(Duration::from_secs(20)).await;
    peer.write_all(&rest.as_bytes()[..1]).await.unwrap();
    assert_eq!(peer.read(&mut [0; 8]).await.unwrap_or(0), 0);
    let took = start.elapsed();
    assert!((Duration::from_secs(29)..Duration::from_secs(32)).contains(&took), "{took:?}");
    assert_eq!(net.streams.counts().late.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection() {
    let net = net(Settings::default());
    let start = Instant::now();
    let mut mute = TcpStream::connect(net.address).await.unwrap();
    assert_eq!(mute.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(start.elapsed() < Duration::from_secs(31), "who never says a word is not waited for long");
    let start = Instant::now();
    let mut quiet = TcpStream::connect(net.address).await.unwrap();
    quiet.write_all(message(1).as_bytes()).await.unwrap();
    assert_eq!(quiet.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(start.elapsed() >= Settings::default().idle);
}

#[tokio::test]
async fn a_source_gets_its_share() {
    let net = net(Settings { connections: 5, connections_per_source: 2, ..Settings::default() });
    let connect = async |count| {
        let mut open = Vec::new();
        for _ in 0..count {
            let mut peer = TcpStream::connect(net.address).await.unwrap();
            let _ = peer.write_all(b"\r\n\r\n").await;
            if peer.read(&mut [0; 2]).await.unwrap_or(0) == 2 {
                open.push(peer);
            }
        }
        open
    };
    let open = connect(4).await;
    assert_eq!(open.len(), 2);
    drop(open);
    net.log.closed(2).await;
    net.log.trusts.store(true, Ordering::SeqCst);
    let open = connect(7).await;
    assert_eq!(open.len(), 5);
    assert_eq!(net.streams.counts().refused.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_full_inbox_holds_the_peer_back_and_loses_nothing() {
    let net = net(Settings::default());
    net.log.full.store(true, Ordering::SeqCst);
    let mut peer = TcpStream::connect(net.address).await.unwrap();
    let many: String = (0..10).map(message).collect();
    peer.write_all(many.as_bytes()).await.unwrap();
    while net.streams.counts().held.load(Ordering::Relaxed) < 3 {
        net.log.news.notified().await;
    }
    net.log.full.store(false, Ordering::SeqCst);
    let got = net.log.messages(10).await;
    assert!(got.iter().enumerate().all(|(number, (_, bytes))| *bytes == message(number)));
}

#[tokio::test]
async fn a_turn_is_one_write_to_each_connection() {
    let net = net(Settings::default());
    let mut peer = TcpStream::connect(net.address).await.unwrap();
    peer.write_all(message(0).as_bytes()).await.unwrap();
    let flow = net.log.messages(1).await[0].0;
    let mut writer = net.streams.writer();
    writer.send(flow, b"one ");
    writer.send(flow, b"two ");
    // Any open connection to the peer will do.
    writer.send(Flow { connection: 0, ..flow }, b"three");
    writer.flush();
    let mut buffer = [0; 64];
    let length = peer.read(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..length], b"one two three");
    assert_eq!(net.streams.counts().connected.load(Ordering::Relaxed), 0);

    writer.send(flow, b"bye");
    writer.close(flow);
    writer.flush();
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"bye");
    net.log.closed(1).await;
    writer.send(flow, b"too late");
    assert_eq!(net.log.closed(1).await, [flow]);
}

#[tokio::test]
async fn more_than_the_kernel_takes_is_written_later() {
    let net = net(Settings { queue: 64 << 20, ..Settings::default() });
    let mut peer = TcpStream::connect(net.address).await.unwrap();
    peer.write_all(message(0).as_bytes()).await.unwrap();
    let flow = net.log.messages(1).await[0].0;
    let mut writer = net.streams.writer();
    let text: Vec<u8> = (0..20_000_000_u32).map(|n| (n / 7) as u8).collect();
    for part in text.chunks(1000) {
        writer.send(flow, part);
    }
    writer.flush();
    let mut got = vec![0; text.len()];
    peer.read_exact(&mut got).await.unwrap();
    assert!(got == text);
    assert_eq!(net.streams.0.queued.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn who_does_not_read_is_cut_off() {
    let net = net(Settings { queue: 1 << 20, ..Settings::default() });
    let mut peer = TcpStream::connect(net.address).await.unwrap();
    peer.write_all(message(0).as_bytes()).await.unwrap();
    let flow = net.log.messages(1).await[0].0;
    let mut writer = net.streams.writer();
    while net.streams.counts().stuck.load(Ordering::Relaxed) == 0 {
        writer.send(flow, &[b'x'; 50_000]);
        writer.flush();
        // The connection's task comes to wait until there is room, which never happens.
        tokio::task::yield_now().await;
    }
    assert_eq!(timeout(Duration::from_secs(5), net.log.closed(1)).await.expect("it is closed at once"), [flow]);
    assert_eq!(net.streams.0.queued.load(Ordering::SeqCst), 0);
    assert_eq!(net.streams.connections(), 0);
}

fn asked(remote: SocketAddr) -> Flow {
    Flow { transport: Transport::Tcp, listener: 3, connection: 0, remote, local: None }
}

#[tokio::test]
async fn a_connection_is_made_when_one_is_needed() {
    let net = net(Settings::default());
    let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let flow = asked(there.local_addr().unwrap());
    let mut writer = net.streams.writer();
    writer.send(flow, b"one ");
    writer.flush();
    writer.send(flow, b"two");
    writer.flush();
    let (mut peer, _) = there.accept().await.unwrap();
    let mut buffer = [0; 7];
    peer.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"one two");
    // What comes back names the connection.
    peer.write_all(message(2).as_bytes()).await.unwrap();
    let back = net.log.messages(1).await[0].0;
    assert_eq!((back.remote, back.listener), (flow.remote, 3));
    assert_eq!(net.streams.counts().connected.load(Ordering::Relaxed), 1);
    drop(peer);
    assert_eq!(net.log.closed(1).await, [back], "everything was written: the question has not failed");
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_told() {
    let net = net(Settings::default());
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut writer = net.streams.writer();
    writer.send(asked(gone), b"anyone?");
    writer.flush();
    let closed = net.log.closed(2).await;
    assert_eq!(closed[1], asked(gone));
    assert_eq!(net.streams.counts().unreachable.load(Ordering::Relaxed), 1);
    assert_eq!(net.streams.connections(), 0);
    assert_eq!(net.streams.0.queued.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_cannot_be_framed_gets_last_words() {
    let net = net(Settings::default());
    let mut peer = TcpStream::connect(net.address).await.unwrap();
    let text = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
    peer.write_all(text).await.unwrap();
    let (flow, head) = net.log.messages(1).await.remove(0);
    assert!(text.starts_with(&head) && !head.is_empty());
    let mut writer = net.streams.writer();
    writer.send(flow, b"SIP/2.0 400 No");
    writer.flush();
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"SIP/2.0 400 No");
    assert_eq!(net.log.closed(1).await, [flow]);
    assert_eq!(net.streams.counts().unframeable.load(Ordering::Relaxed), 1);
}
