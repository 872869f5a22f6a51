//! Sends answers to our NOTIFYs straight to the shard that waits for them.
//!
//! All shards' sockets share one port, and the kernel spreads what comes over them by a hash of the addresses. An
//! answer carries the slot of its presentity in our branch; a small classic BPF program on the sockets' group reads
//! it there and picks the owner's socket. Anything else, and any answer that it does not recognise, falls to the hash
//! and is handed on by the shard that gets it, which is only slower.
//!
//! Recognised is a 200 whose first header is our Via, as we spelled it. Other statuses have other lengths.

use nix::errno::Errno;
use nix::libc::{sock_filter, sock_fprog};
use nix::sys::socket::{setsockopt, sockopt};
use std::os::fd::AsFd;

/// How many slots there are, as a power of two.
const SLOT_BITS: u32 = lamplighter_model::address::SLOTS.trailing_zeros();
/// A program has at most 4096 instructions, and jumps reach 255 ahead.
const LONGEST: usize = 400;
/// More sockets than a group can hold: falls to the hash.
const HASH: u32 = u32::MAX;

// linux/bpf_common.h and linux/filter.h
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const LOAD_LENGTH: u16 = 0x80;
const LOAD_MEMORY: u16 = 0x60;
const LOAD_X_MEMORY: u16 = 0x61;
const STORE: u16 = 0x02;
const ADD_X: u16 = 0x0c;
const AND: u16 = 0x54;
const MULTIPLY: u16 = 0x24;
const SHIFT_LEFT: u16 = 0x64;
const SHIFT_RIGHT: u16 = 0x74;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;
const RETURN_A: u16 = 0x16;

/// Attaches the program to the group that `first`, the socket of shard 0, belongs to. `advertise` is the host and port
/// in our Via; the sockets were bound in the order of their shards. `false`: the Via is too long for a program.
pub fn steer(first: &impl AsFd, advertise: &str, shards: u8) -> Result<bool, Errno> {
    let prefix = format!("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {advertise};branch=z9hG4bK");
    if prefix.len() > LONGEST {
        return Ok(false);
    }
    let mut program = program(prefix.as_bytes(), shards);
    let filter = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    setsockopt(first, sockopt::AttachReusePortCbpf, &filter)?;
    Ok(true)
}

/// For datagrams that begin with `prefix` and three hexadecimal digits: the shard of that slot.
fn program(prefix: &[u8], shards: u8) -> Vec<sock_filter> {
    let step = |code, k| sock_filter { code, jt: 0, jf: 0, k };
    let end = prefix.len() as u32;
    // A load beyond the end would end the program with socket 0.
    let mut program = vec![
        step(LOAD_LENGTH, 0),
        sock_filter { code: JUMP_GREATER_EQUAL, jt: 1, jf: 0, k: end + 3 },
        step(RETURN, HASH),
    ];
    let mut at = 0;
    while at < prefix.len() {
        // The last word overlaps the one before.
        let from = at.min(prefix.len() - 4);
        let word = u32::from_be_bytes([prefix[from], prefix[from + 1], prefix[from + 2], prefix[from + 3]]);
        program.push(step(LOAD_WORD, from as u32));
        program.push(sock_filter { code: JUMP_EQUAL, jt: 1, jf: 0, k: word });
        program.push(step(RETURN, HASH));
        at += 4;
    }
    // M[0] holds a digit's upper bits, M[1] the slot so far. A digit is (byte & 15) + (byte >> 6) * 9.
    program.extend([step(AND, 0), step(STORE, 1)]);
    for digit in 0..3 {
        program.extend([
            step(LOAD_BYTE, end + digit),
            step(SHIFT_RIGHT, 6),
            step(MULTIPLY, 9),
            step(STORE, 0),
            step(LOAD_MEMORY, 1),
            step(SHIFT_LEFT, 4),
            step(LOAD_X_MEMORY, 0),
            step(ADD_X, 0),
            step(STORE, 1),
            step(LOAD_BYTE, end + digit),
            step(AND, 15),
            step(LOAD_X_MEMORY, 1),
            step(ADD_X, 0),
            step(STORE, 1),
        ]);
    }
    program.extend([step(MULTIPLY, u32::from(shards)), step(SHIFT_RIGHT, SLOT_BITS), step(RETURN_A, 0)]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_adapter_sip::{Buffer, Udp};
    use lamplighter_model::Slot;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::net::UdpSocket;

    /// Which socket gets a datagram.
    fn receiver(sockets: &[Udp], buffer: &mut Buffer) -> usize {
        let mut fds: Vec<_> = sockets.iter().map(|one| PollFd::new(one.as_fd(), PollFlags::POLLIN)).collect();
        assert!(poll(&mut fds, PollTimeout::from(2000_u16)).unwrap() > 0, "nobody got it");
        let got: Vec<usize> =
            (0..sockets.len()).filter(|index| sockets[*index].receive(buffer, false).is_some()).collect();
        assert_eq!(got.len(), 1);
        got[0]
    }

    #[test]
    fn answers_go_to_the_owner() {
        for shards in 2..=4 {
            let sockets = Udp::bind("127.0.0.1:0".parse().unwrap(), usize::from(shards)).unwrap();
            let address = sockets[0].address();
            assert_eq!(steer(&sockets[0], &address.to_string(), shards), Ok(true));
            let mut buffer = Buffer::default();
            for number in 0..400 {
                let slot = Slot::new(number * 10 + 7).unwrap();
                // From another port each time, so that the hash would choose another socket.
                let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
                let answer = format!(
                    "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{:03x}0000000a00000001deadbeef\r\n\r\n",
                    slot.number()
                );
                peer.send_to(answer.as_bytes(), address).unwrap();
                assert_eq!(receiver(&sockets, &mut buffer), usize::from(slot.shard(shards)), "{slot:?} of {shards}");
            }
        }
    }

    #[test]
    fn everything_else_is_spread() {
        let sockets = Udp::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = sockets[0].address();
        steer(&sockets[0], &address.to_string(), 2).unwrap();
        let mut buffer = Buffer::default();
        let texts = [
            "\r\n\r\n".to_owned(),
            format!("SIP/2.0 481 No\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK0000\r\n\r\n"),
            format!("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK00"),
            format!("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK\u{fffd}\u{fffd}"),
            "SUBSCRIBE sip:1001@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK000\r\n"
                .to_owned(),
        ];
        for text in texts {
            let mut counts = [0; 2];
            for _ in 0..40 {
                let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
                peer.send_to(text.as_bytes(), address).unwrap();
                counts[receiver(&sockets, &mut buffer)] += 1;
            }
            assert!(counts[0] > 0 && counts[1] > 0, "{text:?}: {counts:?}");
        }
    }

    #[test]
    fn a_via_that_is_too_long_is_left_to_the_hash() {
        let sockets = Udp::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        assert_eq!(steer(&sockets[0], &"a".repeat(500), 2), Ok(false));
    }
}
