//! Packets over a pair of sockets, each with at most one descriptor.

use super::{MAX_PACKET, message};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
        sendmsg, socketpair, sockopt,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// How much of packets the kernel may keep for the reader, as far as it grants that.
const QUEUE: usize = 1 << 20;

/// Two connected sockets that keep packets apart.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (a, b) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_send_buffer_size(&a, QUEUE)?;
    sockopt::set_socket_send_buffer_size(&b, QUEUE)?;
    Ok((a, b))
}

/// Sends and receives messages through a socket, with buffers that are used again.
#[derive(Debug)]
pub(crate) struct Packets {
    send: Vec<u8>,
    receive: Box<[u8]>,
}

impl Packets {
    pub(crate) fn new() -> Self {
        Self { send: Vec::new(), receive: vec![0; MAX_PACKET].into() }
    }

    /// Sends a message, and a descriptor with it.
    ///
    /// # Errors
    /// When it is too long, the other end is gone, or (with `WouldBlock`) a non-blocking send would wait.
    pub(crate) fn send<T: Serialize>(
        &mut self,
        socket: impl AsFd,
        message: &T,
        with: Option<BorrowedFd<'_>>,
        wait: bool,
    ) -> io::Result<()> {
        message::encode(message, &mut self.send)?;
        let flags =
            if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
        send(socket.as_fd(), &self.send, with, flags)
    }

    /// Receives a message, which may lie in the buffer; none when the other end is closed.
    ///
    /// # Errors
    /// When it is no message, or (with `WouldBlock`) a non-blocking receive would wait.
    pub(crate) fn receive<'a, T: Deserialize<'a>>(
        &'a mut self,
        socket: impl AsFd,
        wait: bool,
    ) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut flags = RecvFlags::CMSG_CLOEXEC;
        if !wait {
            flags |= RecvFlags::DONTWAIT;
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut buffers = [IoSliceMut::new(&mut self.receive)];
            match recvmsg(socket.as_fd(), &mut buffers, &mut ancillary, flags) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                received => break received?,
            }
        };
        let with = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet is too long"));
        }
        // No message is empty.
        match received.bytes {
            0 => Ok(None),
            len => Ok(Some((message::decode(&self.receive[..len])?, with))),
        }
    }
}

fn send(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    with: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = with.as_slice();
    if !descriptors.is_empty() {
        // There is room for one.
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(packet)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            sent => return Ok(sent.map(drop)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Order, Reply};
    use super::*;
    use std::io::{ErrorKind, Read, Write};

    #[test]
    fn messages_keep_apart_and_bring_a_descriptor() {
        let (a, b) = pair().unwrap();
        let mut packets = Packets::new();
        let (reader, mut writer) = io::pipe().unwrap();
        for number in [1, 2] {
            let message = Reply::Output { number, begun: vec![7; 1000] };
            packets.send(&a, &message, (number == 1).then(|| reader.as_fd()), false).unwrap();
        }
        drop(reader);
        let (first, pipe) = packets.receive::<Reply>(&b, true).unwrap().unwrap();
        assert!(matches!(first, Reply::Output { number: 1, begun } if begun == [7; 1000]));
        writer.write_all(b"x").unwrap();
        drop(writer);
        let mut text = String::new();
        std::fs::File::from(pipe.unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        let (second, none) = packets.receive::<Reply>(&b, true).unwrap().unwrap();
        assert!(matches!(second, Reply::Output { number: 2, .. }) && none.is_none());
        let empty = packets.receive::<Reply>(&b, false).unwrap_err();
        assert_eq!(empty.kind(), ErrorKind::WouldBlock);
        drop(a);
        assert!(packets.receive::<Reply>(&b, true).unwrap().is_none());
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let (a, b) = pair().unwrap();
        let mut packets = Packets::new();
        for garbage in [&[9u8][..], &[255; 40], &[0, 1, 2]] {
            send(a.as_fd(), garbage, None, SendFlags::empty()).unwrap();
            let error = packets.receive::<Order>(&b, true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{garbage:?}");
        }
        let message = Reply::Log { number: 1, text: vec![0; MAX_PACKET] };
        assert!(packets.send(&a, &message, None, true).is_err());
    }
}
