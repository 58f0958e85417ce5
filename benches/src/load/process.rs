//! CPU time and memory of processes, from `/proc`.

use std::fs;
use std::io;
use std::ops::Sub;

use super::error::LoadError;

/// `/proc` counts CPU time in these, on every Linux that this runs on.
const TICKS_PER_S: f64 = 100.0;
/// PF_KTHREAD in the flags of `/proc/PID/stat`.
const KERNEL_THREAD_FLAG: u64 = 0x0020_0000;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct CpuTime {
    pub(super) user_s: f64,
    pub(super) system_s: f64,
}

impl CpuTime {
    pub(super) fn total_s(self) -> f64 {
        self.user_s + self.system_s
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { user_s: self.user_s - earlier.user_s, system_s: self.system_s - earlier.system_s }
    }
}

/// Resident memory now and at its highest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) resident_mib: f64,
    pub(super) resident_max_mib: f64,
}

/// All threads of the process, those that have ended included.
pub(super) fn cpu_time(pid: u32) -> Result<CpuTime, LoadError> {
    let text = read(pid, "stat")?;
    let (_, time) = parse_stat(&text).ok_or_else(|| unreadable(pid))?;
    Ok(time)
}

/// All threads of the kernel: what file system and block device do on behalf of the server happens there. Others may
/// cause some of it, so keep the machine quiet. Zero where kernel threads cannot be seen (containers).
pub(super) fn kernel_threads_cpu_time() -> CpuTime {
    let mut sum = CpuTime::default();
    let Ok(entries) = fs::read_dir("/proc") else { return sum };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process that has just ended is none of the kernel's.
        let Ok(text) = read(pid, "stat") else { continue };
        if let Some((flags, time)) = parse_stat(&text)
            && flags & KERNEL_THREAD_FLAG != 0
        {
            sum = CpuTime { user_s: sum.user_s + time.user_s, system_s: sum.system_s + time.system_s };
        }
    }
    sum
}

pub(super) fn memory(pid: u32) -> Result<Memory, LoadError> {
    let text = read(pid, "status")?;
    let mib = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib / 1024.0)
    };
    match (mib("VmRSS:"), mib("VmHWM:")) {
        (Some(resident_mib), Some(resident_max_mib)) => Ok(Memory { resident_mib, resident_max_mib }),
        _ => Err(unreadable(pid)),
    }
}

fn read(pid: u32, file: &str) -> Result<String, LoadError> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|source| LoadError::Process { pid, source })
}

fn unreadable(pid: u32) -> LoadError {
    LoadError::Process { pid, source: io::Error::new(io::ErrorKind::InvalidData, "not in the known form") }
}

/// Flags and CPU time out of `/proc/PID/stat`. The name in parentheses may hold anything, so it counts from its end.
fn parse_stat(text: &str) -> Option<(u64, CpuTime)> {
    let (_, behind_name) = text.rsplit_once(')')?;
    let fields: Vec<&str> = behind_name.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let seconds = |index: usize| Some(number(index)? as f64 / TICKS_PER_S);
    Some((number(6)?, CpuTime { user_s: seconds(11)?, system_s: seconds(12)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_a_name_with_parentheses() {
        let text = "42 (a) b) S 1 42 42 0 -1 2097216 10 0 0 0 250 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(parse_stat(text), Some((0x20_0040, CpuTime { user_s: 2.5, system_s: 0.5 })));
        assert_eq!(parse_stat("42 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_time() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.resident_mib > 0.0 && memory.resident_max_mib >= memory.resident_mib);
        assert!(cpu_time(std::process::id()).unwrap().total_s() >= 0.0);
    }
}
