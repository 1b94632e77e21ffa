//! nf_tables messages: changes as bytes, and one transaction with the kernel.
//!
//! Numbers are those of `include/uapi/linux/netfilter/nf_tables.h` and `nfnetlink.h`.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;

use super::plan::{Change, Element};
use crate::net::netlink::{self, ACK, Builder, CREATE, DUMP, EXCLUSIVE, Family, REQUEST, messages};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFTABLES: u16 = 10 << 8;
const GET_TABLE: u16 = NFTABLES | 1;
const DELETE_TABLE: u16 = NFTABLES | 2;
const GET_RULE: u16 = NFTABLES | 7;
const NEW_ELEMENT: u16 = NFTABLES | 12;
const DELETE_ELEMENT: u16 = NFTABLES | 14;
/// Linux 6.3 and later: like a delete, and content where there is nothing to delete.
const DESTROY_ELEMENT: u16 = NFTABLES | 30;

/// `nfgenmsg` of a batch: no family, version 0, resource nf_tables in network order.
const BATCH_HEADER: [u8; 4] = [0, 0, 0, 10];
/// `nfgenmsg` of a message: family inet.
const INET_HEADER: [u8; 4] = [1, 0, 0, 0];

/// How long the kernel may take to answer. A big reload by another program holds it for some 150 ms.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Room for the acknowledgements of the largest batch.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Room for the largest batch.
const SEND_BUFFER: usize = 1 << 20;

/// How an element is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// By DESTROYSETELEM: an absent element is fine.
    Destroy,
    /// By DELSETELEM: an absent element fails its whole batch with ENOENT.
    Delete,
}

/// Appends `change` to the table `table` as one message that asks for an acknowledgement; removals are
/// DESTROYSETELEM (Linux 6.3).
pub fn encode(builder: &mut Builder, sequence: u32, table: &str, change: &Change) {
    write_change(builder, (sequence, ACK), table, change, Removal::Destroy);
}

/// `answer` is ACK, or 0 where the kernel is to speak of errors alone.
fn write_change(
    builder: &mut Builder,
    (sequence, answer): (u32, u16),
    table: &str,
    change: &Change,
    removal: Removal,
) {
    let (kind, flags, element, lifetime) = match change {
        Change::Add { element, lifetime } => (
            NEW_ELEMENT,
            REQUEST | answer | CREATE | EXCLUSIVE,
            element,
            Some(*lifetime),
        ),
        Change::Remove { element } => {
            let kind = match removal {
                Removal::Destroy => DESTROY_ELEMENT,
                Removal::Delete => DELETE_ELEMENT,
            };
            (kind, REQUEST | answer, element, None)
        }
    };
    builder.message(kind, flags, sequence, &INET_HEADER, |builder| {
        builder.text(1, table);
        builder.text(2, &element.set);
        builder.nest(3, |builder| write_element(builder, element, lifetime));
    });
}

/// Writes NFTA_SET_ELEM_TIMEOUT (4), _KEY (1) and _DATA (2), in the order nft writes them.
fn write_element(builder: &mut Builder, element: &Element, lifetime: Option<Duration>) {
    builder.nest(1, |builder| {
        if let Some(lifetime) = lifetime {
            let milliseconds = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
            builder.attribute(4, &milliseconds.to_be_bytes());
        }
        builder.nest(1, |builder| builder.attribute(1, &element.key));
        if let (Some(data), Some(_)) = (&element.data, lifetime) {
            builder.nest(2, |builder| builder.attribute(1, data));
        }
    });
}

/// The persistent conversation with nf_tables.
#[derive(Debug)]
pub(super) struct Connection {
    socket: netlink::Socket,
    table: String,
    builder: Builder,
}

impl Connection {
    /// Opens the socket.
    pub(super) fn open(table: &str) -> io::Result<Self> {
        Ok(Self {
            socket: open_socket()?,
            table: table.to_owned(),
            builder: Builder::default(),
        })
    }

    /// Carries out `changes` in one transaction: all or none.
    ///
    /// # Errors
    /// The first errno answered; one that [`is_unknown`] where the answer was lost.
    pub(super) fn transact(&mut self, changes: &[Change], removal: Removal) -> io::Result<()> {
        self.batch(changes.len(), |builder, first, table| {
            for (index, (sequence, change)) in (first..).zip(changes).enumerate() {
                let answer = if index + 1 == changes.len() { ACK } else { 0 };
                write_change(builder, (sequence, answer), table, change, removal);
            }
        })
    }

