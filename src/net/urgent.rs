//! Where TCP urgent data stands in a stream (RFC 9293 §3.8.5).

use std::io;

use rustix::ioctl::{Getter, ioctl};
use tokio::net::TcpStream;

/// `SIOCATMARK` of `asm-generic/sockios.h`.
const AT_MARK: rustix::ioctl::Opcode = 0x8905;

/// Whether the next byte to be read is the urgent one. Means something only with `SO_OOBINLINE`; a
/// read never goes past the mark, so that this is asked where a read ended.
///
/// # Errors
/// Passes on what the kernel says.
pub fn at_mark(stream: &TcpStream) -> io::Result<bool> {
    // SAFETY: SIOCATMARK writes one int, and that is what the getter holds room for.
    #[expect(unsafe_code, reason = "no library offers SIOCATMARK")]
    let getter = unsafe { Getter::<AT_MARK, i32>::new() };
    // SAFETY: the socket is open, and the getter is the one for this operation.
    #[expect(unsafe_code, reason = "no library offers SIOCATMARK")]
    let mark = unsafe { ioctl(stream, getter) }?;
    Ok(mark != 0)
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_mark_is_where_the_sender_put_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (receiver, _) = listener.accept().await.unwrap();
        SockRef::from(&receiver)
            .set_out_of_band_inline(true)
            .unwrap();
        sender.writable().await.unwrap();
        SockRef::from(&sender)
            .send_out_of_band(b"ABOR\r\n")
            .unwrap();
        receiver.readable().await.unwrap();
        let mut read = [0; 64];
        assert_eq!(receiver.try_read(&mut read).unwrap(), 5);
        assert!(at_mark(&receiver).unwrap());
        assert_eq!(receiver.try_read(&mut read).unwrap(), 1);
        assert!(!at_mark(&receiver).unwrap());
    }
}
