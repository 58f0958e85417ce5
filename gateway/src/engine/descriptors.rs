//! Who may have how many of the process's descriptors. Sockets must not take those that logs, store files and the database
//! need: a flush that can't open its file would end the gateway.

use std::io;

use thiserror::Error;

/// With fewer nothing works well.
pub(super) const DESCRIPTORS_MIN: u64 = 128;

/// Fewer than [`DESCRIPTORS_MIN`] may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "only {limit} descriptors (files and connections) may be open, {DESCRIPTORS_MIN} are the least: raise the limit \
     (`ulimit -n`, or LimitNOFILE= of the service)"
)]
pub struct TooFewDescriptors {
    limit: u64,
}

/// The shares of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// What the system allows.
    pub(super) limit: u64,
    /// MQTT connections; further ones wait to be accepted.
    pub(super) mqtt: usize,
    /// HTTP connections, likewise.
    pub(super) http: usize,
}

impl Descriptors {
    /// Raises the limit as far as the system lets us (the usual 1,024 is for programs that use `select`) and parts it.
    pub(super) fn of_process() -> Result<Self, TooFewDescriptors> {
        // Where the system does not say, it has no limit that we could keep to.
        Self::of_limit(raise_limit().unwrap_or(u64::from(u32::MAX)))
    }

    fn of_limit(limit: u64) -> Result<Self, TooFewDescriptors> {
        if limit < DESCRIPTORS_MIN {
            return Err(TooFewDescriptors { limit });
        }
        // Logs, database, poll loops, and a store file for each question and for the compaction.
        let files = (limit / 4).clamp(64, 512);
        let http = (limit / 8).clamp(16, 128);
        let mqtt = usize::try_from(limit - files - http).unwrap_or(usize::MAX);
        Ok(Self { limit, mqtt, http: http as usize })
    }
}

fn raise_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is ours and whole.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        let wanted = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        // SAFETY: `wanted` is ours and whole; the call only reads it.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) } == 0 {
            return Ok(wanted.rlim_cur);
        }
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B1-2: sockets leave files their share, whatever the limit.
    #[test]
    fn files_keep_their_share() {
        for limit in [128, 200, 256, 1_024, 4_096, 1 << 20, u64::MAX] {
            let shares = Descriptors::of_limit(limit).unwrap();
            let sockets = shares.mqtt as u64 + shares.http as u64;
            assert!(limit - sockets >= 64 && shares.mqtt >= 48 && shares.http >= 16, "{shares:?}");
        }
        assert!(Descriptors::of_limit(127).unwrap_err().to_string().contains("ulimit -n"));
    }
}
