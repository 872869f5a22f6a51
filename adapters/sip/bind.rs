//! Opening sockets: exact errors, large buffers.

use lamplighter_model::Transport;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SetSockOpt, SockFlag, SockType, SockaddrStorage, bind, getsockopt, listen, setsockopt,
    socket, sockopt,
};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Why a socket could not be opened. The text names it as the configuration does, and says what to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}:{address}: {}", name(*.transport), advice(*.errno, *.address))]
pub struct BindError {
    /// Of which kind.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// What the kernel said.
    pub errno: Errno,
}

/// The transport as `sip.listen` spells it.
fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    }
}

fn advice(errno: Errno, address: SocketAddr) -> String {
    match errno {
        Errno::EADDRINUSE => "address in use: another program, or another Lamplighter, has this port".into(),
        Errno::EADDRNOTAVAIL => format!("{} is no address of this machine", address.ip()),
        Errno::EACCES => format!(
            "ports below 1024 need a privilege: choose another than {}, or grant CAP_NET_BIND_SERVICE",
            address.port()
        ),
        Errno::EAFNOSUPPORT => "this machine has no such address family".into(),
        other => other.desc().into(),
    }
}

/// A bound socket that does not block. `[::]` takes IPv4 too.
pub(crate) fn open(transport: Transport, address: SocketAddr, share: bool) -> Result<OwnedFd, BindError> {
    let failed = |errno| BindError { transport, address, errno };
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = if transport.is_stream() { SockType::Stream } else { SockType::Datagram };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, kind, flags, None).map_err(failed)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &!address.ip().is_unspecified()).map_err(failed)?;
    }
    if transport.is_stream() {
        // So that connections of a former life that are still being wound up do not hold the port.
        setsockopt(&fd, sockopt::ReuseAddr, &true).map_err(failed)?;
    }
    if share {
        setsockopt(&fd, sockopt::ReusePort, &true).map_err(failed)?;
    }
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(address)).map_err(failed)?;
    if transport.is_stream() {
        let backlog = Backlog::new(1024).map_err(failed)?;
        listen(&fd, backlog).map_err(failed)?;
    }
    Ok(fd)
}

/// Asks for buffers of `bytes`, beyond the system's limit where that is allowed; answers what receive and send buffer
/// can hold now.
pub(crate) fn enlarge(fd: &OwnedFd, bytes: usize) -> (usize, usize) {
    fn ask(fd: &OwnedFd, force: impl SetSockOpt<Val = usize>, plain: impl SetSockOpt<Val = usize>, bytes: usize) {
        if setsockopt(fd, force, &bytes).is_err() {
            let _ = setsockopt(fd, plain, &bytes); // what was granted is read below
        }
    }
    ask(fd, sockopt::RcvBufForce, sockopt::RcvBuf, bytes);
    ask(fd, sockopt::SndBufForce, sockopt::SndBuf, bytes);
    // The kernel doubles what it grants, for its own records.
    let receive = getsockopt(fd, sockopt::RcvBuf).unwrap_or(0) / 2;
    let send = getsockopt(fd, sockopt::SndBuf).unwrap_or(0) / 2;
    (receive, send)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let error = |address: &str, errno| {
            BindError { transport: Transport::Udp, address: address.parse().unwrap(), errno }.to_string()
        };
        assert_eq!(
            error("127.0.0.1:5060", Errno::EADDRINUSE),
            "udp:127.0.0.1:5060: address in use: another program, or another Lamplighter, has this port"
        );
        assert_eq!(
            error("[2001:db8::1]:5060", Errno::EADDRNOTAVAIL),
            "udp:[2001:db8::1]:5060: 2001:db8::1 is no address of this machine"
        );
        assert!(error("127.0.0.1:50", Errno::EACCES).contains("CAP_NET_BIND_SERVICE"));
    }
}
