//! Who is at the other end of a connection, by what the kernel noted when it was made.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::UnixStream;

use crate::serve::Caller;
use crate::serve::authority::Transport;

/// Number of the next connection.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A number that no other connection of this daemon has.
pub fn next_number() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The caller behind a connection.
pub fn caller(stream: &UnixStream) -> io::Result<Caller> {
    let credentials = stream.peer_cred()?;
    let groups = groups(stream, credentials.gid())?;
    Ok(Caller {
        uid: credentials.uid(),
        groups,
        transport: Transport::Socket(next_number()),
    })
}

/// The peer's own groups: its process may have more or fewer than the group database says.
#[cfg(target_os = "linux")]
fn groups(stream: &UnixStream, primary: u32) -> io::Result<Option<Vec<u32>>> {
    use nix::sys::socket::GetSockOpt;

    let mut groups = linux::PeerGroups.get(stream)?;
    groups.push(primary);
    Ok(Some(groups))
}

/// Where the kernel tells no more than one group, they are looked up by name.
#[cfg(not(target_os = "linux"))]
fn groups(_stream: &UnixStream, _primary: u32) -> io::Result<Option<Vec<u32>>> {
    Ok(None)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::c_void;

    use nix::libc::{self, socklen_t};
    use nix::sys::socket::sockopt::Get;

    /// Most groups that a process on Linux can have (NGROUPS_MAX in `linux/limits.h`).
    const MOST_GROUPS: usize = 65_536;

    /// The socket option `SO_PEERGROUPS`: see socket(7), Linux 4.13.
    #[derive(Debug, Clone, Copy)]
    pub struct PeerGroups;

    /// Room for the answer: zeroed, so that reading it is sound whatever the kernel writes.
    pub struct Room {
        groups: Vec<libc::gid_t>,
        bytes: socklen_t,
    }

    impl Get<Vec<u32>> for Room {
        fn uninit() -> Self {
            let groups = vec![0; MOST_GROUPS];
            let bytes = socklen_t::try_from(size_of_val(groups.as_slice())).unwrap_or(0);
            Room { groups, bytes }
        }

        fn ffi_ptr(&mut self) -> *mut c_void {
            self.groups.as_mut_ptr().cast()
        }

        fn ffi_len(&mut self) -> *mut socklen_t {
            &mut self.bytes
        }

        #[allow(
            unsafe_code,
            reason = "the trait asks for the word; nothing here needs it"
        )]
        unsafe fn assume_init(mut self) -> Vec<u32> {
            let bytes = usize::try_from(self.bytes).unwrap_or(0);
            self.groups.truncate(bytes / size_of::<libc::gid_t>());
            self.groups.shrink_to_fit();
            self.groups
        }
    }

    nix::getsockopt_impl!(
        PeerGroups,
        libc::SOL_SOCKET,
        libc::SO_PEERGROUPS,
        Vec<u32>,
        Room
    );
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_knows_this_process() {
        let (here, _there) = UnixStream::pair().unwrap();
        let caller = caller(&here).unwrap();
        assert_eq!(caller.uid, nix::unistd::getuid().as_raw());
        let mut own: Vec<u32> = nix::unistd::getgroups()
            .unwrap()
            .into_iter()
            .map(nix::unistd::Gid::as_raw)
            .collect();
        own.push(nix::unistd::getgid().as_raw());
        own.sort_unstable();
        let mut seen = caller.groups.unwrap();
        seen.sort_unstable();
        assert_eq!(seen, own);
    }
}
