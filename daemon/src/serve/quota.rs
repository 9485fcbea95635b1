//! How much one user may ask of the daemon at a time, so that nobody can crowd the others out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Part of the total that only root may use, so that an administrator always gets in.
const ROOT_RESERVE: u32 = 8;

/// Counts what each user has in use.
#[derive(Debug, Clone)]
pub struct Quota(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    per_user: AtomicU32,
    total: u32,
    used: Mutex<HashMap<u32, u32>>,
}

/// A place in use; given back when dropped.
#[derive(Debug)]
pub struct Ticket {
    quota: Quota,
    uid: u32,
}

impl Quota {
    /// At most this many for each user but root, and for all together.
    pub fn new(per_user: u32, total: u32) -> Self {
        let used = Mutex::new(HashMap::new());
        Quota(Arc::new(Inner {
            per_user: AtomicU32::new(per_user),
            total,
            used,
        }))
    }

    /// Changes the limit of each user; what is in use stays so.
    pub fn set_per_user(&self, per_user: u32) {
        self.0.per_user.store(per_user, Ordering::Relaxed);
    }

    /// A place for this user, if there is one.
    pub fn enter(&self, uid: u32) -> Option<Ticket> {
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        let all: u32 = used.values().sum();
        let own = used.get(&uid).copied().unwrap_or(0);
        let free = match uid {
            0 => all < self.0.total,
            _ => {
                own < self.0.per_user.load(Ordering::Relaxed)
                    && all < self.0.total.saturating_sub(ROOT_RESERVE)
            }
        };
        free.then(|| {
            used.insert(uid, own + 1);
            Ticket {
                quota: self.clone(),
                uid,
            }
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut used = self
            .quota
            .0
            .used
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = used.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                used.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_limited_and_root_always_gets_in() {
        let quota = Quota::new(2, ROOT_RESERVE + 3);
        let _first = quota.enter(1).unwrap();
        let second = quota.enter(1).unwrap();
        assert!(quota.enter(1).is_none(), "the third of one user");
        let _other = quota.enter(2).unwrap();
        assert!(quota.enter(3).is_none(), "the rest is root's");
        let roots: Vec<_> = (0..ROOT_RESERVE).map(|_| quota.enter(0).unwrap()).collect();
        assert!(quota.enter(0).is_none(), "even root has an end");
        drop(roots);
        drop(second);
        assert!(quota.enter(3).is_some());
        quota.set_per_user(1);
        assert!(quota.enter(1).is_none());
    }

    #[test]
    fn nothing_is_kept_of_users_who_left() {
        let quota = Quota::new(2, 100);
        for uid in 0..50 {
            drop(quota.enter(uid));
        }
        assert!(quota.0.used.lock().unwrap().is_empty());
    }
}