    /// Whether the table is there.
    pub(super) fn has_table(&mut self) -> io::Result<bool> {
        let table = &self.table;
        let asked = self.socket.ask(|builder, sequence| {
            let flags = REQUEST | ACK;
            builder.message(GET_TABLE, flags, sequence, &INET_HEADER, |builder| {
                builder.text(1, table);
            });
        });
        match asked {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    /// The handles of the table's rules: each is given once, so that a rule which was replaced is another
    /// one. Empty where the table is dormant.
    ///
    /// # Errors
    /// ENOENT where the table is gone; [`io::ErrorKind::Interrupted`] where it never stood still for a list.
    pub(super) fn rules(&mut self) -> io::Result<BTreeSet<u64>> {
        const DORMANT: u32 = 1;
        let mut rules = BTreeSet::new();
        if self.flags()? & DORMANT != 0 {
            return Ok(rules);
        }
        let table = &self.table;
        let ask = |builder: &mut Builder, sequence| {
            builder.message(
                GET_RULE,
                REQUEST | DUMP,
                sequence,
                &INET_HEADER,
                |builder| {
                    builder.text(1, table);
                },
            );
        };
        self.socket.list(ask, |message| {
            let Some(message) = message else {
                return rules.clear();
            };
            // NFTA_RULE_HANDLE, a u64 in network order.
            rules.extend(message.attributes(4).find_map(|(kind, value)| {
                let bytes = value.first_chunk().filter(|_| kind == 3)?;
                Some(u64::from_be_bytes(*bytes))
            }));
        })?;
        Ok(rules)
    }

    /// NFTA_TABLE_FLAGS, a u32 in network order.
    fn flags(&mut self) -> io::Result<u32> {
        let (sequence, table) = (self.socket.reserve(1), &self.table);
        self.builder.clear();
        self.builder
            .message(GET_TABLE, REQUEST, sequence, &INET_HEADER, |builder| {
                builder.text(1, table);
            });
        self.socket.send(self.builder.bytes())?;
        loop {
            for message in messages(self.socket.receive()?) {
                if message.sequence != sequence {
                    continue;
                }
                if let Some(errno) = message.errno() {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                let flags = message
                    .attributes(4)
                    .find(|&(kind, _)| kind == 2)
                    .and_then(|(_, value)| Some(u32::from_be_bytes(*value.first_chunk()?)));
                return Ok(flags.unwrap_or(0));
            }
        }
    }

    /// Deletes the table. An absent one is answered with ENOENT.
    pub(super) fn delete_table(&mut self) -> io::Result<()> {
        self.batch(1, |builder, sequence, table| {
            builder.message(
                DELETE_TABLE,
                REQUEST | ACK,
                sequence,
                &INET_HEADER,
                |builder| {
                    builder.text(1, table);
                },
            );
        })
    }

    fn batch(
        &mut self,
        count: usize,
        fill: impl FnOnce(&mut Builder, u32, &str),
    ) -> io::Result<()> {
        let count = u32::try_from(count).map_err(|_| io::ErrorKind::InvalidInput)?;
        let begin = self.socket.reserve(count.saturating_add(2));
        let end = begin + 1 + count;
        self.builder.clear();
        self.builder
            .message(BATCH_BEGIN, REQUEST, begin, &BATCH_HEADER, |_| ());
        fill(&mut self.builder, begin + 1, &self.table);
        self.builder
            .message(BATCH_END, REQUEST, end, &BATCH_HEADER, |_| ());
        let sent = self.socket.send(self.builder.bytes());
        let outcome = sent.and_then(|()| self.await_answers(begin, end));
        if let Err(error) = &outcome
            && is_unknown(error)
        {
            // Answers are there when the call to send returns: a socket that lacks one lost it, and may
            // lose the next. What comes late on it is nobody's.
            match open_socket() {
                Ok(socket) => self.socket = socket,
                Err(error) => tracing::debug!(%error, "The netlink socket is not replaced"),
            }
        }
        outcome
    }

    /// Waits for the answer to the last message between `begin` and `end`, the only one that asks for one.
    ///
    /// The kernel answers once the whole batch is done or undone: first what failed as a whole, then errors
    /// and the answer asked for, in the order of the messages (`nfnetlink_rcv_batch` in nfnetlink.c). An aborted
    /// batch answers 0 to its last message as well, behind the error: only 0 alone means done.
    fn await_answers(&mut self, begin: u32, end: u32) -> io::Result<()> {
        let last = end - 1;
        let mut refused = None;
        if begin == last {
            return Ok(());
        }
        loop {
            for message in messages(self.socket.receive()?) {
                // Answers to an earlier batch may still come after its timeout.
                if !(begin..end).contains(&message.sequence) {
                    continue;
                }
                let Some(errno) = message.errno() else {
                    continue;
                };
                if message.sequence == begin {
                    // The batch as a whole was refused, with this one answer.
                    return Err(io::Error::from_raw_os_error(errno));
                }
                if errno != 0 {
                    refused = refused.or(Some(errno));
                }
                if message.sequence == last {
                    return refused
                        .map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)));
                }
            }
        }
    }
}

/// Whether nobody knows if the changes were made: the answer was lost.
pub(super) fn is_unknown(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AGAIN | Errno::NOBUFS)
    )
}

