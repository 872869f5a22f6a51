//! What a datagram in and a datagram out cost the one who answers, by way of asking the kernel.
//!
//! `cargo run --release -p lamplighter-adapter-sip --example udp_cost`
//!
//! A peer keeps a window of datagrams in flight on loopback; the answering thread sends each back and counts its
//! own CPU time. The kernel's receive path runs inside the sender's call, so each side pays for what it sends.

#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used)]

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, recvmsg, sendmmsg, setsockopt, sockopt,
};
use nix::time::{ClockId, clock_gettime};
use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// How datagrams are received.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Receive {
    /// `recvfrom`, no timestamps.
    From,
    /// `recvmsg` with a timestamp for the first of a batch, `recvfrom` for the others.
    FirstStamped,
    /// `recvmsg` with a timestamp.
    Stamped,
    /// `recvmmsg` with timestamps.
    Many,
}

/// How datagrams are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sending {
    /// `sendto`, at once.
    To,
    /// `sendmmsg`, after the batch.
    Batch,
}

const COUNT: usize = 60_000;
const SIZE: usize = 600;
const BATCH: usize = 64;

fn main() {
    use {Receive::*, Sending::*};
    for window in [16, 64] {
        for receive in [From, FirstStamped, Stamped, Many] {
            for send in [To, Batch] {
                let runs = (0..7).map(|_| measure(window, receive, send));
                let best = runs.fold((f64::MAX, 0.0), |a, b| if a.0 < b.0 { a } else { b });
                let name = format!("{receive:?}, {send:?}");
                println!("window {window:3}  {name:24} {:.2} us a pair, {:.1} a batch", best.0, best.1);
            }
        }
    }
}

fn cpu() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap())
}

/// Microseconds of CPU for one datagram in and one out, and how many were there at once.
fn measure(window: usize, receive: Receive, send: Sending) -> (f64, f64) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    setsockopt(&server, sockopt::ReceiveTimestampns, &(receive != Receive::From)).unwrap();
    let address = server.local_addr().unwrap();
    let peer = std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut buffer = [b'x'; SIZE];
        let mut sent = 0;
        while sent < COUNT {
            for _ in 0..window {
                socket.send(&buffer).unwrap();
            }
            sent += window;
            for _ in 0..window {
                if socket.recv(&mut buffer).is_err() {
                    break;
                }
            }
        }
        socket.send(b"end").unwrap();
    });
    let mut memory = Memory::new();
    let (start, mut batches, mut total) = (cpu(), 0, 0);
    while total < COUNT {
        let done = memory.turn(&server, receive, send);
        if done == 0 {
            let mut fds = [PollFd::new(server.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(1000_u16)).unwrap() == 0 {
                break;
            }
            continue;
        }
        total += done;
        batches += 1;
    }
    let spent = cpu() - start;
    peer.join().unwrap();
    (spent.as_secs_f64() * 1e6 / total as f64, total as f64 / batches as f64)
}

struct Memory {
    receive: Vec<u8>,
    control: Vec<u8>,
    many: MultiHeaders<SockaddrIn>,
    headers: MultiHeaders<SockaddrIn>,
    bytes: Vec<u8>,
    spans: Vec<Range<usize>>,
    to: Vec<Option<SockaddrIn>>,
}

impl Memory {
    fn new() -> Self {
        let control = nix::cmsg_space!(nix::sys::time::TimeSpec);
        Self {
            receive: vec![0; BATCH * 65536],
            many: MultiHeaders::preallocate(BATCH, Some(control.clone())),
            control: vec![0; control.capacity()],
            headers: MultiHeaders::preallocate(BATCH, None),
            bytes: Vec::new(),
            spans: Vec::new(),
            to: Vec::new(),
        }
    }

    /// Answers what is there, at most a batch.
    fn turn(&mut self, socket: &UdpSocket, receive: Receive, send: Sending) -> usize {
        let Self { receive: memory, control, many, headers, bytes, spans, to } = self;
        bytes.clear();
        spans.clear();
        to.clear();
        let mut answer = |from: SocketAddrV4, got: &[u8]| match send {
            Sending::To => drop(socket.send_to(got, SocketAddr::V4(from))),
            Sending::Batch => {
                let at = bytes.len();
                bytes.extend_from_slice(got);
                spans.push(at..bytes.len());
                to.push(Some(SockaddrIn::from(from)));
            }
        };
        let mut done = 0;
        if receive == Receive::Many {
            let mut chunks = memory.chunks_mut(65536);
            let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
                std::array::from_fn(|i| [IoSliceMut::new(&mut chunks.next().unwrap()[i % 32 * 128..])]);
            let flags = MsgFlags::empty();
            if let Ok(results) = recvmmsg(socket.as_raw_fd(), many, &mut slices, flags, None) {
                for got in results {
                    stamp(got.cmsgs().unwrap());
                    let from = SocketAddrV4::from(got.address.unwrap());
                    got.iovs().for_each(|slice| answer(from, slice));
                    done += 1;
                }
            }
        } else {
            while done < BATCH {
                if receive == Receive::Stamped || receive == Receive::FirstStamped && done == 0 {
                    let mut slices = [IoSliceMut::new(&mut memory[..65536])];
                    let Ok(got) =
                        recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut slices, Some(control), MsgFlags::empty())
                    else {
                        break;
                    };
                    stamp(got.cmsgs().unwrap());
                    let (from, len) = (SocketAddrV4::from(got.address.unwrap()), got.bytes);
                    answer(from, &memory[..len]);
                } else {
                    let Ok((len, SocketAddr::V4(from))) = socket.recv_from(&mut memory[..65536]) else { break };
                    answer(from, &memory[..len]);
                }
                done += 1;
            }
        }
        if !spans.is_empty() {
            let slices: [[IoSlice<'_>; 1]; BATCH] =
                std::array::from_fn(|i| [IoSlice::new(spans.get(i).map_or(&[], |at| &bytes[at.clone()]))]);
            let none: [nix::sys::socket::ControlMessage<'_>; 0] = [];
            sendmmsg(socket.as_raw_fd(), headers, &slices[..spans.len()], to, none, MsgFlags::empty()).unwrap();
        }
        done
    }
}

fn stamp(messages: impl Iterator<Item = ControlMessageOwned>) {
    for message in messages {
        if let ControlMessageOwned::ScmTimestampns(time) = message {
            std::hint::black_box(time);
        }
    }
}
