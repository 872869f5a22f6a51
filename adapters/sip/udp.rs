//! Datagrams: one socket for each shard on the same port, received one by one, sent in batches.
//!
//! `examples/udp_cost.rs` measures the ways to ask the kernel. A timestamp costs 0.3 microseconds a datagram, so only
//! the first of a batch is asked for its age, the oldest one; one buffer stays in the cache where a batch of 64 does
//! not; `sendmmsg` saves 0.7 of 5 microseconds a pair.

use crate::bind::{self, BindError};
use lamplighter_model::Transport;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, SockaddrLike, SockaddrStorage, recvmsg, sendmsg,
    setsockopt, sockopt,
};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// What the kernel is asked to hold for a socket, in each direction.
pub const BUFFER: usize = 4 << 20;
/// Larger than any datagram, so that none is cut short.
const LARGEST: usize = 65_536;
/// How many datagrams one system call sends.
const BATCH: usize = 64;
/// How long a full send buffer may hold a shard up; it empties at the speed of the wire.
const PATIENCE_MS: u8 = 5;
/// What ICMP messages about datagrams that went in vain become.
const IN_VAIN: [Errno; 3] = [Errno::ECONNREFUSED, Errno::EHOSTUNREACH, Errno::ENETUNREACH];
/// How often one datagram is tried that the kernel does not send because of what became of earlier ones.
const TRIES: u32 = 8;

/// A UDP socket that does not block.
#[derive(Debug)]
pub struct Udp {
    socket: UdpSocket,
    address: SocketAddr,
    granted: (usize, usize),
    watched: bool,
}

/// A received datagram.
#[derive(Debug, Eq, PartialEq)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub remote: SocketAddr,
    /// Which of our addresses it was sent to; known where the socket is bound to a wildcard.
    pub local: Option<IpAddr>,
    /// When the kernel took it in, since the Unix epoch; known if [`Udp::receive`] was asked for it.
    pub taken_in: Option<Duration>,
    /// All of it.
    pub bytes: &'a [u8],
}

/// A datagram to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// Where to.
    pub remote: SocketAddr,
    /// Which of our addresses it comes from, where the socket is bound to a wildcard.
    pub local: Option<IpAddr>,
    /// Which bytes.
    pub at: Range<u32>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sent {
    /// Datagrams that the kernel refused: nobody listens there, too long, no memory.
    pub failed: u64,
    /// Times that the send buffer was full.
    pub full: u64,
}

/// Memory for [`Udp::receive`]; one for each thread.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    control: Vec<u8>,
}

impl Default for Buffer {
    fn default() -> Self {
        let space = nix::cmsg_space!(
            libc::timespec,
            libc::in6_pktinfo,
            libc::in_pktinfo,
            libc::sock_extended_err,
            libc::sockaddr_in6
        );
        Self { bytes: vec![0; LARGEST].into(), control: vec![0; space.capacity()] }
    }
}

impl Udp {
    /// Opens `count` sockets on one address. With port 0 all share the port that the first one gets.
    ///
    /// The first is bound without SO_REUSEPORT, which fails if any other program has the port, and shares it later.
    pub fn bind(address: SocketAddr, count: usize) -> Result<Vec<Self>, BindError> {
        let mut all = vec![Self::open(address, false)?];
        if count > 1 {
            let failed = |errno| BindError { transport: Transport::Udp, address, errno };
            setsockopt(&all[0].socket, sockopt::ReusePort, &true).map_err(failed)?;
            for _ in 1..count {
                all.push(Self::open(all[0].address, true)?);
            }
        }
        Ok(all)
    }