fn open_socket() -> io::Result<netlink::Socket> {
    netlink::Socket::open(Family::Netfilter, 0, ANSWER_TIMEOUT, widen)
}

fn widen(fd: &OwnedFd) -> io::Result<()> {
    // The forced size needs CAP_NET_ADMIN of the whole machine; the plain one is cut to a limit that
    // still holds a full batch.
    if sockopt::set_socket_recv_buffer_size_force(fd, RECEIVE_BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(fd, RECEIVE_BUFFER)?;
    }
    if sockopt::set_socket_send_buffer_size_force(fd, SEND_BUFFER).is_err() {
        sockopt::set_socket_send_buffer_size(fd, SEND_BUFFER)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! The expected bytes are the `NFTA_SET_ELEM_LIST_ELEMENTS` that nft 1.0.6 sends for the same text, as
    //! shown by `strace -xx -e trace=sendmsg nft add element ...`.
    use super::*;
    use crate::firewall::{plan_close, plan_open};
    use crate::pinhole::Pinhole;

    fn both_translations() -> Pinhole {
        Pinhole {
            initiator: "198.51.100.20".parse().unwrap(),
            announced: "198.51.100.1:50000".parse().unwrap(),
            target: "10.60.1.2:6000".parse().unwrap(),
            source: "10.60.1.1".parse().unwrap(),
            from_port_20: false,
        }
    }

    /// The elements attribute of the message for the change to `set`; `timeout` in seconds.
    fn elements(changes: &[Change], set: &str) -> Vec<u8> {
        let change = changes
            .iter()
            .find(|change| match change {
                Change::Add { element, .. } | Change::Remove { element } => element.set == set,
            })
            .unwrap();
        let mut builder = Builder::default();
        encode(&mut builder, 1, "portcullis", change);
        let message = messages(builder.bytes()).next().unwrap();
        let (_, value) = message.attributes(4).find(|(kind, _)| *kind == 3).unwrap();
        value.to_vec()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        hex.split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    #[test]
    fn admission_equals_what_nft_sends() {
        // add element inet portcullis admit4 { 198.51.100.20 . 198.51.100.1 . 50000 timeout 60s }
        let changes = plan_open(&both_translations(), Duration::from_secs(60));
        assert_eq!(
            elements(&changes, "admit4"),
            bytes(
                "24 00 01 80 0c 00 04 00 00 00 00 00 00 00 ea 60 14 00 01 80 10 00 01 00 \
                 c6 33 64 14 c6 33 64 01 c3 50 00 00"
            )
        );
    }

    #[test]
    fn redirect_and_lease_equal_what_nft_sends() {
        // add element inet portcullis redirect4 { 198.51.100.20 . 198.51.100.1 . 50000 timeout 60s : 10.60.1.2 . 6000 }
        let changes = plan_open(&both_translations(), Duration::from_secs(58));
        assert_eq!(
            elements(&changes, "redirect4"),
            bytes(
                "34 00 01 80 0c 00 04 00 00 00 00 00 00 00 ea 60 14 00 01 80 10 00 01 00 \
                 c6 33 64 14 c6 33 64 01 c3 50 00 00 10 00 02 80 0c 00 01 00 0a 3c 01 02 17 70 00 00"
            )
        );
        // add element inet portcullis leased4 { 198.51.100.1 . 50000 timeout 60s }
        assert_eq!(
            elements(&changes, "leased4"),
            bytes(
                "20 00 01 80 0c 00 04 00 00 00 00 00 00 00 ea 60 10 00 01 80 0c 00 01 00 \
                 c6 33 64 01 c3 50 00 00"
            )
        );
    }

    #[test]
    fn an_ipv6_source_equals_what_nft_sends() {
        // add element inet portcullis source6 { 2001:db8::14 . fd00::2 . 6000 timeout 60s : fd00::1 }
        let pinhole = Pinhole {
            initiator: "2001:db8::14".parse().unwrap(),
            announced: "[fd00::2]:6000".parse().unwrap(),
            target: "[fd00::2]:6000".parse().unwrap(),
            source: "fd00::1".parse().unwrap(),
            from_port_20: false,
        };
        let changes = plan_open(&pinhole, Duration::from_secs(58));
        assert_eq!(
            elements(&changes, "source6"),
            bytes(
                "54 00 01 80 0c 00 04 00 00 00 00 00 00 00 ea 60 2c 00 01 80 28 00 01 00 \
                 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 14 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02 \
                 17 70 00 00 18 00 02 80 14 00 01 00 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01"
            )
        );
    }

    #[test]
    fn a_removal_names_the_key_alone() {
        // delete element inet portcullis leased4 { 198.51.100.1 . 50000 }
        let changes = plan_close(&both_translations());
        assert_eq!(
            elements(&changes, "leased4"),
            bytes("14 00 01 80 10 00 01 80 0c 00 01 00 c6 33 64 01 c3 50 00 00")
        );
        assert_eq!(elements(&changes, "redirect4").len(), 24);
    }
}
