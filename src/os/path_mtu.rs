//! The path MTU of a connected UDP socket.

use std::mem::size_of;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr;

/// The maximum payload in bytes that reaches the peer without fragmentation, as far as the
/// kernel knows (ip(7), IP_MTU; ipv6(7), IPV6_MTU). `None` if it does not know.
pub fn path_mtu(socket: &UdpSocket) -> Option<usize> {
    let (level, option, headers) = match socket.local_addr().ok()?.is_ipv4() {
        true => (libc::IPPROTO_IP, libc::IP_MTU, 20 + 8),
        false => (libc::IPPROTO_IPV6, libc::IPV6_MTU, 40 + 8),
    };
    let mut mtu: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `mtu`.
    let result = unsafe {
        let value = ptr::addr_of_mut!(mtu).cast();
        libc::getsockopt(socket.as_raw_fd(), level, option, value, &mut length)
    };
    usize::try_from(mtu).ok().filter(|_| result == 0)?.checked_sub(headers)
}