    fn open(address: SocketAddr, share: bool) -> Result<Self, BindError> {
        let failed = |errno| BindError { transport: Transport::Udp, address, errno };
        let fd = bind::open(Transport::Udp, address, share)?;
        let granted = bind::enlarge(&fd, BUFFER);
        setsockopt(&fd, sockopt::ReceiveTimestampns, &true).map_err(failed)?;
        if address.ip().is_unspecified() {
            match address {
                SocketAddr::V4(_) => setsockopt(&fd, sockopt::Ipv4PacketInfo, &true),
                SocketAddr::V6(_) => setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true),
            }
            .map_err(failed)?;
        }
        let socket = UdpSocket::from(fd);
        let address = socket
            .local_addr()
            .map_err(|error| failed(error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)))?;
        Ok(Self { socket, address, granted, watched: false })
    }

    /// From now on [`Self::refused`] says where nobody listens.
    pub fn watch_refusals(&mut self) -> Result<(), Errno> {
        match self.address {
            SocketAddr::V4(_) => setsockopt(&self.socket, sockopt::Ipv4RecvErr, &true),
            SocketAddr::V6(_) => setsockopt(&self.socket, sockopt::Ipv6RecvErr, &true),
        }?;
        self.watched = true;
        Ok(())
    }

    /// Where a datagram of ours went in vain, as an ICMP message says: nobody listens there, or no way leads there.
    /// To be asked until there is none, since the socket wakes its owner as long as there is.
    pub fn refused(&self, buffer: &mut Buffer) -> Option<SocketAddr> {
        if !self.watched {
            return None;
        }
        loop {
            let Buffer { bytes, control } = buffer;
            let mut slices = [IoSliceMut::new(bytes)];
            let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_ERRQUEUE);
            let got = match recvmsg::<SockaddrStorage>(fd, &mut slices, Some(control), flags) {
                Ok(got) => got,
                Err(Errno::EINTR) => continue,
                Err(_) => return None,
            };
            let fatal = got.cmsgs().ok().into_iter().flatten().any(|message| match message {
                ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
                    let errno = Errno::from_raw(error.ee_errno.try_into().unwrap_or_default());
                    IN_VAIN.contains(&errno)
                }
                _ => false,
            });
            if let Some(remote) = got.address.as_ref().and_then(address).filter(|_| fatal) {
                return Some(canonical(remote));
            }
        }
    }

    /// The address it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its receive and send buffers hold, bytes; less than [`BUFFER`] if the system does not allow more.
    pub fn granted(&self) -> (usize, usize) {
        self.granted
    }

    /// The next datagram, if there is one. `age`: say when the kernel took it in, which costs a little.
    pub fn receive<'a>(&self, buffer: &'a mut Buffer, age: bool) -> Option<Datagram<'a>> {
        loop {
            let result = if age || self.address.ip().is_unspecified() {
                self.receive_all(buffer)
            } else {
                let got = self.socket.recv_from(&mut buffer.bytes);
                got.map(|(len, remote)| (len, Some(remote), None, None))
            };
            match result {
                Ok((len, Some(remote), local, taken_in)) => {
                    let remote = canonical(remote);
                    return Some(Datagram { remote, local, taken_in, bytes: &buffer.bytes[..len] });
                }
                // From nowhere: nobody to answer.
                Ok((_, None, ..)) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // An error that an earlier datagram caused, reported here; the next call goes on.
                Err(error)
                    if error.kind() == ErrorKind::Interrupted
                        || error.raw_os_error().is_some_and(|code| IN_VAIN.contains(&Errno::from_raw(code))) => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot receive");
                    return None;
                }
            }
        }
    }

    #[allow(clippy::type_complexity, reason = "taken apart by the only caller")]
    fn receive_all(
        &self,
        buffer: &mut Buffer,
    ) -> std::io::Result<(usize, Option<SocketAddr>, Option<IpAddr>, Option<Duration>)> {
        let Buffer { bytes, control } = buffer;
        let mut slices = [IoSliceMut::new(bytes)];
        let fd = self.socket.as_raw_fd();
        let got = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(control), MsgFlags::empty())?;
        let (mut local, mut taken_in) = (None, None);
        for message in got.cmsgs()? {
            match message {
                ControlMessageOwned::ScmTimestampns(time) => taken_in = Some(Duration::from(time)),
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    local = Some(IpAddr::from(u32::from_be(info.ipi_spec_dst.s_addr).to_be_bytes()));
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical());
                }
                _ => {}
            }
        }
        Ok((got.bytes, got.address.as_ref().and_then(address), local, taken_in))
    }

    /// Sends datagrams, which lie in `bytes`. One that the kernel refuses is counted and does not stop the others; a
    /// full send buffer is waited for, five milliseconds at most, then the rest is counted as refused.
    pub fn send(&self, bytes: &[u8], batch: &[Outgoing]) -> Sent {
        let mut sent = Sent::default();
        let (mut rest, mut tries) = (batch, 0);
        while let Some(first) = rest.first() {
            let many = rest.iter().take(BATCH).take_while(|one| one.local.is_none()).count();
            let result = match first.local {
                Some(local) => self.send_from(local, first, bytes).map(|()| 1),
                None => self.send_many(&rest[..many], bytes),
            };
            match result {
                Ok(done) => (rest, tries) = (&rest[done..], 0),
                Err(Errno::EINTR) => {}
                // It may be about an earlier datagram, and is told only once; `refused` has the whole story.
                Err(errno) if self.watched && tries < TRIES && IN_VAIN.contains(&errno) => tries += 1,
                Err(Errno::EAGAIN) => {
                    sent.full += 1;
                    let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
                    if poll(&mut fds, PollTimeout::from(PATIENCE_MS)).unwrap_or(0) == 0 {
                        sent.failed += rest.len() as u64;
                        return sent;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, remote = %first.remote, "cannot send");
                    sent.failed += 1;
                    (rest, tries) = (&rest[1..], 0);
                }
            }
        }
        sent
    }

    /// Sends up to [`BATCH`] datagrams; says how many were sent before one failed, or why the first one did.
    fn send_many(&self, batch: &[Outgoing], bytes: &[u8]) -> Result<usize, Errno> {
        let slice = |one: &Outgoing| IoSlice::new(&bytes[one.at.start as usize..one.at.end as usize]);
        if let [one] = batch {
            let sent = self.socket.send_to(&slice(one), self.reach(one.remote));
            return sent.map(|_| 1).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
        }
        let remotes: [Option<SocketAddrAny>; BATCH] =
            std::array::from_fn(|at| batch.get(at).map(|one| self.reach(one.remote).into()));
        let slices: [[IoSlice<'_>; 1]; BATCH] =
            std::array::from_fn(|at| [batch.get(at).map_or(IoSlice::new(&[]), slice)]);
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] = std::array::from_fn(|_| Default::default());
        let mut headers = controls.each_mut().map(Some);
        let mut messages: [MMsgHdr<'_>; BATCH] = std::array::from_fn(|at| {
            let control = headers[at].take().expect("each is taken once");
            match &remotes[at] {
                Some(remote) => MMsgHdr::new_with_addr(remote, &slices[at], control),
                None => MMsgHdr::new(&slices[at], control),
            }
        });
        sendmmsg(&self.socket, &mut messages[..batch.len()], SendFlags::empty())
            .map_err(|error| Errno::from_raw(error.raw_os_error()))
    }

    fn send_from(&self, local: IpAddr, one: &Outgoing, bytes: &[u8]) -> Result<(), Errno> {
        let fd = self.socket.as_raw_fd();
        let slices = [IoSlice::new(&bytes[one.at.start as usize..one.at.end as usize])];
        let remote = SockaddrStorage::from(self.reach(one.remote));
        match (local, self.address) {
            (IpAddr::V4(local), SocketAddr::V4(_)) => {
                let spec = libc::in_addr { s_addr: u32::from(local).to_be() };
                let info =
                    libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec, ipi_addr: libc::in_addr { s_addr: 0 } };
                sendmsg(fd, &slices, &[ControlMessage::Ipv4PacketInfo(&info)], MsgFlags::empty(), Some(&remote))
            }
            (local, SocketAddr::V6(_)) => {
                let local = match local {
                    IpAddr::V4(local) => local.to_ipv6_mapped(),
                    IpAddr::V6(local) => local,
                };
                // The interface of a link-local address is part of the remote address.
                let ipi6_addr = libc::in6_addr { s6_addr: local.octets() };
                let info = libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 };
                sendmsg(fd, &slices, &[ControlMessage::Ipv6PacketInfo(&info)], MsgFlags::empty(), Some(&remote))
            }
            (IpAddr::V6(_), SocketAddr::V4(_)) => return Err(Errno::EAFNOSUPPORT),
        }
        .map(|_| ())
    }

    /// An address as this socket's family spells it.
    fn reach(&self, remote: SocketAddr) -> SocketAddr {
        match remote {
            SocketAddr::V4(v4) if self.address.is_ipv6() => {
                SocketAddr::V6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0))
            }
            same => same,
        }
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// An IPv4 address that came by an IPv6 socket, as itself.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address, // with its scope
    }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    match storage.family()? {
        nix::sys::socket::AddressFamily::Inet => Some(SocketAddrV4::from(*storage.as_sockaddr_in()?).into()),
        nix::sys::socket::AddressFamily::Inet6 => {
            let v6: &SockaddrIn6 = storage.as_sockaddr_in6()?;
            Some(SocketAddrV6::from(*v6).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(address: &str) -> Udp {
        Udp::bind(address.parse().unwrap(), 1).unwrap().remove(0)
    }

    fn peer(address: SocketAddr) -> UdpSocket {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let peer = UdpSocket::bind(any).unwrap();
        peer.connect(address).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        peer
    }

    fn wait(socket: &Udp) {
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(5000_u16)), Ok(1));
    }

    fn outgoing(remote: SocketAddr, at: Range<u32>) -> Outgoing {
        Outgoing { remote, local: None, at }
    }

    /// Nobody listens at the other side: that is told, and those who do still get their datagrams.
    #[test]
    fn refusals_are_told_and_hold_nothing_up() {
        for here in ["127.0.0.1:0", "[::1]:0"] {
            let mut socket = bind(here);
            socket.watch_refusals().unwrap();
            let dead = UdpSocket::bind(here).unwrap().local_addr().unwrap();
            let live = UdpSocket::bind(here).unwrap();
            live.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut buffer = Buffer::default();
            assert_eq!(socket.refused(&mut buffer), None);
            socket.send(b"hello", &[outgoing(dead, 0..5)]);
            let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, PollTimeout::from(5000_u16)), Ok(1));
            let batch = vec![outgoing(live.local_addr().unwrap(), 0..5); 3];
            assert_eq!(socket.send(b"hello", &batch), Sent::default());
            for _ in &batch {
                assert_eq!(live.recv(&mut [0; 9]).unwrap(), 5);
            }
            assert_eq!(socket.receive(&mut buffer, true), None);
            assert_eq!(socket.refused(&mut buffer), Some(dead));
            assert_eq!(socket.refused(&mut buffer), None);
            let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(0), "it sleeps again");
        }
    }

    #[test]
    fn the_largest_datagram_is_whole() {
        let socket = bind("127.0.0.1:0");
        let peer = peer(socket.address());
        let text: Vec<u8> = (0..65_507_u32).map(|n| n as u8).collect();
        peer.send(&text).unwrap();
        wait(&socket);
        let mut buffer = Buffer::default();
        let datagram = socket.receive(&mut buffer, true).unwrap();
        assert_eq!((datagram.remote, datagram.local), (peer.local_addr().unwrap(), None));
        assert!(datagram.bytes == text);
        assert_eq!(socket.receive(&mut buffer, true), None);
        assert_eq!(socket.receive(&mut buffer, false), None);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "compared with the kernel's clock")]
    fn the_kernel_says_when_it_came() {
        let socket = bind("127.0.0.1:0");
        peer(socket.address()).send(b"x").unwrap();
        wait(&socket);
        let mut buffer = Buffer::default();
        let taken_in = socket.receive(&mut buffer, true).unwrap().taken_in.unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(taken_in <= now && now - taken_in < Duration::from_secs(5));
    }

    #[test]
    fn a_batch_arrives_in_order_without_what_the_kernel_refuses() {
        let socket = bind("127.0.0.1:0");
        let peer = peer(socket.address());
        let remote = peer.local_addr().unwrap();
        let bytes: Vec<u8> = (0..70_000_u32).map(|n| (n % 251) as u8).collect();
        // Too long, at the start of a call, within it, and at its end.
        let bad = [0, 1, 40, 63, 64, 129];
        let batch: Vec<Outgoing> =
            (0..130).map(|n: u32| outgoing(remote, if bad.contains(&n) { 0..70_000 } else { n..n + 10 + n })).collect();
        assert_eq!(socket.send(&bytes, &batch), Sent { failed: bad.len() as u64, full: 0 });
        let mut buffer = [0; 1000];
        for n in (0..130).filter(|n| !bad.contains(n)) {
            let length = peer.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], &bytes[n as usize..(n + 10 + n) as usize]);
        }
    }

    #[test]
    fn a_peer_that_is_gone_does_not_stop_the_others() {
        let socket = bind("127.0.0.1:0");
        let here = peer(socket.address());
        let gone = peer(socket.address()).local_addr().unwrap();
        for _ in 0..10 {
            // The second batch meets what the first one has caused.
            socket.send(b"ab", &[outgoing(gone, 0..1), outgoing(here.local_addr().unwrap(), 1..2)]);
            let mut buffer = [0; 10];
            assert_eq!(here.recv(&mut buffer).unwrap(), 1);
            assert_eq!(buffer[0], b'b');
            here.send(b"c").unwrap();
            wait(&socket);
            assert_eq!(socket.receive(&mut Buffer::default(), false).unwrap().bytes, b"c");
        }
    }

    /// `socket` is bound to a wildcard and is asked at `address`.
    fn answers_from(socket: &Udp, address: &str) {
        let address = SocketAddr::new(address.parse().unwrap(), socket.address().port());
        let peer = peer(address);
        peer.send(b"?").unwrap();
        wait(socket);
        let mut buffer = Buffer::default();
        let Datagram { remote, local, .. } = socket.receive(&mut buffer, false).unwrap();
        assert_eq!(local, Some(address.ip()));
        assert_eq!(remote, peer.local_addr().unwrap());
        let sent = socket.send(b"!", &[Outgoing { remote, local, at: 0..1 }]);
        assert_eq!(sent, Sent::default());
        // A connected socket hears only the address that it asked.
        assert_eq!(peer.recv(&mut [0; 9]).unwrap(), 1);
    }

    #[test]
    fn a_wildcard_answers_from_the_address_that_was_asked() {
        let socket = bind("0.0.0.0:0");
        answers_from(&socket, "127.0.0.1");
        answers_from(&socket, "127.0.0.2");
    }

    #[test]
    fn an_ipv6_wildcard_takes_both_families() {
        let Ok(mut sockets) = Udp::bind("[::]:0".parse().unwrap(), 1) else { return };
        let socket = sockets.remove(0);
        answers_from(&socket, "127.0.0.2");
        answers_from(&socket, "::1");
    }

    #[test]
    fn a_second_bind_is_refused_even_when_the_first_is_shared() {
        for count in [1, 3] {
            let first = Udp::bind("127.0.0.1:0".parse().unwrap(), count).unwrap();
            assert_eq!(first.len(), count);
            let address = first[0].address();
            assert!(first.iter().all(|one| one.address() == address));
            for again in [1, 2] {
                let error = Udp::bind(address, again).unwrap_err();
                assert_eq!(error.errno, Errno::EADDRINUSE);
                assert_eq!(
                    error.to_string(),
                    format!("udp:{address}: address in use: another program, or another Lamplighter, has this port")
                );
            }
        }
    }
}
