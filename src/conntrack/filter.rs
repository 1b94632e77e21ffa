//! The socket filter that lets the kernel drop events nobody wants.
//!
//! Classic BPF with the netlink extensions of `include/uapi/linux/filter.h`. A busy edge makes events for
//! every connection; without the filter they overflow any receive buffer.

use socket2::SockFilter;

use super::message::{ATTRIBUTES_AT, CLOSED, CT_DELETE, PROTOINFO, TIME_WAIT};
use crate::config::Mark;
use crate::net::netlink::CREATE;

const LOAD_IMMEDIATE: u16 = 0x00;
const LOAD_X_IMMEDIATE: u16 = 0x01;
const LOAD_HALF_AT: u16 = 0x28;
const LOAD_WORD_AT: u16 = 0x20;
const LOAD_WORD_AT_X: u16 = 0x40;
const LOAD_BYTE_AT_X: u16 = 0x50;
const COPY_TO_X: u16 = 0x07;
const AND: u16 = 0x54;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;

/// SKF_AD_OFF + SKF_AD_NLATTR: looks from A for attribute X; A becomes its offset, or 0.
const FIND: u32 = 0xffff_f000 + 12;
/// SKF_AD_OFF + SKF_AD_NLATTR_NEST: the same within the attribute at A.
const FIND_NESTED: u32 = 0xffff_f000 + 16;

/// Passes events of connections with `mark`: all that begin, all that are destroyed, and of the updates
/// those into TIME_WAIT and CLOSE.
pub(super) fn events_with(mark: Mark) -> [SockFilter; 26] {
    let op = SockFilter::new;
    // A jump skips so many instructions: 25 is "pass", 24 is "drop".
    [
        op(LOAD_IMMEDIATE, 0, 0, ATTRIBUTES_AT),          // 0
        op(LOAD_X_IMMEDIATE, 0, 0, 8),                    // 1: CTA_MARK
        op(LOAD_WORD_AT, 0, 0, FIND),                     // 2
        op(JUMP_IF_EQUAL, 20, 0, 0),                      // 3: mark 0 is never sent: drop
        op(COPY_TO_X, 0, 0, 0),                           // 4
        op(LOAD_WORD_AT_X, 0, 0, 4),                      // 5
        op(AND, 0, 0, mark.mask),                         // 6
        op(JUMP_IF_EQUAL, 0, 16, mark.value),             // 7: else drop
        op(LOAD_HALF_AT, 0, 0, 4),                        // 8: nlmsg_type
        op(JUMP_IF_EQUAL, 15, 0, as_loaded(CT_DELETE)),   // 9: pass
        op(LOAD_HALF_AT, 0, 0, 6),                        // 10: nlmsg_flags
        op(JUMP_IF_BITS, 13, 0, as_loaded(CREATE)),       // 11: pass
        op(LOAD_IMMEDIATE, 0, 0, ATTRIBUTES_AT),          // 12
        op(LOAD_X_IMMEDIATE, 0, 0, u32::from(PROTOINFO)), // 13
        op(LOAD_WORD_AT, 0, 0, FIND),                     // 14
        op(JUMP_IF_EQUAL, 8, 0, 0),                       // 15: drop
        op(LOAD_X_IMMEDIATE, 0, 0, 1),                    // 16: CTA_PROTOINFO_TCP
        op(LOAD_WORD_AT, 0, 0, FIND_NESTED),              // 17
        op(JUMP_IF_EQUAL, 5, 0, 0),                       // 18: drop
        // 19: X still says 1, which is CTA_PROTOINFO_TCP_STATE as well.
        op(LOAD_WORD_AT, 0, 0, FIND_NESTED),
        op(COPY_TO_X, 0, 0, 0),                        // 20
        op(LOAD_BYTE_AT_X, 0, 0, 4),                   // 21
        op(JUMP_IF_EQUAL, 2, 0, u32::from(TIME_WAIT)), // 22: pass
        op(JUMP_IF_EQUAL, 1, 0, u32::from(CLOSED)),    // 23: pass
        op(RETURN, 0, 0, 0),                           // 24
        op(RETURN, 0, 0, u32::MAX),                    // 25
    ]
}

/// A field in the machine's own order, as a load that takes it for network order gives it.
fn as_loaded(field: u16) -> u32 {
    u32::from(u16::from_be_bytes(field.to_ne_bytes()))
}
